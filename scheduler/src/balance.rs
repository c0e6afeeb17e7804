//! The load balancer: which of several workers gets a call.
//!
//! By turns of weight, by fewest calls out, by the better of two drawn at random (Mitzenmacher, *The Power of Two Choices*,
//! 2001), or by the better of two in expected time of answer (Finagle's peak EWMA). Workers have a capacity that is never
//! exceeded. Those that fail several times in a row are ejected for a while (Envoy's outlier detection), those that fail
//! their health check until it is well again, and those that come back, as new ones, start slowly.
//!
//! The set of workers is replaced whole, so that a choice takes no lock; unlike tower's, which must own its workers, calls end
//! where they end, by dropping what was picked.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;
use trimtab_config::{Problems, check_name};

use crate::manners::clock::{Clock, nanos};
use crate::manners::config::{BalanceSettings, Policy, check};
use crate::manners::metrics::Meters;
use crate::manners::pad::Padded;
use crate::manners::{CallOutcome, Reason, Refusal, SetupError};

mod choose;
mod health;
mod schedule;
mod worker;

pub use health::HealthChecks;

use choose::{by_turns, least, of_two};
use worker::{View, Worker};

/// The largest weight of a worker.
pub const WEIGHT_MAX: u32 = 1_000;
/// What an answer is expected to take before there was any, in nanoseconds.
const FIRST_COST: f64 = 1e6;

/// The numbers of a balancer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BalanceStats {
    /// Its name.
    pub name: Arc<str>,
    /// Its workers, in the order in which they were added.
    pub workers: Vec<WorkerStats>,
    /// Callers waiting.
    pub waiting: usize,
    /// Calls given to workers, those that are gone included.
    pub picks: u64,
    /// Calls that no worker had room for.
    pub refused: u64,
    /// How often workers were ejected.
    pub ejections: u64,
}

/// The numbers of a worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its name.
    pub name: Arc<str>,
    /// Calls out.
    pub in_use: usize,
    /// The most calls out.
    pub capacity: usize,
    /// Calls that it got.
    pub calls: u64,
    /// Of these, failed or dropped.
    pub failed: u64,
    /// Neither ejected nor unhealthy.
    pub available: bool,
    /// What an answer is expected to take. `peak_ewma` only.
    pub expected: Duration,
}

/// Chooses among workers. Clones are cheap and share everything.
///
/// ```
/// use trimtab_scheduler::{BalanceSettings, Balancer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let replicas = Balancer::new("replicas", BalanceSettings::default())?;
/// replicas.add("east", "10.0.0.1:5432", 1, 2)?;          // weight 1, at most 2 calls
/// replicas.add("west", "10.0.0.2:5432", 1, 2)?;
///
/// let picked = replicas.acquire().await?;                // waits for room; `pick` does not
/// println!("ask {}", picked.worker());
/// picked.success();                                      // or `failure`; dropped, it counts as failed
///
/// let picked = [replicas.pick()?, replicas.pick()?, replicas.pick()?, replicas.pick()?];
/// assert_eq!(
///     replicas.pick().unwrap_err().to_string(),
///     "balancer \"replicas\" refused: none of 2 workers has room (0 ejected or unhealthy); add workers, or look why they \
///      are ejected");
/// # drop(picked);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Balancer<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Balancer<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<T> {
    set: ArcSwap<Set<T>>,
    turn: Padded<AtomicU64>,
    /// Some worker is or was lately ejected, or starts slowly: choices must look at the clock.
    restless: AtomicBool,
    restless_until: AtomicU64,
    waiting: AtomicUsize,
    /// Held by the first of those who wait; tokio's lock serves them in order.
    line: tokio::sync::Mutex<()>,
    room: Notify,
    /// Changes of the set, and ejections.
    changes: Mutex<u64>,
    refused: AtomicU64,
    /// Calls of workers that are gone.
    gone: AtomicU64,
    name: Arc<str>,
    settings: BalanceSettings,
    clock: Clock,
    meters: Meters,
}

struct Set<T> {
    workers: Box<[Arc<Worker<T>>]>,
    turns: Box<[u32]>,
}

impl<T> Set<T> {
    fn new(workers: Vec<Arc<Worker<T>>>) -> Self {
        let weights: Vec<u32> = workers.iter().map(|worker| worker.weight as u32).collect();
        Self { turns: schedule::schedule(&weights), workers: workers.into() }
    }
}

