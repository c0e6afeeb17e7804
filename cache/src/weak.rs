//! Values that live as long as somebody uses them: the cache finds them again and keeps none alive.
//!
//! Everybody who asks for a key while its value is alive gets the same `Arc`; when the last owner drops it, the value is gone and the next
//! to ask makes another. Use it to share what is large or unique (an open file, a parsed schema), where a second copy
//! would be waste or wrong. Do not use it to keep what nobody holds: that is what [`Cache`](crate::Cache) does.
//!
//! A dead value leaves behind its key and the memory of its `Arc`, until the slot is used again or swept. Each shard
//! sweeps itself when its slots have doubled since the last time, so it never holds more than twice what was alive then,
//! or 64; [`WeakCache::sweep`] does it at once, for example when memory is short.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::{Arc, Weak};

use hashbrown::HashTable;
use parking_lot::Mutex;
use serde::Serialize;
use trimtab_config::{NameError, check_name};

use crate::cache::DefaultHasher;
use crate::error::LoadError;
use crate::load::flight::{Flight, Flights, Outcome, Wait, leading};
use crate::load::unwrap_infallible;

/// Enough to keep threads apart; a weak cache holds few bytes of its own.
const SHARDS: usize = 16;
/// A shard of fewer slots is not swept.
const SWEEP_MIN: usize = 64;

/// A concurrent map from `K` to values that it does not keep alive. Clones share it.
///
/// ```
/// use std::sync::Arc;
/// use trimtab_cache::WeakCache;
///
/// let schemas: WeakCache<&str, String> = WeakCache::new();
/// let first = schemas.get_or_create("user", || "{…}".to_string());
/// let second = schemas.get_or_create("user", || unreachable!("is alive"));
/// assert!(Arc::ptr_eq(&first, &second));
///
/// drop((first, second));
/// assert!(schemas.get("user").is_none());
/// assert_eq!(schemas.stats().hit_ratio(), 1.0 / 3.0);
/// ```
pub struct WeakCache<K, T, S = DefaultHasher> {
    inner: Arc<Inner<K, T, S>>,
}

struct Inner<K, T, S> {
    name: Arc<str>,
    hasher: S,
    shards: [Mutex<Shard<K, T>>; SHARDS],
}

struct Shard<K, T> {
    slots: HashTable<Slot<K, T>>,
    flights: Flights<K, Arc<T>>,
    sweep_at: usize,
    counters: WeakStats,
}

struct Slot<K, T> {
    hash: u64,
    key: K,
    value: Weak<T>,
}

/// The statistics of a [`WeakCache`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WeakStats {
    /// Lookups that found a living value.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Values that were made or inserted.
    pub created: u64,
    /// Makers that answered with an error.
    pub failures: u64,
    /// Makers that were cancelled or panicked.
    pub aborts: u64,
    /// Callers that were served by somebody else's maker.
    pub joins: u64,
    /// Values found dead: their last owner had dropped them.
    pub vanished: u64,
    /// Values alive now.
    pub alive: u64,
    /// Slots of dead values that were not swept yet.
    pub dead: u64,
}

impl WeakStats {
    /// Share of lookups that found a living value, from 0 to 1; 0 before the first lookup.
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits + self.misses;
        if lookups == 0 { 0.0 } else { self.hits as f64 / lookups as f64 }
    }
}

impl<K, T, S> Clone for WeakCache<K, T, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, T, S> fmt::Debug for WeakCache<K, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakCache").field("name", &self.inner.name).field("stats", &self.stats()).finish()
    }
}

impl<K, T> Default for WeakCache<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T> WeakCache<K, T> {
    /// An empty cache, named `weak` in metrics and messages.
    pub fn new() -> Self {
        Self::with_hasher("weak", DefaultHasher::default()).expect("the name is allowed")
    }

    /// An empty cache with a name for metrics and messages.
    ///
    /// # Errors
    ///
    /// [`NameError`] unless the name is `[a-z0-9_-]{1,64}`, starting with a letter or digit.
    pub fn named(name: &str) -> Result<Self, NameError> {
        Self::with_hasher(name, DefaultHasher::default())
    }
}

