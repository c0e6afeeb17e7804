//! What happened in a cache: counters kept inside each shard's lock, so that counting adds no shared write to a hit.

use std::ops::AddAssign;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

/// Why an entry left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cause {
    /// The cache held more entries than `max_entries`.
    Capacity,
    /// The cache held more bytes than `max_bytes`.
    Size,
    /// Its time was over: its time to live, or the time it may go unused.
    Expired,
    /// It was removed, invalidated or cleared on request.
    Explicit,
    /// A newer value took its place.
    Replaced,
    /// It was given up by [`shrink_to`](crate::Cache::shrink_to), to give memory back.
    Shrunk,
}

impl Cause {
    /// All causes, in the order of [`Evictions`].
    pub const ALL: [Self; 6] =
        [Self::Capacity, Self::Size, Self::Expired, Self::Explicit, Self::Replaced, Self::Shrunk];

    /// The label used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Size => "size",
            Self::Expired => "expired",
            Self::Explicit => "explicit",
            Self::Replaced => "replaced",
            Self::Shrunk => "shrunk",
        }
    }
}

/// How many entries left, by cause.
///
/// Of these, only `replaced` does not lower the number of entries:
/// `inserts = entries + capacity + size + expired + explicit + shrunk` holds whenever the cache is quiet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Evictions {
    /// Evicted because `max_entries` was exceeded.
    pub capacity: u64,
    /// Evicted because `max_bytes` was exceeded.
    pub size: u64,
    /// Removed because their time to live was over.
    pub expired: u64,
    /// Removed, invalidated or cleared on request.
    pub explicit: u64,
    /// Overwritten by a newer value.
    pub replaced: u64,
    /// Given up by [`shrink_to`](crate::Cache::shrink_to). Not counted as [`for_room`](Self::for_room): it says nothing
    /// about the cache's size.
    pub shrunk: u64,
}

impl Evictions {
    /// The count for one cause.
    pub const fn by(&self, cause: Cause) -> u64 {
        match cause {
            Cause::Capacity => self.capacity,
            Cause::Size => self.size,
            Cause::Expired => self.expired,
            Cause::Explicit => self.explicit,
            Cause::Replaced => self.replaced,
            Cause::Shrunk => self.shrunk,
        }
    }

    /// Entries that left because there was no room: `capacity + size`.
    pub const fn for_room(&self) -> u64 {
        self.capacity + self.size
    }

    pub(crate) fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Capacity => self.capacity += 1,
            Cause::Size => self.size += 1,
            Cause::Expired => self.expired += 1,
            Cause::Explicit => self.explicit += 1,
            Cause::Replaced => self.replaced += 1,
            Cause::Shrunk => self.shrunk += 1,
        }
    }
}

/// A snapshot of a cache's statistics since it was built.
///
/// Counters only grow. The snapshot is taken shard by shard, so under load its parts may be a few operations apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CacheStats {
    /// Lookups that found a live entry.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Entries now held, expired ones that were not yet removed included.
    pub entries: u64,
    /// Bytes now held, overhead included.
    pub weight_bytes: u64,
    /// The limit on entries, if there is one.
    pub max_entries: Option<u64>,
    /// The limit on bytes, if there is one.
    pub max_bytes: Option<u64>,
    /// Values stored under a key that held none.
    pub inserts: u64,
    /// Values stored over a live value.
    pub updates: u64,
    /// Values refused: too heavy, or with a time to live of zero.
    pub rejected: u64,
    /// Entries that left, by cause.
    pub evictions: Evictions,
    /// Loaders that ran to their end.
    pub loads: u64,
    /// Loaders that answered with an error.
    pub load_failures: u64,
    /// Loaders that were cancelled or panicked before they answered.
    pub load_aborts: u64,
    /// Callers that were served by somebody else's load instead of their own.
    pub load_joins: u64,
    /// Time spent in loaders that ran to their end, in seconds.
    pub load_seconds: f64,
    /// Calls of the listener that panicked.
    pub listener_panics: u64,
}

impl CacheStats {
    /// Share of lookups that found an entry, from 0 to 1; 0 before the first lookup.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// cache.insert(1, "a");
    /// cache.get(&1);
    /// cache.get(&2);
    /// assert_eq!(cache.stats().hit_ratio(), 0.5);
    /// ```
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits + self.misses;
        if lookups == 0 { 0.0 } else { self.hits as f64 / lookups as f64 }
    }

    /// Mean time of a load that ran to its end, if there was one.
    pub fn load_time_mean(&self) -> Option<Duration> {
        (self.loads > 0).then(|| Duration::from_secs_f64(self.load_seconds / self.loads as f64))
    }
}

/// The counters of one shard, written under its lock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) rejected: u64,
    pub(crate) evictions: Evictions,
    pub(crate) loads: u64,
    pub(crate) load_failures: u64,
    pub(crate) load_aborts: u64,
    pub(crate) load_joins: u64,
    pub(crate) load_nanos: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.inserts += other.inserts;
        self.updates += other.updates;
        self.rejected += other.rejected;
        self.evictions.capacity += other.evictions.capacity;
        self.evictions.size += other.evictions.size;
        self.evictions.expired += other.evictions.expired;
        self.evictions.explicit += other.evictions.explicit;
        self.evictions.replaced += other.evictions.replaced;
        self.evictions.shrunk += other.evictions.shrunk;
        self.loads += other.loads;
        self.load_failures += other.load_failures;
        self.load_aborts += other.load_aborts;
        self.load_joins += other.load_joins;
        self.load_nanos = self.load_nanos.saturating_add(other.load_nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hit_ratio_of_an_unused_cache_is_zero() {
        assert!(CacheStats::default().hit_ratio().abs() < f64::EPSILON);
        assert_eq!(CacheStats::default().load_time_mean(), None);
    }

    #[test]
    fn every_cause_is_counted_under_its_own_name() {
        for cause in Cause::ALL {
            let mut evictions = Evictions::default();
            evictions.count(cause);
            let json = serde_json::to_value(evictions).unwrap();
            assert_eq!(json[cause.as_str()], 1, "{cause:?}");
            assert_eq!(evictions.by(cause), 1);
        }
    }
}
