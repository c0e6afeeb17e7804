//! Streaming zstd input, with every frame's checksum compared.
//!
//! A `.zst` file may hold several frames one after the other and frames to be skipped (RFC 8878, sections 3 and 3.1.2);
//! the decoder underneath handles one frame, so this reader walks from frame to frame. Memory is one decoding window,
//! refused above 128 MiB.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// The four bytes that open a zstd frame.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Decompressed bytes of a zstd stream.
pub(super) struct Unzstd<R> {
    source: R,
    decoder: FrameDecoder,
    inside: bool,
    frames: u64,
}

impl<R: BufRead> Unzstd<R> {
    /// Decompresses `source` from its present position to its end.
    pub(super) fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), inside: false, frames: 0 }
    }

    /// Opens the next frame; `false` at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(damaged("the file ends inside a skippable frame"));
                    }
                }
                Err(error) if self.frames > 0 => {
                    return Err(damaged(format!("what follows frame {} is not zstd: {error}", self.frames)));
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }

    /// Closes a frame that is fully read.
    fn end_frame(&mut self) -> io::Result<()> {
        let stored = self.decoder.get_checksum_from_data();
        let found = self.decoder.get_calculated_checksum();
        if let (Some(stored), Some(found)) = (stored, found)
            && stored != found
        {
            return Err(damaged(format!("checksum {found:08x} instead of {stored:08x}")));
        }
        self.inside = false;
        self.frames += 1;
        Ok(())
    }
}

impl<R: BufRead> Read for Unzstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1)).map_err(damaged)?;
            }
            let taken = self.decoder.read(buffer)?;
            if taken > 0 {
                return Ok(taken);
            }
            self.end_frame()?;
        }
    }
}

fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Unzstd::new(bytes).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_are_joined_and_skippable_ones_skipped() {
        let mut bytes = compress_to_vec(&b"first "[..], CompressionLevel::Fastest);
        bytes.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        bytes.extend(compress_to_vec(&b"second"[..], CompressionLevel::Fastest));
        assert_eq!(read(&bytes).unwrap(), b"first second");
    }

    #[test]
    fn truncation_at_any_byte_is_an_error() {
        let text: Vec<u8> = (0..5000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        let bytes = compress_to_vec(&text[..], CompressionLevel::Fastest);
        assert_eq!(read(&bytes).unwrap(), text);
        for cut in (1..bytes.len()).step_by(7) {
            read(&bytes[..cut]).expect_err("a truncated file must not pass");
        }
    }

    #[test]
    fn flipped_bytes_and_garbage_never_pass_as_content() {
        let text: Vec<u8> = (0..5000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        let bytes = compress_to_vec(&text[..], CompressionLevel::Fastest);
        for at in (0..bytes.len()).step_by(5) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            if let Ok(content) = read(&bytes) {
                assert!(content == text || at < 12, "byte {at} was flipped unnoticed");
            }
        }
        let mut bytes = bytes;
        bytes.extend(b"tail");
        assert!(read(&bytes).unwrap_err().to_string().contains("follows frame 1"));
    }
}
