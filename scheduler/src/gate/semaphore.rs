//! A semaphore that can tell: how many permits are out, who waits, how long, and who was refused.
//!
//! The waiting is tokio's, first come, first served. A permit that is free is taken without joining the queue, which is fair all
//! the same: tokio hands returning permits to those who wait, so that a free one means that nobody does. That path counts
//! with one addition and reads no clock.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{AcquireError, TryAcquireError};
use tokio::time::Instant;
use trimtab_config::{Problems, check_name};

use crate::gate::{Gate, Pass};
use crate::manners::clock::{FOREVER, nanos};
use crate::manners::config::PERMITS_MAX;
use crate::manners::metrics::Meters;
use crate::manners::stripes::Striped;
use crate::manners::{CallOutcome, Reason, Refusal, SetupError};

/// The numbers of a semaphore or bulkhead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PermitStats {
    /// Its name.
    pub name: Arc<str>,
    /// The most permits.
    pub limit: usize,
    /// Permits out.
    pub in_use: usize,
    /// Callers waiting.
    pub waiting: usize,
    /// Callers that got in.
    pub acquired: u64,
    /// Of these, those that had waited.
    pub waited: u64,
    /// How long those waited, together.
    pub wait_total: Duration,
    /// Callers that were refused.
    pub refused: u64,
    /// Callers that left while they waited.
    pub left: u64,
}

/// A semaphore with numbers. Clones are cheap and share the permits.
///
/// ```
/// use trimtab_scheduler::Semaphore;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let exports = Semaphore::new("exports", 2)?;
/// let permit = exports.acquire().await?;
/// let other = exports.acquire_owned().await?;            // goes where it likes, such as into a task
/// assert!(exports.try_acquire().is_err());
/// assert_eq!((exports.stats().in_use, exports.stats().refused), (2, 1));
/// exports.set_limit(1)?;                                 // takes effect as permits come back
/// drop((permit, other));
/// assert_eq!(exports.available(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Semaphore {
    inner: Arc<Permits>,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("stats", &self.stats()).finish()
    }
}

impl Semaphore {
    /// A semaphore with so many permits.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or no permits, or more than [`PERMITS_MAX`].
    pub fn new(name: &str, limit: usize) -> Result<Self, SetupError> {
        check_name("semaphore", name)?;
        check_limit("semaphore", name, limit)?;
        Ok(Self { inner: Permits::new("semaphore", name, limit, usize::MAX, FOREVER) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Permits that are free.
    pub fn available(&self) -> usize {
        self.inner.free.available_permits()
    }

    /// Takes a permit, waiting for it if need be.
    ///
    /// # Errors
    ///
    /// [`Reason::Closed`].
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves gives up its place and holds nothing.
    #[inline]
    pub async fn acquire(&self) -> Result<Permit<'_>, Refusal> {
        self.inner.acquire(1).await
    }

    /// Takes `n` permits at once, so that no two callers can hold a part each for ever.
    ///
    /// # Errors
    ///
    /// [`Reason::Closed`], or [`Reason::Full`] if there will never be so many.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, n: u32) -> Result<Permit<'_>, Refusal> {
        self.inner.acquire(n).await
    }

    /// Takes a permit that does not borrow the semaphore.
    ///
    /// # Errors
    ///
    /// [`Reason::Closed`].
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_owned(&self) -> Result<OwnedPermit, Refusal> {
        let permit = self.inner.acquire(1).await?;
        Ok(OwnedPermit { count: permit.keep(), permits: self.inner.clone() })
    }

    /// Takes a permit if one is free.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`] or [`Reason::Closed`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, Refusal> {
        self.inner.try_acquire(1)
    }

    /// Changes the number of permits. Fewer take effect as permits come back.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`] for none, or more than [`PERMITS_MAX`]; then nothing changed.
    pub fn set_limit(&self, limit: usize) -> Result<(), SetupError> {
        check_limit("semaphore", &self.inner.name, limit)?;
        self.inner.set_limit(limit);
        Ok(())
    }

