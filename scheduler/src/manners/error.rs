//! Why a call gave nothing: it failed, it was refused, or it took too long.
//!
//! A refusal is data: which manner, on which name, what it saw against which limit, and when to try again. Refusals and
//! time-outs are boxed, so that an error costs two words in every result that passes through a chain; a call that works never
//! allocates one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use trimtab_config::{Invalid, NameError, Rate};

/// Why a call gave nothing.
///
/// ```
/// use trimtab_scheduler::{Breaker, CallError};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let breaker = Breaker::new("payments")?;
/// breaker.force_open();
/// let result = breaker.call(async { Ok::<_, std::io::Error>(7) }).await;
/// match result.unwrap_err() {
///     CallError::Failed(error) => println!("payments answered: {error}"),
///     CallError::Refused(refusal) => println!("{refusal}; retry after {:?}", refusal.retry_after()),
///     CallError::TimedOut(late) => println!("{late}"),
///     _ => {}
/// }
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The call itself failed.
    #[error(transparent)]
    Failed(E),
    /// A manner did not let it begin.
    #[error(transparent)]
    Refused(Refusal),
    /// It began and did not end in time.
    #[error(transparent)]
    TimedOut(TimedOut),
}

impl<E> CallError<E> {
    /// The earliest time at which another try makes sense, where somebody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Failed(_) | Self::TimedOut(_) => None,
        }
    }

    /// The error of the call itself.
    pub fn into_failure(self) -> Option<E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Refused(_) | Self::TimedOut(_) => None,
        }
    }

    /// The same with another error of the call.
    pub fn map<X>(self, map: impl FnOnce(E) -> X) -> CallError<X> {
        match self {
            Self::Failed(error) => CallError::Failed(map(error)),
            Self::Refused(refusal) => CallError::Refused(refusal),
            Self::TimedOut(late) => CallError::TimedOut(late),
        }
    }
}

impl<E> From<Refusal> for CallError<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A manner did not let a call begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(Box<Refused>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    name: Arc<str>,
    reason: Reason,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// For a gate of your own.
    pub fn new(name: impl Into<Arc<str>>, reason: Reason, retry_after: Option<Duration>) -> Self {
        Self(Box::new(Refused { name: name.into(), reason, retry_after }))
    }

    /// Name of the manner that refused.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it saw, against which limit.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The earliest time at which another try makes sense, where the manner knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { name, reason, retry_after } = &*self.0;
        let (what, remedy) = match reason {
            Reason::Open { .. } | Reason::Probing { .. } => ("breaker", "look at the far side"),
            Reason::ForcedOpen => ("breaker", "it was opened by hand: `automatic` takes that back"),
            Reason::Full { .. } => ("gate", "call less, or raise its limit"),
            Reason::Waited { .. } => ("gate", "raise its limit or max_wait"),
            Reason::Pace { .. } => ("pace", "call less often, or raise its rate"),
            Reason::Closed => ("gate", "nothing more comes through: the part that owns it has stopped"),
            Reason::NoWorker { .. } => ("balancer", "add workers, or look why they are ejected"),
            Reason::Other(_) => ("gate", "see the reason"),
        };
        write!(f, "{what} {name:?} refused: {reason}; {remedy}")?;
        match retry_after {
            Some(after) => write!(f, ", and try again in {after:.1?}"),
            None => Ok(()),
        }
    }
}

/// Why a call was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A breaker is open.
    Open {
        /// Calls that failed, among those in the window when it opened.
        failed: u32,
        /// Calls that were slow.
        slow: u32,
        /// Calls in the window.
        calls: u32,
    },
    /// A breaker is half open and all its probes are out.
    Probing {
        /// How many it lets in.
        probes: u32,
    },
    /// A breaker was opened by hand.
    ForcedOpen,
    /// All permits are out, and as many callers wait as may.
    Full {
        /// The most permits.
        limit: usize,
        /// Callers waiting.
        waiting: usize,
    },
    /// All permits were out for as long as a caller may wait.
    Waited {
        /// How long that is.
        limit: Duration,
        /// The most permits.
        permits: usize,
    },
    /// The rate is used up, and the wait for the next permit is longer than a caller may wait.
    Pace {
        /// The rate.
        rate: Rate,
        /// How long the wait would be.
        wait: Duration,
    },
    /// The gate was closed.
    Closed,
    /// No worker has room.
    NoWorker {
        /// Workers there are.
        workers: usize,
        /// Of these, those that are ejected or failed their health check.
        ejected: usize,
    },
    /// What a gate of your own says.
    Other(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { failed, slow, calls } => {
                write!(f, "it opened when {failed} of {calls} calls had failed")?;
                if *slow > 0 { write!(f, " and {slow} had been slow") } else { Ok(()) }
            }
            Self::Probing { probes } => write!(f, "it is half open, and {probes} of {probes} probes are out"),
            Self::ForcedOpen => f.write_str("it was forced open"),
            Self::Full { limit, waiting } => write!(f, "{limit} of {limit} permits are out and {waiting} callers wait"),
            Self::Waited { limit, permits } => write!(f, "{permits} of {permits} permits were out for {limit:?}"),
            Self::Pace { rate, wait } => write!(f, "{rate} is used up, the next permit is {wait:.1?} away"),
            Self::Closed => f.write_str("it is closed"),
            Self::NoWorker { workers, ejected } => {
                write!(f, "none of {workers} workers has room ({ejected} ejected or unhealthy)")
            }
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// A call began and did not end in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut(Box<(Arc<str>, Duration)>);

impl TimedOut {
    pub(crate) fn new(name: Arc<str>, limit: Duration) -> Self {
        Self(Box::new((name, limit)))
    }

    /// Name of the time-out.
    pub fn name(&self) -> &str {
        &self.0.0
    }

    /// How long the call was given.
    pub fn limit(&self) -> Duration {
        self.0.1
    }
}

impl std::error::Error for TimedOut {}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, limit) = &*self.0;
        write!(f, "call {name:?} did not end within {limit:?} and was dropped; give it longer, or look at the far side")
    }
}

/// Why a manner could not be made.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The name cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Settings that make none.
    #[error("{what} \"{name}\" cannot be made; {problems}")]
    Settings {
        /// What it was to be.
        what: &'static str,
        /// Its name.
        name: String,
        /// All problems.
        problems: Invalid,
    },
    /// It does its work in tasks.
    #[error("{what} \"{name}\" was made outside of a tokio runtime; make it inside of one")]
    NoRuntime {
        /// What it was to be.
        what: &'static str,
        /// Its name.
        name: String,
    },
}
