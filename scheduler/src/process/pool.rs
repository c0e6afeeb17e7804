//! Which worker gets a job: an idle one, the latest used first, or a new one.
//!
//! How many there are is bounded by the lane's ceiling, since a job that runs has one worker and each job runs in its lane; one
//! that is being ended may be there a moment longer. When starts fail one after another, further ones are refused for growing
//! times, and jobs that would need them with them.
//!
//! Locks are taken in one order: the pool's, then a desk's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::oneshot;

use trimtab_config::{ByteSize, Delays};

use super::channel::Bell;
use super::config::WorkerSettings;
use super::metrics::Meters;
use super::wire::Kind;
use super::{Message, ProcessFault, Signature, Workers, keeper, wire};

/// What a worker answered: the kind of the frame, and the frame.
pub(super) type Answer = Result<(Kind, Vec<u8>), ProcessFault>;

/// A job as a worker gets it.
pub(super) struct Order {
    pub(super) frame: Vec<u8>,
    pub(super) timeout: Duration,
    answer: oneshot::Sender<Answer>,
}

impl Order {
    /// Whoever has cancelled the job does not hear it.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.answer.send(answer);
    }
}

/// How a worker is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// It may end by itself: it has no job.
    Retire,
    /// At once.
    Kill,
}

/// What others leave for the keeper of a worker.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) order: Option<Order>,
    /// The number of the job that the worker has; 0 for none.
    serving: u64,
    /// Nobody wants that job any more.
    pub(super) cancelled: bool,
    pub(super) dismissed: Option<Dismissal>,
}

/// One worker, as the pool knows it.
pub(super) struct Worker {
    number: u64,
    pub(super) settings: Arc<WorkerSettings>,
    bell: Bell,
    pub(super) desk: Mutex<Desk>,
}

impl Worker {
    /// Whether the process is to end in the midst of its job.
    pub(super) fn is_stopped(&self) -> bool {
        let desk = self.desk.lock();
        desk.cancelled || desk.dismissed == Some(Dismissal::Kill)
    }

    fn dismiss(&self, how: Dismissal) {
        self.desk.lock().dismissed = Some(how);
        self.bell.ring();
    }
}

/// Holds a worker to one job; see [`cancel`](Self::cancel).
pub(super) struct Leash {
    worker: Arc<Worker>,
    number: u64,
}

impl Leash {
    /// Ends the worker if it still has the job, and only then.
    pub(super) fn cancel(&self) {
        let mut desk = self.worker.desk.lock();
        if desk.serving == self.number {
            desk.cancelled = true;
            drop(desk);
            self.worker.bell.ring();
        }
    }
}

/// Why a worker is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its start failed.
    Unborn,
    /// It had worked or idled long enough, or under old settings.
    Retired,
    /// It died.
    Crashed,
    /// Its job took too long.
    TimedOut,
    /// Its job was cancelled.
    Cancelled,
    /// The lane ended.
    Closed,
}

/// Worker processes in numbers. Counts are since the scheduler was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Processes that there are, starting and ending ones among them.
    pub alive: usize,
    /// Of these, without work.
    pub idle: usize,
    /// Processes that were started.
    pub started: u64,
    /// Starts that failed.
    pub start_failures: u64,
    /// Processes that died by themselves or were killed by somebody else, or answered nonsense.
    pub crashed: u64,
    /// Processes killed since their job took too long.
    pub timed_out: u64,
    /// Processes killed since their job was cancelled.
    pub cancelled: u64,
    /// Processes that ended since they had done enough, had nothing to do, or ran under old settings.
    pub retired: u64,
    /// Processes killed as the scheduler ended.
    pub closed: u64,
}

/// How starts went lately.
#[derive(Default)]
struct Starts {
    delays: Option<Delays>,
    /// When the next one may be tried, and what went wrong with the last.
    refused: Option<(Instant, String)>,
}

struct Inner {
    settings: Arc<WorkerSettings>,
    closed: bool,
    jobs: u64,
    numbers: u64,
    idle: Vec<Arc<Worker>>,
    all: BTreeMap<u64, Arc<Worker>>,
    starts: Starts,
    counts: WorkerStats,
}

/// The workers of a scheduler.
pub(crate) struct Pool {
    scheduler: Arc<str>,
    pub(super) workers: Workers,
    meters: Meters,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(scheduler: Arc<str>, workers: Workers, settings: &WorkerSettings) -> Arc<Self> {
        let inner = Inner {
            settings: Arc::new(settings.clone()),
            closed: false,
            jobs: 0,
            numbers: 0,
            idle: Vec::new(),
            all: BTreeMap::new(),
            starts: Starts::default(),
            counts: WorkerStats::default(),
        };
        Arc::new(Self { scheduler, workers, meters: Meters::default(), inner: Mutex::new(inner) })
    }

    /// Whether a job can be done at all: by name, types and size.
    pub(super) fn check(&self, function: &str, called: Signature, size: usize) -> Result<(), ProcessFault> {
        let Some(known) = self.workers.functions.get(function) else {
            return Err(ProcessFault::Unknown { function: function.to_owned(), known: self.workers.names() });
        };
        if known.signature != called {
            let (registered, called) = (known.signature.to_string(), called.to_string());
            return Err(ProcessFault::Mistyped { registered, called });
        }
        let limit = self.inner.lock().settings.message_max;
        let size = ByteSize::b((size - wire::call_overhead(function)) as u64);
        if size > limit {
            return Err(ProcessFault::TooLarge { message: Message::Argument, size, limit });
        }
        Ok(())
    }

