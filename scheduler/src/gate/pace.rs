//! The pace: so many calls per so long, spread evenly, with a short excess allowed.
//!
//! `governor` keeps the rate, by the generic cell rate algorithm in one atomic word. It has no queue: whoever finds nothing would
//! sleep and try again beside everybody else. Here those who wait stand in line, only the first of them sleeps, and one who
//! would wait too long is told at the door.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::Serialize;
use trimtab_config::{Rate, check_name};

use crate::gate::{Gate, Pass};
use crate::manners::clock::{Clock, FOREVER};
use crate::manners::metrics::Meters;
use crate::manners::{CallOutcome, Reason, Refusal, SetupError};

/// The numbers of a pace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PaceStats {
    /// Its name.
    pub name: Arc<str>,
    /// The rate.
    pub rate: Rate,
    /// Callers waiting.
    pub waiting: usize,
    /// Callers let through.
    pub passed: u64,
    /// Of these, those that had waited.
    pub waited: u64,
    /// Callers refused.
    pub refused: u64,
}

/// A rate at which calls may begin. Clones are cheap and share the rate.
///
/// ```
/// use std::time::Duration;
/// use trimtab_scheduler::Pace;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let mails = Pace::new("mails", "10/s burst 2".parse()?)?.max_wait(Duration::from_millis(50));
/// mails.ready().await?;
/// mails.ready().await?;
/// let refused = mails.ready().await.unwrap_err();        // the next one is 100 ms away
/// assert!(refused.retry_after() > Some(Duration::from_millis(50)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Pace {
    inner: Arc<Inner>,
    max_wait: Duration,
}

struct Inner {
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Nanos>>,
    clock: Ticks,
    name: Arc<str>,
    rate: Rate,
    /// Held by the first of those who wait; tokio's lock serves them in order.
    line: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    passed: AtomicU64,
    waited: AtomicU64,
    refused: AtomicU64,
    meters: Meters,
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("stats", &self.stats()).field("max_wait", &self.max_wait).finish_non_exhaustive()
    }
}

/// tokio's clock, as governor wants it.
#[derive(Debug, Clone, Copy)]
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now())
    }
}

impl Pace {
    /// A pace whose callers wait for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`SetupError::Name`].
    pub fn new(name: &str, rate: Rate) -> Result<Self, SetupError> {
        check_name("pace", name)?;
        let clock = Ticks(Clock::new());
        // A rate that is no rate is not a `Rate`; more than one each nanosecond is as good as none.
        let interval = rate.interval().clamp(Duration::from_nanos(1), FOREVER);
        let quota = Quota::with_period(interval).unwrap_or(Quota::per_second(rate.permits())).allow_burst(rate.burst());
        Ok(Self {
            inner: Arc::new(Inner {
                limiter: RateLimiter::direct_with_clock(quota, clock),
                clock,
                name: name.into(),
                rate,
                line: tokio::sync::Mutex::new(()),
                waiting: AtomicUsize::new(0),
                passed: AtomicU64::new(0),
                waited: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                meters: Meters::default(),
            }),
            max_wait: FOREVER,
        })
    }

    /// The same pace for callers who would rather be refused than wait longer than this.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Waits until the next call may begin.
    ///
    /// # Errors
    ///
    /// [`Reason::Pace`] at once if the wait would be longer than allowed, counted with those who stand in line already.
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves takes nothing along; the next in line moves up.
    pub async fn ready(&self) -> Result<(), Refusal> {
        let inner = &*self.inner;
        if inner.waiting.load(Relaxed) == 0 && inner.limiter.check().is_ok() {
            inner.passed.fetch_add(1, Relaxed);
            return Ok(());
        }
        self.wait().await
    }

    /// Begins a call now or not at all.
    ///
    /// # Errors
    ///
    /// [`Reason::Pace`].
    pub fn try_ready(&self) -> Result<(), Refusal> {
        let inner = &*self.inner;
        let ahead = inner.waiting.load(Relaxed);
        if ahead > 0 {
            return Err(inner.refuse(inner.rate.interval().saturating_mul(ahead as u32 + 1)));
        }
        match inner.limiter.check() {
            Ok(()) => {
                inner.passed.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(until) => Err(inner.refuse(until.wait_time_from(inner.clock.now()))),
        }
    }

    async fn wait(&self) -> Result<(), Refusal> {
        let inner = &*self.inner;
        let ahead = Place::take(&inner.waiting);
        if self.max_wait < FOREVER {
            // One more than those ahead, each an interval apart, the first of them being under way.
            let wait = match ahead.before {
                0 => match inner.limiter.check() {
                    Ok(()) => {
                        inner.passed.fetch_add(1, Relaxed);
                        return Ok(());
                    }
                    Err(until) => until.wait_time_from(inner.clock.now()),
                },
                before => inner.rate.interval().saturating_mul(u32::try_from(before + 1).unwrap_or(u32::MAX)),
            };
            if wait > self.max_wait {
                return Err(inner.refuse(wait));
            }
        }
        let first = inner.line.lock().await;
        while let Err(until) = inner.limiter.check() {
            tokio::time::sleep(until.wait_time_from(inner.clock.now())).await;
        }
        drop(first);
        inner.waited.fetch_add(1, Relaxed);
        inner.passed.fetch_add(1, Relaxed);
        Ok(())
    }

    crate::gate::call_alone!();

    /// Its numbers.
    pub fn stats(&self) -> PaceStats {
        let inner = &*self.inner;
        PaceStats {
            name: inner.name.clone(),
            rate: inner.rate,
            waiting: inner.waiting.load(Relaxed),
            passed: inner.passed.load(Relaxed),
            waited: inner.waited.load(Relaxed),
            refused: inner.refused.load(Relaxed),
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.pace(&self.stats());
    }
}

impl Inner {
    #[cold]
    fn refuse(&self, wait: Duration) -> Refusal {
        self.refused.fetch_add(1, Relaxed);
        Refusal::new(self.name.clone(), Reason::Pace { rate: self.rate, wait }, Some(wait))
    }
}

struct Place<'a> {
    waiting: &'a AtomicUsize,
    before: usize,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, before: waiting.fetch_add(1, Relaxed) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}

impl Gate for Pace {
    type Permit<'a> = Begun;

    async fn enter(&self) -> Result<Begun, Refusal> {
        self.ready().await.map(|()| Begun(()))
    }

    fn try_enter(&self) -> Result<Begun, Refusal> {
        self.try_ready().map(|()| Begun(()))
    }
}

/// A call that may begin. A pace does not ask when it ends.
#[derive(Debug)]
pub struct Begun(());

impl Pass for Begun {
    fn settle(self, _: CallOutcome) {}
}
