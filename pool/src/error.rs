//! Every refusal of this crate: what was tried, on which pool, observed against which limit, and the next step.
//!
//! Variants are situations, not sources. The time-out of an acquire tells four situations apart, since each has another
//! remedy: all resources are leased, they are slow to make, they cannot be made, or their checks are slow.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use trimtab_config::{Invalid, NameError};

/// What a manager answered, kept where several callers must be told of it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a pool could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings that make no pool.
    #[error("pool \"{name}\" cannot be built; {problems}")]
    Settings {
        /// Name of the pool.
        name: String,
        /// All of them.
        problems: Invalid,
    },
    /// A resource pool does its work in tasks.
    #[error(
        "pool \"{name}\" was built outside of a tokio runtime; build it inside of one, or hand one in with .runtime(handle)"
    )]
    NoRuntime {
        /// Name of the pool.
        name: String,
    },
    /// The name cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Who had the resources when an acquire gave up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shortage {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// How long the caller waited.
    pub waited: Duration,
    /// Resources leased.
    pub in_use: usize,
    /// The most resources allowed.
    pub max: usize,
    /// Resources being made.
    pub creating: usize,
    /// Resources being checked.
    pub checking: usize,
    /// Other callers still waiting.
    pub waiting: usize,
    /// Age of the oldest lease and the line that took it.
    pub oldest: Option<(Duration, &'static Location<'static>)>,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, waited, in_use, max, creating, checking, waiting, oldest } = self;
        write!(f, "pool \"{pool}\" gave no resource within {waited:?} ({in_use} of {max} leased")?;
        if let Some((age, location)) = oldest {
            write!(f, ", oldest for {age:.1?} by {location}")?;
        }
        if *creating > 0 {
            write!(f, ", {creating} being made")?;
        }
        if *checking > 0 {
            write!(f, ", {checking} being checked")?;
        }
        write!(f, ", {waiting} waiting)")
    }
}

/// Why an acquire gave no resource.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// All resources were leased for as long as the caller could wait.
    #[error("{0}; raise pool.{pool}.max, or look for a leak in its report", pool = .0.pool)]
    Busy(Box<Shortage>),
    /// Resources were being made, and not ready in time.
    #[error("{0}; making one takes longer than the caller could wait: wait longer, or keep some with pool.{pool}.min", pool = .0.pool)]
    SlowCreate(Box<Shortage>),
    /// Resources were being checked, and not ready in time.
    #[error("{0}; their check is slow: look at the far side, or raise pool.{pool}.check_after", pool = .0.pool)]
    SlowCheck(Box<Shortage>),
    /// Resources could not be made; the pool goes on trying.
    #[error("{shortage}; the last attempt to make one failed: look at the far side", shortage = .0)]
    FailedCreate(Box<Shortage>, #[source] Cause),
    /// The far side is down: no resource is left, and several attempts to make one have failed in a row.
    #[error(
        "pool \"{pool}\" has no resource, and {failures} attempts to make one failed; it tries again in {retry_in:?}"
    )]
    Unavailable {
        /// Name of the pool.
        pool: Arc<str>,
        /// Failures in a row.
        failures: u32,
        /// When the pool tries again.
        retry_in: Duration,
        /// The last failure.
        #[source]
        cause: Cause,
    },
    /// Too many callers wait already.
    #[error(
        "pool \"{pool}\" refused: {waiting} callers wait already, the limit is {limit}; shed load before the pool, or raise pool.{pool}.max_waiters"
    )]
    Crowded {
        /// Name of the pool.
        pool: Arc<str>,
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The pool is closed or closing.
    #[error("pool \"{pool}\" is closed; acquire before close(), or make a new pool")]
    Closed {
        /// Name of the pool.
        pool: Arc<str>,
    },
}