/// What a caller is to do about a key.
enum Turn<'a, K, T, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    Hit(Arc<T>),
    Make(Making<'a, K, T, S>),
    Wait(Wait<Arc<T>>),
    Recursive,
}

/// The right to make the value of a key. Dropped before its end, it lets the waiters go on at once.
struct Making<'a, K, T, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    inner: &'a Inner<K, T, S>,
    hash: u64,
    flight: Arc<Flight<Arc<T>>>,
    ended: bool,
}

impl<K, T, S> Inner<K, T, S> {
    fn shard(&self, hash: u64) -> &Mutex<Shard<K, T>> {
        &self.shards[(hash >> 36) as usize % SHARDS]
    }
}

impl<K, T> Shard<K, T> {
    fn find<Q>(&mut self, hash: u64, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.slots.find(hash, |slot| slot.hash == hash && slot.key.borrow() == key)?.value.upgrade()
    }

    /// Puts a value under a key; answers what is to be dropped after the lock.
    #[must_use]
    fn put(&mut self, hash: u64, key: K, value: &Arc<T>) -> Vec<Slot<K, T>>
    where
        K: Eq,
    {
        self.counters.created += 1;
        let mut garbage = Vec::new();
        if let Ok(slot) = self.slots.find_entry(hash, |slot| slot.hash == hash && slot.key == key) {
            let old = slot.remove().0;
            self.counters.vanished += u64::from(old.value.strong_count() == 0);
            garbage.push(old);
        } else if self.slots.len() >= self.sweep_at {
            garbage = self.sweep();
        }
        self.slots.insert_unique(hash, Slot { hash, key, value: Arc::downgrade(value) }, |slot| slot.hash);
        garbage
    }

    /// Takes out what is dead, to be dropped after the lock: a key's destructor is the user's.
    #[must_use]
    fn sweep(&mut self) -> Vec<Slot<K, T>> {
        let dead: Vec<_> = self.slots.extract_if(|slot| slot.value.strong_count() == 0).collect();
        self.counters.vanished += dead.len() as u64;
        self.sweep_at = (self.slots.len() * 2).max(SWEEP_MIN);
        if self.slots.capacity() > self.sweep_at * 2 {
            self.slots.shrink_to(self.sweep_at, |slot| slot.hash);
        }
        dead
    }
}

impl<K, T, S> Making<'_, K, T, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn complete(mut self, key: K, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let mut shard = self.inner.shard(self.hash).lock();
        let current = shard.flights.end(self.hash, &self.flight);
        let (garbage, unused) = match &current {
            Some(_) => (shard.put(self.hash, key, &value), None),
            // Something newer happened to the key.
            None => (Vec::new(), Some(key)),
        };
        drop(shard);
        drop((current, garbage, unused));
        self.flight.settle(Outcome::Done(Arc::new(Arc::clone(&value))));
        self.ended = true;
        value
    }

    fn fail<E: Send + Sync + 'static>(mut self, error: E) -> LoadError<E> {
        let error = Arc::new(error);
        let mut shard = self.inner.shard(self.hash).lock();
        shard.counters.failures += 1;
        let current = shard.flights.end(self.hash, &self.flight);
        drop(shard);
        drop(current);
        self.flight.settle(Outcome::Failed(error.clone()));
        self.ended = true;
        LoadError::Failed { cache: Arc::clone(&self.inner.name), error }
    }
}

impl<K, T, S> Drop for Making<'_, K, T, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut shard = self.inner.shard(self.hash).lock();
        shard.counters.aborts += 1;
        let current = shard.flights.end(self.hash, &self.flight);
        drop(shard);
        drop(current);
        self.flight.settle(Outcome::Abandoned);
    }
}

