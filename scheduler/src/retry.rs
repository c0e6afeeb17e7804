//! Retries: with growing, spread delays, within a budget, when told to, and never of what must not happen twice.
//!
//! The delays are [`Backoff`](trimtab_config::Backoff)'s. A hint to come back later (from a refusal, or from the far side by way of
//! the classifier) makes a delay longer, never shorter. A call that worked at once costs one load.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use trimtab_config::Delays;

use crate::manners::config::{RetrySettings, check};
use crate::manners::metrics::Meters;
use crate::manners::{CallError, Manner, Reason, SetupError};

mod budget;

pub use budget::Budget;

/// What to do about a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another try would fail as well.
    Final,
    /// Another try may work, not earlier than told. The call may have had its effect, so it is made again only if it is
    /// idempotent.
    Again(Option<Duration>),
    /// The call certainly had no effect: it may be made again in any case, not earlier than told.
    NotBegun(Option<Duration>),
}

/// Says what to do about a failed try. A closure `Fn(&CallError<E>) -> Verdict` is one.
pub trait Classify<E>: Send + Sync {
    /// What to do.
    fn classify(&self, error: &CallError<E>) -> Verdict;
}

/// Takes every error for one that passes, except refusals that somebody decided: a closed gate, a breaker opened by hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transient;

impl<E> Classify<E> for Transient {
    fn classify(&self, error: &CallError<E>) -> Verdict {
        match error {
            CallError::Failed(_) | CallError::TimedOut(_) => Verdict::Again(None),
            CallError::Refused(refusal) => match refusal.reason() {
                Reason::Closed | Reason::ForcedOpen => Verdict::Final,
                _ => Verdict::NotBegun(refusal.retry_after()),
            },
        }
    }
}

impl<E, F: Fn(&CallError<E>) -> Verdict + Send + Sync> Classify<E> for F {
    fn classify(&self, error: &CallError<E>) -> Verdict {
        self(error)
    }
}

/// The numbers of a retry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RetryStats {
    /// Its name.
    pub name: Arc<str>,
    /// Tries after the first.
    pub retries: u64,
    /// Calls that worked after all.
    pub recovered: u64,
    /// Calls that failed after the last try, or for which it was too late.
    pub gave_up: u64,
    /// Calls that the budget did not let try again.
    pub denied: u64,
    /// Extra tries that the budget would allow now.
    pub budget: f64,
}

/// Makes failed calls again. Clones are cheap and share the budget.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use trimtab_scheduler::{CallError, Manner, Retry, RetrySettings, Verdict};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let retry = Retry::new("prices", RetrySettings::default())?;
/// let tries = AtomicU32::new(0);
/// let price = retry.call(|| async {
///     if tries.fetch_add(1, Ordering::Relaxed) < 2 { Err("busy") } else { Ok(7) }
/// }).await;
/// assert_eq!((price, retry.stats().retries), (Ok(7), 2));
///
/// let choosy = retry.classify(|error: &CallError<u16>| match error {
///     CallError::Failed(429 | 503) => Verdict::NotBegun(None),
///     CallError::Failed(_) => Verdict::Final,
///     _ => Verdict::Again(None),
/// });
/// assert_eq!(choosy.call(|| async { Err::<(), u16>(404) }).await, Err(CallError::Failed(404)));
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Retry<C = Transient> {
    inner: Arc<Inner>,
    classify: C,
    idempotent: bool,
    panics: bool,
}

/// The tries of one call, from its first failure on.
#[derive(Debug)]
pub(crate) struct Tries {
    start: Instant,
    delays: Delays,
}

struct Inner {
    name: Arc<str>,
    settings: RetrySettings,
    budget: Budget,
    retries: AtomicU64,
    recovered: AtomicU64,
    gave_up: AtomicU64,
    denied: AtomicU64,
    meters: Meters,
}

impl<C> fmt::Debug for Retry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("stats", &self.stats())
            .field("idempotent", &self.idempotent)
            .finish_non_exhaustive()
    }
}

