//! Where a runner sits: how it is woken, and a tray with the jobs it took at once.
//!
//! Taking a job and striking it off again costs a turn at the lane's lock. Where jobs are so short that this is most of the work,
//! a runner takes several at once, as many as fit into [`BATCH_TIME`]. They stay where others find them: a runner without
//! work takes half of them, whoever awaits one polls it, what is more important than they are sends them back, and those that
//! have ended are struck off by whoever needs their permits. So a job that lasts holds up nothing but itself.
//!
//! Locks are taken in one order: the lane's, then a tray's.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::task::Waker;

use crate::clock::Nanos;
use crate::sync::{AtomicU8, Mutex, Ordering};

/// Jobs that take longer than this together are not taken at once.
const BATCH_TIME: f64 = 16_000.0;
/// The most that are.
const BATCH_MAX: usize = 16;

/// How many jobs to take at once, where a poll takes so long on the average.
pub(super) fn batch(poll: f64) -> usize {
    ((BATCH_TIME / poll.max(1.0)) as usize).clamp(1, BATCH_MAX)
}

/// Jobs between the lane's books and a runner's hands.
#[derive(Debug)]
pub(super) struct Tray<T> {
    /// Ready, with a permit and their budget.
    next: VecDeque<T>,
    /// Ended, and still on the books.
    done: Vec<T>,
    /// Polls since the books were last seen, and how long they took.
    polls: u32,
    busy: Nanos,
    /// It was filled with more than its runner could poll at once.
    lent: bool,
}

impl<T> Default for Tray<T> {
    fn default() -> Self {
        Self { next: VecDeque::new(), done: Vec::new(), polls: 0, busy: 0, lent: false }
    }
}

impl<T> Tray<T> {
    /// Lays down what has ended, after a poll that took so long.
    pub(super) fn lay(&mut self, ended: T, busy: Nanos) {
        self.done.push(ended);
        self.polls += 1;
        self.busy += busy;
    }

    /// The next job, unless one waits in the lane that is more urgent than its level.
    pub(super) fn take(&mut self, urgent: u8, level: impl Fn(&T) -> u8) -> Option<T> {
        if level(self.next.front()?) > urgent { None } else { self.next.pop_front() }
    }

    /// Adds jobs. True if the tray is lent from now on, and was not before.
    pub(super) fn fill(&mut self, jobs: impl Iterator<Item = T>) -> bool {
        self.next.extend(jobs);
        let lends = !self.lent && !self.next.is_empty();
        self.lent |= lends;
        lends
    }

    pub(super) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Takes the tray back. True if it was lent.
    pub(super) fn unlend(&mut self) -> bool {
        std::mem::take(&mut self.lent)
    }

    /// The mean time of the polls since this was last asked.
    pub(super) fn poll(&mut self) -> Option<f64> {
        let (polls, busy) = (std::mem::take(&mut self.polls), std::mem::take(&mut self.busy));
        (polls > 0).then(|| busy as f64 / f64::from(polls))
    }

    /// What its runner has not polled, the last first.
    pub(super) fn unpolled(&mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.next.pop_back())
    }

    /// What has ended.
    pub(super) fn ended(&mut self) -> impl Iterator<Item = T> {
        self.done.drain(..)
    }

    /// Half of what its runner has not polled.
    fn half(&mut self) -> VecDeque<T> {
        self.next.split_off(self.next.len() / 2)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.next.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.next.is_empty()
    }
}

/// All seats of a lane.
pub(super) struct Seats<T> {
    /// How urgent the most urgent of those is that wait in the lane: 0 to 4, and 5 for none. Written under the lane's lock.
    pub(super) urgent: AtomicU8,
    pub(super) all: Box<[Seat<T>]>,
}

impl<T> Seats<T> {
    pub(super) fn new(runners: usize) -> Self {
        Self { urgent: AtomicU8::new(NOBODY), all: (0..runners).map(|_| Seat::default()).collect() }
    }

    /// Takes the next job from the tray of this seat, and lays down what has ended before.
    pub(super) fn take(&self, seat: usize, last: Option<(T, Nanos)>, level: impl Fn(&T) -> u8) -> Option<T> {
        let mut tray = self.all[seat].tray.lock();
        if let Some((last, busy)) = last {
            tray.lay(last, busy);
        }
        tray.take(self.urgent.load(Ordering::Relaxed), level)
    }

    /// Takes half of what lies on another tray: the first of it is the thief's, the rest lies on its own tray; and whether that is
    /// lent now. Called under the lane's lock.
    pub(super) fn steal(&self, seat: usize) -> Option<(T, bool)> {
        for other in (0..self.all.len()).filter(|other| *other != seat) {
            let mut taken = self.all[other].tray.lock().half();
            if let Some(first) = taken.pop_front() {
                let lends = self.all[seat].tray.lock().fill(taken.into_iter());
                return Some((first, lends));
            }
        }
        None
    }
}

/// No job waits.
pub(super) const NOBODY: u8 = 5;

/// A number of this thread, the same as long as it lives; never 0.
pub(super) fn here() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// One runner's place.
pub(super) struct Seat<T> {
    pub(super) waker: OnceLock<Waker>,
    pub(super) tray: Mutex<Tray<T>>,
}

impl<T> Default for Seat<T> {
    fn default() -> Self {
        Self { waker: OnceLock::new(), tray: Mutex::new(Tray::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_jobs_are_taken_several_at_once() {
        assert_eq!(batch(0.0), BATCH_MAX);
        assert_eq!(batch(2_000.0), 8);
        assert_eq!(batch(20_000.0), 1);
        assert_eq!(batch(f64::INFINITY), 1);
    }
}
