//! Giving memory back: what is regretted least leaves, tables become smaller, and the system may have the rest.
//!
//! A cache that evicts makes room for others like it: its slots, its index and the pages of its values stay its own. Under
//! memory pressure that does not help, so here they are given back too. Limits stay as they are: a shrunk cache may
//! fill again. Who wants it to stay small lowers the limit as well.

mod plan;

use std::sync::Arc;

use trimtab_config::Share;

use crate::cache::Cache;
use crate::caches::{AnyCache, Caches};

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

/// What one of several caches gave up.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shrunk {
    /// Name of the cache.
    pub cache: String,
    /// What it kept of its entries or bytes.
    pub share: Share,
    /// What it gave up.
    pub freed: Freed,
}

impl Caches {
    /// Shrinks all open caches together to a share of the bytes that they hold now, and answers what each gave up.
    ///
    /// Caches whose [curve](Cache::curve) is known give in the order of what is lost by it: the steps that cost the fewest
    /// hits for each byte come first, down to a quarter of a cache. Those without a curve give in proportion, and so do
    /// all beyond that quarter. Bytes are those that caches count; those without a weigher count their overhead only.
    ///
    /// # Complexity
    ///
    /// As [`Cache::shrink_to`], one cache after the other.
    ///
    /// ```
    /// use trimtab_cache::{CacheSettings, Caches};
    /// use trimtab_config::Share;
    ///
    /// let caches = Caches::new();
    /// caches.declare("users", CacheSettings::default())?;
    /// let users = caches.open::<u64, u64>("users")?;
    /// (0..100).for_each(|key| users.insert(key, key));
    /// let shrunk = caches.shrink_to(Share::percent(50));
    /// assert_eq!((shrunk[0].cache.as_str(), shrunk[0].freed.entries), ("users", 50));
    /// # Ok::<(), trimtab_cache::CachesError>(())
    /// ```
    pub fn shrink_to(&self, share: Share) -> Vec<Shrunk> {
        let caches = self.list();
        let stakes: Vec<_> = caches.iter().map(stake).collect();
        let shares = plan::shares(&stakes, share.get());
        let shrink = |(cache, share): (&Arc<dyn AnyCache>, f64)| {
            // A share that is no number would leave everything as it is.
            let share = Share::new(share.clamp(0.0, 1.0)).unwrap_or(Share::ALL);
            Shrunk { cache: cache.name().to_owned(), share, freed: cache.shrink_to(share) }
        };
        caches.iter().zip(shares).map(shrink).collect()
    }
}

/// What is known of a cache: its bytes, and what it would reach with less of them.
fn stake(cache: &Arc<dyn AnyCache>) -> plan::Stake {
    let (stats, curve) = (cache.stats(), cache.curve());
    let lookups = (stats.hits + stats.misses) as f64;
    let losses = curve.and_then(|curve| {
        // The curve speaks of the limit; a cache that is not full has its first bytes to give for nothing.
        let fill = (cache.weight() as f64 / curve.size_bytes().max(1) as f64).min(1.0);
        let here = curve.measured();
        let at = |share: f64| Some((here - curve.at(share * fill)?.value).max(0.0) * lookups);
        Some([at(0.75)?, at(0.5)?, at(0.25)?])
    });
    plan::Stake { bytes: cache.weight() as f64, losses }
}
