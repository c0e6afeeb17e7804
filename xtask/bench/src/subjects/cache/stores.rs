//! The caches compared, behind one small trait that costs nothing after monomorphisation.
//!
//! Each runs as its own documentation builds it: its default hasher, its default number of shards; only [`Seeded`] is told
//! a seed, where the question is what something else than chance does. The two other exceptions help the peer: foyer gets fewer shards when the cache is small, since each of its shards owns a fixed part of the
//! capacity, and every store that works in the background is settled before anything is counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;

use foldhash::quality::FixedState;
use foyer_memory::{EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};
use parking_lot::{Mutex, RwLock};
use trimtab_cache::{PolicyKind, ShadowMode};

use crate::frame::Role;

/// What a key must be.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}
impl<T: Hash + Eq + Clone + Send + Sync + 'static> Key for T {}

/// What a value must be.
pub trait Value: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Value for T {}

/// A concurrent map with (mostly) bounded size.
pub trait Store<K, V>: Send + Sync + Sized + 'static {
    /// Name in tables.
    const NAME: &'static str;
    /// Whose it is.
    const ROLE: Role = Role::Peer;

    /// A store for `entries` entries.
    fn with_capacity(entries: usize) -> Self;
    /// The value of `key`, cloned.
    fn get(&self, key: &K) -> Option<V>;
    /// Puts a value in, or replaces it.
    fn insert(&self, key: K, value: V);
    /// Does pending work, so that what is counted next is what the store stands for.
    fn settle(&self) {}
    /// Entries held.
    fn len(&self) -> usize;

    /// The capacity that the store states, where it rounds what it was given.
    fn limit(&self, capacity: usize) -> usize {
        capacity
    }

    /// Whether the store keeps to its capacity; asked when settled. Rounding up by an entry or two for each shard is
    /// forgiven (it splits the capacity evenly and says so), more is not.
    ///
    /// # Errors
    ///
    /// Names the number held and the limit.
    fn check(&self, capacity: usize) -> Result<(), String> {
        self.settle();
        let (held, limit) = (self.len(), self.limit(capacity));
        if held <= limit && limit <= capacity + 2 * SHARDS {
            return Ok(());
        }
        Err(format!("holds {held} entries at a capacity of {capacity} and a stated limit of {limit}"))
    }
}

/// trimtab with its default policy.
pub struct Trimtab<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with the policy LRU.
pub struct TrimtabLru<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with the policy LFU.
pub struct TrimtabLfu<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with the policy FIFO.
pub struct TrimtabFifo<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with the policy ARC.
pub struct TrimtabArc<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with everything off that can be switched off and is not needed to be a cache.
pub struct TrimtabOff<K, V>(trimtab_cache::Cache<K, V>);

/// trimtab with its default policy and a seed that is given. Which keys the shadow samples depends on the seed, so two of the
/// same seed differ by what was done to them and not by chance.
pub struct Seeded<K, V>(trimtab_cache::Cache<K, V, FixedState>);

impl<K: Key, V: Value> Seeded<K, V> {
    /// A cache for `entries` entries.
    pub fn new(entries: usize, seed: u64) -> Self {
        let builder = trimtab_cache::Cache::builder().max_entries(entries as u64).hasher(FixedState::with_seed(seed));
        Self(builder.build().expect("a positive number of entries is all a cache needs"))
    }
}

macro_rules! ours {
    ($store:ident, $name:literal, $builder:ident => $configured:expr) => {
        impl<K: Key, V: Value> Store<K, V> for $store<K, V> {
            const NAME: &'static str = $name;
            const ROLE: Role = Role::Ours;

            fn with_capacity(entries: usize) -> Self {
                let $builder = trimtab_cache::Cache::builder().max_entries(entries as u64);
                Self($configured.build().expect("a positive number of entries is all a cache needs"))
            }
            #[inline]
            fn get(&self, key: &K) -> Option<V> {
                self.0.get(key)
            }
            #[inline]
            fn insert(&self, key: K, value: V) {
                self.0.insert(key, value);
            }
            fn len(&self) -> usize {
                self.0.len() as usize
            }
        }
    };
}

ours!(Trimtab, "trimtab", builder => builder);
ours!(TrimtabLru, "trimtab lru", builder => builder.policy(PolicyKind::Lru));
ours!(TrimtabLfu, "trimtab lfu", builder => builder.policy(PolicyKind::Lfu));
ours!(TrimtabFifo, "trimtab fifo", builder => builder.policy(PolicyKind::Fifo));
ours!(TrimtabArc, "trimtab arc", builder => builder.policy(PolicyKind::Arc));
ours!(Seeded, "trimtab, one seed", builder => builder.hasher(FixedState::with_seed(0)));
ours!(TrimtabOff, "all off", builder => builder.metrics(false).statistics(false).shadow(ShadowMode::Off));

/// moka's synchronous cache.
pub struct Moka<K, V>(moka::sync::Cache<K, V>);

impl<K: Key, V: Value> Store<K, V> for Moka<K, V> {
    const NAME: &'static str = "moka";

    fn with_capacity(entries: usize) -> Self {
        Self(moka::sync::Cache::new(entries as u64))
    }
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
    fn settle(&self) {
        self.0.run_pending_tasks();
    }
    fn len(&self) -> usize {
        self.0.entry_count() as usize
    }
}

/// `quick_cache`'s synchronous cache.
pub struct Quick<K, V>(quick_cache::sync::Cache<K, V>);

impl<K: Key, V: Value> Store<K, V> for Quick<K, V> {
    const NAME: &'static str = "quick_cache";

    fn with_capacity(entries: usize) -> Self {
        Self(quick_cache::sync::Cache::new(entries))
    }
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn limit(&self, _capacity: usize) -> usize {
        self.0.capacity() as usize
    }
}

