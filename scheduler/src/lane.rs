//! A lane: one queue, one ceiling, one budget, and the runners that poll its jobs.
//!
//! The rules stand in `inner` and are applied under one lock; this file takes the lock, and does outside of it what may call
//! foreign code: dropping futures, waking tasks, telling handles. `runner` polls. A job that waits for something holds no
//! runner: its waker puts it back among the ready. Why jobs are not tasks of the runtime: docs/decisions/lanes.md.
//!
//! Every job ends exactly once, since to end it one must own it (`job/state`), and every end is counted
//! in the same critical section that takes the job off the lane's books.

mod choice;
mod entry;
mod inner;
mod rest;
pub(crate) mod runner;
mod seat;
mod slots;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime;
use tokio::sync::{Notify, oneshot};

use crate::budget::Budget;
use crate::ceiling::{self, Ceiling};
use crate::clock::{Clock, NEVER, Nanos, duration};
use crate::config::LaneSettings;
use crate::error::{Cancellation, Expiry, Fullness, JobError, JobSite, Oversize};
use crate::job::cell::Task;
use crate::job::state::Cancel;
use crate::job::{Cost, Outcome, Priority};
use crate::load::Load;
use crate::queue::Queued;
use crate::stats::LaneStats;
use inner::Inner;
use seat::Seats;

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
#[non_exhaustive]
pub enum LaneKind {
    /// Futures, on tokio's workers.
    Io,
    /// Closures, on threads of the lane.
    Cpu,
    /// Futures that need much memory, on tokio's workers.
    Memory,
    /// Registered functions, in worker processes.
    #[cfg(feature = "process")]
    Process,
}

/// How many lanes there are.
pub(crate) const LANES: usize = LaneKind::ALL.len();

impl LaneKind {
    /// All of them.
    #[cfg(not(feature = "process"))]
    pub const ALL: [Self; 3] = [Self::Io, Self::Cpu, Self::Memory];
    /// All of them.
    #[cfg(feature = "process")]
    pub const ALL: [Self; 4] = [Self::Io, Self::Cpu, Self::Memory, Self::Process];

    /// As a label: `io`, `cpu`, `memory`, `process`.
    pub fn label(self) -> &'static str {
        ["io", "cpu", "memory", "process"][self as usize]
    }
}

impl fmt::Display for LaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What polls the jobs.
#[derive(Debug)]
pub(crate) enum Executor {
    /// Tasks of a runtime.
    Tasks(runtime::Handle),
    /// Threads of the lane, which enter the runtime so that jobs find its clock.
    Threads { scheduler: Arc<str>, runtime: runtime::Handle, nice: u8 },
}

impl Executor {
    fn runtime(&self) -> &runtime::Handle {
        let (Self::Tasks(runtime) | Self::Threads { runtime, .. }) = self;
        runtime
    }
}

/// What a lane is made of.
pub(crate) struct Plan<'a> {
    pub(crate) kind: LaneKind,
    pub(crate) settings: &'a LaneSettings,
    pub(crate) ceiling: u32,
    pub(crate) limit: Cost,
    pub(crate) runners: usize,
    pub(crate) executor: Executor,
    pub(crate) clock: Clock,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) load: Arc<Load>,
    /// Who has the worker processes.
    #[cfg(feature = "process")]
    pub(crate) pool: Option<Arc<crate::process::Pool>>,
}

/// All lanes of a scheduler, so that one can wake another.
#[derive(Debug, Default)]
pub(crate) struct Lanes(OnceLock<[Weak<Lane>; LANES]>);

impl Lanes {
    pub(crate) fn set(&self, lanes: [Weak<Lane>; LANES]) {
        // Set once, by the builder.
        let _ = self.0.set(lanes);
    }

    pub(crate) fn nudge(&self, kind: LaneKind) {
        if let Some(lane) = self.0.get().and_then(|lanes| lanes[kind as usize].upgrade()) {
            lane.nudge();
        }
    }
}