impl AcquireError {
    /// Whether the caller's time ran out, whatever the reason.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::SlowCreate(_) | Self::SlowCheck(_) | Self::FailedCreate(..))
    }

    /// When asking again may help, where the pool knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_in, .. } => Some(*retry_in),
            _ => None,
        }
    }
}

/// Leases that were not given back while the pool closed.
#[derive(Debug, Error)]
#[error("pool \"{pool}\" closed with {left} resources not given back within {waited:?}; taken at:\n{report}")]
pub struct CloseError {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// How many.
    pub left: usize,
    /// How long the close waited.
    pub waited: Duration,
    /// Where they were taken.
    pub report: crate::leak::LeaseReport,
}

/// What happened instead of a manager's answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ManagerFault {
    /// It took too long.
    #[error("{step} did not end within {limit:?}; look at the far side, or raise pool.{pool}.{}", limit_of(.step))]
    TimedOut {
        /// Name of the pool.
        pool: Arc<str>,
        /// `create`, `check`, `recycle` or `close`.
        step: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// It panicked, or its task was ended with the runtime.
    #[error(
        "{step} of pool \"{pool}\" ended without an answer (a panic, or the end of its runtime); see the log before"
    )]
    Ended {
        /// Name of the pool.
        pool: Arc<str>,
        /// `create`, `check`, `recycle` or `close`.
        step: &'static str,
    },
}

/// Why the registry of named pools refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolsError {
    /// The name breaks the naming rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The pool is open with another type.
    #[error("pool \"{name}\" is open as {open}, not as {asked}; use the same types everywhere, or another name")]
    Mistyped {
        /// The name.
        name: String,
        /// Type it was opened with.
        open: &'static str,
        /// Type asked for now.
        asked: &'static str,
    },
    /// A pool of this name exists already.
    #[error("a pool named \"{name}\" exists already; open it, remove it first, or choose another name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// No pool of this name is open.
    #[error("no pool named \"{name}\" is open{}; open pools: {}", suggest(.suggestion.as_ref()), listed(.known))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The open name closest to it.
        suggestion: Option<String>,
        /// Open names, at most the first sixteen.
        known: Vec<String>,
    },
    /// The registry is full.
    #[error(
        "pool \"{name}\" was not made: {count} of {limit} pools exist; remove one or raise the limit of the registry"
    )]
    TooMany {
        /// The name.
        name: String,
        /// How many exist.
        count: usize,
        /// How many may exist.
        limit: usize,
    },
    /// The settings do not make a pool.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The setting that limits a step: a recycling is limited as a check is.
fn limit_of(step: &str) -> &'static str {
    match step {
        "create" => "create_timeout",
        "close" => "close_timeout",
        _ => "check_timeout",
    }
}

fn suggest(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |near| format!(" (did you mean \"{near}\"?)"))
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_names_who_holds_what_and_the_next_step() {
        let shortage = Shortage {
            pool: "orders".into(),
            waited: Duration::from_millis(250),
            in_use: 20,
            max: 20,
            creating: 0,
            checking: 0,
            waiting: 3,
            oldest: Some((Duration::from_secs(41), Location::caller())),
        };
        let text = AcquireError::Busy(Box::new(shortage)).to_string();
        assert!(
            text.starts_with("pool \"orders\" gave no resource within 250ms (20 of 20 leased, oldest for 41.0s by "),
            "{text}"
        );
        assert!(text.ends_with("raise pool.orders.max, or look for a leak in its report"), "{text}");
    }

    #[test]
    fn a_slow_step_names_the_setting_that_limits_it() {
        let settings = serde_json::to_value(crate::PoolSettings::default()).unwrap();
        for step in ["create", "check", "recycle", "close"] {
            let fault = ManagerFault::TimedOut { pool: "orders".into(), step, limit: Duration::from_secs(5) };
            let text = fault.to_string();
            let setting = text.rsplit_once("raise pool.orders.").unwrap().1;
            assert!(settings.get(setting).is_some(), "{text}");
        }
    }
}
