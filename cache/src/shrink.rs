//! Giving memory back: what is regretted least leaves, tables become smaller, and the system may have the rest.
//!
//! A cache that evicts makes room for others like it: its slots, its index and the pages of its values stay its own. Under
//! memory pressure that does not help, so here they are given back too. Limits stay as they are: a shrunk cache may
//! fill again. Who wants it to stay small lowers the limit as well.

use trimtab_config::Share;

use crate::cache::Cache;

/// What a cache gave up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Freed {
    /// Entries that left.
    pub entries: u64,
    /// What they weighed in bytes, overhead included. What tables gave back comes on top.
    pub bytes: u64,
}

impl std::ops::AddAssign for Freed {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Evicts until a share of what is held now is left, and gives memory back: entries move together, tables are made anew
    /// and smaller. [`Share::ALL`] evicts nothing and only does the second.
    ///
    /// The share is one of bytes where a weigher counts them, or else of entries. Those that the policy would give up next
    /// leave first, counted as [`Cause::Shrunk`](crate::Cause::Shrunk). The last one may be large, so less than the share may
    /// be left. Limits are not changed. If others insert meanwhile, no more leave than were there at the beginning.
    ///
    /// The allocator keeps freed pages unless it is asked for them: call `trimtab_monitor::reclaim` afterwards.
    ///
    /// # Complexity
    ///
    /// O(n) at most. Locks are held for 256 evictions or 32 moves at a time, and once a shard for the renewal of its index.
    /// Readers take no lock, but who looks for an entry just while it moves waits for the end of that step. A read that
    /// lasts, also one of the caller's own, keeps entries from moving and memory from being given back.
    ///
    /// ```
    /// use trimtab_cache::Cache;
    /// use trimtab_config::Share;
    ///
    /// let cache = Cache::new(1000);
    /// (0..1000).for_each(|key| cache.insert(key, key));
    /// let freed = cache.shrink_to(Share::percent(25));
    /// assert_eq!((freed.entries, cache.len(), cache.stats().evictions.shrunk), (750, 250, 750));
    /// ```
    pub fn shrink_to(&self, share: Share) -> Freed {
        self.store.shrink_to(share)
    }
}