/// One lane.
pub(crate) struct Lane {
    kind: LaneKind,
    clock: Clock,
    executor: Executor,
    seats: Arc<Seats<Arc<dyn Task>>>,
    budget: Arc<Budget>,
    lanes: Arc<Lanes>,
    emptied: Notify,
    #[cfg(feature = "process")]
    pool: Option<Arc<crate::process::Pool>>,
    inner: Mutex<Inner>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Queued for Arc<dyn Task> {
    fn submitted(&self) -> Nanos {
        self.head().submitted.load(Relaxed)
    }

    fn deadline(&self) -> Nanos {
        self.head().deadline.load(Relaxed)
    }

    fn level(&self) -> usize {
        self.head().priority as usize
    }

    fn weight(&self) -> u64 {
        u64::from(self.head().weight)
    }

    fn live(&self) -> bool {
        self.head().state().is_queued()
    }
}

/// Why a lane did not take a job, or let go of one that it had.
#[derive(Debug)]
pub(crate) enum Refusal {
    Closed,
    Full { queued: usize, bytes: u64, limit: usize, bytes_limit: u64, retry_after: Nanos },
    Oversize { limit: Cost, machine: bool },
    Shed { by: Priority, queued: usize, bytes: u64, limit: usize, bytes_limit: u64, retry_after: Nanos },
    Expired { waited: Nanos },
    Cancelled(Cancellation),
}

impl Refusal {
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Closed | Self::Full { .. } | Self::Oversize { .. } => Outcome::Rejected,
            Self::Shed { .. } => Outcome::Shed,
            Self::Expired { .. } => Outcome::Expired,
            Self::Cancelled(_) => Outcome::Cancelled,
        }
    }

    /// Tells the job. Its caller owns it, and holds no lock.
    fn tell(self, task: &dyn Task) {
        let outcome = self.outcome();
        let head = task.head();
        let site = JobSite::of(head);
        let error = self.error(site, head.cost);
        task.fail(outcome, error);
    }

    pub(crate) fn error(self, site: JobSite, cost: Cost) -> JobError {
        use trimtab_config::ByteSize;
        let full = |site, queued, bytes, limit, bytes_limit, retry_after| {
            let (bytes, bytes_limit) = (ByteSize::b(bytes), ByteSize::b(bytes_limit));
            Box::new(Fullness { site, queued, limit, bytes, bytes_limit, retry_after: duration(retry_after) })
        };
        match self {
            Self::Closed => JobError::Closed(Box::new(site)),
            Self::Full { queued, bytes, limit, bytes_limit, retry_after } => {
                JobError::Full(full(site, queued, bytes, limit, bytes_limit, retry_after))
            }
            Self::Shed { by, queued, bytes, limit, bytes_limit, retry_after } => {
                JobError::Shed(full(site, queued, bytes, limit, bytes_limit, retry_after), by)
            }
            Self::Oversize { limit, machine } => JobError::Oversize(Box::new(Oversize { site, cost, limit, machine })),
            Self::Expired { waited } => JobError::Expired(Box::new(Expiry { site, waited: duration(waited) })),
            Self::Cancelled(by) => JobError::Cancelled(Box::new(site), by),
        }
    }
}

/// What is to be done once the lock is free.
#[derive(Default)]
struct After {
    wake: Option<usize>,
    spawn: Option<Range<usize>>,
    nudge: Option<LaneKind>,
    emptied: bool,
    over: Vec<(Arc<dyn Task>, Refusal)>,
    granted: Vec<(oneshot::Sender<Room>, u32)>,
}

impl After {
    fn is_more(&self) -> bool {
        self.spawn.is_some()
            || self.nudge.is_some()
            || self.emptied
            || !self.over.is_empty()
            || !self.granted.is_empty()
    }
}

/// A place in the queue, promised to a caller. Dropping it gives the place to the next.
pub(crate) struct Room {
    lane: Arc<Lane>,
    weight: u32,
    used: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.used {
            let mut after = After::default();
            self.lane.inner.lock().give_room(self.weight, &mut after);
            self.lane.finish(after);
        }
    }
}

