//! What an entry weighs: the bytes that its key and value own, plus a fixed overhead stated by the cache.
//!
//! A weigher answers the bytes *outside* the entry (the heap behind a `String`, say). The inline size of key and
//! value and the cache's own bookkeeping are added by the cache, so a byte limit means memory and not payload.

use std::mem::size_of;
use std::sync::Arc;

use crate::policy::NODE_BYTES;
use crate::store::group;

/// A user's function from key and value to bytes.
pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u64 + Send + Sync>;

/// Bytes that a value owns outside of itself.
///
/// Implemented for common types, so that `.weigher(weigher::heap)` is all that a cache of strings needs.
///
/// ```
/// use trimtab_cache::Weigh;
///
/// assert_eq!(7_u64.heap_bytes(), 0);
/// assert_eq!(String::from("cache").heap_bytes(), 5);
/// assert_eq!(vec![String::from("ab"); 2].heap_bytes(), 2 * (size_of::<String>() as u64 + 2));
/// ```
pub trait Weigh {
    /// Bytes owned outside of `self`: for a string its capacity, for a vector its buffer and what the items own.
    fn heap_bytes(&self) -> u64;
}

/// A weigher for keys and values that implement [`Weigh`].
///
/// ```
/// use trimtab_cache::{Cache, weigher};
/// use trimtab_config::ByteSize;
///
/// let pages = Cache::<String, Vec<u8>>::builder()
///     .max_bytes(ByteSize::mib(64))
///     .weigher(weigher::heap)
///     .build()?;
/// pages.insert("/".into(), vec![0; 1024]);
/// assert!(pages.weight() >= 1024);
/// # Ok::<(), trimtab_cache::BuildError>(())
/// ```
pub fn heap<K: Weigh, V: Weigh>(key: &K, value: &V) -> u64 {
    key.heap_bytes().saturating_add(value.heap_bytes())
}

/// Bytes an entry costs before anything that its key and value own: its slot, its places in the policy, and its part of the
/// index, which is about three quarters full.
pub(crate) const fn overhead<K, V>() -> u64 {
    const INDEX_BYTES: usize = 64 / 9 + 1;
    (group::slot_bytes::<K, V>() + NODE_BYTES + INDEX_BYTES) as u64
}

macro_rules! weightless {
    ($($type:ty),*) => { $(impl Weigh for $type { fn heap_bytes(&self) -> u64 { 0 } })* };
}

weightless!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    &'static str,
    std::time::Duration,
    std::net::IpAddr
);

impl Weigh for String {
    fn heap_bytes(&self) -> u64 {
        self.capacity() as u64
    }
}

impl Weigh for Box<str> {
    fn heap_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl Weigh for Arc<str> {
    fn heap_bytes(&self) -> u64 {
        (self.len() + REFCOUNTS) as u64
    }
}

impl Weigh for bytes::Bytes {
    fn heap_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn heap_bytes(&self) -> u64 {
        let buffer = (self.capacity() * size_of::<T>()) as u64;
        self.iter().fold(buffer, |sum, item| sum.saturating_add(item.heap_bytes()))
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn heap_bytes(&self) -> u64 {
        self.as_ref().map_or(0, Weigh::heap_bytes)
    }
}

impl<T: Weigh> Weigh for Box<T> {
    fn heap_bytes(&self) -> u64 {
        (size_of::<T>() as u64).saturating_add((**self).heap_bytes())
    }
}

/// Counts the shared value in full: while the cache holds it, its memory cannot be freed.
impl<T: Weigh> Weigh for Arc<T> {
    fn heap_bytes(&self) -> u64 {
        ((size_of::<T>() + REFCOUNTS) as u64).saturating_add((**self).heap_bytes())
    }
}

impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn heap_bytes(&self) -> u64 {
        self.0.heap_bytes().saturating_add(self.1.heap_bytes())
    }
}

const REFCOUNTS: usize = 2 * size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_and_nested_values_are_counted_through() {
        let shared: Arc<Vec<String>> = Arc::new(vec!["abc".to_string()]);
        let expected = REFCOUNTS + 2 * size_of::<Vec<String>>() + 3;
        assert_eq!(shared.heap_bytes(), expected as u64);
        assert_eq!(heap(&"k".to_string(), &Some(Box::new(5_u64))), 1 + 8);
    }

    #[test]
    fn overhead_covers_the_inline_parts() {
        assert!(overhead::<u64, [u8; 256]>() > 256 + 8);
        assert!(overhead::<u64, u64>() < 120);
    }
}