impl<K, T, S> WeakCache<K, T, S> {
    /// An empty cache with a name and a hasher.
    ///
    /// # Errors
    ///
    /// As [`named`](WeakCache::named).
    pub fn with_hasher(name: &str, hasher: S) -> Result<Self, NameError> {
        check_name("cache", name)?;
        let shard = |_| {
            Mutex::new(Shard {
                slots: HashTable::new(),
                flights: Flights::default(),
                sweep_at: SWEEP_MIN,
                counters: WeakStats::default(),
            })
        };
        let shards = std::array::from_fn(shard);
        Ok(Self { inner: Arc::new(Inner { name: name.into(), hasher, shards }) })
    }

    /// Name of the cache, as in metrics and messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How many values are alive.
    ///
    /// # Complexity
    ///
    /// O(n): nobody tells the cache when an owner leaves.
    pub fn len(&self) -> usize {
        let alive =
            |shard: &Mutex<Shard<K, T>>| shard.lock().slots.iter().filter(|slot| slot.value.strong_count() > 0).count();
        self.inner.shards.iter().map(alive).sum()
    }

    /// Whether no value is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frees what dead values left behind; answers how many there were.
    pub fn sweep(&self) -> usize {
        let sweep = |shard: &Mutex<Shard<K, T>>| {
            let mut shard = shard.lock();
            let dead = shard.sweep();
            drop(shard);
            dead.len()
        };
        self.inner.shards.iter().map(sweep).sum()
    }

    /// The statistics since the cache was made.
    ///
    /// # Complexity
    ///
    /// O(n), for the numbers of living and dead.
    pub fn stats(&self) -> WeakStats {
        let mut sum = WeakStats::default();
        for shard in &self.inner.shards {
            let shard = shard.lock();
            let alive = shard.slots.iter().filter(|slot| slot.value.strong_count() > 0).count() as u64;
            sum.hits += shard.counters.hits;
            sum.misses += shard.counters.misses;
            sum.created += shard.counters.created;
            sum.failures += shard.counters.failures;
            sum.aborts += shard.counters.aborts;
            sum.joins += shard.counters.joins;
            sum.vanished += shard.counters.vanished;
            sum.alive += alive;
            sum.dead += shard.slots.len() as u64 - alive;
        }
        sum
    }

    /// Publishes the statistics through the `metrics` facade; see [`metrics`](mod@crate::metrics) for the names.
    pub fn publish_metrics(&self) {
        crate::metrics::publish_weak(&self.inner.name, &self.stats());
    }
}

impl<K, T, S> WeakCache<K, T, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The living value of a key. Counts a hit or a miss.
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.inner.hasher.hash_one(key);
        let mut shard = self.inner.shard(hash).lock();
        let found = shard.find(hash, key);
        shard.counters.hits += u64::from(found.is_some());
        shard.counters.misses += u64::from(found.is_none());
        found
    }

    /// Shares a value under a key from now on, in place of another one. The cache does not keep it alive.
    pub fn insert(&self, key: K, value: &Arc<T>) {
        let hash = self.inner.hasher.hash_one(&key);
        let mut shard = self.inner.shard(hash).lock();
        let flight = shard.flights.detach(hash, &key);
        let garbage = shard.put(hash, key, value);
        drop(shard);
        drop((flight, garbage));
    }

    /// Forgets a key; answers its value if it is alive. Owners keep theirs, the next to ask makes another.
    pub fn remove<Q>(&self, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.inner.hasher.hash_one(key);
        let mut shard = self.inner.shard(hash).lock();
        let flight = shard.flights.detach(hash, key);
        let slot = shard.slots.find_entry(hash, |slot| slot.hash == hash && slot.key.borrow() == key);
        let slot = slot.ok().map(|slot| slot.remove().0);
        let value = slot.as_ref().and_then(|slot| slot.value.upgrade());
        shard.counters.vanished += u64::from(slot.is_some() && value.is_none());
        drop(shard);
        drop((flight, slot));
        value
    }
}

