//! The books of a lane, and its rules. Everything here happens under the lane's lock, and calls nobody.
//!
//! Which job is polled next: of those that may go on (they were woken) and those that may start (the ceiling and both budgets
//! have room), the one of higher priority; between equals the one that has started. What does not fit holds back what is less
//! important than it, so that a large job is not starved by small ones; what is more important may pass.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;

use super::seat::{self, NOBODY, Seats};
use super::slots::Slots;
use super::{After, Lane, LaneKind, Plan, Refusal, Room};
use crate::budget::Budget;
use crate::ceiling::{self, Ceiling, Gathering};
use crate::clock::Nanos;
use crate::config::{LaneSettings, WhenFull};
use crate::error::Cancellation;
use crate::histogram::Histogram;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::{Cost, Outcome};
use crate::load::Load;
use crate::queue::{Pick, Queue, TURN};
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
struct Limits {
    cost: Cost,
    /// The lane's budget is no larger than the machine's, so what fits the one fits the other.
    within: bool,
    queue: usize,
    bytes: u64,
    when_full: WhenFull,
    ceiling_min: u32,
    ceiling_max: u32,
    load_max: f64,
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
struct Promised {
    /// Places in the queue given to callers that have not used them yet, and the bytes they will hold.
    places: usize,
    bytes: u64,
    /// Callers who wait for one.
    waiting: VecDeque<(oneshot::Sender<Room>, u32)>,
}

pub(super) struct Inner {
    kind: LaneKind,
    phase: Phase,
    cause: Option<Cancellation>,
    limits: Limits,
    queue: Queue<Arc<dyn Task>>,
    promised: Promised,
    /// Jobs that were woken, by priority.
    ready: [VecDeque<Arc<dyn Task>>; 5],
    ready_len: usize,
    /// Those of them that their awaiters polled to the end.
    shells: usize,
    ready_turn: u8,
    /// Jobs that have started and were pending at least once.
    kept: Slots<Arc<dyn Task>>,
    /// What each thread runs. Tasks are not seated: a closure may last, and somebody may ask what it is; a poll does not.
    seated: Vec<Option<Arc<dyn Task>>>,
    running: u32,
    used: Cost,
    peak: Cost,
    ceiling: u32,
    rule: Box<dyn Ceiling>,
    window: Gathering,
    /// How loaded the machine is.
    load: Arc<Load>,
    /// The budget of the machine has this lane in its queue.
    blocked: bool,
    /// Jobs that find a permit free are ready at once, and whoever awaits them may poll them first.
    starts_at_once: bool,
    spawned: usize,
    seats: Arc<Seats>,
    idle: Vec<u32>,
    is_idle: Vec<bool>,
    /// Trays that hold more than their runner polls.
    lent: usize,
    /// A runner was woken by this thread and has not come yet.
    woken_by: usize,
    /// How long a poll takes, followed mean.
    poll: f64,
    sequence: u64,
    ledger: Ledger,
    waits: Histogram,
    runs: Histogram,
    /// From start to end, followed mean.
    run: f64,
}

impl Inner {
    pub(super) fn new(plan: &Plan<'_>, seats: Arc<Seats>, rule: Box<dyn Ceiling>) -> Self {
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

    // The way in.

    /// Whether a job of this cost can ever run here.
    pub(super) fn check(&self, cost: Cost, budget: &Budget) -> Result<(), Refusal> {
        if self.phase != Phase::Open {
            return Err(Refusal::Closed);
        }
        if cost.is_none() {
            return Ok(());
        }
        if !cost.fits(self.limits.cost) {
            return Err(Refusal::Oversize { limit: self.limits.cost, machine: false });
        }
        if self.limits.within {
            return Ok(());
        }
        let (total, ..) = budget.usage();
        if !cost.fits(total) {
            return Err(Refusal::Oversize { limit: total, machine: true });
        }
        Ok(())
    }

    fn is_full(&self, weight: u32) -> bool {
        // A job that alone is larger than the queue may hold is let in when nothing else is there.
        let bytes = self.queue.bytes() + self.promised.bytes;
        self.queue.len() + self.promised.places >= self.limits.queue
            || (bytes > 0 && bytes + u64::from(weight) > self.limits.bytes)
    }

    /// How long until a queue of this length has moved on by one place, and the queue is likely shorter.
    fn retry_after(&self) -> Nanos {
        let all = self.run * self.queue.len() as f64 / f64::from(self.ceiling.max(1));
        (all as Nanos).clamp(1_000_000, 60_000_000_000)
    }

    fn full(&self) -> Refusal {
        Refusal::Full {
            queued: self.queue.len(),
            bytes: self.queue.bytes(),
            limit: self.limits.queue,
            bytes_limit: self.limits.bytes,
            retry_after: self.retry_after(),
        }
    }

    /// Promises a place in the queue.
    pub(super) fn take_room(&mut self, weight: u32) -> Result<(), Refusal> {
        if self.is_full(weight) {
            return Err(self.full());
        }
        self.promised.places += 1;
        self.promised.bytes += u64::from(weight);
        Ok(())
    }

    pub(super) fn has_no_waiters(&self) -> bool {
        self.promised.waiting.is_empty()
    }

    pub(super) fn wait_for_room(&mut self, weight: u32) -> oneshot::Receiver<Room> {
        let (sender, receiver) = oneshot::channel();
        self.promised.waiting.retain(|(sender, _)| !sender.is_closed());
        self.promised.waiting.push_back((sender, weight));
        receiver
    }

    pub(super) fn give_room(&mut self, weight: u32, after: &mut After) {
        self.promised.places -= 1;
        self.promised.bytes -= u64::from(weight);
        self.grant(after);
    }

    /// Hands free places to those who wait for one.
    fn grant(&mut self, after: &mut After) {
        while let Some((_, weight)) = self.promised.waiting.front()
            && self.phase == Phase::Open
            && !self.is_full(*weight)
            && let Some((sender, weight)) = self.promised.waiting.pop_front()
        {
            if sender.is_closed() {
                continue;
            }
            self.promised.places += 1;
            self.promised.bytes += u64::from(weight);
            after.granted.push((sender, weight));
        }
    }

    pub(super) fn submit(&mut self, task: Arc<dyn Task>, room: Option<Room>, budget: &Budget, after: &mut After) {
        let head = task.head();
        head.id.store((self.sequence << 2) | self.kind as u64, Relaxed);
        self.sequence += 1;
        self.ledger.submitted += 1;
        let admitted = match room {
            Some(mut room) => {
                room.used = true;
                self.promised.places -= 1;
                self.promised.bytes -= u64::from(room.weight);
                if self.phase == Phase::Open { Ok(()) } else { Err(Refusal::Closed) }
            }
            None => self.check(head.cost, budget).and_then(|()| self.make_room(head, after)),
        };
        if let Err(refusal) = admitted {
            self.over(task, refusal, after);
            return;
        }
        let head = task.head();
        self.heed(head.priority as u8);
        if self.running >= self.ceiling {
            // Permits of jobs that have ended may lie on the tray of a runner whose present job lasts.
            if self.lent > 0 {
                self.rouse(after);
            }
            self.queue.push(task);
        } else if self.starts_at_once && self.queue.len() == 0 && self.admits(head.cost, budget) {
            head.state().admit();
            head.started.store(head.submitted.load(Relaxed), Relaxed);
            self.book(head);
            // A runner that this thread woke cannot come before this thread waits; and if it waits for this job, it polls it.
            let here = seat::here();
            let coming = self.woken_by == here && self.ready_len <= self.shells;
            if !coming {
                self.rouse(after);
                if after.wake.is_some() {
                    self.woken_by = here;
                }
            }
            self.push_ready(task);
        } else {
            self.rouse(after);
            self.queue.push(task);
        }
    }

    /// Lets runners with a tray know that something of this level came.
    fn heed(&self, level: u8) {
        if level < self.seats.urgent.load(Relaxed) {
            self.seats.urgent.store(level, Relaxed);
        }
    }

    /// Tells runners with a tray how urgent the most urgent of those is who wait.
    fn tell_urgent(&self) {
        let ready = self.ready.iter().position(|level| !level.is_empty());
        let may = self.running < self.ceiling && !self.blocked;
        let queued = if may { self.queue.live().iter().position(|count| *count > 0) } else { None };
        let urgent = ready.into_iter().chain(queued).min().map_or(NOBODY, |level| level as u8);
        if urgent != self.seats.urgent.load(Relaxed) {
            self.seats.urgent.store(urgent, Relaxed);
        }
    }

    fn push_ready(&mut self, task: Arc<dyn Task>) {
        let level = &mut self.ready[task.head().priority as usize];
        // Jobs that their awaiters polled to the end leave shells; more go than come.
        for _ in 0..2 {
            if level.front().is_some_and(|first| first.head().state().is_ended()) {
                level.pop_front();
                self.ready_len -= 1;
                self.shells = self.shells.saturating_sub(1);
            }
        }
        level.push_back(task);
        self.ready_len += 1;
    }

    /// Finds a place for a newcomer, at the cost of a less important job where the settings say so.
    fn make_room(&mut self, head: &Head, after: &mut After) -> Result<(), Refusal> {
        while self.is_full(head.weight) {
            if self.limits.when_full == WhenFull::Reject {
                return Err(self.full());
            }
            let now = head.submitted.load(Relaxed);
            if self.expire(now, after) {
                continue;
            }
            let Some(victim) = self.queue.least(head.priority as usize) else {
                return Err(self.full());
            };
            let refusal = Refusal::Shed {
                by: head.priority,
                queued: self.queue.len() + 1,
                bytes: self.queue.bytes(),
                limit: self.limits.queue,
                bytes_limit: self.limits.bytes,
                retry_after: self.retry_after(),
            };
            self.over(victim, refusal, after);
        }
        Ok(())
    }

    /// Ends a job that was never started.
    fn over(&mut self, task: Arc<dyn Task>, refusal: Refusal, after: &mut After) {
        // Nobody else can have it: queued jobs are claimed under this lock only.
        task.head().state().start();
        self.ledger.count(refusal.outcome());
        after.over.push((task, refusal));
        self.note_empty(after);
    }

    /// Ends what can no longer be started in time. True if there was something.
    fn expire(&mut self, now: Nanos, after: &mut After) -> bool {
        let mut any = false;
        while let Some(task) =
            self.queue.expired(now, |task| task.head().kind.as_ref().and_then(|kind| kind.run()).unwrap_or_default())
        {
            any = true;
            let waited = now.saturating_sub(task.head().submitted.load(Relaxed));
            self.over(task, Refusal::Expired { waited }, after);
        }
        any
    }

    pub(super) fn cancel_queued(&mut self, task: &Arc<dyn Task>, budget: &Budget, after: &mut After) -> bool {
        if !task.head().state().start() {
            return false;
        }
        self.queue.forget(task);
        self.ledger.count(Outcome::Cancelled);
        if self.blocked {
            // It may have been the one that waited for the machine.
            self.blocked = false;
            after.nudge = budget.leave(self.kind);
            self.rouse(after);
        }
        self.grant(after);
        self.note_empty(after);
        true
    }

    // Runners.

    pub(super) fn take_idle(&mut self) -> Option<usize> {
        let seat = self.idle.pop()? as usize;
        self.is_idle[seat] = false;
        Some(seat)
    }

    /// Sees to it that a runner looks.
    fn rouse(&mut self, after: &mut After) {
        if after.wake.is_none() {
            after.wake = self.take_idle();
        }
        let all = self.is_idle.len();
        if after.wake.is_none() && self.spawned < all {
            // Tasks cost little and are made all at once; threads are made when they are needed.
            let until = if self.kind == LaneKind::Cpu { self.spawned + 1 } else { all };
            after.spawn = Some(self.spawned..until);
            self.spawned = until;
        }
    }

    /// Strikes off the books what the runner has ended, and chooses what it does next. What it may drop comes into `gone`.
    pub(super) fn next(
        &mut self,
        seat: usize,
        now: Nanos,
        gone: &mut Vec<Arc<dyn Task>>,
        budget: &Budget,
        after: &mut After,
    ) -> Next {
        self.woken_by = 0;
        if self.is_idle[seat] {
            self.is_idle[seat] = false;
            self.idle.retain(|idle| *idle as usize != seat);
        }
        self.clear_tray(seat, gone, budget, after);
        if let Some(place) = self.seated.get_mut(seat) {
            *place = None;
        }
        self.expire(now, after);
        let mut chosen = self.choose(now, budget, after);
        if chosen.is_none() && self.lent > 0 {
            if self.reap(gone, budget, after) {
                chosen = self.choose(now, budget, after);
            }
            chosen = chosen.or_else(|| self.steal(seat));
        }
        if !self.promised.waiting.is_empty() {
            self.grant(after);
        }
        let Some(task) = chosen else {
            if self.phase == Phase::Closed {
                return Next::Exit;
            }
            self.is_idle[seat] = true;
            self.idle.push(seat as u32);
            // The nudge that a release owes to this lane: it has just looked.
            if after.nudge == Some(self.kind) {
                after.nudge = None;
            }
            return Next::Idle;
        };
        let lent = self.starts_at_once && self.fill_tray(seat, now, budget, after);
        let more = lent || self.ready_len > 0 || (self.queue.len() > 0 && self.running < self.ceiling && !self.blocked);
        if more && (!self.idle.is_empty() || self.spawned < self.is_idle.len()) {
            self.rouse(after);
        }
        self.tell_urgent();
        if let Some(place) = self.seated.get_mut(seat) {
            *place = Some(Arc::clone(&task));
        }
        Next::Run(task)
    }

    /// Takes further jobs for a runner, if they are short. True if there are some.
    fn fill_tray(&mut self, seat: usize, now: Nanos, budget: &Budget, after: &mut After) -> bool {
        let more = seat::batch(self.poll) - 1;
        if more == 0 {
            return false;
        }
        let seats = Arc::clone(&self.seats);
        let mut tray = seats.all[seat].tray.lock();
        for _ in 0..more {
            let Some(task) = self.choose(now, budget, after) else { break };
            tray.next.push_back(task);
        }
        if !tray.next.is_empty() && !tray.lent {
            tray.lent = true;
            self.lent += 1;
        }
        tray.lent
    }

    /// The same as the runner gives way to others.
    pub(super) fn leave_tray(
        &mut self,
        seat: usize,
        gone: &mut Vec<Arc<dyn Task>>,
        budget: &Budget,
        after: &mut After,
    ) {
        self.clear_tray(seat, gone, budget, after);
        if self.phase == Phase::Closed {
            return;
        }
        if self.ready_len > self.shells {
            self.rouse(after);
        }
        self.rouse_if_waiting(after);
    }

    /// Takes back what a runner has not polled, and strikes off what has ended.
    pub(super) fn clear_tray(
        &mut self,
        seat: usize,
        gone: &mut Vec<Arc<dyn Task>>,
        budget: &Budget,
        after: &mut After,
    ) {
        let seats = Arc::clone(&self.seats);
        let mut tray = seats.all[seat].tray.lock();
        if tray.lent {
            tray.lent = false;
            self.lent -= 1;
        }
        if tray.polls > 0 {
            let poll = tray.busy as f64 / f64::from(tray.polls);
            self.poll += (poll - self.poll) / 4.0;
            (tray.polls, tray.busy) = (0, 0);
        }
        while let Some(task) = tray.next.pop_back() {
            self.ready[task.head().priority as usize].push_front(task);
            self.ready_len += 1;
        }
        for task in tray.done.drain(..) {
            self.retire(task.head(), budget, after);
            gone.push(task);
        }
    }

    /// Strikes off what has ended and lies on trays. True if there was something.
    pub(super) fn reap(&mut self, gone: &mut Vec<Arc<dyn Task>>, budget: &Budget, after: &mut After) -> bool {
        let before = gone.len();
        for seat in &*Arc::clone(&self.seats).all {
            let mut tray = seat.tray.lock();
            for task in tray.done.drain(..) {
                self.retire(task.head(), budget, after);
                gone.push(task);
            }
        }
        gone.len() > before
    }

    /// Takes half of what lies on another runner's tray.
    fn steal(&mut self, seat: usize) -> Option<Arc<dyn Task>> {
        let seats = Arc::clone(&self.seats);
        for other in (0..seats.all.len()).filter(|other| *other != seat) {
            let mut theirs = seats.all[other].tray.lock();
            let half = theirs.next.len() / 2;
            let mut taken = theirs.next.split_off(half);
            drop(theirs);
            if let Some(first) = taken.pop_front() {
                let mut mine = seats.all[seat].tray.lock();
                mine.next.extend(taken);
                if !mine.next.is_empty() && !mine.lent {
                    mine.lent = true;
                    self.lent += 1;
                }
                return Some(first);
            }
        }
        None
    }

    /// The next job that may be polled: ready, with a permit and its budget.
    fn choose(&mut self, now: Nanos, budget: &Budget, after: &mut After) -> Option<Arc<dyn Task>> {
        let waited = std::mem::take(&mut self.blocked);
        let chosen = self.choose_one(now, budget);
        if waited && !self.blocked {
            // Whether it got what it waited for or no longer wants it: the next lane may look.
            after.nudge = budget.leave(self.kind).or_else(|| budget.next()).or(after.nudge);
        }
        chosen
    }

    fn choose_one(&mut self, now: Nanos, budget: &Budget) -> Option<Arc<dyn Task>> {
        let pick = if self.running < self.ceiling { self.queue.pick(now, 5) } else { None };
        if let Some(task) = self.ready_before(pick) {
            return Some(task);
        }
        let Some(pick) = self.fitting(pick, budget) else { return self.pop_ready() };
        let task = self.queue.take(pick)?;
        // Somebody may ask to cancel it at this very moment: its runner finds the mark.
        task.head().state().admit();
        self.book(task.head());
        Some(task)
    }

    /// Notes that a job has a permit from now on; its budget was taken.
    fn book(&mut self, head: &Head) {
        self.running += 1;
        if !head.cost.is_none() {
            self.used = self.used.plus(head.cost);
            self.peak = Cost::raw(
                self.peak.milli().max(self.used.milli()),
                self.peak.memory_bytes().max(self.used.memory_bytes()),
            );
        }
        self.window.started(self.running);
    }

    /// A job that was woken, if it goes before the choice from the queue.
    fn ready_before(&mut self, pick: Option<Pick>) -> Option<Arc<dyn Task>> {
        if self.ready_len == 0 {
            return None;
        }
        let first = self.ready.iter().position(|level| !level.is_empty())?;
        let goes = pick.is_none_or(|pick| first <= pick.level && !pick.aged);
        if goes { self.pop_ready() } else { None }
    }

    /// A job that was woken: the most important, and every eighth time the least, which may hold what others wait for.
    fn pop_ready(&mut self) -> Option<Arc<dyn Task>> {
        while self.ready_len > 0 {
            self.ready_turn += 1;
            let least = self.ready_turn >= TURN;
            if least {
                self.ready_turn = 0;
            }
            let mut levels = self.ready.iter_mut().filter(|level| !level.is_empty());
            let level = if least { levels.next_back() } else { levels.next() }?;
            let task = level.pop_front()?;
            self.ready_len -= 1;
            // Somebody may have polled it to the end, or cancelled it.
            if task.head().state().is_ready() {
                return Some(task);
            }
            self.shells = self.shells.saturating_sub(1);
        }
        None
    }

    /// The choice, or a more important one that fits, with its budget taken.
    fn fitting(&mut self, pick: Option<Pick>, budget: &Budget) -> Option<Pick> {
        let pick = pick?;
        if self.admit(pick, budget) {
            return Some(pick);
        }
        if !pick.aged {
            return None;
        }
        let other = self.queue.foremost(pick.level)?;
        self.admit(other, budget).then_some(other)
    }

    fn admit(&mut self, pick: Pick, budget: &Budget) -> bool {
        let Some(cost) = self.queue.peek(pick).map(|task| task.head().cost) else { return false };
        self.admits(cost, budget)
    }

    /// Takes the budget for a job that would start now, if it fits.
    fn admits(&mut self, cost: Cost, budget: &Budget) -> bool {
        if cost.is_none() {
            return true;
        }
        if !self.used.plus(cost).fits(self.limits.cost) {
            // With nothing running, a job that was admitted before the limit was lowered would wait for ever.
            let stuck = self.running == 0 && self.used.is_none();
            if !stuck {
                return false;
            }
        }
        let taken = budget.take(self.kind, cost);
        self.blocked = !taken;
        taken
    }

    /// Notes a job among those that have started and wait, unless the lane has ended.
    pub(super) fn keep(&mut self, task: &Arc<dyn Task>) -> Result<(), Cancellation> {
        if let Some(cause) = self.cause {
            return Err(cause);
        }
        let head = task.head();
        if head.kept.load(Relaxed) == 0 {
            let place = self.kept.insert(Arc::clone(task));
            head.kept.store(place + 1, Relaxed);
        }
        Ok(())
    }

    pub(super) fn ready(&mut self, task: Arc<dyn Task>, after: &mut After) {
        // After an abort its owner is whoever aborted.
        if self.phase == Phase::Closed {
            return;
        }
        self.heed(task.head().priority as u8);
        self.push_ready(task);
        after.wake = self.take_idle();
    }

    /// Strikes off a job that its awaiter polled to the end, where it lay among the ready.
    pub(super) fn retire_helped(&mut self, head: &Head, budget: &Budget, after: &mut After) {
        self.shells += 1;
        self.retire_outside(head, budget, after);
    }

    /// Strikes a job that had started off the books. Its end has been published.
    pub(super) fn retire(&mut self, head: &Head, budget: &Budget, after: &mut After) {
        self.running -= 1;
        if !head.cost.is_none() {
            self.used = self.used.minus(head.cost);
            after.nudge = budget.release(head.cost).or(after.nudge);
        }
        let place = head.kept.load(Relaxed);
        if place > 0 {
            let kept = self.kept.remove(place - 1);
            debug_assert!(kept.is_some() || self.phase == Phase::Closed);
        }
        let outcome = head.outcome();
        self.ledger.count(outcome);
        let ended = head.ended();
        // One that had a permit and was cancelled before its first poll never began.
        let started = Some(head.started.load(Relaxed)).filter(|started| *started > 0).unwrap_or(ended);
        let (waited, ran) = (started.saturating_sub(head.submitted.load(Relaxed)), ended.saturating_sub(started));
        self.waits.record(waited);
        self.runs.record(ran);
        self.run += (ran as f64 - self.run) / 16.0;
        self.window.ended(waited, ran, outcome);
        if let Some(window) = self.window.close(ended, self.running, &self.load)
            && window.peak * 2 >= self.ceiling
        {
            let next = ceiling::next(&mut *self.rule, self.ceiling, &window, self.limits.load_max);
            self.ceiling = next.clamp(self.limits.ceiling_min, self.limits.ceiling_max);
        }
        self.note_empty(after);
    }

    /// The same, by somebody who will not choose the next job himself.
    pub(super) fn retire_outside(&mut self, head: &Head, budget: &Budget, after: &mut After) {
        self.retire(head, budget, after);
        self.rouse_if_waiting(after);
    }

    // The end.

    fn note_empty(&mut self, after: &mut After) {
        if self.phase != Phase::Open && self.is_empty() {
            after.emptied = true;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running == 0 && self.queue.len() == 0
    }

    pub(super) fn drain(&mut self, after: &mut After) {
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
            self.promised.waiting.clear();
        }
        self.note_empty(after);
    }

    /// Takes everything off. What runs on a thread stays seated until it ends.
    pub(super) fn abort(&mut self, by: Cancellation) -> Aborted {
        self.phase = Phase::Closed;
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
            started.extend(seat.tray.lock().next.drain(..));
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

    fn rouse_if_waiting(&mut self, after: &mut After) {
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

    fn on_trays(&self) -> Vec<Arc<dyn Task>> {
        let mut all: Vec<Arc<dyn Task>> = Vec::new();
        for seat in &self.seats.all {
            all.extend(seat.tray.lock().next.iter().filter(|task| is_listed(task)).cloned());
        }
        all
    }

    fn others(&self) -> impl Iterator<Item = &Arc<dyn Task>> {
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
