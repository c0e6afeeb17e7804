//! Every refusal of this crate: what was tried, on which lock, what was seen, and the next step.
//!
//! Variants are situations, not sources. What the server answered is in `source()`.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use trimtab_config::{Invalid, NameError};

/// What a server or the system answered, kept where several callers must be told of it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a group of locks could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name of the group cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Settings that make no group.
    #[error("locks \"{group}\" cannot be built; {problems}")]
    Settings {
        /// The group.
        group: String,
        /// All of them.
        problems: Invalid,
    },
    /// The URL names no kind of store that is there.
    #[error(
        "locks \"{group}\": a store \"{scheme}\" is not known here; use memory:, file:FOLDER, postgres://… or redis://…, \
         and turn on the feature of that name"
    )]
    Scheme {
        /// The group.
        group: String,
        /// What stands before the colon.
        scheme: String,
    },
    /// Locks over a store work in tasks.
    #[error("locks \"{group}\" were built outside of a tokio runtime; build them inside of one")]
    NoRuntime {
        /// The group.
        group: String,
    },
    /// The store refused.
    #[error("locks \"{group}\" cannot use their store: {what}")]
    Store {
        /// The group.
        group: String,
        /// What was tried, and the remedy.
        what: String,
        /// The answer.
        #[source]
        cause: Option<Cause>,
    },
}

/// Who holds a lock in this process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LocalHolder {
    /// The line that took it.
    pub location: &'static Location<'static>,
    /// Since when.
    pub held_for: Duration,
    /// Whether the task that asks now is the one that took it: then it waits for itself.
    pub same_task: bool,
}

/// Why a lock was not given.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The caller's time ran out.
    #[error("lock \"{name}\" of \"{group}\" was not free within {waited:?} ({})", Held(.holder.as_ref(), *.waiting, .cause.is_some()))]
    Timeout {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
        /// How long the caller waited.
        waited: Duration,
        /// Who holds it, if it is somebody in this process.
        holder: Option<LocalHolder>,
        /// Other callers of this process that still wait.
        waiting: usize,
        /// The last failure of the store while the caller waited.
        #[source]
        cause: Option<Cause>,
    },
    /// The caller works under this very lock already.
    #[error(
        "lock \"{name}\" of \"{group}\" is asked for inside of with_lock(\"{name}\"), which would wait for itself; \
         locks are not re-entrant: pass the lease on instead"
    )]
    Reentrant {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
    },
    /// Too many callers wait already.
    #[error(
        "lock \"{name}\" of \"{group}\" refused: {waiting} callers wait already, the limit is {limit}; shed load before \
         the lock, or raise lock.{group}.waiters_max"
    )]
    Crowded {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The store does not work.
    #[error("lock \"{name}\" of \"{group}\" cannot be asked for: {what}")]
    Unavailable {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
        /// What was tried, and the remedy.
        what: Arc<str>,
        /// The answer.
        #[source]
        cause: Option<Cause>,
    },
    /// Something that this store cannot do.
    #[error("\"{name}\" of \"{group}\" cannot be had over {store}: {what}")]
    Unsupported {
        /// The group.
        group: Arc<str>,
        /// What was asked for.
        name: Arc<str>,
        /// The kind of store.
        store: &'static str,
        /// Why, and the remedy.
        what: &'static str,
    },
    /// A name that no store takes.
    #[error("a lock name of {length} bytes is not allowed; use 1 to {limit} bytes of any text")]
    Name {
        /// Its length.
        length: usize,
        /// The longest.
        limit: usize,
    },
}

struct Held<'a>(Option<&'a LocalHolder>, usize, bool);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(holder) => {
                write!(f, "held for {:.1?} by {}", holder.held_for, holder.location)?;
                if holder.same_task {
                    f.write_str(", which is the same task: release it first")?;
                }
            }
            None if self.2 => f.write_str("the store fails; see the cause")?,
            None => f.write_str("held by another process")?,
        }
        if self.1 > 0 {
            write!(f, "; {} others wait here", self.1)?;
        }
        Ok(())
    }
}

