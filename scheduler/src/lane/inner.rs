//! The books of a lane. Everything here, in `entry` and in `choice` happens under the lane's lock, and calls nobody.
//!
//! `entry` has the rules by which jobs are let in, `choice` those by which they start and are struck off again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;

use super::seat::Seats;
use super::slots::Slots;
use super::{After, Lane, LaneKind, Plan, Room};
use crate::budget::Budget;
use crate::ceiling::{Ceiling, Gathering};
use crate::clock::Nanos;
use crate::config::{LaneSettings, WhenFull};
use crate::error::Cancellation;
use crate::histogram::Histogram;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::{Cost, Outcome};
use crate::load::Load;
use crate::queue::Queue;
use crate::stats::{LaneStats, Ledger};

/// How far a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// It takes no more jobs.
    Draining,
    /// It has none, and will have none.
    Closed,
}

/// What an abort took off a lane.
pub(super) struct Aborted {
    /// Jobs that never started; the caller owns them.
    pub(super) queued: Vec<Arc<dyn Task>>,
    /// Jobs that did.
    pub(super) started: Vec<Arc<dyn Task>>,
    /// Runners to wake.
    pub(super) idle: Vec<usize>,
}

/// What a runner is to do.
pub(super) enum Next {
    Run(Arc<dyn Task>),
    Idle,
    Exit,
}

#[derive(Debug)]
pub(super) struct Limits {
    pub(super) cost: Cost,
    /// The lane's budget is no larger than the machine's, so what fits the one fits the other.
    pub(super) within: bool,
    pub(super) queue: usize,
    pub(super) bytes: u64,
    pub(super) when_full: WhenFull,
    pub(super) ceiling_min: u32,
    pub(super) ceiling_max: u32,
    pub(super) load_max: f64,
}

impl Limits {
    fn new(settings: &LaneSettings, ceiling: u32, cost: Cost, budget: &Budget) -> Self {
        let (total, ..) = budget.usage();
        let max = settings.ceiling_max.unwrap_or_else(|| ceiling.saturating_mul(8).min(crate::config::CEILING_MAX));
        Self {
            cost,
            within: cost.fits(total),
            queue: settings.queue_max as usize,
            bytes: settings.queue_bytes.as_u64(),
            when_full: settings.when_full,
            ceiling_min: settings.ceiling_min,
            ceiling_max: max.max(settings.ceiling_min),
            load_max: settings.load_max.get(),
        }
    }
}

/// Callers and jobs that a lane owes something.
#[derive(Default)]
pub(super) struct Promised {
    /// Places in the queue given to callers that have not used them yet, and the bytes they will hold.
    pub(super) places: usize,
    pub(super) bytes: u64,
    /// Callers who wait for one.
    pub(super) waiting: VecDeque<(oneshot::Sender<Room>, u32)>,
}

pub(super) struct Inner {
    pub(super) kind: LaneKind,
    pub(super) phase: Phase,
    pub(super) cause: Option<Cancellation>,
    pub(super) limits: Limits,
    pub(super) queue: Queue<Arc<dyn Task>>,
    pub(super) promised: Promised,
    /// Jobs that were woken, by priority.
    pub(super) ready: [VecDeque<Arc<dyn Task>>; 5],
    pub(super) ready_len: usize,
    /// Those of them that their awaiters polled to the end.
    pub(super) shells: usize,
    pub(super) ready_turn: u8,
    /// Jobs that have started and were pending at least once.
    pub(super) kept: Slots<Arc<dyn Task>>,
    /// What each thread runs. Tasks are not seated: a closure may last, and somebody may ask what it is; a poll does not.
    pub(super) seated: Vec<Option<Arc<dyn Task>>>,
    pub(super) running: u32,
    /// Jobs that wait for their next try, and how many did so far.
    pub(super) resting: usize,
    pub(super) retries: u64,
    pub(super) used: Cost,
    pub(super) peak: Cost,
    pub(super) ceiling: u32,
    pub(super) rule: Box<dyn Ceiling>,
    pub(super) window: Gathering,
    /// How loaded the machine is.
    pub(super) load: Arc<Load>,
    /// The budget of the machine has this lane in its queue.
    pub(super) blocked: bool,
    /// Jobs that find a permit free are ready at once, and whoever awaits them may poll them first.
    pub(super) starts_at_once: bool,
    pub(super) spawned: usize,
    pub(super) seats: Arc<Seats<Arc<dyn Task>>>,
    pub(super) idle: Vec<u32>,
    pub(super) is_idle: Vec<bool>,
    /// Trays that hold more than their runner polls.
    pub(super) lent: usize,
    /// A runner was woken by this thread and has not come yet.
    pub(super) woken_by: usize,
    /// How long a poll takes, followed mean.
    pub(super) poll: f64,
    pub(super) sequence: u64,
    pub(super) ledger: Ledger,
    pub(super) waits: Histogram,
    pub(super) runs: Histogram,
    /// From start to end, followed mean.
    pub(super) run: f64,
}

