//! The formats in which traces come, and how one is recognised.
//!
//! A format reads a byte stream and hands every request to the [`Recorder`]. Text formats share [`lines::Lines`] (bounded, UTF-8,
//! counted) and one rule for lines that make no sense: an error with the line number, or with `--lenient` a skipped and
//! counted line.

mod access_log;
mod binary;
mod csv;
mod lines;
mod lis;
mod text;

use std::io::BufRead;

use super::error::SimulateError;
use super::trace::Recorder;
pub(super) use binary::sizes as read_sizes;

/// A trace format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Little-endian 64-bit keys, without a header.
    U64,
    /// Columns separated by comma, tab or semicolon.
    Csv,
    /// One key a line.
    Text,
    /// Lines of "first block, number of blocks, …", unrolled to one request a block.
    Lis,
    /// A web server's access log, common or combined.
    Log,
}

/// What the text formats are told on the command line.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// Key column of a CSV, by number from 1 or by name.
    pub(super) column: Option<String>,
    /// Size column of a CSV, likewise.
    pub(super) size_column: Option<String>,
    /// Whether sizes are wanted.
    pub(super) sizes: bool,
    /// Whether lines that make no sense are skipped.
    pub(super) lenient: bool,
}

/// One trace being read.
pub(super) struct Reading<'a> {
    /// The trace as it was named, for messages.
    pub(super) name: &'a str,
    pub(super) options: &'a Options,
    pub(super) out: &'a mut Recorder,
    /// Remarks for the reader of the results.
    pub(super) notes: &'a mut Vec<String>,
    skipped: u64,
    first_skipped: (u64, String),
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        name: &'a str,
        options: &'a Options,
        out: &'a mut Recorder,
        notes: &'a mut Vec<String>,
    ) -> Reading<'a> {
        Reading { name, options, out, notes, skipped: 0, first_skipped: (0, String::new()) }
    }

    /// Reads `input` to its end, or to the recorder's limit; answers how the input was understood.
    pub(super) fn read(mut self, format: Format, input: &mut dyn BufRead) -> Result<String, SimulateError> {
        let understood = match format {
            Format::U64 => binary::read(&mut self, input),
            Format::Csv => csv::read(&mut self, input),
            Format::Text => text::read(&mut self, input),
            Format::Lis => lis::read(&mut self, input),
            Format::Log => access_log::read(&mut self, input),
        }?;
        if self.skipped > 0 {
            let (line, what) = &self.first_skipped;
            self.notes.push(format!("{} lines were skipped, the first at line {line}: {what}", self.skipped));
        }
        Ok(understood)
    }

    /// A line that makes no sense: skipped if asked for, else an error.
    fn bad_line(&mut self, line: u64, what: impl Into<String>) -> Result<(), SimulateError> {
        let what = what.into();
        if !self.options.lenient {
            return Err(self.damaged(
                format!("line {line}"),
                what,
                "correct the line, or skip such lines with --lenient",
            ));
        }
        self.skip_line(line, what);
        Ok(())
    }

    /// Counts a line that is left out.
    fn skip_line(&mut self, line: u64, what: String) {
        if self.skipped == 0 {
            self.first_skipped = (line, what);
        }
        self.skipped += 1;
    }

    fn damaged(&self, place: String, what: impl Into<String>, remedy: &str) -> SimulateError {
        SimulateError::Damaged { name: self.name.to_owned(), place, what: what.into(), remedy: remedy.to_owned() }
    }

    /// An error of the stream underneath, after `place`.
    fn broken(&self, place: String, error: &std::io::Error) -> SimulateError {
        broken(self.name, place, error)
    }
}

/// The stream under a trace ended in an error.
pub(super) fn broken(name: &str, place: String, error: &std::io::Error) -> SimulateError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    if matches!(error.kind(), InvalidData | UnexpectedEof | std::io::ErrorKind::Other) {
        return SimulateError::Damaged {
            name: name.to_owned(),
            place,
            what: error.to_string(),
            remedy: "the file is cut short or not what its name says: fetch it again, or try `zstd -t` on it"
                .to_owned(),
        };
    }
    SimulateError::Unreadable {
        name: name.to_owned(),
        reason: format!("{error} at {place}"),
        remedy: "check the file and its disk".to_owned(),
    }
}

/// The format that a file name announces, without any `.zst`.
pub(super) fn by_extension(name: &str) -> Option<Format> {
    let (_, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "u64" => Some(Format::U64),
        "csv" | "tsv" => Some(Format::Csv),
        "txt" | "keys" => Some(Format::Text),
        "lis" => Some(Format::Lis),
        "log" => Some(Format::Log),
        _ => None,
    }
}

/// The format that the first bytes of a stream suggest; `None` if they look like no text.
pub(super) fn by_content(start: &[u8]) -> Option<Format> {
    // A buffer may end inside a character; only what is wrong before its last bytes counts.
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if valid.contains('\0') {
        return None;
    }
    let first = valid.trim_start_matches('\u{feff}').lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    Some(if access_log::parse(first).is_ok() {
        Format::Log
    } else if csv::delimiter(first).is_some() {
        Format::Csv
    } else {
        Format::Text
    })
}

/// Reads `content` as `format`, for the formats' own tests: the trace, or the error's message.
#[cfg(test)]
fn read_str(format: Format, content: impl AsRef<[u8]>, options: &Options) -> Result<super::trace::Trace, String> {
    let mut recorder = Recorder::new(1000, options.sizes);
    let mut notes = Vec::new();
    let origin = Reading::new("t", options, &mut recorder, &mut notes)
        .read(format, &mut content.as_ref())
        .map_err(|error| error.to_string())?;
    Ok(recorder.finish("t".to_owned(), origin, notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_recognised_by_name_then_by_content() {
        assert_eq!(by_extension("a/arc-oltp.u64"), Some(Format::U64));
        assert_eq!(by_extension("X.CSV"), Some(Format::Csv));
        assert_eq!(by_extension("trace"), None);
        assert_eq!(by_content(b"1\n2\n"), Some(Format::Text));
        assert_eq!(by_content(b"\n\nid;size\n1;2"), Some(Format::Csv));
        assert_eq!(by_content(br#"::1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 23"#), Some(Format::Log));
        assert_eq!(by_content(b"\x01\0\0\0\0\0\0\0"), None);
        assert_eq!(by_content(b"abc\xff\xfe"), None);
        assert_eq!(by_content("schl\u{fc}ssel".as_bytes().split_at(5).0), Some(Format::Text), "cut inside a letter");
    }

    #[test]
    fn arbitrary_bytes_never_panic_in_any_format() {
        use proptest::prelude::*;
        let piece = prop_oneof![
            any::<Vec<u8>>(),
            r#"[0-9a-z",;\t\n \[\]-]{0,40}"#.prop_map(String::into_bytes),
            Just(br#"h - - [x] "GET / HTTP/1.1" 200 5"#.to_vec()),
        ];
        proptest!(|(pieces in prop::collection::vec(piece, 0..8), lenient: bool, sizes: bool)| {
            let options = Options { sizes, lenient, ..Options::default() };
            for format in [Format::U64, Format::Csv, Format::Text, Format::Lis, Format::Log] {
                let _ = read_str(format, pieces.concat(), &options);
            }
            let _ = by_content(&pieces.concat());
        });
    }
}