impl AcquireError {
    /// Whether the caller's time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}

/// Why a lease ended before it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// It could not be renewed in time: this program, the network or the server stood still.
    Expired,
    /// The connection that held it ended.
    Disconnected,
    /// The store says that it is no longer held: it expired there, or the store lost its data.
    Gone,
    /// Somebody took it away by [`Locks::force_release`](crate::Locks::force_release).
    Forced,
    /// The runtime that kept it ended.
    Shutdown,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it was not renewed in time",
            Self::Disconnected => "its connection ended",
            Self::Gone => "the store no longer knows it",
            Self::Forced => "it was taken away",
            Self::Shutdown => "its runtime ended",
        })
    }
}

/// Why a release was not what the holder hoped for.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// The lease had ended before; somebody else may have held the lock meanwhile.
    #[error(
        "the lease of lock \"{name}\" with token {token} had ended before its release ({loss}); \
         what was done since then counts only where the token was checked"
    )]
    Lost {
        /// The lock.
        name: Arc<str>,
        /// The token of the lease.
        token: u64,
        /// What happened.
        loss: Loss,
    },
    /// The store did not confirm it; the lock frees itself when its lease ends.
    #[error("the release of lock \"{name}\" was not confirmed; it frees itself within its lease")]
    Unconfirmed {
        /// The lock.
        name: Arc<str>,
        /// The answer.
        #[source]
        cause: Cause,
    },
}

/// Why a lock was not taken away from its holder.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ForceError {
    /// This store takes a lock from no living holder.
    #[error("lock \"{name}\" of \"{group}\" cannot be taken away over {store}: {what}")]
    Unsupported {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
        /// The kind of store.
        store: &'static str,
        /// Why, and the remedy.
        what: &'static str,
    },
    /// The store does not work, or does not allow it.
    #[error("lock \"{name}\" of \"{group}\" was not taken away: {what}")]
    Unavailable {
        /// The group.
        group: Arc<str>,
        /// The lock.
        name: Arc<str>,
        /// What was tried.
        what: Arc<str>,
        /// The answer.
        #[source]
        cause: Option<Cause>,
    },
}

/// Why work under a lock has no result.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LockError {
    /// It never started.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lease was lost.
    #[error(
        "the lease of lock \"{name}\" with token {token} was lost {} ({loss})",
        if *.finished { "before the work could be said to be done under it" } else { "and the work under it was stopped" }
    )]
    Lost {
        /// The lock.
        name: Arc<str>,
        /// The token of the lease.
        token: u64,
        /// What happened.
        loss: Loss,
        /// Whether the work had run to its end.
        finished: bool,
    },
}

/// What a store could not do.
#[derive(Debug, Clone)]
pub(crate) struct StoreError {
    pub(crate) what: Arc<str>,
    pub(crate) cause: Option<Cause>,
    /// Trying again cannot help.
    pub(crate) permanent: bool,
}

#[allow(dead_code, reason = "each store uses some")]
impl StoreError {
    pub(crate) fn new(what: impl Into<Arc<str>>, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { what: what.into(), cause: Some(Arc::new(cause)), permanent: false }
    }

    pub(crate) fn plain(what: impl Into<Arc<str>>) -> Self {
        Self { what: what.into(), cause: None, permanent: false }
    }

    pub(crate) fn permanent(self) -> Self {
        Self { permanent: true, ..self }
    }

    pub(crate) fn build(self, group: &str) -> BuildError {
        BuildError::Store { group: group.to_owned(), what: self.what.to_string(), cause: self.cause }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_names_the_holder_and_a_task_that_waits_for_itself() {
        let holder = LocalHolder { location: Location::caller(), held_for: Duration::from_secs(41), same_task: true };
        let error = AcquireError::Timeout {
            group: "jobs".into(),
            name: "orders/42".into(),
            waited: Duration::from_millis(250),
            holder: Some(holder),
            waiting: 3,
            cause: None,
        };
        let text = error.to_string();
        assert!(
            text.starts_with("lock \"orders/42\" of \"jobs\" was not free within 250ms (held for 41.0s by "),
            "{text}"
        );
        assert!(text.ends_with("which is the same task: release it first; 3 others wait here)"), "{text}");
    }
}