impl Inner {
    pub(super) fn new(plan: &Plan<'_>, seats: Arc<Seats<Arc<dyn Task>>>, rule: Box<dyn Ceiling>) -> Self {
        let Plan { kind, settings, ceiling, limit, .. } = *plan;
        let (budget, load) = (&plan.budget, Arc::clone(&plan.load));
        let runners = seats.all.len();
        Self {
            kind,
            phase: Phase::Open,
            cause: None,
            limits: Limits::new(settings, ceiling, limit, budget),
            queue: Queue::new(crate::clock::nanos(settings.patience.get())),
            promised: Promised::default(),
            ready: std::array::from_fn(|_| VecDeque::new()),
            ready_len: 0,
            shells: 0,
            ready_turn: 0,
            kept: Slots::new(),
            seated: vec![None; if kind == LaneKind::Cpu { runners } else { 0 }],
            running: 0,
            resting: 0,
            retries: 0,
            used: Cost::NONE,
            peak: Cost::NONE,
            ceiling,
            rule,
            window: Gathering::default(),
            load,
            blocked: false,
            starts_at_once: kind != LaneKind::Cpu,
            spawned: 0,
            lent: 0,
            woken_by: 0,
            poll: f64::from(1 << 17),
            seats,
            idle: Vec::with_capacity(runners),
            is_idle: vec![false; runners],
            sequence: 0,
            ledger: Ledger::default(),
            waits: Histogram::default(),
            runs: Histogram::default(),
            run: 0.0,
        }
    }

    // The end.

