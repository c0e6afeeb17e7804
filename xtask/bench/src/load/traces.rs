//! Recorded traces from a folder: `NAME.u64.zst`, inside one little-endian `u64` key for each request.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::Stream;

const ENDING: &str = ".u64.zst";

/// Names of the traces in `folder`, sorted.
///
/// # Errors
///
/// When the folder cannot be read or holds no trace.
pub fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("cannot read the trace folder {}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(ENDING).map(str::to_owned)).collect();
    if names.is_empty() {
        return Err(format!("the trace folder {} has no file *{ENDING}", folder.display()));
    }
    names.sort();
    Ok(names)
}

/// The first `requests` requests of the trace `name`.
///
/// # Errors
///
/// When the file cannot be read, is no zstd, or does not hold whole keys.
pub fn read(folder: &Path, name: &str, requests: usize) -> Result<Stream, String> {
    let path = folder.join(format!("{name}{ENDING}"));
    let fail = |what: &dyn std::fmt::Display| format!("cannot read the trace {}: {what}", path.display());
    let file = File::open(&path).map_err(|error| fail(&error))?;
    let decoder = ruzstd::decoding::StreamingDecoder::new(file).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    decoder.take(requests as u64 * 8).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    let (keys, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || keys.is_empty() {
        return Err(fail(&format_args!("{} bytes are not a whole number of 8-byte keys", bytes.len())));
    }
    Ok(Stream { keys: keys.iter().map(|key| u64::from_le_bytes(*key)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(test: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("trimtab-bench-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn written_trace_is_read_back_and_can_be_cut_short() {
        let folder = folder("traces");
        let bytes: Vec<u8> = (0..1000u64).flat_map(|key| (key * 7).to_le_bytes()).collect();
        let packed = ruzstd::encoding::compress_to_vec(bytes.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        fs::write(folder.join("tiny.u64.zst"), packed).unwrap();
        fs::write(folder.join("tiny.u32.zst"), b"sizes are another file").unwrap();
        assert_eq!(names(&folder).unwrap(), ["tiny"]);
        assert_eq!(read(&folder, "tiny", usize::MAX / 8).unwrap().keys[999], 6993);
        assert_eq!(read(&folder, "tiny", 10).unwrap().keys.len(), 10);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn errors_name_the_file() {
        let folder = folder("no-traces");
        assert!(names(&folder).unwrap_err().contains("no file *.u64.zst"));
        fs::write(folder.join("bad.u64.zst"), b"this is no zstd").unwrap();
        assert!(read(&folder, "bad", 10).unwrap_err().contains("bad.u64.zst"));
        assert!(read(&folder, "absent", 10).unwrap_err().contains("absent.u64.zst"));
        fs::remove_dir_all(folder).unwrap();
    }
}
