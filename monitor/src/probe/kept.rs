//! A small file that is read again and again, through a descriptor that stays open.
//!
//! The kernel writes the files under /proc and /sys/fs/cgroup anew on every read from their start,
//! so one positioned read replaces open, read and close: three to five times less work, and no path
//! look-up.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// More than any of these files has been seen to hold; a file beyond it is not what we think it is.
const SIZE_MAX: usize = 4 << 20;

/// A file to be read from its start at any time; opened on first use, reopened after an error.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
    file: Option<File>,
}

impl KeptFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file into `buffer`, which only ever grows.
    ///
    /// # Errors
    ///
    /// A reason in words that names the file.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b str, String> {
        let length = loop {
            let length = self.fill(buffer)?;
            // A full buffer may have cut the file. Reading on from there would join two states of
            // it, so the whole is read again into a larger one.
            if length < buffer.len() || buffer.len() >= SIZE_MAX {
                break length;
            }
            let larger = buffer.len() * 2;
            buffer.resize(larger, 0);
        };
        self.text(&buffer[..length])
    }

    /// Reads what fits into `buffer` as it is: for long files of which the first lines are enough.
    /// The last line may be cut.
    pub(crate) fn read_head<'b>(&mut self, buffer: &'b mut [u8]) -> Result<&'b str, String> {
        let length = self.fill(buffer)?;
        self.text(&buffer[..length])
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        if let Some(file) = &self.file
            && let Ok(length) = read_at_start(file, buffer)
        {
            return Ok(length);
        }
        // First use, or the descriptor went stale: a control group can be removed under it.
        self.file = None;
        let file = File::open(&self.path).map_err(|error| self.reason(&error))?;
        let length = read_at_start(&file, buffer).map_err(|error| self.reason(&error))?;
        self.file = Some(file);
        Ok(length)
    }

    fn text<'b>(&self, bytes: &'b [u8]) -> Result<&'b str, String> {
        std::str::from_utf8(bytes).map_err(|_| format!("{} is not text", self.path.display()))
    }

    fn reason(&self, error: &io::Error) -> String {
        format!("{} could not be read: {error}", self.path.display())
    }
}

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;

    loop {
        match file.read_at(buffer, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(not(unix))]
fn read_at_start(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read, Seek};

    file.rewind()?;
    file.read(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_sees_the_file_as_it_is_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        let mut kept = KeptFile::new(path.clone());
        let mut buffer = vec![0; 16];
        let reason = kept.read(&mut buffer).expect_err("not there yet");
        assert!(reason.contains("value could not be read"), "{reason}");
        std::fs::write(&path, "one").expect("written");
        assert_eq!(kept.read(&mut buffer), Ok("one"));
        std::fs::write(&path, "two, longer").expect("written");
        assert_eq!(kept.read(&mut buffer), Ok("two, longer"));
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        let text = "line\n".repeat(1_000);
        std::fs::write(&path, &text).expect("written");
        let mut kept = KeptFile::new(path);
        let mut buffer = vec![0; 16];
        assert_eq!(kept.read(&mut buffer), Ok(text.as_str()));
        assert_eq!(kept.read_head(&mut [0; 4]), Ok("line"));
    }

    #[test]
    fn bytes_that_are_no_text_are_a_reason_not_a_panic() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("value");
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        let reason = KeptFile::new(path).read(&mut vec![0; 16]).expect_err("not UTF-8");
        assert!(reason.ends_with("value is not text"), "{reason}");
    }
}