impl<T> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<T> Balancer<T> {
    /// A balancer without workers.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn new(name: &str, settings: BalanceSettings) -> Result<Self, SetupError> {
        check("balancer", name, &settings)?;
        let inner = Inner {
            set: ArcSwap::from_pointee(Set::new(Vec::new())),
            turn: Padded::default(),
            restless: AtomicBool::new(false),
            restless_until: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            line: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            changes: Mutex::new(0),
            refused: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            name: name.into(),
            settings,
            clock: Clock::new(),
            meters: Meters::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Adds a worker with a weight from 1 to [`WEIGHT_MAX`] and room for so many calls; one of the same name is replaced, and
    /// keeps the calls it has.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, weight or capacity.
    pub fn add(&self, name: &str, worker: T, weight: u32, capacity: usize) -> Result<(), SetupError> {
        check_name("worker", name)?;
        let mut problems = Problems::new();
        if !(1..=WEIGHT_MAX).contains(&weight) {
            problems.report(format!("worker.{name}.weight"), weight, format!("must be from 1 to {WEIGHT_MAX}"));
        }
        if capacity == 0 {
            problems.report(format!("worker.{name}.capacity"), capacity, "must be at least 1");
        }
        problems.into_result().map_err(|problems| SetupError::Settings {
            what: "worker",
            name: name.to_owned(),
            problems,
        })?;
        let inner = &*self.inner;
        let changes = inner.changes.lock();
        let view = inner.view();
        let old = inner.set.load_full();
        // What is known of the others is a better guess than none, and zero would draw every call.
        let known: Vec<f64> = old.workers.iter().filter(|w| w.calls.load(Relaxed) > 0).map(|w| w.cost(&view)).collect();
        let cost = if known.is_empty() { FIRST_COST } else { known.iter().sum::<f64>() / known.len() as f64 };
        // Where all are new, none of them has to start slowly.
        let full_at = if known.is_empty() { 0 } else { view.now.saturating_add(view.slow_start) };
        let new = Arc::new(Worker::new(name.into(), worker, weight, capacity, full_at, view.now, cost));
        let mut workers = old.workers.to_vec();
        match workers.iter_mut().find(|worker| *worker.name == *name) {
            Some(place) => {
                inner.gone.fetch_add(place.calls.load(Relaxed), Relaxed);
                *place = new;
            }
            None => workers.push(new),
        }
        inner.stir(full_at);
        inner.set.store(Arc::new(Set::new(workers)));
        drop(changes);
        inner.room.notify_one();
        Ok(())
    }

    /// Takes a worker out; calls that it has go on. Tells whether it was there.
    pub fn remove(&self, name: &str) -> bool {
        let inner = &*self.inner;
        let changes = inner.changes.lock();
        let old = inner.set.load_full();
        let mut workers = old.workers.to_vec();
        workers.retain(|worker| *worker.name != *name);
        let found = workers.len() < old.workers.len();
        if found {
            let calls = old.workers.iter().filter(|worker| *worker.name == *name).map(|w| w.calls.load(Relaxed)).sum();
            inner.gone.fetch_add(calls, Relaxed);
            inner.set.store(Arc::new(Set::new(workers)));
        }
        drop(changes);
        // The workers' destructors are somebody else's code.
        drop(old);
        found
    }

    /// Workers there are.
    pub fn len(&self) -> usize {
        self.inner.set.load().workers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Chooses a worker that has room now.
    ///
    /// # Errors
    ///
    /// [`Reason::NoWorker`].
    ///
    /// # Complexity
    ///
    /// By turns and by two choices O(1) as long as most workers have room; otherwise and by least load O(workers).
    #[inline]
    pub fn pick(&self) -> Result<Picked<T>, Refusal> {
        self.choose().map_err(|refused| self.inner.refuse(&refused))
    }

    /// Chooses a worker, waiting for room if there is none. Callers are served in the order in which they came, though
    /// [`pick`](Self::pick) does not look at who waits.
    ///
    /// # Errors
    ///
    /// [`Reason::NoWorker`] when there are no workers at all.
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves gives up its place; the next in line moves up.
    pub async fn acquire(&self) -> Result<Picked<T>, Refusal> {
        let inner = &*self.inner;
        if inner.waiting.load(SeqCst) == 0
            && let Ok(picked) = self.choose()
        {
            return Ok(picked);
        }
        let _place = Place::take(&inner.waiting);
        let _first = inner.line.lock().await;
        loop {
            let mut room = pin!(inner.room.notified());
            room.as_mut().enable();
            match self.choose() {
                Ok(picked) => return Ok(picked),
                Err(refused) if refused.workers == 0 => return Err(inner.refuse(&refused)),
                // The end of an ejection is nothing that somebody tells.
                Err(NoRoom { back_in: Some(time), .. }) => {
                    let _ = tokio::time::timeout(time, room).await;
                }
                Err(_) => room.await,
            }
        }
    }

    fn choose(&self) -> Result<Picked<T>, NoRoom> {
        let inner = &self.inner;
        let set = inner.set.load();
        let by_cost = inner.settings.policy == Policy::PeakEwma;
        let view = if by_cost || inner.restless.load(Relaxed) {
            let view = inner.view();
            if inner.restless.load(Relaxed) && view.now >= inner.restless_until.load(Relaxed) {
                inner.calm_down(view.now);
            }
            view
        } else {
            // Nobody is ejected and nobody starts slowly: any late time will do.
            View { now: u64::MAX, ..inner.view_at(0) }
        };
        let workers = &*set.workers;
        let chosen = match inner.settings.policy {
            Policy::Weighted => by_turns(&set, inner.turn.fetch_add(1, Relaxed), &view),
            Policy::LeastLoaded => least(workers, &view, |worker| worker.load(&view)),
            Policy::TwoChoices => of_two(workers, &view, |worker| worker.load(&view)),
            Policy::PeakEwma => of_two(workers, &view, |worker| worker.load(&view) * worker.cost(&view)),
        };
        // Where the rule finds nobody, or somebody was faster, whoever has room will do.
        let found = chosen.filter(|worker| worker.claim()).or_else(|| {
            let mut rest: Vec<&Arc<Worker<T>>> =
                workers.iter().filter(|worker| worker.available(&view) && worker.has_room()).collect();
            rest.sort_by(|a, b| a.load(&view).total_cmp(&b.load(&view)));
            rest.into_iter().find(|worker| worker.claim())
        });
        let Some(worker) = found else {
            let out: Vec<_> = workers.iter().filter(|worker| !worker.available(&view)).collect();
            let back = out.iter().filter(|worker| worker.healthy.load(Relaxed));
            let back_in = back
                .map(|worker| Duration::from_nanos(worker.ejected_until.load(Relaxed).saturating_sub(view.now)))
                .min();
            return Err(NoRoom { workers: workers.len(), ejected: out.len(), back_in });
        };
        worker.calls.fetch_add(1, Relaxed);
        let start = if by_cost { view.now } else { 0 };
        Ok(Picked { inner: inner.clone(), worker: worker.clone(), start, told: false })
    }

    /// Its numbers.
    pub fn stats(&self) -> BalanceStats {
        let inner = &*self.inner;
        let ejections = *inner.changes.lock();
        let set = inner.set.load_full();
        let view = inner.view();
        let workers: Vec<WorkerStats> = set
            .workers
            .iter()
            .map(|worker| WorkerStats {
                name: worker.name.clone(),
                in_use: worker.in_use.load(Relaxed),
                capacity: worker.capacity,
                calls: worker.calls.load(Relaxed),
                failed: worker.failed.load(Relaxed),
                available: worker.available(&view),
                expected: Duration::from_nanos(worker.cost(&view) as u64),
            })
            .collect();
        BalanceStats {
            name: inner.name.clone(),
            waiting: inner.waiting.load(Relaxed),
            picks: inner.gone.load(Relaxed) + workers.iter().map(|worker| worker.calls).sum::<u64>(),
            workers,
            refused: inner.refused.load(Relaxed),
            ejections,
        }
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.meters.balancer(&self.stats());
    }
}

/// Nobody had room.
struct NoRoom {
    workers: usize,
    ejected: usize,
    /// When the first ejected one comes back.
    back_in: Option<Duration>,
}

impl<T> Inner<T> {
    fn view(&self) -> View {
        self.view_at(self.clock.now())
    }

    fn view_at(&self, now: u64) -> View {
        View { now, decay: nanos(self.settings.decay.get()) as f64, slow_start: nanos(self.settings.slow_start.get()) }
    }

    #[cold]
    fn refuse(&self, refused: &NoRoom) -> Refusal {
        self.refused.fetch_add(1, Relaxed);
        let reason = Reason::NoWorker { workers: refused.workers, ejected: refused.ejected };
        Refusal::new(self.name.clone(), reason, refused.back_in)
    }

    /// Choices must look at the clock until then. Called under the lock of changes.
    fn stir(&self, until: u64) {
        self.restless_until.fetch_max(until, Relaxed);
        self.restless.store(true, Relaxed);
    }

    #[cold]
    fn calm_down(&self, now: u64) {
        let changes = self.changes.lock();
        let unhealthy = self.set.load().workers.iter().any(|worker| !worker.healthy.load(Relaxed));
        if !unhealthy && now >= self.restless_until.load(Relaxed) {
            self.restless.store(false, Relaxed);
        }
        drop(changes);
    }

    fn set_health(&self, worker: &Worker<T>, well: bool) {
        let changes = self.changes.lock();
        if worker.healthy.swap(well, Relaxed) == well {
            return;
        }
        let view = self.view();
        if well {
            worker.full_at.store(view.now.saturating_add(view.slow_start), Relaxed);
        }
        self.stir(view.now.saturating_add(view.slow_start));
        drop(changes);
        tracing::info!(balancer = %self.name, worker = %worker.name, well, "health of a worker changed");
        self.room.notify_one();
    }

    fn succeeded(&self, worker: &Worker<T>) {
        if worker.failures.load(Relaxed) != 0 {
            worker.failures.store(0, Relaxed);
        }
        if worker.ejected_until.load(Relaxed) != 0 {
            let view = self.view();
            let good = view.slow_start.saturating_add(nanos(self.settings.eject_for.get()));
            // Good for as long as it was away, and through its slow start: forgotten.
            if view.now >= worker.ejected_until.load(Relaxed).saturating_add(good) {
                worker.record.lock().ejections = 0;
                worker.ejected_until.store(0, Relaxed);
            }
        }
    }

    #[cold]
    fn failed(&self, worker: &Worker<T>) {
        worker.failed.fetch_add(1, Relaxed);
        let limit = self.settings.eject_after;
        if worker.failures.fetch_add(1, Relaxed).saturating_add(1) < limit || limit == 0 {
            return;
        }
        let mut ejections = self.changes.lock();
        let view = self.view();
        let set = self.set.load();
        let out = set.workers.iter().filter(|worker| !worker.available(&view)).count();
        let most = self.settings.eject_share.get() * set.workers.len() as f64;
        if !worker.available(&view) || (out + 1) as f64 > most {
            return;
        }
        let times = {
            let mut record = worker.record.lock();
            record.ejections = record.ejections.saturating_add(1);
            record.ejections
        };
        let time = self.settings.eject_for.get().saturating_mul(times).min(self.settings.eject_max.get());
        let until = view.now.saturating_add(nanos(time));
        worker.failures.store(0, Relaxed);
        let full_at = until.saturating_add(view.slow_start);
        worker.full_at.store(full_at, Relaxed);
        self.stir(full_at);
        worker.ejected_until.store(until, Relaxed);
        *ejections += 1;
        drop(ejections);
        tracing::warn!(balancer = %self.name, worker = %worker.name, failures = limit, ?time, "worker ejected");
    }
}

struct Place<'a> {
    waiting: &'a AtomicUsize,
}

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, SeqCst);
        Self { waiting }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, SeqCst);
    }
}

