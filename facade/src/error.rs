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
    /// The settings file cannot be followed.
    #[error("{0}; Builder::watch_file(false) starts without following")]
    Watch(#[from] WatchError),
}

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