    /// Lets nobody in any more: those who wait and those who come are refused. Permits that are out stay valid.
    pub fn close(&self) {
        self.inner.free.close();
    }

    crate::gate::call_alone!();

    /// Its numbers.
    pub fn stats(&self) -> PermitStats {
        self.inner.stats()
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.publish();
    }
}

pub(super) fn check_limit(what: &'static str, name: &str, limit: usize) -> Result<(), SetupError> {
    if (1..=PERMITS_MAX).contains(&limit) {
        return Ok(());
    }
    let mut problems = Problems::new();
    problems.report(format!("{what}.{name}.max"), limit, format!("must be from 1 to {PERMITS_MAX}"));
    problems.into_result().map_err(|problems| SetupError::Settings { what, name: name.to_owned(), problems })
}

/// What semaphores and bulkheads share.
pub(super) struct Permits {
    free: tokio::sync::Semaphore,
    /// Counted on the fast path, where threads fight for the permits already.
    acquired: Striped,
    /// Permits that are to vanish when they come back.
    debt: AtomicUsize,
    waiting: AtomicUsize,
    waited: AtomicU64,
    wait_nanos: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
    name: Arc<str>,
    limit: Mutex<usize>,
    max_waiting: usize,
    max_wait: Duration,
    meters: Meters,
    what: &'static str,
}

impl Permits {
    pub(super) fn new(
        what: &'static str,
        name: &str,
        limit: usize,
        max_waiting: usize,
        max_wait: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            free: tokio::sync::Semaphore::new(limit),
            acquired: Striped::default(),
            debt: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            wait_nanos: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            left: AtomicU64::new(0),
            name: name.into(),
            limit: Mutex::new(limit),
            max_waiting,
            max_wait,
            meters: Meters::default(),
            what,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn available(&self) -> usize {
        self.free.available_permits()
    }

    pub(super) fn close(&self) {
        self.free.close();
    }

    #[inline]
    pub(super) fn try_acquire(&self, n: u32) -> Result<Permit<'_>, Refusal> {
        match self.free.try_acquire_many(n) {
            Ok(permit) => {
                permit.forget();
                Ok(self.count(n))
            }
            Err(TryAcquireError::NoPermits) => Err(self.full(self.waiting.load(Relaxed))),
            Err(TryAcquireError::Closed) => Err(self.closed()),
        }
    }

