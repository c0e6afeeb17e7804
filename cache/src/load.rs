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
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::error::LoadError;
use crate::store::Store;
use crate::store::shard::Shard;
use crate::store::shard::State;
use crate::terms::Terms;
use flight::{Flight, Outcome, Wait, leading};

/// What becomes of a value that a load or an update answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It is stored on the cache's terms, or on those of the call.
    #[default]
    Yes,
    /// It is stored with this time to live.
    For(Duration),
    /// It is given to all who wait for it, and not stored.
    No,
}

/// What a caller is to do about a key.
pub(crate) enum Turn<'a, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    Hit(V),
    Lead(Lead<&'a Store<K, V, S>, K, V, S>),
    Wait(Wait<V>),
    Recursive,
}

/// What a caller that wants to change a key, present or not, is to do.
pub(crate) enum Claim<P, K, V, S>
where
    P: Deref<Target = Store<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    /// It holds the key; the value is the live one it found.
    Lead(Lead<P, K, V, S>, Option<V>),
    Wait(Wait<V>),
    Recursive,
}

/// The right to load or change a key. Dropped before its end, it lets the waiters go on at once.
///
/// `P` is how it reaches the store: a reference in a call, an `Arc` in a task of its own.
pub(crate) struct Lead<P, K, V, S>
where
    P: Deref<Target = Store<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    store: P,
    hash: u64,
    pub(crate) flight: Arc<Flight<V>>,
    started: u64,
    terms: Terms,
    /// Whether this counts as a load; an update does not.
    load: bool,
    ended: bool,
}

