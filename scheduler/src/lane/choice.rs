//! What a runner does next, and how what it has ended is struck off.
//!
//! Which job is polled next: of those that may go on (they were woken) and those that may start (the ceiling and both budgets
//! have room), the one of higher priority; between equals the one that has started. What does not fit holds back what is less
//! important than it, so that a large job is not starved by small ones; what is more important may pass.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::After;
use super::inner::{Inner, Next, Phase};
use super::seat;
use crate::budget::Budget;
use crate::ceiling;
use crate::clock::Nanos;
use crate::error::Cancellation;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::{Cost, Outcome};
use crate::lane::LaneKind;
use crate::queue::{Pick, TURN};

impl Inner {
    pub(super) fn take_idle(&mut self) -> Option<usize> {
        let seat = self.idle.pop()? as usize;
        self.is_idle[seat] = false;
        Some(seat)
    }

    /// Sees to it that a runner looks.
    pub(super) fn rouse(&mut self, after: &mut After) {
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
    pub(super) fn fill_tray(&mut self, seat: usize, now: Nanos, budget: &Budget, after: &mut After) -> bool {
        let more = seat::batch(self.poll) - 1;
        if more == 0 {
            return false;
        }
        let seats = Arc::clone(&self.seats);
        let mut tray = seats.all[seat].tray.lock();
        let lends = tray.fill((0..more).map_while(|_| self.choose(now, budget, after)));
        self.lent += usize::from(lends);
        tray.is_lent()
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
        self.lent -= usize::from(tray.unlend());
        if let Some(poll) = tray.poll() {
            self.poll += (poll - self.poll) / 4.0;
        }
        for task in tray.unpolled() {
            self.ready[task.head().priority as usize].push_front(task);
            self.ready_len += 1;
        }
        for task in tray.ended() {
            self.retire(task.head(), budget, after);
            gone.push(task);
        }
    }

    /// Strikes off what has ended and lies on trays. True if there was something.
    pub(super) fn reap(&mut self, gone: &mut Vec<Arc<dyn Task>>, budget: &Budget, after: &mut After) -> bool {
        let before = gone.len();
        for seat in &*Arc::clone(&self.seats).all {
            for task in seat.tray.lock().ended() {
                self.retire(task.head(), budget, after);
                gone.push(task);
            }
        }
        gone.len() > before
    }

    /// Takes half of what lies on another runner's tray.
    pub(super) fn steal(&mut self, seat: usize) -> Option<Arc<dyn Task>> {
        let (first, lends) = self.seats.steal(seat)?;
        self.lent += usize::from(lends);
        Some(first)
    }

    /// The next job that may be polled: ready, with a permit and its budget.
    pub(super) fn choose(&mut self, now: Nanos, budget: &Budget, after: &mut After) -> Option<Arc<dyn Task>> {
        let waited = std::mem::take(&mut self.blocked);
        let chosen = self.choose_one(now, budget);
        if waited && !self.blocked {
            // Whether it got what it waited for or no longer wants it: the next lane may look.
            after.nudge = budget.leave(self.kind).or_else(|| budget.next()).or(after.nudge);
        }
        chosen
    }

    pub(super) fn choose_one(&mut self, now: Nanos, budget: &Budget) -> Option<Arc<dyn Task>> {
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
    pub(super) fn book(&mut self, head: &Head) {
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
    pub(super) fn ready_before(&mut self, pick: Option<Pick>) -> Option<Arc<dyn Task>> {
        if self.ready_len == 0 {
            return None;
        }
        let first = self.ready.iter().position(|level| !level.is_empty())?;
        let goes = pick.is_none_or(|pick| first <= pick.level && !pick.aged);
        if goes { self.pop_ready() } else { None }
    }

    /// A job that was woken: the most important, and every eighth time the least, which may hold what others wait for.
    pub(super) fn pop_ready(&mut self) -> Option<Arc<dyn Task>> {
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
    pub(super) fn fitting(&mut self, pick: Option<Pick>, budget: &Budget) -> Option<Pick> {
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

    pub(super) fn admit(&mut self, pick: Pick, budget: &Budget) -> bool {
        let Some(cost) = self.queue.peek(pick).map(|task| task.head().cost) else { return false };
        self.admits(cost, budget)
    }

    /// Takes the budget for a job that would start now, if it fits.
    pub(super) fn admits(&mut self, cost: Cost, budget: &Budget) -> bool {
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
        self.give_back(head, budget, after);
        self.unkeep(head);
        let outcome = head.outcome();
        self.ledger.count(outcome);
        self.note_run(head, head.ended(), outcome);
        self.note_empty(after);
    }

    /// Takes back the permit and the budget of a job.
    pub(super) fn give_back(&mut self, head: &Head, budget: &Budget, after: &mut After) {
        self.running -= 1;
        if !head.cost.is_none() {
            self.used = self.used.minus(head.cost);
            after.nudge = budget.release(head.cost).or(after.nudge);
        }
    }

    /// Strikes a job off those that have started and wait.
    pub(super) fn unkeep(&mut self, head: &Head) {
        let place = head.kept.load(Relaxed);
        if place > 0 {
            let kept = self.kept.remove(place - 1);
            debug_assert!(kept.is_some() || self.phase == Phase::Closed);
        }
    }

    /// Learns how long a job took that ended, or a try of one that failed.
    pub(super) fn note_run(&mut self, head: &Head, ended: Nanos, outcome: Outcome) {
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
    }

    /// The same, by somebody who will not choose the next job himself.
    pub(super) fn retire_outside(&mut self, head: &Head, budget: &Budget, after: &mut After) {
        self.retire(head, budget, after);
        self.rouse_if_waiting(after);
    }
}
