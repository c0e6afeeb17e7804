//! A cache that knows how to load: it reloads what ages in the background, and answers with what it has when loading
//! fails or takes too long.
//!
//! The age of a value decides what a `get` does:
//!
//! ```text
//! 0 ──────────── refresh_after ──────────── ttl ──────────── ttl + stale_for ────
//!   answered        answered at once,         loaded anew; the      loaded anew;
//!                   reloaded once in the      old value is the      no way back
//!                   background                answer if that fails
//!                                             or exceeds soft_timeout
//! ```
//!
//! After a failed reload the old value is answered for [`retry_after`](LoadingBuilder::retry_after) before anybody tries
//! again, so a source that is down is not hammered. Errors worth remembering ("there is no such user") can be cached
//! with a time of their own: negative caching.
//!
//! With a [`Runtime`], loads run as tasks of their own: a caller that gives up, or is timed out, leaves the load running, and
//! its result is cached for the next. Without one, loads run in the task of the caller that needs them first; others still
//! get the ageing value at once. Either way there is one load per key at a time, and an insertion or
//! invalidation during a load wins.
//!
//! Sources: refresh-ahead as in Caffeine's `refreshAfterWrite`; fail-safe, soft and hard time-outs as in .NET's `FusionCache`; stale answers
//! as in RFC 5861 (`stale-while-revalidate`, `stale-if-error`).

mod builder;
mod runtime;

use std::borrow::Borrow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;

use crate::cache::{Cache, DefaultHasher};
use crate::error::LoadError;
use crate::expiry::{NEVER, deadline};
use crate::load::flight::{Outcome, Wait, leading};
use crate::load::{Claim, Keep, Lead};
use crate::stats::CacheStats;
use crate::store::Store;
use crate::terms::Terms;
use crate::weigher::Weigh;

pub use builder::LoadingBuilder;
#[cfg(feature = "tokio")]
pub use runtime::TokioRuntime;
pub use runtime::{BoxFuture, Runtime};

type Loader<K, V, E> = Box<dyn Fn(K) -> BoxFuture<Result<V, E>> + Send + Sync>;
type Memory<E> = Box<dyn Fn(&E) -> Option<Duration> + Send + Sync>;

/// A cache with a loader of its own; see [the module](self). Clones share it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use trimtab_cache::{Cache, LoadingCache};
///
/// let squares = LoadingCache::builder(Cache::builder().max_entries(100), |n: u32| async move {
///     n.checked_mul(n).ok_or("too large")
/// })
/// .ttl(Duration::from_secs(60))
/// .refresh_after(Duration::from_secs(50))
/// .stale_for(Duration::from_secs(600))
/// .remember_errors(|_| Some(Duration::from_secs(5)))
/// .build()?;
///
/// assert_eq!(squares.get(12).await.unwrap(), 144);
/// assert!(squares.get(u32::MAX).await.is_err());
/// assert!(squares.get(u32::MAX).await.is_err(), "remembered, not computed again");
/// assert_eq!(squares.stats().cache.loads, 2);
/// # Ok::<(), trimtab_cache::BuildError>(())
/// # }).unwrap();
/// ```
pub struct LoadingCache<K, V, E> {
    inner: Arc<Inner<K, V, E>>,
}

struct Inner<K, V, E> {
    cache: Cache<K, Loaded<V, E>>,
    loader: Loader<K, V, E>,
    remember: Option<Memory<E>>,
    runtime: Option<Arc<dyn Runtime>>,
    times: Times,
    counters: Counters,
}

/// The ages and time-outs that rule a loading cache.
#[derive(Debug, Clone, Copy)]
struct Times {
    ttl: Option<Duration>,
    refresh_after: Option<Duration>,
    stale_for: Duration,
    retry_after: Duration,
    soft_timeout: Option<Duration>,
    hard_timeout: Option<Duration>,
}

