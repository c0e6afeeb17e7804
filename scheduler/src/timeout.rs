//! The time-out: a call that does not end in time is dropped.
//!
//! The timer is set when the call first has to wait, so that one which answers at once costs no look at the clock and no
//! timer; the limit counts from that moment. The timer is looked at even when the call has used up the task's share of
//! turns (tokio's cooperative budget), or a busy call would outlive its limit.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::task::coop::{has_budget_remaining, unconstrained};
use trimtab_config::{Problems, check_name};

use crate::manners::metrics::Meters;
use crate::manners::{CallError, Manner, SetupError, TimedOut};

/// The numbers of a time-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TimeoutStats {
    /// Its name.
    pub name: Arc<str>,
    /// How long a call is given.
    pub limit: Duration,
    /// Calls that did not end in time.
    pub expired: u64,
}

/// A limit on how long one call may take. Clones are cheap.
///
/// ```
/// use std::time::Duration;
/// use trimtab_scheduler::{CallError, Timeout};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let timeout = Timeout::new("search", Duration::from_millis(250))?;
/// assert_eq!(timeout.call(async { Ok::<_, ()>(7) }).await, Ok(7));
/// let late = timeout.call(std::future::pending::<Result<(), std::io::Error>>()).await.unwrap_err();
/// assert_eq!(
///     late.to_string(),
///     "call \"search\" did not end within 250ms and was dropped; give it longer, or look at the far side");
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Timeout {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    limit: Duration,
    expired: AtomicU64,
    meters: Meters,
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("stats", &self.stats()).finish()
    }
}

impl Timeout {
    /// Gives each call so long.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or no time at all.
    pub fn new(name: &str, limit: Duration) -> Result<Self, SetupError> {
        check_name("timeout", name)?;
        if limit.is_zero() {
            let mut problems = Problems::new();
            problems.report(format!("timeout.{name}"), "0s", "must be more than 0");
            let problems = problems.into_result().err();
            if let Some(problems) = problems {
                return Err(SetupError::Settings { what: "timeout", name: name.to_owned(), problems });
            }
        }
        let inner = Inner { name: name.into(), limit, expired: AtomicU64::new(0), meters: Meters::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Makes the call, and drops it if it does not end in time.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] with the error of the call, or [`CallError::TimedOut`].
    ///
    /// # Panics
    ///
    /// When the call has to wait and there is no tokio runtime with its timer on, as all of tokio's timers do.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call is dropped.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, CallError<E>> {
        match within(pin!(call), self.inner.limit).await {
            Some(result) => result.map_err(CallError::Failed),
            None => Err(self.expired()),
        }
    }

    #[cold]
    fn expired<E>(&self) -> CallError<E> {
        self.inner.expired.fetch_add(1, Relaxed);
        CallError::TimedOut(TimedOut::new(self.inner.name.clone(), self.inner.limit))
    }

    /// Its numbers.
    pub fn stats(&self) -> TimeoutStats {
        let Inner { name, limit, expired, .. } = &*self.inner;
        TimeoutStats { name: name.clone(), limit: *limit, expired: expired.load(Relaxed) }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.timeout(&self.stats());
    }
}

impl<T: Send, E: Send> Manner<T, E> for Timeout {
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        match within(pin!(call()), self.inner.limit).await {
            Some(result) => result,
            None => Err(self.expired()),
        }
    }
}

/// What the future gives, or nothing when it took longer.
#[inline]
pub(crate) async fn within<F: Future>(mut future: Pin<&mut F>, limit: Duration) -> Option<F::Output> {
    if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return Some(output);
    }
    let mut timer = pin!(tokio::time::sleep(limit));
    // It was polled a moment ago, in the same turn.
    let mut polled = true;
    poll_fn(|context| {
        if !std::mem::replace(&mut polled, false) {
            let had_turns = has_budget_remaining();
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if had_turns && !has_budget_remaining() {
                return pin!(unconstrained(timer.as_mut())).poll(context).map(|()| None);
            }
        }
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
}
