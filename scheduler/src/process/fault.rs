//! What can go wrong with a job of the process lane beside a panic: before a worker has it, and while one has it.
//!
//! The first kind is a refusal: nothing ran, and the books count the job as rejected. The second is a failure of that job alone;
//! the next one gets another worker.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use trimtab_config::ByteSize;

use crate::error::JobSite;
use crate::job::Outcome;

/// A job of the process lane that has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFailure {
    /// The job.
    pub site: JobSite,
    /// Why.
    pub fault: ProcessFault,
}

impl fmt::Display for ProcessFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.fault.outcome() == Outcome::Rejected { "was refused" } else { "failed" };
        write!(f, "{} {verb}: {}", self.site, self.fault)
    }
}

/// What a job hands over, and gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// From the program to the worker.
    Argument,
    /// From the worker to the program.
    Result,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argument => "argument",
            Self::Result => "result",
        })
    }
}

/// How a worker process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Death {
    /// By a signal.
    Signal(i32),
    /// By itself, with this status.
    Exit(i32),
}

impl Death {
    pub(super) fn of(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        status.signal().map_or_else(|| Self::Exit(status.code().unwrap_or_default()), Self::Signal)
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "was killed by signal {number} ({name})"),
                None => write!(f, "was killed by signal {number}"),
            },
            Self::Exit(code) => write!(f, "ended with exit status {code}"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let names = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::HUP, "SIGHUP"),
        (Signal::ILL, "SIGILL"),
        (Signal::INT, "SIGINT"),
        (Signal::KILL, "SIGKILL"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TERM, "SIGTERM"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::XCPU, "SIGXCPU"),
    ];
    names.iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| *name)
}

/// Why a job of the process lane has no result.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProcessFault {
    /// The scheduler was built without functions.
    #[error(
        "the scheduler has no workers; hand them to Scheduler::builder(…).workers(…), and call their serve() first in main"
    )]
    NoWorkers,
    /// No function has this name.
    #[error("no function is called \"{function}\"; {}", list(.known))]
    Unknown {
        /// The name.
        function: String,
        /// The names that functions have.
        known: Vec<String>,
    },
    /// The function is registered with other types.
    #[error(
        "the function is registered as {registered}, and was called as {called}; use the same types, or another name"
    )]
    Mistyped {
        /// As it was registered.
        registered: String,
        /// As the job would have it.
        called: String,
    },
    /// A message beyond the limit.
    #[error(
        "its {message} takes {size}, and a message may take {limit}; send less, send a path, or raise scheduler.workers.message_max"
    )]
    TooLarge {
        /// Which.
        message: Message,
        /// Its size.
        size: ByteSize,
        /// The most.
        limit: ByteSize,
    },
    /// A message that cannot be written or read back.
    #[error(
        "its {message} cannot be sent: {reason}; messages are postcard, which knows no untagged enums and no flattened or skipped fields"
    )]
    Codec {
        /// Which.
        message: Message,
        /// What postcard says.
        reason: String,
    },
    /// A worker could not be started.
    #[error("no worker could be started: {reason}; the next attempt is made in {after:.0?} at the earliest", after = .retry_after)]
    NotStarted {
        /// What went wrong.
        reason: String,
        /// When the next attempt is made.
        retry_after: Duration,
    },
    /// The worker died while it had the job.
    #[error("its worker, process {pid}, {death}{}", hint(*death, *memory_limit))]
    Died {
        /// The process.
        pid: u32,
        /// How it ended.
        death: Death,
        /// The memory it was allowed.
        memory_limit: ByteSize,
    },
    /// The worker took too long, and was killed.
    #[error(
        "its worker, process {pid}, was killed since it took longer than {timeout:?}; split the job, or allow more with .timeout(…) or scheduler.workers.timeout"
    )]
    TimedOut {
        /// The process.
        pid: u32,
        /// What it was allowed.
        timeout: Duration,
    },
    /// What the worker answered is no answer: it was killed.
    #[error(
        "its worker, process {pid}, was killed since its answer makes no sense: {reason}; does the function write to files that it did not open?"
    )]
    Garbled {
        /// The process.
        pid: u32,
        /// What was seen.
        reason: String,
    },
    /// The lane has ended.
    #[error("the workers were closed with the scheduler; drain() it first")]
    Closed,
}

impl ProcessFault {
    /// How a job that ended so is counted.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoWorkers
            | Self::Unknown { .. }
            | Self::Mistyped { .. }
            | Self::NotStarted { .. }
            | Self::TooLarge { message: Message::Argument, .. }
            | Self::Codec { message: Message::Argument, .. } => Outcome::Rejected,
            Self::Closed => Outcome::Cancelled,
            _ => Outcome::Failed,
        }
    }

    /// When trying again may help, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotStarted { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none is registered".into();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("registered are {}", quoted.join(", "))
}

fn hint(death: Death, memory_limit: ByteSize) -> String {
    use rustix::process::Signal;
    let is = |signal: Signal| death == Death::Signal(signal.as_raw());
    if is(Signal::ABORT) {
        format!("; so ends what aborts, or needs more memory than the {memory_limit} of scheduler.workers.memory_limit")
    } else if is(Signal::KILL) {
        "; somebody killed it, or the system did for want of memory".into()
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::LaneKind;

    #[test]
    fn a_failure_names_job_process_and_cause() {
        let site = JobSite { lane: LaneKind::Process, kind: "resize".into() };
        let fault = ProcessFault::Died { pid: 42, death: Death::Signal(11), memory_limit: ByteSize::mib(64) };
        let failure = ProcessFailure { site: site.clone(), fault };
        assert_eq!(
            failure.to_string(),
            "process job \"resize\" failed: its worker, process 42, was killed by signal 11 (SIGSEGV)"
        );
        let fault = ProcessFault::Unknown { function: "resise".into(), known: vec!["crop".into(), "turn".into()] };
        assert_eq!(
            ProcessFailure { site, fault }.to_string(),
            "process job \"resize\" was refused: no function is called \"resise\"; registered are \"crop\", \"turn\""
        );
    }

    #[test]
    fn a_worker_out_of_memory_is_told_its_limit() {
        let fault = ProcessFault::Died { pid: 42, death: Death::Signal(6), memory_limit: ByteSize::mib(64) };
        assert!(fault.to_string().contains("the 64MiB of scheduler.workers.memory_limit"), "{fault}");
    }
}