/// What a [`LoadingCache`] keeps for a key: a value, or an error worth remembering.
///
/// It appears in the types of the cache below, so that a weigher or listener can look into it.
pub struct Loaded<V, E>(Arc<Held<V, E>>);

struct Held<V, E> {
    outcome: Result<V, Arc<E>>,
    /// When the value is out of date; nanoseconds on the cache's clock, or [`NEVER`].
    fresh_until: u64,
    /// When the next reload is due; moved on by whoever starts one, and by a failure.
    reload_at: AtomicU64,
    /// Whether the last reload failed, so that `reload_at` is how long it is to be left alone.
    failed: AtomicBool,
}

impl<V, E> Loaded<V, E> {
    /// The value, unless an error was remembered.
    pub fn value(&self) -> Option<&V> {
        self.0.outcome.as_ref().ok()
    }

    /// The error that was remembered, if it was one.
    pub fn error(&self) -> Option<&E> {
        self.0.outcome.as_ref().err().map(|error| &**error)
    }
}

impl<V, E> Clone for Loaded<V, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: fmt::Debug, E: fmt::Debug> fmt::Debug for Loaded<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.outcome.fmt(f)
    }
}

impl<V: Weigh, E> Weigh for Loaded<V, E> {
    fn heap_bytes(&self) -> u64 {
        let shared = (size_of::<Held<V, E>>() + 2 * size_of::<usize>()) as u64;
        shared.saturating_add(self.value().map_or(0, Weigh::heap_bytes))
    }
}

#[derive(Debug, Default)]
struct Counters {
    refreshes: AtomicU64,
    refresh_failures: AtomicU64,
    stale_on_error: AtomicU64,
    stale_on_timeout: AtomicU64,
    timeouts: AtomicU64,
}

/// The statistics of a [`LoadingCache`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoadingStats {
    /// Those of the cache below. Each load and reload counts among its `loads`.
    pub cache: CacheStats,
    /// Reloads of ageing values that were started.
    pub refreshes: u64,
    /// Of these, how many failed.
    pub refresh_failures: u64,
    /// Answers with a value out of date, because loading it anew failed just now or a short time ago.
    pub stale_on_error: u64,
    /// Answers with a value out of date, because loading it anew took too long.
    pub stale_on_timeout: u64,
    /// Calls that ended without an answer after the hard time-out.
    pub timeouts: u64,
}

/// What the age of a value asks for.
#[derive(PartialEq)]
enum Age {
    Fresh,
    /// Out of date, but a reload failed a short time ago.
    Postponed,
    /// A reload is due, and this caller has taken it on itself.
    Ageing,
    OutOfDate,
}

impl<K, V, E> Clone for LoadingCache<K, V, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V, E> fmt::Debug for LoadingCache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingCache")
            .field("cache", &self.inner.cache)
            .field("times", &self.inner.times)
            .field("runtime", &self.inner.runtime.is_some())
            .finish_non_exhaustive()
    }
}

