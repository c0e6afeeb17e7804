//! Every refusal of lanes and jobs: what was tried, on which lane, observed against which limit, and the next step.
//!
//! A job's error is its result like any other. Refusals are data: [`JobError::retry_after`] says when to come back, and
//! [`JobError::outcome`] which row of the ledger the job stands in.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use thiserror::Error;
use trimtab_config::{ByteSize, Invalid, NameError};

use crate::job::head::Head;
use crate::job::{Cost, Outcome, Priority};
use crate::lane::LaneKind;

/// Why a scheduler could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// Settings that make no scheduler.
    #[error("scheduler \"{name}\" cannot be built; {problems}")]
    Settings {
        /// Its name.
        name: String,
        /// All of them.
        problems: Invalid,
    },
    /// Lanes run on tokio.
    #[error(
        "scheduler \"{name}\" was built outside of a tokio runtime; build it inside of one, or hand one in with .runtime(handle)"
    )]
    NoRuntime {
        /// Its name.
        name: String,
    },
    /// Functions that cannot be registered as they are, or a worker that would start workers.
    #[cfg(feature = "process")]
    #[error("scheduler \"{name}\" cannot have its workers: {problem}")]
    Workers {
        /// Its name.
        name: String,
        /// All that is wrong.
        problem: String,
    },
    /// The name cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Which job: where it was to run, and what kind it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSite {
    /// The lane.
    pub lane: LaneKind,
    /// Its name, or `job`.
    pub kind: Box<str>,
}

impl JobSite {
    pub(crate) fn of(head: &Head) -> Self {
        Self { lane: head.lane().kind(), kind: head.kind_name().into() }
    }
}

impl fmt::Display for JobSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} job \"{}\"", self.lane, self.kind)
    }
}

/// Who cancelled a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// Somebody asked for it.
    Asked,
    /// The time of a drain ran out.
    Drained,
    /// The scheduler was dropped.
    Dropped,
    /// The runtime under the lane ended.
    RuntimeEnded,
}

/// A full queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fullness {
    /// The job.
    pub site: JobSite,
    /// Jobs queued.
    pub queued: usize,
    /// How many may be.
    pub limit: usize,
    /// Bytes that they hold.
    pub bytes: ByteSize,
    /// How many they may.
    pub bytes_limit: ByteSize,
    /// When there may be room, judged by how long jobs took lately.
    pub retry_after: Duration,
}

/// A cost that never fits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Oversize {
    /// The job.
    pub site: JobSite,
    /// What it asks for.
    pub cost: Cost,
    /// What there is at most.
    pub limit: Cost,
    /// Whether the limit is the machine's, not the lane's.
    pub machine: bool,
}

/// Why a job has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError {
    /// The job panicked.
    #[error("{} panicked: {}", .0.site, .0.message)]
    Panicked(Box<Panic>),
    /// It was cancelled.
    #[error("{0} was cancelled{why}", why = cancelled(*.1))]
    Cancelled(Box<JobSite>, Cancellation),
    /// The queue is full.
    #[error(
        "{site} was refused: {queued} of {limit} jobs and {bytes} of {bytes_limit} are queued; try again in {after:.0?}, or raise scheduler.{lane}.queue_max or queue_bytes",
        site = .0.site, queued = .0.queued, limit = .0.limit, bytes = .0.bytes, bytes_limit = .0.bytes_limit,
        after = .0.retry_after, lane = .0.site.lane
    )]
    Full(Box<Fullness>),
    /// It gave its place in a full queue to a more important job.
    #[error(
        "{site} was shed for a job of priority {}: {queued} of {limit} jobs are queued; try again in {after:.0?}, or submit it as more important",
        .1.label(), site = .0.site, queued = .0.queued, limit = .0.limit, after = .0.retry_after
    )]
    Shed(Box<Fullness>, Priority),
    /// Its deadline came before its turn, or could no longer be met.
    #[error("{site} expired after {waited:.1?} in the queue: its deadline could not be met; allow it more time, or submit less", site = .0.site, waited = .0.waited)]
    Expired(Box<Expiry>),
    /// It asks for more than there is.
    #[error(
        "{site} asks for {cost}, and the {whose} has {limit} in all; ask for less, split the job, or raise the limit in scheduler.{key}",
        site = .0.site, cost = .0.cost, limit = .0.limit, whose = if .0.machine { "machine" } else { "lane" },
        key = if .0.machine { "machine" } else { .0.site.lane.label() }
    )]
    Oversize(Box<Oversize>),
    /// The lane takes no more jobs.
    #[error("{0} was refused: the scheduler is draining or closed; submit before drain(), or build a new one")]
    Closed(Box<JobSite>),
    /// A worker process gave no result, or none was asked; see [`ProcessFault`](crate::process::ProcessFault).
    #[cfg(feature = "process")]
    #[error("{0}")]
    Process(Box<crate::process::ProcessFailure>),
}

/// A panic, as a result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Panic {
    /// The job.
    pub site: JobSite,
    /// What it said, if it was text.
    pub message: String,
}

/// A deadline that could not be met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expiry {
    /// The job.
    pub site: JobSite,
    /// How long it was queued.
    pub waited: Duration,
}

fn cancelled(by: Cancellation) -> &'static str {
    match by {
        Cancellation::Asked => "",
        Cancellation::Drained => {
            ": the time to drain the scheduler ran out; drain for longer, or stop submitting earlier"
        }
        Cancellation::Dropped => ": the scheduler was dropped; keep it, or drain() it first",
        Cancellation::RuntimeEnded => ": the runtime ended; drain() the scheduler before",
    }
}

impl JobError {
    /// How the job ended, as it is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Panicked(_) => Outcome::Panicked,
            Self::Cancelled(..) => Outcome::Cancelled,
            Self::Full(_) | Self::Oversize(_) | Self::Closed(_) => Outcome::Rejected,
            Self::Shed(..) => Outcome::Shed,
            Self::Expired(_) => Outcome::Expired,
            #[cfg(feature = "process")]
            Self::Process(failure) => failure.fault.outcome(),
        }
    }

    /// When trying again may help, where the lane knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full(full) | Self::Shed(full, _) => Some(full.retry_after),
            #[cfg(feature = "process")]
            Self::Process(failure) => failure.fault.retry_after(),
            _ => None,
        }
    }

    pub(crate) fn panicked(head: &Head, payload: &(dyn Any + Send)) -> Self {
        Self::Panicked(Box::new(Panic { site: JobSite::of(head), message: panic_text(payload) }))
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_against_which_limit_and_when_to_come_back() {
        let full = Fullness {
            site: JobSite { lane: LaneKind::Cpu, kind: "render".into() },
            queued: 1000,
            limit: 1000,
            bytes: ByteSize::mib(3),
            bytes_limit: ByteSize::mib(64),
            retry_after: Duration::from_millis(40),
        };
        let error = JobError::Full(Box::new(full));
        assert_eq!(
            error.to_string(),
            "cpu job \"render\" was refused: 1000 of 1000 jobs and 3MiB of 64MiB are queued; try again in 40ms, or raise \
             scheduler.cpu.queue_max or queue_bytes"
        );
        assert_eq!(error.retry_after(), Some(Duration::from_millis(40)));
        assert_eq!(error.outcome(), Outcome::Rejected);
    }

    #[test]
    fn an_error_is_small_beside_the_result_it_stands_for() {
        assert!(size_of::<JobError>() <= 24, "{}", size_of::<JobError>());
    }
}