/// foyer with LRU, its default.
pub struct FoyerLru<K: Key, V: Value>(foyer_memory::Cache<K, V>);
/// foyer with LFU (W-TinyLFU with a fixed window).
pub struct FoyerLfu<K: Key, V: Value>(foyer_memory::Cache<K, V>);
/// foyer with S3-FIFO.
pub struct FoyerS3Fifo<K: Key, V: Value>(foyer_memory::Cache<K, V>);

macro_rules! foyer {
    ($store:ident, $name:literal, $config:expr) => {
        impl<K: Key, V: Value> Store<K, V> for $store<K, V> {
            const NAME: &'static str = $name;

            fn with_capacity(entries: usize) -> Self {
                // Eight by default; at least 64 entries a shard, so that small caches are not cut into crumbs.
                let shards = (entries / 64).clamp(1, 8);
                let config: EvictionConfig = $config.into();
                Self(foyer_memory::Cache::builder(entries).with_shards(shards).with_eviction_config(config).build())
            }
            #[inline]
            fn get(&self, key: &K) -> Option<V> {
                self.0.get(key).map(|entry| entry.value().clone())
            }
            #[inline]
            fn insert(&self, key: K, value: V) {
                self.0.insert(key, value);
            }
            fn len(&self) -> usize {
                self.0.entries()
            }
        }
    };
}

foyer!(FoyerLru, "foyer lru", LruConfig::default());
foyer!(FoyerLfu, "foyer lfu", LfuConfig::default());
foyer!(FoyerS3Fifo, "foyer s3fifo", S3FifoConfig::default());

/// The package `lru` behind one mutex: what many people write first, and exact LRU for the hit ratios.
pub struct MutexLru<K: Key, V: Value>(Mutex<lru::LruCache<K, V>>);

impl<K: Key, V: Value> Store<K, V> for MutexLru<K, V> {
    const NAME: &'static str = "mutex lru";

    fn with_capacity(entries: usize) -> Self {
        Self(Mutex::new(lru::LruCache::new(NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN))))
    }
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().get(key).cloned()
    }
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.lock().put(key, value);
    }
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A sharded map that never evicts: what a cache would cost if it were no cache.
pub struct BareMap<K, V> {
    hasher: foldhash::fast::RandomState,
    shards: Box<[Shard<K, V>]>,
}

/// Each shard has cache lines of its own, or neighbours would share one lock's line.
#[repr(align(128))]
struct Shard<K, V>(RwLock<HashMap<K, V, foldhash::fast::RandomState>>);

const SHARDS: usize = 64;

impl<K: Key, V: Value> BareMap<K, V> {
    #[inline]
    fn shard(&self, key: &K) -> &RwLock<HashMap<K, V, foldhash::fast::RandomState>> {
        // The top bits: the table inside uses the low ones, and its tags the seven at the top of its own hash.
        &self.shards[(self.hasher.hash_one(key) >> 40) as usize % SHARDS].0
    }
}

impl<K: Key, V: Value> Store<K, V> for BareMap<K, V> {
    const NAME: &'static str = "bare map";
    const ROLE: Role = Role::Limit;

    fn with_capacity(_entries: usize) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        let shards = (0..SHARDS).map(|_| Shard(RwLock::new(HashMap::with_hasher(hasher.clone())))).collect();
        Self { hasher, shards }
    }
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.shard(key).read().get(key).cloned()
    }
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.shard(&key).write().insert(key, value);
    }
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }
    fn check(&self, _capacity: usize) -> Result<(), String> {
        Ok(()) // it has none
    }
}

/// A contender from `$make::<Store>(arguments…)` for each store that is raced for speed.
macro_rules! raced {
    ($make:ident($($argument:expr),* $(,)?)) => {
        vec![
            $make::<$crate::subjects::cache::stores::Trimtab<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::Quick<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::Moka<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::FoyerLru<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::FoyerLfu<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::FoyerS3Fifo<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::MutexLru<_, _>>($($argument),*),
            $make::<$crate::subjects::cache::stores::BareMap<_, _>>($($argument),*),
        ]
    };
}
pub(super) use raced;

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps_its_promises<S: Store<u64, u64>>() {
        let store = S::with_capacity(1_000);
        for key in 0..500 {
            store.insert(key, key + 1);
        }
        store.settle();
        for key in 0..500 {
            assert_eq!(store.get(&key), Some(key + 1), "{} lost {key}", S::NAME);
        }
        for key in 0..20_000 {
            store.insert(key, key + 1);
        }
        store.check(1_000).unwrap_or_else(|message| panic!("{} {message}", S::NAME));
        for key in 0..20_000 {
            assert!(store.get(&key).is_none_or(|value| value == key + 1), "{} gives wrong values", S::NAME);
        }
    }

    #[test]
    fn every_store_gives_back_what_was_put_in_and_keeps_to_its_capacity() {
        fn check<S: Store<u64, u64>>() -> bool {
            keeps_its_promises::<S>();
            true
        }
        let checked = raced!(check());
        assert_eq!(checked.len(), 8);
        keeps_its_promises::<TrimtabLru<u64, u64>>();
        keeps_its_promises::<TrimtabLfu<u64, u64>>();
        keeps_its_promises::<TrimtabFifo<u64, u64>>();
        keeps_its_promises::<TrimtabArc<u64, u64>>();
    }

    #[test]
    fn overfull_store_is_told_with_both_numbers() {
        let store = MutexLru::<u64, u64>::with_capacity(10);
        (0..10).for_each(|key| store.insert(key, key));
        assert_eq!(Store::check(&store, 9).unwrap_err(), "holds 10 entries at a capacity of 9 and a stated limit of 9");
    }
}