impl Retry {
    /// Retries with a budget of their own.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn new(name: &str, settings: RetrySettings) -> Result<Self, SetupError> {
        let budget = Budget::new(&settings.budget);
        Self::with_budget(name, settings, budget)
    }

    /// Retries within a budget that others use too; that of the settings is not looked at.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_budget(name: &str, settings: RetrySettings, budget: Budget) -> Result<Self, SetupError> {
        check("retry", name, &settings)?;
        let idempotent = settings.idempotent;
        let inner = Inner {
            name: name.into(),
            settings,
            budget,
            retries: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            gave_up: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            meters: Meters::default(),
        };
        Ok(Self { inner: Arc::new(inner), classify: Transient, idempotent, panics: false })
    }
}

impl<C> Retry<C> {
    /// The same with another classifier.
    pub fn classify<K>(&self, classify: K) -> Retry<K> {
        Retry { inner: self.inner.clone(), classify, idempotent: self.idempotent, panics: self.panics }
    }

    /// The same for calls that may be made twice, or not: a hint for each kind of call, sharing everything else.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Whether a job that panics is tried again like one that failed; see [`Job::io_retry`](crate::Job::io_retry). Of the calls of
    /// a chain, panics always pass through. Default: false.
    pub fn panics(mut self, panics: bool) -> Self {
        self.panics = panics;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The budget, to be shared.
    pub fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Its numbers.
    pub fn stats(&self) -> RetryStats {
        let inner = &*self.inner;
        RetryStats {
            name: inner.name.clone(),
            retries: inner.retries.load(Relaxed),
            recovered: inner.recovered.load(Relaxed),
            gave_up: inner.gave_up.load(Relaxed),
            denied: inner.denied.load(Relaxed),
            budget: inner.budget.left(),
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.retry(&self.stats());
    }

    /// A call that was never made before begins.
    pub(crate) fn begin(&self) {
        self.inner.budget.deposit();
    }

    pub(crate) fn of_panics(&self) -> bool {
        self.panics
    }

    /// When to make a failed call again; `None` to let it be.
    pub(crate) fn next(&self, tries: &mut Option<Tries>, verdict: Verdict) -> Option<Duration> {
        let inner = &*self.inner;
        let not_before = match verdict {
            Verdict::NotBegun(not_before) => not_before,
            Verdict::Again(not_before) if self.idempotent => not_before,
            Verdict::Again(_) | Verdict::Final => return None,
        };
        // Counted from here, so that a call that works pays for no look at the clock.
        let Tries { start, delays } =
            tries.get_or_insert_with(|| Tries { start: Instant::now(), delays: inner.settings.backoff.delays() });
        let delay = delays.next().map(|delay| delay.max(not_before.unwrap_or_default()));
        let in_time = |delay: &Duration| {
            inner.settings.give_up_after.is_none_or(|limit| start.elapsed().saturating_add(*delay) <= limit.get())
        };
        let Some(delay) = delay.filter(in_time) else {
            self.gave_up();
            return None;
        };
        if !inner.budget.withdraw() {
            inner.denied.fetch_add(1, Relaxed);
            return None;
        }
        Some(delay)
    }

    pub(crate) fn gave_up(&self) {
        self.inner.gave_up.fetch_add(1, Relaxed);
    }

    /// Another try begins.
    pub(crate) fn retried(&self) {
        self.inner.retries.fetch_add(1, Relaxed);
    }

    /// Another try worked.
    pub(crate) fn recovered(&self) {
        self.inner.recovered.fetch_add(1, Relaxed);
    }

    pub(crate) fn verdict<E>(&self, error: &CallError<E>) -> Verdict
    where
        C: Classify<E>,
    {
        self.classify.classify(error)
    }

    async fn again<T, E, F, Fut>(&self, call: F, mut error: CallError<E>) -> Result<T, CallError<E>>
    where
        C: Classify<E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, CallError<E>>>,
    {
        let mut tries = None;
        loop {
            let Some(delay) = self.next(&mut tries, self.verdict(&error)) else { return Err(error) };
            tokio::time::sleep(delay).await;
            self.retried();
            match call().await {
                Ok(value) => {
                    self.recovered();
                    return Ok(value);
                }
                Err(next) => error = next,
            }
        }
    }
}

impl<T: Send, E: Send, C: Classify<E>> Manner<T, E> for Retry<C> {
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        self.begin();
        match call().await {
            Ok(value) => Ok(value),
            Err(error) => self.again(call, error).await,
        }
    }
}