    /// Gives a job to a worker.
    pub(super) fn hand_over(
        self: &Arc<Self>,
        frame: Vec<u8>,
        timeout: Option<Duration>,
        answer: oneshot::Sender<Answer>,
    ) -> Result<Leash, ProcessFault> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(ProcessFault::Closed);
        }
        inner.jobs += 1;
        let number = inner.jobs;
        let order = Order { frame, timeout: timeout.unwrap_or(inner.settings.timeout.get()), answer };
        if let Some(worker) = inner.idle.pop() {
            *worker.desk.lock() = Desk { order: Some(order), serving: number, ..Desk::default() };
            drop(inner);
            worker.bell.ring();
            return Ok(Leash { worker, number });
        }
        if let Some((until, reason)) = &inner.starts.refused {
            let retry_after = until.saturating_duration_since(Instant::now());
            if !retry_after.is_zero() {
                return Err(ProcessFault::NotStarted { reason: reason.clone(), retry_after });
            }
        }
        inner.numbers += 1;
        let desk = Desk { serving: number, ..Desk::default() };
        let (id, settings) = (inner.numbers, Arc::clone(&inner.settings));
        let started = Bell::new().and_then(|(bell, heard)| {
            let worker = Arc::new(Worker { number: id, settings, bell, desk: Mutex::new(desk) });
            inner.all.insert(id, Arc::clone(&worker));
            let (pool, keeps) = (Arc::clone(self), Arc::clone(&worker));
            let name = format!("{}-worker-{id}", self.scheduler);
            let thread = std::thread::Builder::new().name(name).stack_size(256 << 10);
            // The thread waits for the pool's lock at its first step.
            let spawned = thread.spawn(move || keeper::keep(&pool, &keeps, &heard, order));
            spawned.map(|_| worker)
        });
        match started {
            Ok(worker) => Ok(Leash { worker, number }),
            Err(error) => {
                inner.all.remove(&id);
                Err(inner.start_failed(format!("no thread or socket for its keeper: {error}")))
            }
        }
    }

    // What keepers report.

    pub(super) fn started(&self) {
        let mut inner = self.inner.lock();
        inner.counts.started += 1;
        inner.starts = Starts::default();
    }

    pub(super) fn start_failed(&self, reason: String) -> ProcessFault {
        tracing::warn!(scheduler = &*self.scheduler, reason, "a worker could not be started");
        self.inner.lock().start_failed(reason)
    }

    /// Puts a worker among the idle, whose job is done. False if it is to end.
    pub(super) fn rest(&self, worker: &Arc<Worker>) -> bool {
        let mut inner = self.inner.lock();
        let mut desk = worker.desk.lock();
        // Whoever wants the job cancelled from here on comes too late.
        (desk.serving, desk.cancelled) = (0, false);
        if inner.closed || !Arc::ptr_eq(&inner.settings, &worker.settings) {
            return false;
        }
        drop(desk);
        inner.idle.push(Arc::clone(worker));
        true
    }

    /// Takes a worker from among the idle for good; the job it has been given meanwhile, if so.
    pub(super) fn leave(&self, worker: &Arc<Worker>) -> Option<Order> {
        self.inner.lock().idle.retain(|idle| !Arc::ptr_eq(idle, worker));
        worker.desk.lock().order.take()
    }

    /// A worker died while it had no job; its keeper starts another one.
    pub(super) fn died_idle(&self) {
        self.inner.lock().counts.crashed += 1;
    }

    /// Strikes a worker off that no longer exists.
    pub(super) fn gone(&self, worker: &Worker, why: Gone) {
        let mut inner = self.inner.lock();
        inner.all.remove(&worker.number);
        let closed = inner.closed;
        let counts = &mut inner.counts;
        *match why {
            Gone::Unborn => return,
            Gone::Retired => &mut counts.retired,
            Gone::Crashed => &mut counts.crashed,
            Gone::TimedOut => &mut counts.timed_out,
            Gone::Cancelled if !closed => &mut counts.cancelled,
            Gone::Cancelled | Gone::Closed => &mut counts.closed,
        } += 1;
    }

    // What the scheduler says.

    /// Kills all workers, and starts no more.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.idle.clear();
        let all: Vec<_> = inner.all.values().cloned().collect();
        drop(inner);
        for worker in all {
            worker.dismiss(Dismissal::Kill);
        }
    }

    /// Takes over changed settings: workers that run under old ones end after their job.
    pub(crate) fn apply(&self, settings: &WorkerSettings) {
        let mut inner = self.inner.lock();
        if *inner.settings == *settings {
            return;
        }
        inner.settings = Arc::new(settings.clone());
        inner.starts = Starts::default();
        let idle = std::mem::take(&mut inner.idle);
        drop(inner);
        for worker in idle {
            worker.dismiss(Dismissal::Retire);
        }
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let inner = self.inner.lock();
        WorkerStats { alive: inner.all.len(), idle: inner.idle.len(), ..inner.counts }
    }

    pub(crate) fn publish_metrics(&self) {
        self.meters.publish(&self.scheduler, &self.stats());
    }
}

impl Inner {
    fn start_failed(&mut self, reason: String) -> ProcessFault {
        self.counts.start_failures += 1;
        let backoff = &self.settings.backoff;
        let delays = self.starts.delays.get_or_insert_with(|| backoff.delays());
        let retry_after = delays.next().unwrap_or(backoff.max.get());
        self.starts.refused = Some((Instant::now() + retry_after, reason.clone()));
        ProcessFault::NotStarted { reason, retry_after }
    }
}
