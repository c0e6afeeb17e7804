//! Plain text: one key a line. Blanks around it do not count, and neither do empty lines.

use std::io::BufRead;

use super::lines::{Line, Lines};
use super::{Reading, SimulateError};

pub(super) fn read(reading: &mut Reading<'_>, input: &mut dyn BufRead) -> Result<String, SimulateError> {
    if reading.options.sizes {
        return Err(SimulateError::Option {
            option: "--sizes",
            value: reading.name.to_owned(),
            what: "a text trace has one key a line and no sizes".to_owned(),
            remedy: "use a CSV with --size-column, or leave --sizes out".to_owned(),
        });
    }
    let mut lines = Lines::new(input);
    loop {
        let before = lines.number();
        match lines.next().map_err(|error| reading.broken(format!("line {}", before + 1), &error))? {
            None => return Ok("text, one key a line".to_owned()),
            Some(Line::Bad(what)) => reading.bad_line(before + 1, what)?,
            Some(Line::Text(line)) => {
                let key = line.trim();
                if !key.is_empty() && reading.out.text(key, 0).is_break() {
                    return Ok("text, one key a line".to_owned());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options, read_str};

    #[test]
    fn every_line_is_a_key() {
        let trace = read_str(Format::Text, "a\n b\r\n\na\nc d\n", &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 0, 2]);
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_or_skipped() {
        let error = read_str(Format::Text, b"a\n\xff\n", &Options::default()).unwrap_err();
        assert!(error.contains("line 2") && error.contains("--lenient"), "{error}");
        let options = Options { lenient: true, ..Options::default() };
        let trace = read_str(Format::Text, b"a\n\xff\na\n", &options).unwrap();
        assert_eq!(trace.requests, [0, 0]);
        assert!(trace.notes[0].contains("1 lines were skipped, the first at line 2"), "{:?}", trace.notes);
    }

    #[test]
    fn sizes_are_refused() {
        let options = Options { sizes: true, ..Options::default() };
        assert!(read_str(Format::Text, "a\n", &options).unwrap_err().contains("no sizes"));
    }
}
