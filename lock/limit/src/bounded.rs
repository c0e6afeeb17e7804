//! The keys of a limit in bounded memory, as a state store for governor.
//!
//! Keys come from outside, so their number is whatever somebody sends. Forgetting a key gives it a whole burst, and forgetting
//! one that is in debt would let a flood of keys wash the debts away. So the least recently used key is forgotten when its burst
//! is whole again, which makes no difference to it, and only then. Where no such key is found among the oldest few, newcomers
//! share one bucket of their shard: together they get what one key would, until room comes back.
//!
//! Whether a burst is whole again is asked of the rule itself: an old instant that leads to the same result as none at all.
//!
//! What each key used is counted beside its instant, under the lock that is held anyway; [`BoundedStore::top`] looks for the
//! busiest when somebody asks.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

// The quality variant: under one in a hundred random seeds the fast one puts most numbers in a row into one shard, and its keys
// would crowd while the others have room.
use foldhash::quality::RandomState;
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
    hasher: RandomState,
    /// Keys of each shard.
    room: usize,
    crowded: AtomicU64,
}

#[derive(Debug)]
struct Shard<K: Hash + Eq> {
    keys: LruCache<K, Entry, RandomState>,
    newcomers: Option<Nanos>,
}

#[derive(Debug)]
struct Entry {
    instant: Nanos,
    permits: u64,
    refused: u64,
}

/// What one key used since it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct KeyUsage<K> {
    /// The key.
    pub key: K,
    /// Permits spent.
    pub permits: u64,
    /// Calls refused.
    pub refused: u64,
}

impl<K> KeyUsage<K> {
    pub(crate) fn new(key: K, permits: u64, refused: u64) -> Self {
        Self { key, permits, refused }
    }

    /// The same usage under another form of its key.
    pub fn map_key<T>(self, form: impl FnOnce(K) -> T) -> KeyUsage<T> {
        KeyUsage { key: form(self.key), permits: self.permits, refused: self.refused }
    }

    fn total(&self) -> u64 {
        self.permits.saturating_add(self.refused)
    }

    /// Keeps the `count` largest, the largest first.
    pub(crate) fn offer(top: &mut Vec<Self>, count: usize, total: u64, usage: impl FnOnce() -> Self) {
        if total == 0 || (top.len() >= count && top.last().is_none_or(|last| last.total() >= total)) {
            return;
        }
        top.insert(top.partition_point(|other| other.total() >= total), usage());
        top.truncate(count);
    }
}

impl<K: Hash + Eq> BoundedStore<K> {
    /// Room for at most `keys_max` keys, at least one.
    pub fn new(keys_max: usize) -> Self {
        let shards = (keys_max / SHARD_MIN).clamp(1, SHARDS_MAX);
        // A power of two, never more keys in all than told.
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let hasher = RandomState::default();
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

impl<K: Hash + Eq + Clone> BoundedStore<K> {
    /// The busiest keys of those remembered, by permits spent and calls refused; the busiest first. Looks at all keys, a shard
    /// at a time: for people, not for each request.
    pub fn top(&self, count: usize) -> Vec<KeyUsage<K>> {
        let mut top = Vec::new();
        for shard in &self.inner.shards {
            for (key, entry) in &shard.lock().keys {
                let total = entry.permits.saturating_add(entry.refused);
                KeyUsage::offer(&mut top, count, total, || KeyUsage::new(key.clone(), entry.permits, entry.refused));
            }
        }
        top
    }

    /// Decides and counts a call that weighs `weight`. `f` answers, with the instant to remember if it is a new one.
    #[inline]
    pub(crate) fn decide<T, F, E>(&self, key: &K, weight: u32, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> (Result<T, E>, Option<Nanos>),
    {
        let inner = &*self.inner;
        let hash = inner.hasher.hash_one(key) as usize;
        // The low and the top bits choose the place inside of a shard.
        let mut shard = inner.shards[(hash >> 32) & (inner.shards.len() - 1)].lock();
        if let Some(entry) = shard.keys.get_mut(key) {
            let (answer, next) = f(Some(entry.instant));
            entry.instant = next.unwrap_or(entry.instant);
            match &answer {
                Ok(_) => entry.permits += u64::from(weight),
                Err(_) => entry.refused += 1,
            }
            return answer;
        }
        // What it got among the newcomers counts against it once it has a place of its own.
        let (answer, next) = f(shard.newcomers);
        let Some(next) = next.filter(|_| answer.is_ok()) else {
            shard.newcomers = next.or(shard.newcomers);
            inner.crowded.fetch_add(1, Ordering::Relaxed);
            return answer;
        };
        if shard.keys.len() >= inner.room {
            let fresh = f(None).1;
            if !shard.make_room(|instant| f(Some(instant)).1 == fresh) {
                inner.crowded.fetch_add(1, Ordering::Relaxed);
                shard.newcomers = Some(next);
                return answer;
            }
        }
        shard.keys.put(key.clone(), Entry { instant: next, permits: u64::from(weight), refused: 0 });
        answer
    }
}

impl<K: Hash + Eq + Clone> StateStore for BoundedStore<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.decide(key, 1, |instant| match f(instant) {
            Ok((answer, next)) => (Ok(answer), Some(next)),
            Err(refused) => (Err(refused), None),
        })
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    /// Forgets one of the least recently used keys whose burst is whole.
    fn make_room(&mut self, whole: impl Fn(Nanos) -> bool) -> bool {
        let found = self.keys.iter().rev().take(LOOKS).position(|(_, entry)| whole(entry.instant));
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
