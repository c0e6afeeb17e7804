//! Looking into the order of eviction: what would be kept longest, what leaves next, and why.
//!
//! Every shard has an order of its own; entries of different shards are compared by their place in it, which is right as
//! far as keys are spread evenly. Nothing here counts as a use.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, EntryInfo};
use crate::expiry::NEVER;
use crate::policy::PolicyKind;

/// Why an entry is where it is, from [`Cache::explain`]. Its `Display` says it in a sentence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Explanation {
    /// The policy in force.
    pub policy: PolicyKind,
    /// Part of the policy's order that the entry is in: `window`, `probation` or `main` for the adaptive policy; `recency`
    /// for LRU, `frequency` for LFU, `arrival` for FIFO; `deadline`, or `age` without one, for TTL; `recent` or `frequent` for ARC.
    pub segment: &'static str,
    /// Uses, if the policy counts them: under LFU all of them; under the adaptive policy an estimate of those of late, up to
    /// 15, with at most 3 since the policy last looked at the entry.
    pub frequency: Option<u32>,
    /// Share of the entries that would be evicted before this one, from 0 to 1.
    pub safer_than: f64,
    /// Bytes that the entry counts.
    pub weight_bytes: u64,
    /// Time until it expires; `None` if it does not.
    pub ttl_left: Option<Duration>,
    /// Its tags.
    pub tags: Vec<Arc<str>>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.safer_than * 100.0;
        write!(f, "about {percent:.0} % of the entries would be evicted before it: ")?;
        write!(f, "the {} policy has it in its {} part", self.policy, self.segment)?;
        if let Some(frequency) = self.frequency {
            write!(f, ", asked for about {frequency} times")?;
        }
        write!(f, "; it weighs {} B", self.weight_bytes)?;
        match self.ttl_left {
            Some(left) => write!(f, " and expires in {left:?}"),
            None => f.write_str(" and does not expire"),
        }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Up to `most` keys, the one that would be kept longest first, with what is known about each.
    ///
    /// # Complexity
    ///
    /// O(n log n), one shard after the other.
    ///
    /// ```
    /// use trimtab_cache::{Cache, PolicyKind};
    ///
    /// let cache = Cache::builder().max_entries(10).policy(PolicyKind::Lru).shards(1).build()?;
    /// cache.insert_many([("a", 1), ("b", 2), ("c", 3)]);
    /// cache.get("a");
    /// let keys = |entries: Vec<(&'static str, _)>| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    /// assert_eq!(keys(cache.hottest(2)), ["a", "c"]);
    /// assert_eq!(keys(cache.coldest(2)), ["b", "c"]);
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn hottest(&self, most: usize) -> Vec<(K, EntryInfo)>
    where
        K: Clone,
    {
        self.with_info(self.store.ranked(most, true))
    }

    /// Up to `most` keys, the one that would be evicted next first, with what is known about each.
    ///
    /// # Complexity
    ///
    /// O(n log n), one shard after the other.
    pub fn coldest(&self, most: usize) -> Vec<(K, EntryInfo)>
    where
        K: Clone,
    {
        self.with_info(self.store.ranked(most, false))
    }

    fn with_info(&self, ranked: Vec<(f64, K)>) -> Vec<(K, EntryInfo)> {
        ranked.into_iter().filter_map(|(_, key)| self.info(&key).map(|info| (key, info))).collect()
    }

    /// Calls `visit` with the live entries, the one that would be kept longest first, until it answers `false`.
    ///
    /// The order is that of the beginning; entries that leave meanwhile are left out. `visit` gets a clone of the value and
    /// runs outside of locks, so it may take its time and use this cache.
    pub fn for_each_hottest(&self, mut visit: impl FnMut(&K, V) -> bool)
    where
        K: Clone,
        V: Clone,
    {
        for (_, key) in self.store.ranked(usize::MAX, true) {
            if let Some(value) = self.peek(&key)
                && !visit(&key, value)
            {
                return;
            }
        }
    }

    /// Why an entry is where it is in the order of eviction.
    ///
    /// # Complexity
    ///
    /// O(n log n) in the entries of one shard, which is locked meanwhile: for questions, not for hot paths.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// cache.insert("a", 1);
    /// let explanation = cache.explain("a").unwrap();
    /// assert_eq!(explanation.segment, "window");
    /// assert!(explanation.to_string().contains("does not expire"));
    /// assert_eq!(cache.explain("b"), None);
    /// ```
    pub fn explain<Q>(&self, key: &Q) -> Option<Explanation>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let portrait = self.store.portrait(key, |_| ())?;
        let place = self.store.place(key)?;
        Some(Explanation {
            policy: self.policy(),
            segment: portrait.standing.segment,
            frequency: portrait.standing.frequency,
            safer_than: 1.0 - place,
            weight_bytes: portrait.weight,
            ttl_left: (portrait.left != NEVER).then(|| Duration::from_nanos(portrait.left)),
            tags: portrait.tags.map_or_else(Vec::new, |tags| tags.to_vec()),
        })
    }
}