impl<K, V, E> LoadingCache<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// The value of a key: cached, or loaded.
    ///
    /// # Errors
    ///
    /// [`LoadError::Failed`] when the loader failed, or its error is remembered, and there is no value to fall back on;
    /// [`LoadError::TimedOut`] after the hard time-out; [`LoadError::GivenUp`] when the load's task panicked or its runtime
    /// ended; [`LoadError::Recursive`] when the loader asks for the key that it is loading.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. With a runtime the load goes on; without one, a waiter takes over.
    pub async fn get(&self, key: K) -> Result<V, LoadError<E>> {
        let Some(loaded) = self.inner.cache.get(&key) else {
            return self.load(key, None, false).await;
        };
        match self.inner.age(&loaded) {
            Age::Fresh => self.inner.answer(&loaded),
            Age::Postponed => self.inner.stale(&loaded, &self.inner.counters.stale_on_error),
            Age::Ageing => self.refresh_ageing(key, loaded).await,
            Age::OutOfDate => self.load(key, Some(loaded), false).await,
        }
    }

    /// The value of a key if it is cached and not out of date. Loads nothing.
    pub fn get_if_present<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let loaded = self.inner.cache.get(key)?;
        let out_of_date = loaded.0.fresh_until != NEVER && loaded.0.fresh_until <= self.inner.now();
        loaded.value().filter(|_| !out_of_date).cloned()
    }

    /// Loads a key anew, whatever its age, and answers the new value. If it is being loaded already, waits for that load.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), but never falls back on an older value, which stays cached after a failure.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
    pub async fn refresh(&self, key: K) -> Result<V, LoadError<E>> {
        self.load(key, None, true).await
    }

    /// Stores a value as if it had been loaded now.
    pub fn insert(&self, key: K, value: V) {
        let loaded = self.inner.hold(Ok(value));
        match self.inner.times.kept() {
            Some(ttl) => self.inner.cache.insert_with_ttl(key, loaded, ttl),
            None => self.inner.cache.insert(key, loaded),
        }
    }

    /// Drops the value of a key; a load that is under way will not be stored. Answers whether there was one.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.inner.cache.invalidate(key)
    }

    /// The cache below: limits, tags, listing, `clear`, `expire`.
    pub fn cache(&self) -> &Cache<K, Loaded<V, E>> {
        &self.inner.cache
    }

    /// The statistics since the cache was built.
    pub fn stats(&self) -> LoadingStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.inner.counters;
        LoadingStats {
            cache: self.inner.cache.stats(),
            refreshes: of(&counters.refreshes),
            refresh_failures: of(&counters.refresh_failures),
            stale_on_error: of(&counters.stale_on_error),
            stale_on_timeout: of(&counters.stale_on_timeout),
            timeouts: of(&counters.timeouts),
        }
    }

    /// Publishes the statistics through the `metrics` facade; see [`metrics`](mod@crate::metrics) for the names.
    pub fn publish_metrics(&self) {
        self.inner.cache.publish_metrics();
        if self.inner.cache.store.metrics().is_some() {
            crate::metrics::publish_loading(self.inner.cache.name(), &self.stats());
        }
    }

    /// Answers an ageing value; this caller has to see to its reload.
    async fn refresh_ageing(&self, key: K, loaded: Loaded<V, E>) -> Result<V, LoadError<E>> {
        let inner = &self.inner;
        let hash = inner.cache.store.hash(&key);
        let lead = match inner.cache.claim(Arc::clone(&inner.cache.store), hash, &key, &Terms::default(), true) {
            Claim::Lead(lead, Some(_)) => lead,
            // It has gone meanwhile: whoever needs it next loads it.
            Claim::Lead(lead, None) => {
                lead.leave();
                return inner.answer(&loaded);
            }
            // Somebody who loads it already does what is needed.
            Claim::Wait(_) | Claim::Recursive => return inner.answer(&loaded),
        };
        inner.counters.refreshes.fetch_add(1, Ordering::Relaxed);
        let old = loaded.clone();
        if let Some(runtime) = &inner.runtime {
            let task = Arc::clone(inner);
            runtime.spawn(Box::pin(async move {
                if task.lead(lead, key, Some(old)).await.is_err() {
                    task.counters.refresh_failures.fetch_add(1, Ordering::Relaxed);
                }
            }));
            return inner.answer(&loaded);
        }
        if let Ok(reloaded) = inner.lead(lead, key, Some(old)).await {
            return inner.answer(&reloaded);
        }
        inner.counters.refresh_failures.fetch_add(1, Ordering::Relaxed);
        inner.answer(&loaded)
    }

    /// Loads a key or waits for who does. `old` is what to fall back on; `anew` loads even what is fresh.
    async fn load(&self, key: K, old: Option<Loaded<V, E>>, anew: bool) -> Result<V, LoadError<E>> {
        let inner = &self.inner;
        let old = old.filter(|old| old.value().is_some());
        let limit = old.as_ref().and(inner.times.soft_timeout).or(inner.times.hard_timeout);
        let mut alarm = match (&inner.runtime, limit) {
            (Some(runtime), Some(limit)) => Some(runtime.sleep(limit)),
            _ => None,
        };
        let hash = inner.cache.store.hash(&key);
        let mut joined = false;
        loop {
            let (wait, started_here) = match inner.cache.claim(&*inner.cache.store, hash, &key, &Terms::default(), true)
            {
                Claim::Recursive => return inner.fall_back(old, inner.cache.recursive()),
                Claim::Wait(wait) => {
                    if !std::mem::replace(&mut joined, true) {
                        inner.cache.store.lock(hash).counters.load_joins += 1;
                    }
                    (wait, false)
                }
                Claim::Lead(lead, Some(present)) if !anew && inner.is_fresh(&present) => {
                    // Somebody ended a load between this caller's look and its claim.
                    lead.leave();
                    return inner.answer(&present);
                }
                Claim::Lead(lead, present) => match &inner.runtime {
                    Some(runtime) => {
                        let wait = Wait::new(Arc::clone(&lead.flight));
                        let (lead, task, key) = (lead.owned(&inner.cache.store), Arc::clone(inner), key.clone());
                        runtime.spawn(Box::pin(async move { drop(task.lead(lead, key, present).await) }));
                        (wait, true)
                    }
                    None => {
                        return match inner.lead(lead, key, present).await {
                            Ok(loaded) => inner.answer(&loaded),
                            Err(error) => inner.fall_back(old, error),
                        };
                    }
                },
            };
            match before(wait, alarm.as_mut()).await {
                None if old.is_some() => {
                    return inner.stale(&old.expect("was just seen"), &inner.counters.stale_on_timeout);
                }
                None => {
                    inner.counters.timeouts.fetch_add(1, Ordering::Relaxed);
                    let after = limit.expect("only a limit rings");
                    return Err(LoadError::TimedOut { cache: inner.cache.store.name.clone(), after });
                }
                Some(Outcome::Done(loaded)) => return inner.answer(&loaded),
                Some(Outcome::Failed(error)) => {
                    if let Ok(error) = error.downcast::<E>() {
                        let cache = inner.cache.store.name.clone();
                        return inner.fall_back(old, LoadError::Failed { cache, error });
                    }
                }
                Some(Outcome::Abandoned | Outcome::Absent) if started_here => {
                    if let Some(old) = &old {
                        inner.postpone(old);
                    }
                    let error = LoadError::GivenUp { cache: inner.cache.store.name.clone() };
                    return inner.fall_back(old, error);
                }
                Some(Outcome::Abandoned | Outcome::Absent) => {}
            }
        }
    }
}

