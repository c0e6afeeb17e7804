//! What can stand in the way of a start, and what to do about it.

#[cfg(feature = "admin")]
use std::{io, net::SocketAddr};

use trimtab_cache::{BudgetError, CachesError};
use trimtab_config::{Invalid, WatchError};
use trimtab_monitor::MonitorError;
use trimtab_pool::PoolsError;

/// Why the system did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Settings that cannot be used; every problem is listed.
    #[error("{0}")]
    Settings(#[from] Invalid),
    /// A named cache that cannot be made as its settings say.
    #[error("{0}")]
    Cache(#[from] CachesError),
    /// The memory budget cannot be as its settings say.
    #[error("budget: {0}")]
    Budget(#[from] BudgetError),
    /// A named pool that cannot be made as its settings say.
    #[error("{0}")]
    Pool(#[from] PoolsError),
    /// The monitor cannot run, for example outside a tokio runtime.
    #[error("{0}")]
    Monitor(#[from] MonitorError),
    /// The scheduler cannot be built as its settings say.
    #[cfg(feature = "scheduler")]
    #[error("{0}")]
    Scheduler(#[from] trimtab_scheduler::SchedulerError),
    /// What the HTTP API is to be guarded with cannot be made as its settings say.
    #[error("{0}")]
    Guard(#[from] OpenError),
    /// The settings file cannot be followed.
    #[error("{0}; Builder::watch_file(false) starts without following")]
    Watch(#[from] WatchError),
}

/// Why a named call, a group of locks or a limit could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A call that cannot be made as its settings say.
    #[cfg(feature = "scheduler")]
    #[error("{0}")]
    Call(#[from] trimtab_scheduler::SetupError),
    /// Locks that cannot be made as their settings say, or whose store does not answer.
    #[cfg(feature = "lock")]
    #[error("{0}")]
    Lock(#[from] trimtab_lock::BuildError),
    /// A limit that cannot be made as its settings say, or whose server does not answer.
    #[cfg(feature = "limit")]
    #[error("{0}")]
    Limit(#[from] trimtab_limit::BuildError),
    /// A name is opened as what it is not.
    #[error("{what} \"{name}\" is open as {open}, and asked for as {asked}; use one type for one name")]
    Mistyped {
        /// `limit`.
        what: &'static str,
        /// The name.
        name: String,
        /// What it is.
        open: &'static str,
        /// What it is asked for as.
        asked: &'static str,
    },
    /// The settings ask for a server, the code for none.
    #[error(
        "limit \"{name}\" has an url, and is asked for as one inside of this process; open it with shared_limit, or \
         leave limit.{name}.url out"
    )]
    Shared {
        /// The name.
        name: String,
    },
    /// More names than a program should have: most likely they are made of data.
    #[error("{what} \"{name}\" is one too many, {limit} are open; use few names and put data into keys")]
    TooMany {
        /// `call`, `lock group` or `limit`.
        what: &'static str,
        /// The name.
        name: String,
        /// The most.
        limit: usize,
    },
}

/// The most names of each kind.
#[cfg(any(feature = "scheduler", feature = "lock", feature = "limit"))]
pub(crate) const NAMES_MAX: usize = 256;

/// Why the HTTP API does not listen.
#[cfg(feature = "admin")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another program listens on this port.
    #[error(
        "cannot listen on {address}: the port is in use; stop the other program, or choose another address with the setting \
         server.address (variable TRIMTAB__SERVER__ADDRESS; now from: {origin})"
    )]
    PortInUse {
        /// The address that was tried.
        address: SocketAddr,
        /// Where the address comes from.
        origin: String,
    },
    /// The system refuses this address.
    #[error(
        "cannot listen on {address}: {source}; choose another address with the setting server.address (variable \
         TRIMTAB__SERVER__ADDRESS; now from: {origin})"
    )]
    Bind {
        /// The address that was tried.
        address: SocketAddr,
        /// Where the address comes from.
        origin: String,
        /// What the system says.
        source: io::Error,
    },
}
