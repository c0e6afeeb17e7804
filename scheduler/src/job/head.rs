//! What a lane knows of a job whatever its type: state, priority, times, cost, and who waits for it.
//!
//! Kept small: a million queued jobs are a million heads. Times are written by whoever owns the job at that moment, and read by
//! anybody, hence the relaxed atomics; they order nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::state::State;
use super::{Cost, Extra, Priority};
use crate::clock::{Nanos, duration};
use crate::estimate::Kind;
use crate::lane::Lane;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[repr(u8)]
pub enum Outcome {
    /// It returned.
    Done = 1,
    /// It returned what [`fallible`](crate::Job::fallible) calls a failure, or its worker process died.
    Failed,
    /// It panicked.
    Panicked,
    /// Somebody cancelled it, or the lane ended before it did.
    Cancelled,
    /// The lane did not take it: its queue is full, it can never fit, or the lane is closed.
    Rejected,
    /// It gave its place in a full queue to something more important.
    Shed,
    /// Its deadline came, or could no longer be met, before it started.
    Expired,
}

impl Outcome {
    const ALL: [Self; 7] =
        [Self::Done, Self::Failed, Self::Panicked, Self::Cancelled, Self::Rejected, Self::Shed, Self::Expired];

    /// As a label: `done`, `failed`, `panicked`, `cancelled`, `rejected`, `shed`, `expired`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Shed => "shed",
            Self::Expired => "expired",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as u8 == code)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// It has started.
    Running,
    /// A try failed, and the next has not come yet; see [`Job::io_retry`](crate::Job::io_retry).
    Resting,
    /// It has ended.
    Ended(Outcome),
}

/// What lanes know of every job.
pub(crate) struct Head {
    state: State,
    outcome: AtomicU8,
    pub(crate) priority: Priority,
    pub(crate) weight: u32,
    /// Place among the jobs that have started and wait, plus one; 0 for none. Written under the lane's lock.
    pub(crate) kept: AtomicU32,
    lane: Arc<Lane>,
    pub(crate) id: AtomicU64,
    pub(crate) submitted: AtomicU64,
    pub(crate) started: AtomicU64,
    ended: AtomicU64,
    /// Nanoseconds spent in polls.
    pub(crate) busy: AtomicU64,
    pub(crate) deadline: AtomicU64,
    pub(crate) cost: Cost,
    pub(crate) kind: Option<Arc<Kind>>,
    pub(crate) extra: Option<Arc<Extra>>,
    joiner: Mutex<Option<Waker>>,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("id", &self.id.load(Relaxed))
            .field("status", &self.status())
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

/// What the submission says of a job, in the order of [`Head`]'s fields.
pub(crate) struct Fixed {
    pub(crate) lane: Arc<Lane>,
    pub(crate) priority: Priority,
    pub(crate) weight: u32,
    pub(crate) cost: Cost,
    /// Relative to the submission.
    pub(crate) deadline: Nanos,
    pub(crate) kind: Option<Arc<Kind>>,
    pub(crate) extra: Option<Arc<Extra>>,
}

impl Head {
    pub(crate) fn new(fixed: Fixed) -> Self {
        let Fixed { lane, priority, weight, cost, deadline, kind, extra } = fixed;
        Self {
            state: State::new(),
            outcome: AtomicU8::new(0),
            priority,
            weight,
            kept: AtomicU32::new(0),
            lane,
            id: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            deadline: AtomicU64::new(deadline),
            cost,
            kind,
            extra,
            joiner: Mutex::new(None),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    pub(crate) fn kind_name(&self) -> &str {
        self.kind.as_deref().map_or("job", Kind::name)
    }

    /// Publishes the end and tells who waits. Called by the owner, after the stage holds the result.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.store(outcome as u8, Relaxed);
        if self.ended.load(Relaxed) == 0 {
            self.ended.store(self.lane.clock().now(), Relaxed);
        }
        if self.state.end() {
            let joiner = self.joiner.lock().take();
            if let Some(joiner) = joiner {
                joiner.wake();
            }
        }
    }

    /// Waits for the end.
    pub(crate) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        if self.state.is_ended() {
            return Poll::Ready(());
        }
        {
            let mut joiner = self.joiner.lock();
            match &mut *joiner {
                Some(waker) if waker.will_wake(context.waker()) => {}
                place => *place = Some(context.waker().clone()),
            }
        }
        // The mark comes after the waker: whoever ends the job sees both, or this sees the end.
        if self.state.await_end() { Poll::Pending } else { Poll::Ready(()) }
    }

    /// How it ended. Good after the end only.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_code(self.outcome.load(Relaxed)).unwrap_or(Outcome::Cancelled)
    }

    pub(crate) fn status(&self) -> Status {
        if self.state.is_ended() {
            Status::Ended(self.outcome())
        } else if self.state.is_queued() {
            Status::Queued
        } else if self.state.is_resting() {
            Status::Resting
        } else {
            Status::Running
        }
    }

    /// From the submission to the start, or until now.
    pub(crate) fn waited(&self) -> Duration {
        let submitted = self.submitted.load(Relaxed);
        let until = match self.started.load(Relaxed) {
            0 if self.state.is_ended() => self.ended.load(Relaxed),
            0 => self.lane.clock().now(),
            started => started,
        };
        duration(until.saturating_sub(submitted))
    }

    /// From the start to the end, or until now.
    pub(crate) fn ran(&self) -> Duration {
        let started = self.started.load(Relaxed);
        if started == 0 {
            return Duration::ZERO;
        }
        let until = if self.state.is_ended() { self.ended.load(Relaxed) } else { self.lane.clock().now() };
        duration(until.saturating_sub(started))
    }

    /// Begins anew, for another try: it waits from now on. Called under the lane's lock while the job rests.
    pub(crate) fn renew(&self, now: Nanos) {
        self.submitted.store(now, Relaxed);
        self.started.store(0, Relaxed);
        self.busy.store(0, Relaxed);
    }

    /// How often it was tried again.
    pub(crate) fn retries(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.retries())
    }

    pub(crate) fn note_end(&self, now: Nanos) {
        self.ended.store(now, Relaxed);
    }

    pub(crate) fn ended(&self) -> Nanos {
        self.ended.load(Relaxed)
    }
}
