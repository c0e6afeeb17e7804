//! Binary traces: one little-endian `u64` key for each request, and companions with one `u32` size for each.

use std::io::{BufRead, ErrorKind};

use super::{Reading, SimulateError, broken};

/// Keys to the end of the stream.
pub(super) fn read(reading: &mut Reading<'_>, input: &mut dyn BufRead) -> Result<String, SimulateError> {
    // Sizes, if wanted, stand in a companion file; whoever opened this one joins it.
    let mut chunks = Chunks::<8>::new(reading.name, input);
    while let Some(word) = chunks.next("keys of 8 bytes")? {
        if reading.out.number(u64::from_le_bytes(word), 0).is_break() {
            break;
        }
    }
    Ok("64-bit keys".to_owned())
}

/// At most `limit` sizes of a companion stream.
pub(in super::super) fn sizes(name: &str, input: &mut dyn BufRead, limit: usize) -> Result<Vec<u64>, SimulateError> {
    let mut sizes = Vec::new();
    let mut chunks = Chunks::<4>::new(name, input);
    while sizes.len() < limit
        && let Some(word) = chunks.next("sizes of 4 bytes")?
    {
        sizes.push(u64::from(u32::from_le_bytes(word)));
    }
    Ok(sizes)
}

/// Words of `N` bytes from a stream, through a buffer of its own: the streams underneath are boxed.
struct Chunks<'a, const N: usize> {
    name: &'a str,
    input: &'a mut dyn BufRead,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    words: u64,
}

impl<'a, const N: usize> Chunks<'a, N> {
    fn new(name: &'a str, input: &'a mut dyn BufRead) -> Self {
        Self { name, input, buffer: vec![0; 64 * 1024], at: 0, filled: 0, words: 0 }
    }

    fn next(&mut self, what: &str) -> Result<Option<[u8; N]>, SimulateError> {
        if self.at == self.filled && !self.fill(what)? {
            return Ok(None);
        }
        let mut word = [0; N];
        word.copy_from_slice(&self.buffer[self.at..self.at + N]);
        self.at += N;
        self.words += 1;
        Ok(Some(word))
    }

    fn fill(&mut self, what: &str) -> Result<bool, SimulateError> {
        (self.at, self.filled) = (0, 0);
        while self.filled < self.buffer.len() {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let offset = self.words * N as u64 + self.filled as u64;
                    return Err(broken(self.name, format!("byte {offset} of the content"), &error));
                }
            }
        }
        let stray = self.filled % N;
        if stray > 0 {
            let whole = self.words + (self.filled / N) as u64;
            return Err(SimulateError::Damaged {
                name: self.name.to_owned(),
                place: format!("byte {} of the content", whole * N as u64),
                what: format!("{stray} bytes follow {whole} whole {what}"),
                remedy: "the file is cut short, or no binary trace: fetch it again, or name its --format".to_owned(),
            });
        }
        Ok(self.filled > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options, read_str};
    use super::*;

    #[test]
    fn keys_are_little_endian_words() {
        let content: Vec<u8> = [7_u64, 1 << 60, 7].iter().flat_map(|key| key.to_le_bytes()).collect();
        let trace = read_str(Format::U64, content, &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
    }

    #[test]
    fn an_odd_byte_count_names_the_place() {
        let error = read_str(Format::U64, [0; 21], &Options::default()).unwrap_err();
        assert!(error.contains("byte 16") && error.contains("5 bytes follow 2 whole keys"), "{error}");
    }

    #[test]
    fn sizes_stop_at_the_number_of_requests() {
        let content: Vec<u8> = [3_u32, 4, 5].iter().flat_map(|size| size.to_le_bytes()).collect();
        assert_eq!(sizes("t", &mut content.as_slice(), 2).unwrap(), [3, 4]);
        assert_eq!(sizes("t", &mut content.as_slice(), 9).unwrap(), [3, 4, 5]);
        assert!(sizes("t", &mut &content[..7], 9).is_err());
    }
}
