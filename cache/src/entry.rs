//! What a shard keeps for a key: the pair itself, its hash, its weight and its deadline.

use crate::expiry::NEVER;

/// One entry. The hash is kept so that neither growth nor eviction has to run the key's `Hash` again.
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) hash: u64,
    /// Bytes, overhead included; the same number that was added to the budget.
    pub(crate) weight: u64,
    /// Nanoseconds on the cache's clock, or [`NEVER`].
    pub(crate) deadline: u64,
}

impl<K, V> Entry<K, V> {
    /// Whether the entry may expire at all; if not, no clock needs to be read.
    pub(crate) fn may_expire(&self) -> bool {
        self.deadline != NEVER
    }
}