impl<K, V, E> Inner<K, V, E> {
    fn now(&self) -> u64 {
        self.cache.store.clock.now()
    }

    /// What the age of a value asks for. Reads the clock only if values age at all.
    fn age(&self, loaded: &Loaded<V, E>) -> Age {
        let held = &loaded.0;
        let due = held.reload_at.load(Ordering::Relaxed);
        if due == NEVER && held.fresh_until == NEVER {
            return Age::Fresh;
        }
        let now = self.now();
        match (held.fresh_until <= now, due <= now) {
            (false, false) => Age::Fresh,
            (true, false) if held.failed.load(Ordering::Relaxed) => Age::Postponed,
            // Not due means then that a reload was started while the value was still good: wait for that.
            (true, _) => Age::OutOfDate,
            (false, true) => {
                let next = deadline(now, self.times.retry_after);
                let taken = held.reload_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
                if taken.is_ok() { Age::Ageing } else { Age::Fresh }
            }
        }
    }

    fn is_fresh(&self, loaded: &Loaded<V, E>) -> bool {
        loaded.0.fresh_until == NEVER || loaded.0.fresh_until > self.now()
    }

    fn hold(&self, outcome: Result<V, Arc<E>>) -> Loaded<V, E> {
        let ages = outcome.is_ok() && (self.times.ttl.is_some() || self.times.refresh_after.is_some());
        let now = if ages { self.now() } else { 0 };
        let end = |time: Option<Duration>| time.filter(|_| ages).map_or(NEVER, |time| deadline(now, time));
        let fresh_until = end(self.times.ttl);
        let reload_at = AtomicU64::new(end(self.times.refresh_after).min(fresh_until));
        Loaded(Arc::new(Held { outcome, fresh_until, reload_at, failed: AtomicBool::new(false) }))
    }

