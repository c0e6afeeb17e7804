//! The hedge: when the first try is slow, a second one begins, and the first answer counts.
//!
//! Cuts the tail of answer times where most calls are fast and slowness is chance (Dean and Barroso, *The Tail at Scale*, 2013).
//! Only for calls that may be made twice at the same time. A budget keeps second tries few: when everything is slow, a
//! second try of everything would only make it slower.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;

use serde::Serialize;

use crate::manners::config::{HedgeSettings, check};
use crate::manners::metrics::Meters;
use crate::manners::{CallError, Manner, SetupError};
use crate::retry::Budget;
use crate::timeout::within;

/// The numbers of a hedge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Its name.
    pub name: Arc<str>,
    /// Calls with a second try.
    pub hedged: u64,
    /// Of these, those whose second try answered first.
    pub won: u64,
    /// Calls that were slow and that the budget gave no second try.
    pub denied: u64,
}

/// Begins a second try of slow calls. Clones are cheap and share the budget.
///
/// The try that loses is dropped; a breaker further inside counts it as a dropped call, which it is.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::time::Duration;
/// use trimtab_scheduler::{Hedge, HedgeSettings, Manner};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hedge = Hedge::new("lookup", HedgeSettings::default())?;
/// let tries = AtomicU32::new(0);
/// let answer = hedge.call(|| async {
///     let try_number = tries.fetch_add(1, Ordering::Relaxed);
///     if try_number == 0 {
///         tokio::time::sleep(Duration::from_secs(9)).await; // one in a hundred hangs
///     }
///     Ok::<_, std::io::Error>(try_number)
/// }).await;
/// assert_eq!((answer.unwrap(), hedge.stats().won), (1, 1));
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Hedge {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    settings: HedgeSettings,
    budget: Budget,
    hedged: AtomicU64,
    won: AtomicU64,
    denied: AtomicU64,
    meters: Meters,
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("stats", &self.stats()).finish()
    }
}

impl Hedge {
    /// Hedges with these settings.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn new(name: &str, settings: HedgeSettings) -> Result<Self, SetupError> {
        check("hedge", name, &settings)?;
        let inner = Inner {
            name: name.into(),
            budget: Budget::new(&settings.budget),
            settings,
            hedged: AtomicU64::new(0),
            won: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            meters: Meters::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its numbers.
    pub fn stats(&self) -> HedgeStats {
        let Inner { name, hedged, won, denied, .. } = &*self.inner;
        HedgeStats {
            name: name.clone(),
            hedged: hedged.load(Relaxed),
            won: won.load(Relaxed),
            denied: denied.load(Relaxed),
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.hedge(&self.stats());
    }
}

impl<T: Send, E: Send> Manner<T, E> for Hedge {
    /// A first try that fails before the second begins is the answer: what to do about failures is for a retry to say. Of two
    /// tries that fail, the later error is the answer.
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        let inner = &*self.inner;
        inner.budget.deposit();
        let mut first = pin!(call());
        if let Some(result) = within(first.as_mut(), inner.settings.after.get()).await {
            return result;
        }
        if !inner.budget.withdraw() {
            inner.denied.fetch_add(1, Relaxed);
            return first.await;
        }
        inner.hedged.fetch_add(1, Relaxed);
        let mut second = pin!(call());
        let mut failed = [false; 2];
        poll_fn(|context| {
            if !failed[0]
                && let Poll::Ready(result) = first.as_mut().poll(context)
            {
                if result.is_ok() || failed[1] {
                    return Poll::Ready(result);
                }
                failed[0] = true;
            }
            if !failed[1]
                && let Poll::Ready(result) = second.as_mut().poll(context)
            {
                if result.is_ok() || failed[0] {
                    inner.won.fetch_add(u64::from(result.is_ok()), Relaxed);
                    return Poll::Ready(result);
                }
                failed[1] = true;
            }
            Poll::Pending
        })
        .await
    }
}
