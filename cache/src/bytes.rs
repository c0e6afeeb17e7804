//! The cache of byte strings by name that an HTTP API serves: values may be compressed, keys can be listed.

#[cfg(feature = "snapshot")]
mod snapshot;

use std::time::Duration;

use bytes::Bytes;

use crate::builder::CacheBuilder;
use crate::cache::{Cache, Page};
use crate::codec::Packed;
use crate::config::{CacheSettings, Compression};
use crate::error::{CachesError, PutError};
use crate::stats::CacheStats;

/// The longest key, in bytes.
pub const KEY_MAX: usize = 1024;

/// What a [`ByteCache`] keeps for a key. Opaque: read through the cache.
#[derive(Debug, Clone)]
pub struct Stored(Packed);

/// A cache from text to bytes.
///
/// ```
/// use trimtab_cache::{ByteCache, CacheSettings};
///
/// let pages = ByteCache::new("pages", &CacheSettings::default())?;
/// pages.put("/", "hello", None)?;
/// assert_eq!(pages.get("/").as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ByteCache {
    pub(crate) cache: Cache<Box<str>, Stored>,
    compression: Compression,
    compress_above: u64,
}

/// What is known about one value of a [`ByteCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ByteInfo {
    /// Length of the value, in bytes.
    pub length: usize,
    /// Bytes in which it is kept; fewer than `length` if it is compressed.
    pub stored_bytes: usize,
    /// Bytes that the entry counts against the limit: key, kept bytes and overhead.
    pub weight_bytes: u64,
    /// Whether it is compressed.
    pub compressed: bool,
    /// Time until it expires; `None` if it does not.
    pub ttl_left: Option<Duration>,
}

impl ByteCache {
    /// Builds a byte cache that is in no registry.
    ///
    /// # Errors
    ///
    /// As [`CacheBuilder::build`], and when `lz4` is asked for in a program built without it.
    pub fn new(name: impl Into<String>, settings: &CacheSettings) -> Result<Self, CachesError> {
        Self::build(Cache::builder().name(name), settings)
    }

    /// Builds a byte cache from settings with a builder that brings what settings cannot say, such as a clock.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn build(builder: CacheBuilder<Box<str>, Stored>, settings: &CacheSettings) -> Result<Self, CachesError> {
        let cache = builder.settings(settings).weigher(|key, value| (key.len() + value.0.stored()) as u64).build()?;
        if settings.compression != Compression::Off && !cfg!(feature = "compress") {
            return Err(CachesError::CompressionNotBuilt { name: cache.name().to_string() });
        }
        Ok(Self { cache, compression: settings.compression, compress_above: settings.compress_above.as_u64() })
    }

    /// The value of a key, inflated outside of any lock. A kept value that is not compressed is shared, not copied.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let stored = self.cache.get(key)?;
        let value = stored.0.unpack();
        if value.is_none() {
            // Memory that no longer inflates is damaged; a miss is the honest answer.
            self.cache.invalidate(key);
        }
        value
    }

    /// Stores a value; `ttl` of `None` means the cache's default.
    ///
    /// # Errors
    ///
    /// [`PutError::Key`] for an empty key or one longer than [`KEY_MAX`]; [`PutError::Rejected`] for a value that is
    /// heavier than the whole cache or a `ttl` of zero, and then an older value is removed.
    pub fn put(&self, key: &str, value: impl Into<Bytes>, ttl: Option<Duration>) -> Result<(), PutError> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(PutError::Key { cache: self.cache.store.name.clone(), length: key.len(), limit: KEY_MAX });
        }
        let stored = Stored(Packed::pack(value.into(), self.compression, self.compress_above));
        let key = Box::from(key);
        match ttl {
            Some(ttl) => self.cache.try_insert_with_ttl(key, stored, ttl),
            None => self.cache.try_insert(key, stored),
        }
        .map_err(|rejected| PutError::Rejected { cache: rejected.cache, reason: rejected.reason })
    }

    /// Drops the value of a key, and answers whether there was one.
    pub fn remove(&self, key: &str) -> bool {
        self.cache.invalidate(key)
    }

    /// Whether there is a value. Counts nothing.
    pub fn contains(&self, key: &str) -> bool {
        self.cache.contains(key)
    }

    /// What is known about a value. Counts nothing.
    pub fn info(&self, key: &str) -> Option<ByteInfo> {
        let (length, stored_bytes, compressed) = self.cache.store.peek(key, |entry| {
            let packed = &entry.value().0;
            (packed.length(), packed.stored(), packed.is_compressed())
        })?;
        let info = self.cache.info(key)?;
        Some(ByteInfo { length, stored_bytes, weight_bytes: info.weight_bytes, compressed, ttl_left: info.ttl_left })
    }

    /// Up to `most` keys; see [`Cache::keys`].
    pub fn keys(&self, from: Option<u64>, most: usize) -> Page<Box<str>> {
        self.cache.keys(from, most)
    }

    /// The cache below, for all that does not depend on what a value is: limits, expiry, statistics.
    pub fn cache(&self) -> &Cache<Box<str>, Stored> {
        &self.cache
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.cache.name()
    }

    /// The statistics.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}