impl Lane {
    pub(crate) fn new(plan: Plan<'_>) -> Arc<Self> {
        let seats = Arc::new(Seats::new(plan.runners));
        let inner = Inner::new(&plan, Arc::clone(&seats), ceiling::rule(plan.settings));
        let Plan { kind, executor, clock, budget, lanes, .. } = plan;
        Arc::new(Self {
            kind,
            clock,
            executor,
            seats,
            budget,
            lanes,
            emptied: Notify::new(),
            #[cfg(feature = "process")]
            pool: plan.pool,
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn kind(&self) -> LaneKind {
        self.kind
    }

    /// The worker processes of this lane, if it has some.
    #[cfg(feature = "process")]
    pub(crate) fn pool(&self) -> Option<&Arc<crate::process::Pool>> {
        self.pool.as_ref()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Puts a job into the queue, or ends it with the reason why not. `room` was promised to it before.
    pub(crate) fn submit(self: &Arc<Self>, task: Arc<dyn Task>, room: Option<Room>) {
        let now = self.clock.now();
        let head = task.head();
        head.submitted.store(now, Relaxed);
        let deadline = head.deadline.load(Relaxed);
        if deadline != NEVER {
            head.deadline.store(now.saturating_add(deadline), Relaxed);
            if let Some(extra) = &head.extra {
                extra.set_deadline(tokio::time::Instant::now().checked_add(duration(deadline)));
            }
        }
        let mut after = After::default();
        self.inner.lock().submit(task, room, &self.budget, &mut after);
        self.finish(after);
    }

    /// Promises a place in the queue, if there is one now.
    pub(crate) fn try_room(self: &Arc<Self>, cost: Cost, weight: u32) -> Result<Room, Refusal> {
        let mut inner = self.inner.lock();
        inner.check(cost, &self.budget)?;
        inner.take_room(weight)?;
        drop(inner);
        Ok(Room { lane: Arc::clone(self), weight, used: false })
    }

    /// Waits for a place in the queue; callers are served in the order they came.
    pub(crate) async fn room(self: &Arc<Self>, cost: Cost, weight: u32) -> Result<Room, Refusal> {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.check(cost, &self.budget)?;
            if inner.has_no_waiters() && inner.take_room(weight).is_ok() {
                drop(inner);
                return Ok(Room { lane: Arc::clone(self), weight, used: false });
            }
            inner.wait_for_room(weight)
        };
        waiting.await.map_err(|_| Refusal::Closed)
    }

    /// Puts a job that was woken among the ready. The caller moved its state there.
    pub(crate) fn ready(self: &Arc<Self>, task: Arc<dyn Task>) {
        let mut after = After::default();
        self.inner.lock().ready(task, &mut after);
        self.finish(after);
    }

    /// See [`Handle::cancel`](crate::Handle::cancel).
    pub(crate) fn cancel(self: &Arc<Self>, task: &Arc<dyn Task>) -> bool {
        let head = task.head();
        if let Some(extra) = &head.extra {
            extra.cancel();
        }
        let mut after = After::default();
        match head.state().cancel() {
            Cancel::Late => false,
            Cancel::Asked => true,
            Cancel::Rested => {
                self.end_rested(task, Cancellation::Asked);
                true
            }
            Cancel::Claimed => {
                head.note_end(self.clock.now());
                Refusal::Cancelled(Cancellation::Asked).tell(&**task);
                self.inner.lock().retire_outside(head, &self.budget, &mut after);
                self.finish(after);
                true
            }
            Cancel::Queued => {
                let claimed = self.inner.lock().cancel_queued(task, &self.budget, &mut after);
                if claimed {
                    Refusal::Cancelled(Cancellation::Asked).tell(&**task);
                }
                self.finish(after);
                // Otherwise a runner has just started it, and finds the mark.
                true
            }
        }
    }

    /// Lets an idle runner look again.
    pub(crate) fn nudge(&self) {
        let seat = self.inner.lock().take_idle();
        if let Some(seat) = seat {
            self.wake(seat);
        }
    }

    fn wake(&self, seat: usize) {
        if let Some(waker) = self.seats.all[seat].waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Does what the lock was in the way of.
    #[inline]
    fn finish(self: &Arc<Self>, after: After) {
        if let Some(seat) = after.wake {
            self.wake(seat);
        }
        if after.is_more() {
            self.finish_more(after);
        }
    }

    #[cold]
    fn finish_more(self: &Arc<Self>, after: After) {
        for (task, refusal) in after.over {
            refusal.tell(&*task);
        }
        for (caller, weight) in after.granted {
            // A caller who left does not take it: the place comes back inside the error, and goes to the next.
            drop(caller.send(Room { lane: Arc::clone(self), weight, used: false }));
        }
        if let Some(seats) = after.spawn {
            runner::spawn(self, seats);
        }
        if let Some(kind) = after.nudge {
            if kind == self.kind { self.nudge() } else { self.lanes.nudge(kind) }
        }
        if after.emptied {
            self.emptied.notify_waiters();
        }
    }

    /// Takes no more jobs; those it has go on. See [`Lane::emptied`].
    pub(crate) fn close(self: &Arc<Self>) {
        let mut after = After::default();
        self.inner.lock().drain(&mut after);
        self.finish(after);
    }

    /// Waits until no job is left. To be called after `close`.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            if self.inner.lock().is_empty() {
                return;
            }
            notified.await;
        }
    }

    /// Ends every job that it can, and takes no more. What runs on a thread cannot be interrupted: it ends when it ends.
    pub(crate) fn abort(self: &Arc<Self>, by: Cancellation) -> Leftover {
        let mut after = After::default();
        let inner::Aborted { queued, started, idle } = self.inner.lock().abort(by, &self.budget, &mut after);
        self.finish(after);
        let mut left = Leftover::default();
        for task in queued {
            let tally = if task.head().retries() > 0 { &mut left.cancelled } else { &mut left.never_started };
            tally.note(&*task);
            Refusal::Cancelled(by).tell(&*task);
        }
        for task in started {
            if let Some(extra) = &task.head().extra {
                extra.cancel();
            }
            match task.head().state().cancel() {
                Cancel::Claimed => {
                    left.cancelled.note(&*task);
                    task.head().note_end(self.clock.now());
                    Refusal::Cancelled(by).tell(&*task);
                    let mut after = After::default();
                    self.inner.lock().retire_outside(task.head(), &self.budget, &mut after);
                    self.finish(after);
                }
                Cancel::Rested => {
                    left.cancelled.note(&*task);
                    self.end_rested(&task, by);
                }
                // Its runner finds the mark after this poll.
                Cancel::Asked => left.cancelled.note(&*task),
                Cancel::Queued | Cancel::Late => {}
            }
        }
        for seat in idle {
            self.wake(seat);
        }
        #[cfg(feature = "process")]
        if let Some(pool) = &self.pool {
            pool.close();
        }
        self.emptied.notify_waiters();
        left
    }

    pub(crate) fn set_ceiling(self: &Arc<Self>, ceiling: u32) -> u32 {
        let mut after = After::default();
        let now = self.inner.lock().set_ceiling(ceiling, &mut after);
        self.finish(after);
        now
    }

    pub(crate) fn set_rule(&self, rule: Box<dyn Ceiling>) {
        self.inner.lock().set_rule(rule);
    }

    /// Takes over settings that may change while jobs run.
    pub(crate) fn apply(self: &Arc<Self>, settings: &LaneSettings, ceiling: u32, limit: Cost) {
        let mut after = After::default();
        self.inner.lock().apply(settings, ceiling, limit, &self.budget, &mut after);
        self.finish(after);
    }

    pub(crate) fn stats(self: &Arc<Self>) -> LaneStats {
        // What lies on trays has ended.
        let (mut gone, mut after) = (Vec::new(), After::default());
        let stats = {
            let mut inner = self.inner.lock();
            inner.reap(&mut gone, &self.budget, &mut after);
            inner.stats(self.kind)
        };
        self.finish(after);
        runner::forget(&mut gone);
        stats
    }

    /// At most `limit` jobs that are queued or wait, those that have started first.
    pub(crate) fn jobs(&self, limit: usize) -> Vec<Arc<dyn Task>> {
        self.inner.lock().jobs(limit)
    }

    /// The job of this number, if it is queued or running.
    pub(crate) fn find(&self, id: u64) -> Option<Arc<dyn Task>> {
        self.inner.lock().find(id)
    }

    fn runtime_ended(self: &Arc<Self>) {
        self.abort(Cancellation::RuntimeEnded);
    }
}

/// Jobs that an abort ended, by kind.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    pub(crate) never_started: Tally,
    pub(crate) cancelled: Tally,
}

/// How many jobs of which kinds.
#[derive(Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<Box<str>, usize>);

impl Tally {
    fn note(&mut self, task: &dyn Task) {
        let kind = task.head().kind_name();
        match self.0.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(kind.into(), 1)),
        }
    }
}
