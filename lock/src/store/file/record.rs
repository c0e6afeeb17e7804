//! The token of a lock file, which never goes back, not even when the machine loses its power.
//!
//! Writing through to the disk at each acquisition would cost milliseconds. Instead a *ceiling* far above the token is written
//! through, once in 65,536 acquisitions; tokens below it go to the file without waiting for the disk, and every process of the
//! machine sees them. A record from an earlier boot may be older than what was given out, so its token is skipped up to the
//! ceiling. A boot is known by a number of the kernel; where there is none, every token is written through.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Tokens between two writes that wait for the disk.
const STEP: u64 = 1 << 16;
const LENGTH: usize = 64;

/// `token ceiling boot`, as three numbers in text, padded: something a person can read and correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    token: u64,
    ceiling: u64,
    boot: u64,
}

impl Record {
    /// Draws the next token of the file. The caller holds its lock.
    pub(crate) fn advance(file: &File, boot: u64) -> io::Result<u64> {
        let (next, durable) = Self::read(file)?.next(boot);
        file.write_all_at(&next.bytes(), 0)?;
        if durable {
            file.sync_data()?;
        }
        Ok(next.token)
    }

    /// The last token that was given out, or the highest that may have been. The caller keeps writers out.
    pub(crate) fn last(file: &File, boot: u64) -> io::Result<u64> {
        let record = Self::read(file)?;
        let same_boot = boot != 0 && boot == record.boot;
        Ok(if same_boot { record.token } else { record.token.max(record.ceiling) })
    }

    /// The record with the next token, and whether it must reach the disk before the token is used.
    fn next(self, boot: u64) -> (Self, bool) {
        let same_boot = boot != 0 && boot == self.boot;
        let token = if same_boot { self.token } else { self.token.max(self.ceiling) }.saturating_add(1);
        if same_boot && token <= self.ceiling {
            return (Self { token, ..self }, false);
        }
        // Without a number of the boot nothing is known of the next start but what is on the disk.
        let ceiling = if boot == 0 { token } else { token.saturating_add(STEP) };
        (Self { token, ceiling, boot }, true)
    }

    fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; LENGTH + 1];
        let mut length = 0;
        while length < bytes.len() {
            match file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        Self::parse(&bytes[..length])
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        if bytes.is_empty() {
            return Ok(Self { token: 0, ceiling: 0, boot: 0 });
        }
        let numbers = || {
            let text = str::from_utf8(bytes).ok().filter(|text| text.len() <= LENGTH)?;
            let mut words = text.split_ascii_whitespace().map(str::parse);
            let record = Self { token: words.next()?.ok()?, ceiling: words.next()?.ok()?, boot: words.next()?.ok()? };
            (words.next().is_none() && record.token < u64::MAX).then_some(record)
        };
        numbers().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no record of a token"))
    }

    fn bytes(self) -> [u8; LENGTH] {
        let mut bytes = [b' '; LENGTH];
        let text = format!("{} {} {}", self.token, self.ceiling, self.boot);
        bytes[LENGTH - 1] = b'\n';
        // Three numbers of at most twenty digits and two spaces: it always fits.
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }
}

/// The number of this start of the machine; 0 where it is not known.
pub(crate) fn boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_grows_through_boots_and_lost_writes() {
        let empty = Record::parse(b"").unwrap();
        let (first, durable) = empty.next(7);
        assert_eq!((first.token, durable), (1, true));
        let (second, durable) = first.next(7);
        assert_eq!((second.token, durable), (2, false));
        // The power fails, and the disk still has the first record: whatever was given out below its ceiling is skipped.
        let (after, durable) = first.next(8);
        assert!(after.token > first.ceiling && durable);
        // At the ceiling the disk is waited for again.
        let (over, durable) = Record { token: first.ceiling, ..first }.next(7);
        assert!(durable && over.ceiling > first.ceiling);
        // Without a number of the boot, always.
        assert!(second.next(0).1 && second.next(0).0.next(0).1);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let long = [b'1'; LENGTH + 1];
        for bytes in [&b"x"[..], b"1", b"1 2", b"1 2 3 4", b"-1 2 3", b"\xff 1 2", &long, b"18446744073709551615 1 1"] {
            assert!(Record::parse(bytes).is_err(), "{bytes:?}");
        }
        let record = Record { token: u64::MAX - 1, ceiling: u64::MAX, boot: u64::MAX };
        assert_eq!(Record::parse(&record.bytes()).unwrap(), record);
    }
}