impl<P, K, V, S> Lead<P, K, V, S>
where
    P: Deref<Target = Store<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    fn new(store: P, hash: u64, flight: Arc<Flight<V>>, terms: &Terms, load: bool) -> Self {
        let started = if load { store.clock.now() } else { 0 };
        Self { store, hash, flight, started, terms: terms.clone(), load, ended: false }
    }

    /// Takes the key out of this lead's hands and puts it into those of one that owns its way to the store.
    pub(crate) fn owned(mut self, store: &Arc<Store<K, V, S>>) -> Lead<Arc<Store<K, V, S>>, K, V, S> {
        debug_assert!(std::ptr::eq(Arc::as_ptr(store), &raw const *self.store));
        self.ended = true;
        Lead {
            store: Arc::clone(store),
            hash: self.hash,
            flight: Arc::clone(&self.flight),
            started: self.started,
            terms: self.terms.clone(),
            load: self.load,
            ended: false,
        }
    }

    fn nanos(&self) -> u64 {
        if self.load { self.store.clock.now().saturating_sub(self.started) } else { 0 }
    }

    /// Stores the value unless something newer happened to the key, and serves the waiters.
    pub(crate) fn complete(self, key: K, value: V) -> V
    where
        V: Clone,
    {
        self.complete_as(key, value, Keep::Yes)
    }

    /// Like [`complete`](Self::complete), where the value may have to go unstored.
    pub(crate) fn complete_as(mut self, key: K, value: V, keep: Keep) -> V
    where
        V: Clone,
    {
        if let Keep::For(ttl) = keep {
            self.terms.ttl = Some(ttl);
        }
        // The weigher and the value's `clone` are the user's: they run before the lock, and while dropping `self`
        // still means that the load was given up.
        let appraised = (keep != Keep::No).then(|| self.store.appraise(&key, &value, &self.terms));
        let stored = matches!(appraised, Some(Ok(_))).then(|| value.clone());
        let nanos = self.nanos();
        let mut departed = self.store.departed();
        let mut state = self.store.lock(self.hash);
        self.count(&mut state, nanos);
        let current = state.flights.end(self.hash, &self.flight);
        let mut unused = None;
        match (&current, appraised, stored) {
            (Some(_), Some(Ok(terms)), Some(value)) => {
                self.store.put(&mut state, key, value, self.hash, &terms, &mut departed);
            }
            (Some(_), Some(Err(_)), _) => {
                // What was to be replaced is out of date, as in an insertion.
                state.counters.rejected += 1;
                self.store.discard_key(&mut state, self.hash, &key, &mut departed);
                unused = Some((key, None));
            }
            (_, _, stored) => unused = Some((key, stored)),
        }
        drop(state);
        drop((current, unused));
        self.store.settle(self.hash, &mut departed);
        self.record(nanos);
        if Arc::strong_count(&self.flight) > 1 {
            self.flight.settle(Outcome::Done(Arc::new(value.clone())));
        }
        self.ended = true;
        drop(departed);
        value
    }

    /// Removes the value of the key unless something newer happened to it. Who waits tries again.
    pub(crate) fn remove(mut self, key: &K) {
        let mut departed = self.store.departed();
        let mut state = self.store.lock(self.hash);
        let current = state.flights.end(self.hash, &self.flight);
        if current.is_some() {
            self.store.discard_key(&mut state, self.hash, key, &mut departed);
        }
        drop(state);
        drop(current);
        self.flight.settle(Outcome::Abandoned);
        self.ended = true;
        drop(departed);
    }

    /// Leaves the key as it is. Who waits tries again.
    pub(crate) fn leave(self) {
        self.end(Outcome::Abandoned);
    }

    /// Ends a bulk load that brought nothing for this key.
    pub(crate) fn absent(self) {
        let nanos = self.nanos();
        self.count(&mut self.store.lock(self.hash), nanos);
        self.record(nanos);
        self.end(Outcome::Absent);
    }

    /// Says whether this is to be counted as a load.
    pub(crate) fn counts(&mut self, load: bool) {
        self.load = load;
    }

    fn end(mut self, outcome: Outcome<V>) {
        let current = self.store.lock(self.hash).flights.end(self.hash, &self.flight);
        drop(current);
        self.flight.settle(outcome);
        self.ended = true;
    }

    /// Tells the waiters that the load failed.
    pub(crate) fn fail<E: Send + Sync + 'static>(self, error: E) -> LoadError<E> {
        self.fail_with(Arc::new(error))
    }

    /// Like [`fail`](Self::fail), with an error that others share already.
    pub(crate) fn fail_with<E: Send + Sync + 'static>(mut self, error: Arc<E>) -> LoadError<E> {
        let nanos = self.nanos();
        let mut state = self.store.lock(self.hash);
        self.count(&mut state, nanos);
        state.counters.load_failures += u64::from(self.load);
        let current = state.flights.end(self.hash, &self.flight);
        drop(state);
        drop(current);
        self.record(nanos);
        self.flight.settle(Outcome::Failed(error.clone()));
        self.ended = true;
        LoadError::Failed { cache: self.store.name.clone(), error }
    }

    fn count(&self, state: &mut State<K, V>, nanos: u64) {
        if self.load {
            state.counters.loads += 1;
            state.counters.load_nanos = state.counters.load_nanos.saturating_add(nanos);
        }
    }

    fn record(&self, nanos: u64) {
        if self.load
            && let Some(handles) = self.store.metrics()
        {
            handles.record_load(nanos);
        }
    }
}

impl<P, K, V, S> Drop for Lead<P, K, V, S>
where
    P: Deref<Target = Store<K, V, S>>,
    K: Hash + Eq,
    S: BuildHasher,
{
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.store.lock(self.hash);
        let current = state.flights.end(self.hash, &self.flight);
        state.counters.load_aborts += u64::from(self.load);
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
        self.load_with(key, &Terms::default(), load, |_| Keep::Yes).await
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
        self.load_blocking(key, &Terms::default(), load, |_| Keep::Yes)
    }
}