impl<K, T, S> WeakCache<K, T, S>
where
    K: Hash + Eq + Clone,
    S: BuildHasher,
{
    /// The living value of a key, made by `make` if there is none. Blocks while another call makes it.
    ///
    /// # Panics
    ///
    /// When `make` asks for its own key. A panic of `make` reaches its own caller only.
    pub fn get_or_create(&self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        unwrap_infallible(self.try_get_or_create(key, || Ok::<T, Infallible>(make())))
    }

    /// Like [`get_or_create`](Self::get_or_create), where making may fail.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the maker's error, shared by all who waited for it; [`LoadError::Recursive`] when `make`
    /// asks for its own key.
    pub fn try_get_or_create<E: Send + Sync + 'static>(
        &self,
        key: K,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, LoadError<E>> {
        let hash = self.inner.hasher.hash_one(&key);
        let mut turn = self.turn(hash, &key, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(LoadError::Recursive { cache: Arc::clone(&self.inner.name) }),
                Turn::Wait(wait) => {
                    if let Some(result) = self.landed(wait.block()) {
                        return result;
                    }
                }
                Turn::Make(making) => {
                    let flight = Arc::clone(&making.flight);
                    return match leading(&flight, make) {
                        Ok(value) => Ok(making.complete(key, value)),
                        Err(error) => Err(making.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, false);
        }
    }

    /// Like [`get_or_create`](Self::get_or_create), where making takes time.
    ///
    /// # Panics
    ///
    /// As [`get_or_create`](Self::get_or_create).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. If this call was the one that makes the value, a waiter takes over with its own maker.
    pub async fn get_or_create_with<F, Fut>(&self, key: K, make: F) -> Arc<T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        let make = || async { Ok::<T, Infallible>(make().await) };
        unwrap_infallible(self.try_get_or_create_with(key, make).await)
    }

    /// Like [`try_get_or_create`](Self::try_get_or_create), where making takes time.
    ///
    /// # Errors
    ///
    /// As [`try_get_or_create`](Self::try_get_or_create).
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_create_with`](Self::get_or_create_with).
    pub async fn try_get_or_create_with<F, Fut, E>(&self, key: K, make: F) -> Result<Arc<T>, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Send + Sync + 'static,
    {
        let hash = self.inner.hasher.hash_one(&key);
        let mut turn = self.turn(hash, &key, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(LoadError::Recursive { cache: Arc::clone(&self.inner.name) }),
                Turn::Wait(wait) => {
                    if let Some(result) = self.landed(wait.await) {
                        return result;
                    }
                }
                Turn::Make(making) => {
                    let flight = Arc::clone(&making.flight);
                    let mut work = pin!(leading(&flight, make));
                    let result = poll_fn(|context| leading(&flight, || work.as_mut().poll(context))).await;
                    return match result {
                        Ok(value) => Ok(making.complete(key, value)),
                        Err(error) => Err(making.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, false);
        }
    }

    fn turn(&self, hash: u64, key: &K, first: bool) -> Turn<'_, K, T, S> {
        let mut shard = self.inner.shard(hash).lock();
        if let Some(value) = shard.find(hash, key) {
            shard.counters.hits += u64::from(first);
            return Turn::Hit(value);
        }
        shard.counters.misses += u64::from(first);
        if let Some(flight) = shard.flights.find(hash, key) {
            let flight = Arc::clone(flight);
            if flight.is_led_here() {
                return Turn::Recursive;
            }
            shard.counters.joins += u64::from(first);
            return Turn::Wait(Wait::new(flight));
        }
        let flight = shard.flights.begin(hash, key.clone(), None);
        Turn::Make(Making { inner: &self.inner, hash, flight, ended: false })
    }

    fn landed<E: Send + Sync + 'static>(&self, outcome: Outcome<Arc<T>>) -> Option<Result<Arc<T>, LoadError<E>>> {
        match outcome {
            Outcome::Done(value) => Some(Ok(Arc::unwrap_or_clone(value))),
            Outcome::Failed(error) => {
                let error = error.downcast::<E>().ok()?;
                Some(Err(LoadError::Failed { cache: Arc::clone(&self.inner.name), error }))
            }
            Outcome::Abandoned | Outcome::Absent => None,
        }
    }
}
