//! How a value of a byte cache stands in a snapshot: as it lies in memory, compressed or not.
//!
//! A compressed value is not inflated to be saved, and comes back compressed. What its file says about the inflated length is
//! believed only as far as the codec could reach it, so that a forged file cannot make a later read allocate without end.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};

use super::Stored;
use crate::codec::Packed;

#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    /// Length of the value, if it is compressed.
    inflated: Option<u64>,
    bytes: Bytes,
}

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (inflated, bytes) = self.0.parts();
        Kept { inflated, bytes }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = Kept::deserialize(deserializer)?;
        Packed::from_parts(kept.inflated, kept.bytes).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{ByteCache, CacheSettings, Compression};

    fn cache(compression: Compression) -> ByteCache {
        let settings = CacheSettings { compression, ..CacheSettings::default() };
        ByteCache::new("pages", &settings).unwrap()
    }

    #[test]
    fn values_come_back_as_they_were_kept_with_what_is_left_of_their_time() {
        let compression = if cfg!(feature = "compress") { Compression::Lz4 } else { Compression::Off };
        let (before, after) = (cache(compression), cache(Compression::Off));
        before.put("small", "x", Some(Duration::from_secs(3_600))).unwrap();
        before.put("large", vec![7; 50_000], None).unwrap();
        let mut file = Vec::new();
        assert_eq!(before.cache().write_snapshot(&mut file).unwrap().entries, 2);
        assert_eq!(file.len() < 10_000, cfg!(feature = "compress"), "{} B", file.len());
        assert_eq!(after.cache().read_snapshot(&file[..]).unwrap().entries, 2);
        assert_eq!(after.get("small").as_deref(), Some(&b"x"[..]));
        assert_eq!(after.get("large").as_deref(), Some(&vec![7; 50_000][..]));
        let left = after.info("small").unwrap().ttl_left.unwrap();
        assert!(left <= Duration::from_secs(3_600) && left > Duration::from_secs(3_500), "{left:?}");
        assert_eq!(after.info("large").unwrap(), before.info("large").unwrap());
        after.cache().validate();
    }

    #[test]
    fn a_length_that_no_block_inflates_to_is_refused() {
        for (inflated, fine) in [(None, true), (Some(1_000), cfg!(feature = "compress")), (Some(u64::MAX), false)] {
            let kept = postcard::to_allocvec(&Kept { inflated, bytes: Bytes::from_static(b"0123456789") }).unwrap();
            assert_eq!(postcard::from_bytes::<Stored>(&kept).is_ok(), fine, "{inflated:?}");
        }
    }
}
