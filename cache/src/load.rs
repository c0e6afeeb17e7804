//! Get-or-load: a missing value is loaded once, however many ask for it at the same time.
//!
//! The first to miss leads: it registers a flight under the shard's lock and runs its loader. Who misses after it waits
//! for that flight. The leader's end and the removal of the flight happen under one lock, so there is no gap in which a
//! second load could start.
//!
//! | the leader … | the waiters … | stored? |
//! |---|---|---|
//! | returns a value | get a clone | yes, unless the key was inserted, removed or cleared meanwhile |
//! | returns an error | share it as `Arc<E>`; those with another error type try again | no |
//! | is dropped or panics | try again at once: one of them leads, with its own loader | no |
//! | asks for its own key | – | the inner call gets [`LoadError::Recursive`] |
//!
//! Futures and threads wait for the same flights. A thread that waits for a future blocks, so on a runtime with one
//! thread a blocking call may wait for a future that cannot run: use the async calls in async code.

pub(crate) mod flight;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::store::Store;
use crate::store::arena::{Garbage, Pair};
use flight::{Flight, Outcome, Wait, leading};

/// What a caller is to do about a key.
enum Turn<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    Hit(V),
    Lead(Lead<'a, K, V, S>),
    Wait(Wait<V>),
    Recursive,
}

/// The right to load a key. Dropped before its end, it lets the waiters go on at once.
struct Lead<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    store: &'a Store<K, V, S>,
    hash: u64,
    flight: Arc<Flight<V>>,
    started: u64,
    ended: bool,
}

impl<K, V, S> Lead<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn nanos(&self) -> u64 {
        self.store.clock.now().saturating_sub(self.started)
    }

    /// Stores the value unless something newer happened to the key, and serves the waiters.
    fn complete(mut self, key: K, value: V) -> V
    where
        V: Clone,
    {
        // The weigher and the value's `clone` are the user's: they run before the lock, and while dropping `self`
        // still means that the load was given up.
        let appraised = self.store.appraise(&key, &value, None);
        let stored = appraised.is_ok().then(|| value.clone());
        let nanos = self.nanos();
        let mut garbage = Garbage::new();
        let mut state = self.store.lock(self.hash);
        state.counters.loads += 1;
        state.counters.load_nanos = state.counters.load_nanos.saturating_add(nanos);
        let current = state.flights.end(self.hash, &self.flight);
        let mut unused = None;
        match (&current, appraised, stored) {
            (Some(_), Ok((weight, deadline)), Some(value)) => {
                let pair = Pair { key, value, hash: self.hash as u32, weight, deadline };
                self.store.put(&mut state, pair, &mut garbage);
            }
            (Some(_), Err(_), _) => {
                state.counters.rejected += 1;
                unused = Some((key, None));
            }
            (_, _, stored) => unused = Some((key, stored)),
        }
        drop(state);
        drop((current, unused));
        self.store.settle(self.hash, &mut garbage);
        self.record(nanos);
        if Arc::strong_count(&self.flight) > 1 {
            self.flight.settle(Outcome::Done(Arc::new(value.clone())));
        }
        self.ended = true;
        value
    }

    /// Tells the waiters that the load failed.
    fn fail<E: Send + Sync + 'static>(mut self, error: E) -> LoadError<E> {
        let error = Arc::new(error);
        let nanos = self.nanos();
        let mut state = self.store.lock(self.hash);
        state.counters.loads += 1;
        state.counters.load_failures += 1;
        state.counters.load_nanos = state.counters.load_nanos.saturating_add(nanos);
        let current = state.flights.end(self.hash, &self.flight);
        drop(state);
        drop(current);
        self.record(nanos);
        self.flight.settle(Outcome::Failed(error.clone()));
        self.ended = true;
        LoadError::Failed { cache: self.store.name.clone(), error }
    }

    fn record(&self, nanos: u64) {
        if let Some(handles) = self.store.metrics() {
            handles.record_load(nanos);
        }
    }
}