/// What all ways to load come down to.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// Gets or loads on terms; `keep` decides about a loaded value.
    pub(crate) async fn load_with<F, Fut, E>(
        &self,
        key: K,
        terms: &Terms,
        load: F,
        keep: impl FnOnce(&V) -> Keep,
    ) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        let hash = self.store.hash(&key);
        let mut turn = self.turn(hash, &key, terms, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(self.recursive()),
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
                        Ok(value) => {
                            let keep = keep(&value);
                            Ok(lead.complete_as(key, value, keep))
                        }
                        Err(error) => Err(lead.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, terms, false);
        }
    }

    /// Like [`load_with`](Self::load_with), for threads.
    pub(crate) fn load_blocking<F, E>(
        &self,
        key: K,
        terms: &Terms,
        load: F,
        keep: impl FnOnce(&V) -> Keep,
    ) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Result<V, E>,
        E: Send + Sync + 'static,
    {
        let hash = self.store.hash(&key);
        let mut turn = self.turn(hash, &key, terms, true);
        loop {
            match turn {
                Turn::Hit(value) => return Ok(value),
                Turn::Recursive => return Err(self.recursive()),
                Turn::Wait(wait) => {
                    if let Some(result) = self.landed(wait.block()) {
                        return result;
                    }
                }
                Turn::Lead(lead) => {
                    let flight = Arc::clone(&lead.flight);
                    return match leading(&flight, load) {
                        Ok(value) => {
                            let keep = keep(&value);
                            Ok(lead.complete_as(key, value, keep))
                        }
                        Err(error) => Err(lead.fail(error)),
                    };
                }
            }
            turn = self.turn(hash, &key, terms, false);
        }
    }

    pub(crate) fn recursive<E>(&self) -> LoadError<E> {
        LoadError::Recursive { cache: self.store.name.clone() }
    }

    /// Looks the key up without a lock. If it is missing, looks again, and joins its flight or starts one, all under one
    /// lock. Only the first look of a call is counted.
    pub(crate) fn turn(&self, hash: u64, key: &K, terms: &Terms, first: bool) -> Turn<'_, K, V, S> {
        let store = &*self.store;
        if first && let Some(value) = store.read_hashed(hash, key, false, V::clone) {
            return Turn::Hit(value);
        }
        // Lets the value be cloned after the lock.
        let pin = Shard::<K, V>::pin();
        let mut state = store.lock(hash);
        let found = store.find(&pin, hash, key);
        if first {
            store.count_miss(hash);
        }
        let turn = if let Some(entry) = found {
            drop(state);
            return Turn::Hit(entry.value().clone());
        } else if let Some(flight) = state.flights.find(hash, key) {
            let flight = Arc::clone(flight);
            if flight.is_led_here() {
                Turn::Recursive
            } else {
                state.counters.load_joins += u64::from(first);
                Turn::Wait(Wait::new(flight))
            }
        } else {
            let flight = state.flights.begin(hash, key.clone(), terms.tags.clone());
            Turn::Lead(Lead::new(store, hash, flight, terms, true))
        };
        drop(state);
        turn
    }

    /// Takes hold of a key, whether it has a value or not, unless somebody else does. Counts neither hit nor miss.
    pub(crate) fn claim<P>(&self, store: P, hash: u64, key: &K, terms: &Terms, load: bool) -> Claim<P, K, V, S>
    where
        P: Deref<Target = Store<K, V, S>>,
    {
        // A flight that was detached by an insertion still knows its thread, so recursion is only found while it counts.
        let pin = Shard::<K, V>::pin();
        let mut state = self.store.lock(hash);
        if let Some(flight) = state.flights.find(hash, key) {
            if flight.is_led_here() {
                return Claim::Recursive;
            }
            return Claim::Wait(Wait::new(Arc::clone(flight)));
        }
        let old = self.store.find(&pin, hash, key);
        let flight = state.flights.begin(hash, key.clone(), terms.tags.clone());
        drop(state);
        let lead = Lead::new(store, hash, flight, terms, load);
        // The clone is the user's; if it panics, the lead ends.
        let old = old.map(|entry| entry.value().clone());
        Claim::Lead(lead, old)
    }

    /// What a flight that was waited for means to this caller; `None` sends it round again.
    pub(crate) fn landed<E: Send + Sync + 'static>(&self, outcome: Outcome<V>) -> Option<Result<V, LoadError<E>>> {
        match outcome {
            Outcome::Done(value) => Some(Ok(Arc::unwrap_or_clone(value))),
            Outcome::Failed(error) => {
                let error = error.downcast::<E>().ok()?;
                Some(Err(LoadError::Failed { cache: self.store.name.clone(), error }))
            }
            Outcome::Abandoned | Outcome::Absent => None,
        }
    }
}

pub(crate) fn unwrap_infallible<V>(result: Result<V, LoadError<Infallible>>) -> V {
    match result {
        Ok(value) => value,
        Err(LoadError::Failed { error, .. }) => match *error {},
        Err(error) => panic!("{error}"),
    }
}
