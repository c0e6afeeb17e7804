//! How jobs come into a lane: what is checked, when a queue is full, who gives way, and who waits for a place.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;

use super::inner::{Inner, Phase};
use super::seat::{self, NOBODY};
use super::{After, Refusal, Room};
use crate::budget::Budget;
use crate::clock::Nanos;
use crate::config::WhenFull;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::{Cost, Outcome};

impl Inner {
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

    pub(super) fn is_full(&self, weight: u32) -> bool {
        // A job that alone is larger than the queue may hold is let in when nothing else is there.
        let bytes = self.queue.bytes() + self.promised.bytes;
        self.queue.len() + self.promised.places >= self.limits.queue
            || (bytes > 0 && bytes + u64::from(weight) > self.limits.bytes)
    }

    /// How long until a queue of this length has moved on by one place, and the queue is likely shorter.
    pub(super) fn retry_after(&self) -> Nanos {
        let all = self.run * self.queue.len() as f64 / f64::from(self.ceiling.max(1));
        (all as Nanos).clamp(1_000_000, 60_000_000_000)
    }

    pub(super) fn full(&self) -> Refusal {
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
    pub(super) fn grant(&mut self, after: &mut After) {
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
    pub(super) fn heed(&self, level: u8) {
        if level < self.seats.urgent.load(Relaxed) {
            self.seats.urgent.store(level, Relaxed);
        }
    }

    /// Tells runners with a tray how urgent the most urgent of those is who wait.
    pub(super) fn tell_urgent(&self) {
        let ready = self.ready.iter().position(|level| !level.is_empty());
        let may = self.running < self.ceiling && !self.blocked;
        let queued = if may { self.queue.live().iter().position(|count| *count > 0) } else { None };
        let urgent = ready.into_iter().chain(queued).min().map_or(NOBODY, |level| level as u8);
        if urgent != self.seats.urgent.load(Relaxed) {
            self.seats.urgent.store(urgent, Relaxed);
        }
    }

    pub(super) fn push_ready(&mut self, task: Arc<dyn Task>) {
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
    pub(super) fn make_room(&mut self, head: &Head, after: &mut After) -> Result<(), Refusal> {
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
    pub(super) fn over(&mut self, task: Arc<dyn Task>, refusal: Refusal, after: &mut After) {
        // Nobody else can have it: queued jobs are claimed under this lock only.
        task.head().state().start();
        self.ledger.count(refusal.outcome());
        after.over.push((task, refusal));
        self.note_empty(after);
    }

    /// Ends what can no longer be started in time. True if there was something.
    pub(super) fn expire(&mut self, now: Nanos, after: &mut After) -> bool {
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
}
