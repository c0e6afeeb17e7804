//! What the rules speak of: a resource with its facts, the limits, what follows from an event, and the counts.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::AcquireError;
use crate::resource::breaker::Rule;

/// A resource and what the pool knows about it.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    pub(crate) resource: R,
    pub(super) slot: u32,
    pub(super) created: Instant,
    /// When its life ends.
    pub(super) expires: Instant,
    /// When it was last used or checked, as far as the pool saw.
    pub(super) proven: Instant,
    pub(super) used: Instant,
    /// Until when it is given out without a look.
    pub(super) fresh_until: Instant,
    pub(super) generation: u32,
    pub(super) uses: u64,
}

impl<R> Entry<R> {
    pub(crate) fn created(&self) -> Instant {
        self.created
    }

    pub(crate) fn uses(&self) -> u64 {
        self.uses
    }
}

/// Numbers that can change while the pool runs.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) min_idle: usize,
    pub(crate) growth: f64,
    pub(crate) max_waiters: usize,
    pub(crate) creating_max: usize,
    pub(crate) timeout: Duration,
    pub(crate) check_after: Duration,
    pub(crate) check_interval: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) leak_after: Option<Duration>,
    pub(crate) period: Duration,
    pub(crate) breaker: Rule,
}

/// What the pool starts after an event, without its lock.
#[derive(Debug)]
pub(crate) enum Job<R> {
    Create,
    Check(Box<Entry<R>>),
    Close(Box<Entry<R>>),
}

/// What follows from an event.
#[derive(Debug)]
#[must_use]
pub(crate) struct Effects<R> {
    pub(crate) jobs: Vec<Job<R>>,
    pub(crate) wake: Vec<Waker>,
    pub(crate) wake_one: Option<Waker>,
    /// The keeper has to look at its clock again.
    pub(crate) call_keeper: bool,
}

impl<R> Default for Effects<R> {
    fn default() -> Self {
        Self { jobs: Vec::new(), wake: Vec::new(), wake_one: None, call_keeper: false }
    }
}

impl<R> Effects<R> {
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        if self.wake_one.is_none() {
            self.wake_one = waker;
        } else {
            self.wake.extend(waker);
        }
    }
}

/// The answer to somebody who wants a resource.
#[derive(Debug)]
pub(crate) enum Start<R> {
    Ready(Box<Entry<R>>),
    /// The time when it asked.
    Queue(Instant),
    Refused(AcquireError),
}

/// What happened since the pool was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) acquired: u64,
    pub(crate) waited: u64,
    pub(crate) created: u64,
    pub(crate) create_failures: u64,
    pub(crate) recycled: u64,
    pub(crate) check_failures: u64,
    pub(crate) discarded: u64,
    pub(crate) expired: u64,
    pub(crate) trimmed: u64,
    pub(crate) taken: u64,
    pub(crate) timeouts: u64,
    pub(crate) cancelled: u64,
    pub(crate) refused: u64,
    pub(crate) leaked: u64,
}

/// How well a caller knows the time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Time {
    Exact(Instant),
    /// The system's tick: in the same tick the last reading is good enough.
    Tick(i64),
}

/// Why a resource leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Too old, too long unused, or of a generation that was drained.
    Expired,
    /// Broken.
    Discarded,
    /// More than are needed.
    Trimmed,
}
