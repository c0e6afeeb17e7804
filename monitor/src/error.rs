//! What can go wrong when a monitor is set up.

use trimtab_config::Invalid;

/// Why a monitor was not started, or a series not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The settings contradict each other or are out of range.
    #[error("the monitor was not started or changed: {0}")]
    Settings(Invalid),
    /// `start` was called outside a tokio runtime.
    #[error(
        "the monitor samples in a tokio task, and there is no tokio runtime here; call start() inside one, or use Probe alone"
    )]
    NoRuntime,
    /// A series name that cannot be used.
    #[error("series name {name:?} is not usable: {problem}; use 1 to {max} characters without control characters", max = crate::monitor::NAME_MAX)]
    SeriesName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The history holds as many series as it may.
    #[error(
        "series {name:?} was not registered: there are already {limit}, the most that the history holds; untrack() one that is no longer needed"
    )]
    TooManySeries {
        /// The name as given.
        name: String,
        /// The limit.
        limit: usize,
    },
}