    fn answer(&self, loaded: &Loaded<V, E>) -> Result<V, LoadError<E>>
    where
        V: Clone,
    {
        match &loaded.0.outcome {
            Ok(value) => Ok(value.clone()),
            Err(error) => Err(LoadError::Failed { cache: self.cache.store.name.clone(), error: Arc::clone(error) }),
        }
    }

    /// Leaves the source alone for a while after a failure.
    fn postpone(&self, old: &Loaded<V, E>) {
        old.0.reload_at.store(deadline(self.now(), self.times.retry_after), Ordering::Relaxed);
        old.0.failed.store(true, Ordering::Relaxed);
    }

    /// Answers a value that is out of date.
    fn stale(&self, loaded: &Loaded<V, E>, counter: &AtomicU64) -> Result<V, LoadError<E>>
    where
        V: Clone,
    {
        counter.fetch_add(1, Ordering::Relaxed);
        self.answer(loaded)
    }

    /// Answers the old value instead of an error, if there is one.
    fn fall_back(&self, old: Option<Loaded<V, E>>, error: LoadError<E>) -> Result<V, LoadError<E>>
    where
        V: Clone,
    {
        match old {
            Some(old) => self.stale(&old, &self.counters.stale_on_error),
            None => Err(error),
        }
    }

    /// Runs the loader for a key that is held, and ends its flight. `old` is what the cache has until then.
    async fn lead<P>(
        &self,
        lead: Lead<P, K, Loaded<V, E>, DefaultHasher>,
        key: K,
        old: Option<Loaded<V, E>>,
    ) -> Result<Loaded<V, E>, LoadError<E>>
    where
        P: Deref<Target = Store<K, Loaded<V, E>, DefaultHasher>>,
        K: Hash + Eq + Clone,
        E: Send + Sync + 'static,
    {
        let flight = Arc::clone(&lead.flight);
        let mut loading = leading(&flight, || (self.loader)(key.clone()));
        let result = poll_fn(|context| leading(&flight, || loading.as_mut().poll(context))).await;
        match result {
            Ok(value) => {
                let keep = self.times.kept().map_or(Keep::Yes, Keep::For);
                Ok(lead.complete_as(key, self.hold(Ok(value)), keep))
            }
            Err(error) => match self.remember.as_ref().and_then(|remember| remember(&error)) {
                Some(time) if !time.is_zero() => {
                    Ok(lead.complete_as(key, self.hold(Err(Arc::new(error))), Keep::For(time)))
                }
                _ => {
                    if let Some(old) = old {
                        self.postpone(&old);
                    }
                    Err(lead.fail(error))
                }
            },
        }
    }
}

impl Times {
    /// How long a value is kept, fresh or not.
    fn kept(&self) -> Option<Duration> {
        self.ttl.map(|ttl| ttl.saturating_add(self.stale_for))
    }
}

/// The outcome of a flight, or `None` if the alarm rings first.
async fn before<T>(wait: Wait<T>, mut alarm: Option<&mut BoxFuture<()>>) -> Option<Outcome<T>> {
    let mut wait = pin!(wait);
    poll_fn(|context| {
        if let Poll::Ready(outcome) = wait.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        match &mut alarm {
            Some(alarm) => Pin::as_mut(alarm).poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
