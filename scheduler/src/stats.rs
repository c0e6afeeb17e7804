//! What lanes hold and what happened in them, as plain numbers.

use serde::Serialize;
use trimtab_config::ByteSize;

pub use crate::drain::DrainReport;
pub use crate::estimate::KindStats;
pub use crate::histogram::Quantiles;
use crate::job::Outcome;
use crate::lane::LaneKind;

/// The books of a lane: every submitted job ends in exactly one row.
///
/// `submitted == done + failed + panicked + cancelled + rejected + shed + expired` as soon as nothing is queued, running or
/// resting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Jobs handed in.
    pub submitted: u64,
    /// Jobs that returned.
    pub done: u64,
    /// Jobs that returned what counts as a failure.
    pub failed: u64,
    /// Jobs that panicked.
    pub panicked: u64,
    /// Jobs that were cancelled, before or after their start.
    pub cancelled: u64,
    /// Jobs that were not taken.
    pub rejected: u64,
    /// Jobs that gave way to more important ones.
    pub shed: u64,
    /// Jobs that could not be started in time.
    pub expired: u64,
}

impl Ledger {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Done => &mut self.done,
            Outcome::Failed => &mut self.failed,
            Outcome::Panicked => &mut self.panicked,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Rejected => &mut self.rejected,
            Outcome::Shed => &mut self.shed,
            Outcome::Expired => &mut self.expired,
        } += 1;
    }

    /// Jobs that have ended, with their outcomes.
    pub fn by_outcome(&self) -> [(Outcome, u64); 7] {
        [
            (Outcome::Done, self.done),
            (Outcome::Failed, self.failed),
            (Outcome::Panicked, self.panicked),
            (Outcome::Cancelled, self.cancelled),
            (Outcome::Rejected, self.rejected),
            (Outcome::Shed, self.shed),
            (Outcome::Expired, self.expired),
        ]
    }

    /// Jobs that have ended.
    pub fn ended(&self) -> u64 {
        self.by_outcome().iter().map(|(_, count)| count).sum()
    }

    /// Jobs that are queued, running or resting.
    pub fn open(&self) -> u64 {
        self.submitted - self.ended()
    }

    /// The sum of two lanes' books, or the difference to an earlier state of one's own.
    pub(crate) fn combine(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            submitted: combine(self.submitted, other.submitted),
            done: combine(self.done, other.done),
            failed: combine(self.failed, other.failed),
            panicked: combine(self.panicked, other.panicked),
            cancelled: combine(self.cancelled, other.cancelled),
            rejected: combine(self.rejected, other.rejected),
            shed: combine(self.shed, other.shed),
            expired: combine(self.expired, other.expired),
        }
    }
}

/// A lane in numbers. Counts are since the scheduler was built.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LaneStats {
    /// Which one.
    pub lane: LaneKind,
    /// How many jobs run at the same time.
    pub ceiling: u32,
    /// How the ceiling is found.
    pub rule: &'static str,
    /// Jobs that have started.
    pub running: u32,
    /// Jobs whose last try failed, and that will be tried again.
    pub resting: usize,
    /// How often jobs were tried again; the books count a job once, however often it is tried.
    pub retries: u64,
    /// Jobs that wait for their turn.
    pub queued: usize,
    /// The same from critical to background.
    pub queued_by_priority: [usize; 5],
    /// Bytes that queued jobs hold.
    pub queued_bytes: ByteSize,
    /// Callers who wait for a place in the queue.
    pub callers_waiting: usize,
    /// Processors that the running jobs were admitted with.
    pub cpu_used: f64,
    /// The most that ever were.
    pub cpu_peak: f64,
    /// The most that may be.
    pub cpu_limit: f64,
    /// Memory that the running jobs were admitted with.
    pub memory_used: ByteSize,
    /// The most that ever was.
    pub memory_peak: ByteSize,
    /// The most that may be.
    pub memory_limit: ByteSize,
    /// From the submission to the start, lately.
    pub waits: Quantiles,
    /// From the start to the end, lately.
    pub runs: Quantiles,
    /// The books.
    pub ledger: Ledger,
}

/// A job that is queued, running or resting.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct JobStats {
    /// Its number.
    pub id: crate::JobId,
    /// What kind of work it is.
    pub kind: String,
    /// Where it runs.
    pub lane: LaneKind,
    /// How important it is.
    pub priority: crate::Priority,
    /// Whether it has started.
    pub running: bool,
    /// Whether a try failed, and the next has not come yet.
    pub resting: bool,
    /// How often it was tried again.
    pub retries: u32,
    /// How long it waited, or waits, for its turn.
    pub waited: std::time::Duration,
    /// How long it has been running.
    pub ran: std::time::Duration,
    /// How far it is, from 0 to 1, if it says so.
    pub progress: Option<f64>,
    /// Processors it was admitted with.
    pub cpu: f64,
    /// Memory it was admitted with.
    pub memory: ByteSize,
    /// Its labels.
    pub tags: Vec<(String, String)>,
}

/// A scheduler in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// Its name.
    pub name: String,
    /// Its lanes; that of processes only where the scheduler has workers.
    pub lanes: Vec<LaneStats>,
    /// Processors that running jobs were admitted with, in all lanes.
    pub cpu_used: f64,
    /// The most that ever were.
    pub cpu_peak: f64,
    /// The most that may be.
    pub cpu_limit: f64,
    /// Memory that running jobs were admitted with, in all lanes.
    pub memory_used: ByteSize,
    /// The most that ever was.
    pub memory_peak: ByteSize,
    /// The most that may be.
    pub memory_limit: ByteSize,
    /// Background tasks that have not ended.
    pub background_open: usize,
    /// Background tasks whose results are kept.
    pub background_kept: usize,
    /// What jobs of each kind took.
    pub kinds: Vec<KindStats>,
}

impl SchedulerStats {
    /// The books of all lanes together.
    pub fn ledger(&self) -> Ledger {
        self.lanes.iter().fold(Ledger::default(), |sum, lane| sum.combine(&lane.ledger, |a, b| a + b))
    }
}
