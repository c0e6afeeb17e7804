//! Where a runner sits: how it is woken, and a tray with the jobs it took at once.
//!
//! Taking a job and striking it off again costs a turn at the lane's lock. Where jobs are so short that this is most of the work,
//! a runner takes several at once, as many as fit into [`BATCH_TIME`]. They stay where others find them: a runner without
//! work takes half of them, whoever awaits one polls it, what is more important than they are sends them back, and those that
//! have ended are struck off by whoever needs their permits. So a job that lasts holds up nothing but itself.
//!
//! Locks are taken in one order: the lane's, then a tray's.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use parking_lot::Mutex;

use crate::clock::Nanos;
use crate::job::cell::Task;

/// Jobs that take longer than this together are not taken at once.
const BATCH_TIME: f64 = 16_000.0;
/// The most that are.
const BATCH_MAX: usize = 16;

/// How many jobs to take at once, where a poll takes so long on the average.
pub(super) fn batch(poll: f64) -> usize {
    ((BATCH_TIME / poll.max(1.0)) as usize).clamp(1, BATCH_MAX)
}

/// Jobs between the lane's books and a runner's hands.
#[derive(Default)]
pub(super) struct Tray {
    /// Ready, with a permit and their budget.
    pub(super) next: VecDeque<Arc<dyn Task>>,
    /// Ended, and still on the books.
    pub(super) done: Vec<Arc<dyn Task>>,
    /// Polls since the books were last seen, and how long they took.
    pub(super) polls: u32,
    pub(super) busy: Nanos,
    /// It was filled with more than its runner could poll at once.
    pub(super) lent: bool,
}

/// All seats of a lane.
pub(super) struct Seats {
    /// How urgent the most urgent of those is that wait in the lane: 0 to 4, and 5 for none. Written under the lane's lock.
    pub(super) urgent: AtomicU8,
    pub(super) all: Box<[Seat]>,
}

impl Seats {
    pub(super) fn new(runners: usize) -> Arc<Self> {
        Arc::new(Self { urgent: AtomicU8::new(NOBODY), all: (0..runners).map(|_| Seat::default()).collect() })
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
#[derive(Default)]
pub(super) struct Seat {
    pub(super) waker: OnceLock<Waker>,
    pub(super) tray: Mutex<Tray>,
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
