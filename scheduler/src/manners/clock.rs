//! Time as one number: nanoseconds since the clock was made, so that it fits into an atomic.
//!
//! Reads tokio's clock, which tests can pause and which works without a runtime.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that is added to an instant: far enough for never, and nothing overflows.
pub(crate) const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Counts from its making.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the clock was made.
    pub(crate) fn now(&self) -> u64 {
        nanos(Instant::now().duration_since(self.origin))
    }
}

/// As nanoseconds; what is longer than [`FOREVER`] is cut.
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.min(FOREVER).as_nanos() as u64
}
