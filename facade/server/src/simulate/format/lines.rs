//! Lines of a text trace: numbered, bounded in length, checked for UTF-8.

use std::io::{self, BufRead, Read};

/// No line of a trace may be longer than this many bytes; a binary file read as text is found out early.
pub(super) const LINE_MAX: usize = 64 * 1024;

/// One line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line of text.
    Text(&'a str),
    /// A line that is no text: what is wrong with it.
    Bad(String),
}

/// Reads lines one after the other into one buffer.
pub(super) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    buffer: Vec<u8>,
    number: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead) -> Self {
        Self { input, buffer: Vec::new(), number: 0 }
    }

    /// Number of the line returned last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, or `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        (&mut *self.input).take(LINE_MAX as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.len() > LINE_MAX && self.buffer.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::Bad(format!("longer than {LINE_MAX} bytes"))));
        }
        let mut line = self.buffer.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        Ok(Some(match std::str::from_utf8(line) {
            Ok(text) => Line::Text(text),
            Err(error) => {
                let at = error.valid_up_to();
                Line::Bad(format!("not UTF-8 text: byte 0x{:02x} at column {}", line[at], at + 1))
            }
        }))
    }
}

/// The start of a word from the input, short enough for a message.
pub(super) fn shortened(word: &str) -> String {
    if word.chars().count() <= 40 {
        return word.to_owned();
    }
    word.chars().take(40).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_byte_order_mark_are_removed() {
        let mut input: &[u8] = b"\xef\xbb\xbfa\r\n\nb";
        let mut lines = Lines::new(&mut input);
        for expected in ["a", "", "b"] {
            assert_eq!(lines.next().unwrap(), Some(Line::Text(expected)));
        }
        assert_eq!(lines.number(), 3);
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn bad_bytes_and_endless_lines_are_named_and_passed() {
        let mut content = b"ok\nab\xff\n".to_vec();
        content.extend(std::iter::repeat_n(b'x', 3 * LINE_MAX));
        content.extend(b"\nend\n");
        let mut input = content.as_slice();
        let mut lines = Lines::new(&mut input);
        assert_eq!(lines.next().unwrap(), Some(Line::Text("ok")));
        assert_eq!(lines.next().unwrap(), Some(Line::Bad("not UTF-8 text: byte 0xff at column 3".into())));
        assert_eq!(lines.next().unwrap(), Some(Line::Bad("longer than 65536 bytes".into())));
        assert_eq!(lines.next().unwrap(), Some(Line::Text("end")));
        assert_eq!(lines.number(), 4);
    }
}