/// A worker with a place for one call. Tell it how the call went; dropped, the call counts as failed, since that is how a
/// time-out looks from inside.
#[must_use = "the place is given back when this is dropped, and the call counts as failed"]
pub struct Picked<T> {
    inner: Arc<Inner<T>>,
    worker: Arc<Worker<T>>,
    start: u64,
    told: bool,
}

impl<T> fmt::Debug for Picked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picked").field("worker", &self.worker.name).finish_non_exhaustive()
    }
}

impl<T> Picked<T> {
    /// The worker.
    pub fn worker(&self) -> &T {
        &self.worker.value
    }

    /// The worker, to be taken along.
    pub fn shared(&self) -> Arc<T> {
        self.worker.value.clone()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.worker.name
    }

    /// The call worked.
    #[inline]
    pub fn success(self) {
        self.settle(CallOutcome::Success);
    }

    /// The call failed.
    pub fn failure(self) {
        self.settle(CallOutcome::Failure);
    }

    /// The call says nothing about the worker.
    pub fn ignore(self) {
        self.settle(CallOutcome::Ignored);
    }

    /// Tells how the call went.
    #[inline]
    pub fn settle(mut self, outcome: CallOutcome) {
        self.told = true;
        self.tell(outcome);
    }

    #[inline]
    fn tell(&self, outcome: CallOutcome) {
        let inner = &*self.inner;
        if outcome != CallOutcome::Ignored && inner.settings.policy == Policy::PeakEwma {
            let view = inner.view();
            self.worker.learn(&view, view.now.saturating_sub(self.start));
        }
        match outcome {
            CallOutcome::Success => inner.succeeded(&self.worker),
            CallOutcome::Failure => inner.failed(&self.worker),
            CallOutcome::Ignored => {}
        }
    }
}

impl<T> Drop for Picked<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.told {
            self.tell(CallOutcome::Failure);
        }
        self.worker.in_use.fetch_sub(1, SeqCst);
        if self.inner.waiting.load(SeqCst) > 0 {
            self.inner.room.notify_one();
        }
    }
}