    #[inline]
    pub(super) async fn acquire(&self, n: u32) -> Result<Permit<'_>, Refusal> {
        if let Ok(permit) = self.free.try_acquire_many(n) {
            permit.forget();
            return Ok(self.count(n));
        }
        self.wait(n).await
    }

    #[inline]
    fn count(&self, n: u32) -> Permit<'_> {
        self.acquired.add();
        Permit { permits: self, count: n }
    }

    async fn wait(&self, n: u32) -> Result<Permit<'_>, Refusal> {
        let limit = *self.limit.lock();
        if n as usize > limit {
            return Err(self.full(self.waiting.load(Relaxed)));
        }
        let place = Place::take(self)?;
        let start = Instant::now();
        let permit = self.free.acquire_many(n);
        let answer = if self.max_wait >= FOREVER {
            permit.await
        } else {
            let Ok(answer) = tokio::time::timeout(self.max_wait, permit).await else {
                place.end();
                self.refused.fetch_add(1, Relaxed);
                let reason = Reason::Waited { limit: self.max_wait, permits: limit };
                return Err(Refusal::new(self.name.clone(), reason, None));
            };
            answer
        };
        place.end();
        match answer {
            Ok(permit) => {
                permit.forget();
                self.waited.fetch_add(1, Relaxed);
                self.wait_nanos.fetch_add(nanos(start.elapsed()), Relaxed);
                Ok(self.count(n))
            }
            Err(AcquireError { .. }) => Err(self.closed()),
        }
    }

    #[cold]
    fn full(&self, waiting: usize) -> Refusal {
        self.refused.fetch_add(1, Relaxed);
        Refusal::new(self.name.clone(), Reason::Full { limit: *self.limit.lock(), waiting }, None)
    }

    #[cold]
    fn closed(&self) -> Refusal {
        self.refused.fetch_add(1, Relaxed);
        Refusal::new(self.name.clone(), Reason::Closed, None)
    }

    #[inline]
    fn give_back(&self, n: u32) {
        let mut back = n as usize;
        if self.debt.load(Relaxed) > 0 {
            back -= self.pay(back);
        }
        // `release(0)` would look at the queue for nothing.
        if back > 0 {
            self.free.add_permits(back);
        }
    }

    /// Pays at most `n` of the debt; tells how much.
    #[cold]
    fn pay(&self, n: usize) -> usize {
        let mut debt = self.debt.load(Relaxed);
        loop {
            let part = debt.min(n);
            match self.debt.compare_exchange_weak(debt, debt - part, Relaxed, Relaxed) {
                Ok(_) => return part,
                Err(other) => debt = other,
            }
        }
    }

    /// Free permits vanish at once, the others as they come back: a permit that is just coming back may come through once more
    /// and be missing the next time.
    pub(super) fn set_limit(&self, new: usize) {
        let mut limit = self.limit.lock();
        let old = std::mem::replace(&mut *limit, new);
        if new > old {
            let owed = self.pay(new - old);
            self.free.add_permits(new - old - owed);
        } else {
            let gone = self.free.forget_permits(old - new);
            self.debt.fetch_add(old - new - gone, Relaxed);
        }
    }

    pub(super) fn stats(&self) -> PermitStats {
        let limit = *self.limit.lock();
        let debt = self.debt.load(Relaxed);
        PermitStats {
            name: self.name.clone(),
            limit,
            in_use: (limit + debt).saturating_sub(self.free.available_permits()),
            waiting: self.waiting.load(Relaxed),
            acquired: self.acquired.sum(),
            waited: self.waited.load(Relaxed),
            wait_total: Duration::from_nanos(self.wait_nanos.load(Relaxed)),
            refused: self.refused.load(Relaxed),
            left: self.left.load(Relaxed),
        }
    }

    pub(super) fn publish(&self) {
        self.meters.permits(self.what, &self.stats());
    }
}

/// A place among those who wait; given up when its caller leaves.
struct Place<'a> {
    permits: &'a Permits,
    ended: bool,
}

impl<'a> Place<'a> {
    fn take(permits: &'a Permits) -> Result<Self, Refusal> {
        let before = permits.waiting.fetch_add(1, Relaxed);
        if before >= permits.max_waiting {
            permits.waiting.fetch_sub(1, Relaxed);
            return Err(permits.full(before));
        }
        Ok(Self { permits, ended: false })
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.permits.waiting.fetch_sub(1, Relaxed);
        if !self.ended {
            self.permits.left.fetch_add(1, Relaxed);
        }
    }
}

/// Room for one caller, given back when it is dropped.
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit<'a> {
    permits: &'a Permits,
    count: u32,
}

impl Permit<'_> {
    fn keep(mut self) -> u32 {
        std::mem::replace(&mut self.count, 0)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("of", &self.permits.name).field("count", &self.count).finish()
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.count > 0 {
            self.permits.give_back(self.count);
        }
    }
}

impl Pass for Permit<'_> {
    #[inline]
    fn settle(self, _: CallOutcome) {}
}

/// A [`Permit`] that does not borrow.
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct OwnedPermit {
    permits: Arc<Permits>,
    count: u32,
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("of", &self.permits.name).field("count", &self.count).finish()
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.permits.give_back(self.count);
    }
}

impl Gate for Semaphore {
    type Permit<'a> = Permit<'a>;

    #[inline]
    fn enter(&self) -> impl Future<Output = Result<Permit<'_>, Refusal>> + Send {
        self.inner.acquire(1)
    }

    #[inline]
    fn try_enter(&self) -> Result<Permit<'_>, Refusal> {
        self.try_acquire()
    }
}
