//! Streams whose objects have sizes: recorded ones with `NAME.u32.zst` beside their keys, and the family `syn-cdn`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::random::SplitMix;
use super::{families, traces};

/// Requests with the bytes of each one's object.
#[derive(Debug)]
pub struct SizedStream {
    /// The key of each request, in order.
    pub keys: Vec<u64>,
    /// The bytes of each request's object.
    pub sizes: Vec<u32>,
}

/// Names of the traces in `folder` that have sizes, sorted.
///
/// # Errors
///
/// When the folder cannot be read or holds no trace.
pub fn names(folder: &Path) -> Result<Vec<String>, String> {
    let mut names = traces::names(folder)?;
    names.retain(|name| folder.join(format!("{name}.u32.zst")).is_file());
    Ok(names)
}

/// The first `requests` requests of the trace `name` with their sizes.
///
/// # Errors
///
/// When a file cannot be read, or there are not as many sizes as keys.
pub fn read(folder: &Path, name: &str, requests: usize) -> Result<SizedStream, String> {
    let keys = traces::read(folder, name, requests)?.keys;
    let path = folder.join(format!("{name}.u32.zst"));
    let fail = |what: &dyn std::fmt::Display| format!("cannot read the sizes {}: {what}", path.display());
    let file = File::open(&path).map_err(|error| fail(&error))?;
    let decoder = ruzstd::decoding::StreamingDecoder::new(file).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    decoder.take(keys.len() as u64 * 4).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    let sizes: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|size| u32::from_le_bytes(*size)).collect();
    if sizes.len() != keys.len() {
        return Err(fail(&format_args!("{} sizes for {} requests", sizes.len(), keys.len())));
    }
    Ok(SizedStream { keys, sizes })
}

/// The family `syn-cdn` with its sizes: log-normal by object, median 8,000 bytes, sigma 1.5, from 64 bytes to 16 MiB.
pub fn cdn(requests: usize) -> SizedStream {
    let keys = families::make("syn-cdn", requests).map(|stream| stream.keys).unwrap_or_default();
    let salt = SplitMix::new(6).next();
    let sizes = keys.iter().map(|key| object_size(salt, *key)).collect();
    SizedStream { keys, sizes }
}

/// The size of an object, the same at every request for it.
fn object_size(salt: u64, key: u64) -> u32 {
    let mut random = SplitMix::new(salt ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93));
    // Box and Muller; 1 - u keeps the logarithm finite.
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.unit()).cos();
    (8000.0 * (1.5 * normal).exp()).clamp(64.0, 16.0 * 1024.0 * 1024.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_the_object_and_spread_about_their_median() {
        let stream = cdn(50_000);
        let mut by_key = std::collections::HashMap::new();
        for (key, size) in stream.keys.iter().zip(&stream.sizes) {
            assert_eq!(by_key.insert(*key, *size).unwrap_or(*size), *size);
        }
        let mut sizes: Vec<u32> = by_key.into_values().collect();
        sizes.sort_unstable();
        let median = sizes[sizes.len() / 2];
        assert!((7_000..9_000).contains(&median), "{median}");
    }
}