impl<K, V, S> Drop for Lead<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.store.lock(self.hash);
        let current = state.flights.end(self.hash, &self.flight);
        state.counters.load_aborts += 1;
        drop(state);
        drop(current);
        self.flight.settle(Outcome::Abandoned);
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// The value of a key, loaded by `load` if it is missing.
    ///
    /// Calls for the same key at the same time share one load. Calls that race with an insertion, removal or `clear`
    /// may still get the loaded value, but it is then not stored.
    ///
    /// # Panics
    ///
    /// When `load` asks this cache for the very key that it is loading; [`try_get_with`](Self::try_get_with) answers
    /// with an error instead. A panic of `load` reaches its own caller only.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. If this call was the one that loads, a waiter takes over with its own loader.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = trimtab_cache::Cache::new(100);
    /// let length = cache.get_with("key", || async { "value".len() }).await;
    /// assert_eq!(length, 5);
    /// assert_eq!(cache.get("key"), Some(5));
    /// # });
    /// ```
    pub async fn get_with<F, Fut>(&self, key: K, load: F) -> V
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        let loaded = self.try_get_with(key, || async { Ok::<V, Infallible>(load().await) }).await;
        unwrap_infallible(loaded)
    }

    /// The value of a key, loaded by `load` if it is missing, where loading may fail.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] with the loader's error, shared by all who waited for the same load; nothing is stored,
    /// so the next call loads again. [`LoadError::Recursive`] when `load` asks for the key that it is loading.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. If this call was the one that loads, a waiter takes over with its own loader.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cache = trimtab_cache::Cache::<&str, u16>::new(100);
    /// let failed = cache.try_get_with("port", || async { "http".parse::<u16>() }).await;
    /// assert!(failed.is_err());
    /// let port = cache.try_get_with("port", || async { "8000".parse::<u16>() }).await;
    /// assert_eq!(port.unwrap(), 8000);
    /// # });
    /// ```
    pub async fn try_get_with<F, Fut, E>(&self, key: K, load: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        let hash = self.store.hash(&key);
        let mut turn = self.turn(hash, &key, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(LoadError::Recursive { cache: self.store.name.clone() }),
                Turn::Wait(wait) => {
                    if let Some(result) = self.landed(wait.await) {
                        return result;
                    }
                }
                Turn::Lead(lead) => {
                    let flight = Arc::clone(&lead.flight);
                    let mut loading = pin!(leading(&flight, load));
                    let result = poll_fn(|context| leading(&flight, || loading.as_mut().poll(context))).await;
                    return match result {
                        Ok(value) => Ok(lead.complete(key, value)),
                        Err(error) => Err(lead.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, false);
        }
    }

    /// Like [`get_with`](Self::get_with), for threads: blocks while another call loads the key.
    ///
    /// # Panics
    ///
    /// When `load` asks this cache for the very key that it is loading. A panic of `load` reaches its own caller only.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with(1, || "one"), "one");
    /// assert_eq!(cache.get_or_insert_with(1, || unreachable!("is cached")), "one");
    /// ```
    pub fn get_or_insert_with<F>(&self, key: K, load: F) -> V
    where
        F: FnOnce() -> V,
    {
        unwrap_infallible(self.try_get_or_insert_with(key, || Ok::<V, Infallible>(load())))
    }

    /// Like [`try_get_with`](Self::try_get_with), for threads: blocks while another call loads the key.
    ///
    /// # Errors
    ///
    /// As [`try_get_with`](Self::try_get_with).
    pub fn try_get_or_insert_with<F, E>(&self, key: K, load: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Result<V, E>,
        E: Send + Sync + 'static,
    {
        let hash = self.store.hash(&key);
        let mut turn = self.turn(hash, &key, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(LoadError::Recursive { cache: self.store.name.clone() }),
                Turn::Wait(wait) => {
                    if let Some(result) = self.landed(wait.block()) {
                        return result;
                    }
                }
                Turn::Lead(lead) => {
                    let flight = Arc::clone(&lead.flight);
                    return match leading(&flight, load) {
                        Ok(value) => Ok(lead.complete(key, value)),
                        Err(error) => Err(lead.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, false);
        }
    }

    /// Looks the key up without a lock. If it is missing, looks again, and joins its flight or starts one, all under one
    /// lock. Only the first look of a call is counted.
    fn turn(&self, hash: u64, key: &K, first: bool) -> Turn<'_, K, V, S> {
        let store = &*self.store;
        if first && let Some(value) = store.read_hashed(hash, key, false, V::clone) {
            return Turn::Hit(value);
        }
        let mut state = store.lock(hash);
        let found = state.find(hash as u32, |other| other == key).filter(|token| !state.is_over(*token, &store.clock));
        if first {
            store.count_miss();
        }
        let turn = if let Some(token) = found {
            Turn::Hit(state.entry(token).value().clone())
        } else if let Some(flight) = state.flights.find(hash, key) {
            let flight = Arc::clone(flight);
            if flight.is_led_here() {
                Turn::Recursive
            } else {
                state.counters.load_joins += u64::from(first);
                Turn::Wait(Wait::new(flight))
            }
        } else {
            let flight = state.flights.begin(hash, key.clone());
            Turn::Lead(Lead { store, hash, flight, started: store.clock.now(), ended: false })
        };
        drop(state);
        turn
    }

    /// What a flight that was waited for means to this caller; `None` sends it round again.
    fn landed<E: Send + Sync + 'static>(&self, outcome: Outcome<V>) -> Option<Result<V, LoadError<E>>> {
        match outcome {
            Outcome::Done(value) => Some(Ok(Arc::unwrap_or_clone(value))),
            Outcome::Failed(error) => {
                let error = error.downcast::<E>().ok()?;
                Some(Err(LoadError::Failed { cache: self.store.name.clone(), error }))
            }
            Outcome::Abandoned => None,
        }
    }
}

fn unwrap_infallible<V>(result: Result<V, LoadError<Infallible>>) -> V {
    match result {
        Ok(value) => value,
        Err(LoadError::Failed { error, .. }) => match *error {},
        Err(error @ LoadError::Recursive { .. }) => panic!("{error}"),
    }
}