    pub(super) fn note_empty(&mut self, after: &mut After) {
        if self.phase != Phase::Open && self.is_empty() {
            after.emptied = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running == 0 && self.queue.len() == 0 && self.resting == 0
    }

    pub(super) fn drain(&mut self, after: &mut After) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
            self.promised.waiting.clear();
        }
        self.note_empty(after);
    }

    /// Takes everything off. What runs on a thread stays seated until it ends.
    pub(super) fn abort(&mut self, by: Cancellation, budget: &Budget, after: &mut After) -> Aborted {
        self.phase = Phase::Closed;
        if std::mem::take(&mut self.blocked) {
            // Other lanes may live on, and would wait behind this one for ever.
            after.nudge = budget.leave(self.kind);
        }
        self.cause.get_or_insert(by);
        self.promised.waiting.clear();
        let queued = self.queue.drain();
        for task in &queued {
            task.head().state().start();
            self.ledger.count(Outcome::Cancelled);
        }
        let mut started = self.kept.drain();
        started.extend(self.ready.iter_mut().flat_map(std::mem::take));
        (self.ready_len, self.shells) = (0, 0);
        for seat in &self.seats.all {
            started.extend(seat.tray.lock().unpolled());
        }
        started.extend(self.seated.iter().flatten().cloned());
        let idle = std::iter::from_fn(|| self.take_idle()).collect();
        Aborted { queued, started, idle }
    }

    /// Who ended the lane, if somebody did.
    pub(super) fn cause(&self) -> Option<Cancellation> {
        self.cause
    }

    // Looking and changing.

    pub(super) fn set_ceiling(&mut self, ceiling: u32, after: &mut After) -> u32 {
        let Limits { ceiling_min, ceiling_max, .. } = self.limits;
        self.ceiling = ceiling.clamp(ceiling_min, ceiling_max.max(ceiling_min));
        self.rouse_if_waiting(after);
        self.ceiling
    }

    pub(super) fn rouse_if_waiting(&mut self, after: &mut After) {
        if self.queue.len() > 0 && self.running < self.ceiling {
            self.rouse(after);
        }
    }

    pub(super) fn set_rule(&mut self, rule: Box<dyn Ceiling>) {
        self.rule = rule;
    }

    pub(super) fn apply(
        &mut self,
        settings: &LaneSettings,
        ceiling: u32,
        limit: Cost,
        budget: &Budget,
        after: &mut After,
    ) {
        self.limits = Limits::new(settings, ceiling, limit, budget);
        self.queue.set_patience(crate::clock::nanos(settings.patience.get()));
        self.rule = crate::ceiling::rule(settings);
        self.ceiling = ceiling.clamp(self.limits.ceiling_min, self.limits.ceiling_max);
        self.grant(after);
        self.rouse_if_waiting(after);
    }

    pub(super) fn stats(&self, kind: LaneKind) -> LaneStats {
        LaneStats {
            lane: kind,
            ceiling: self.ceiling,
            rule: self.rule.label(),
            running: self.running,
            resting: self.resting,
            retries: self.retries,
            queued: self.queue.len(),
            queued_by_priority: self.queue.live(),
            queued_bytes: trimtab_config::ByteSize::b(self.queue.bytes()),
            callers_waiting: self.promised.waiting.len(),
            cpu_used: self.used.cores(),
            cpu_peak: self.peak.cores(),
            cpu_limit: self.limits.cost.cores(),
            memory_used: self.used.bytes(),
            memory_peak: self.peak.bytes(),
            memory_limit: self.limits.cost.bytes(),
            waits: self.waits.quantiles(),
            runs: self.runs.quantiles(),
            ledger: self.ledger,
        }
    }

    pub(super) fn jobs(&self, limit: usize) -> Vec<Arc<dyn Task>> {
        let mut all = self.on_trays();
        all.extend(self.others().take(limit.saturating_sub(all.len())).cloned());
        all.truncate(limit);
        all
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<dyn Task>> {
        let is = |task: &Arc<dyn Task>| task.head().id.load(Relaxed) == id;
        self.on_trays().into_iter().find(is).or_else(|| self.others().find(|task| is(task)).cloned())
    }

    pub(super) fn on_trays(&self) -> Vec<Arc<dyn Task>> {
        let mut all: Vec<Arc<dyn Task>> = Vec::new();
        for seat in &self.seats.all {
            all.extend(seat.tray.lock().iter().filter(|task| is_listed(task)).cloned());
        }
        all
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
        let others = self.seated.iter().flatten().chain(self.ready.iter().flatten());
        others.filter(|task| is_listed(task)).chain(self.kept.iter()).chain(self.queue.iter())
    }
}

/// A job that was pending once is among the kept, and may be seated, ready or on a tray as well.
fn is_listed(task: &Arc<dyn Task>) -> bool {
    let head = task.head();
    head.kept.load(Relaxed) == 0 && !head.state().is_ended()
}

impl Lane {
    pub(super) fn next(self: &Arc<Self>, seat: usize, now: Nanos, gone: &mut Vec<Arc<dyn Task>>) -> Next {
        let mut after = After::default();
        let next = self.inner.lock().next(seat, now, gone, &self.budget, &mut after);
        self.finish(after);
        next
    }

    /// Takes back a tray, so that others find what lies on it.
    pub(super) fn clear_tray(self: &Arc<Self>, seat: usize, gone: &mut Vec<Arc<dyn Task>>) {
        let mut after = After::default();
        self.inner.lock().leave_tray(seat, gone, &self.budget, &mut after);
        self.finish(after);
    }

    pub(super) fn keep(&self, task: &Arc<dyn Task>) -> Result<(), Cancellation> {
        self.inner.lock().keep(task)
    }

    pub(super) fn cause(&self) -> Option<Cancellation> {
        self.inner.lock().cause()
    }

    /// Strikes a job off the books that its awaiter polled to the end.
    pub(super) fn retire_helped(self: &Arc<Self>, head: &Head) {
        let mut after = After::default();
        self.inner.lock().retire_helped(head, &self.budget, &mut after);
        self.finish(after);
    }
}
