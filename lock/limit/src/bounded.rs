//! The keys of a limit in bounded memory, as a state store for governor.
//!
//! Keys come from outside, so their number is whatever somebody sends. Forgetting a key gives it a whole burst, and forgetting
//! one that is in debt would let a flood of keys wash the debts away. So the least recently used key is forgotten when its burst
//! is whole again, which makes no difference to it, and only then. Where no such key is found among the oldest few, newcomers
//! share one bucket of their shard: together they get what one key would, until room comes back.
//!
//! Whether a burst is whole again is asked of the rule itself: an old instant that leads to the same result as none at all.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::nanos::Nanos;
use governor::state::StateStore;
use lru::LruCache;
use parking_lot::Mutex;

/// So many of the least recently used keys are looked at for room.
const LOOKS: usize = 4;
/// Keys of a shard, at least: fewer would crowd by chance.
const SHARD_MIN: usize = 64;
const SHARDS_MAX: usize = 64;

/// Keys and their instants, never more than told. Clones speak of the same keys.
#[derive(Debug)]
pub struct BoundedStore<K: Hash + Eq> {
    inner: Arc<Keys<K>>,
}

impl<K: Hash + Eq> Clone for BoundedStore<K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

#[derive(Debug)]
struct Keys<K: Hash + Eq> {
    shards: Box<[Mutex<Shard<K>>]>,
    hasher: foldhash::fast::RandomState,
    /// Keys of each shard.
    room: usize,
    crowded: AtomicU64,
}

#[derive(Debug)]
struct Shard<K: Hash + Eq> {
    keys: LruCache<K, Nanos, foldhash::fast::RandomState>,
    newcomers: Option<Nanos>,
}

impl<K: Hash + Eq> BoundedStore<K> {
    /// Room for at most `keys_max` keys, at least one.
    pub fn new(keys_max: usize) -> Self {
        let shards = (keys_max / SHARD_MIN).clamp(1, SHARDS_MAX);
        // A power of two, never more keys in all than told.
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let hasher = foldhash::fast::RandomState::default();
        let shard = || Mutex::new(Shard { keys: LruCache::unbounded_with_hasher(hasher.clone()), newcomers: None });
        let room = (keys_max / shards).max(1);
        let shards = (0..shards).map(|_| shard()).collect();
        Self { inner: Arc::new(Keys { shards, hasher, room, crowded: AtomicU64::new(0) }) }
    }

    /// Keys remembered.
    pub fn len(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.lock().keys.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls of newcomers that shared one bucket.
    pub fn crowded(&self) -> u64 {
        self.inner.crowded.load(Ordering::Relaxed)
    }
}

impl<K: Hash + Eq + Clone> StateStore for BoundedStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(key) as usize;
        // The low and the top bits choose the place inside of a shard.
        let mut shard = inner.shards[(hash >> 32) & (inner.shards.len() - 1)].lock();
        if let Some(instant) = shard.keys.get_mut(key) {
            let (answer, next) = f(Some(*instant))?;
            *instant = next;
            return Ok(answer);
        }
        // What it got among the newcomers counts against it once it has a place of its own.
        let (answer, next) = f(shard.newcomers).inspect_err(|_| {
            inner.crowded.fetch_add(1, Ordering::Relaxed);
        })?;
        if shard.keys.len() >= inner.room {
            let fresh = f(None).ok().map(|(_, next)| next);
            let whole = |instant: Nanos| f(Some(instant)).ok().map(|(_, next)| next) == fresh;
            if !shard.make_room(whole) {
                inner.crowded.fetch_add(1, Ordering::Relaxed);
                shard.newcomers = Some(next);
                return Ok(answer);
            }
        }
        shard.keys.put(key.clone(), next);
        Ok(answer)
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    /// Forgets one of the least recently used keys whose burst is whole.
    fn make_room(&mut self, whole: impl Fn(Nanos) -> bool) -> bool {
        let found = self.keys.iter().rev().take(LOOKS).position(|(_, instant)| whole(*instant));
        match found {
            None => false,
            Some(0) => self.keys.pop_lru().is_some(),
            Some(at) => {
                let key = self.keys.iter().rev().nth(at).map(|(key, _)| key.clone());
                key.is_some_and(|key| self.keys.pop(&key).is_some())
            }
        }
    }
}
