//! Time as nanoseconds since the scheduler was built: one word that fits an atomic, read from tokio's clock. Never 0, which
//! stands for "not yet".
//!
//! Under tokio's paused clock (feature `test-util` of tokio, in tests) lanes follow that clock, so that no test waits.

use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds since the scheduler was built.
pub(crate) type Nanos = u64;

/// No deadline.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Counts from the moment it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Costs a reading of the system's clock.
    #[inline]
    pub(crate) fn now(self) -> Nanos {
        let elapsed = Instant::now().saturating_duration_since(self.0);
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()) + 1
    }
}

/// Time that this thread has spent on a processor, where the system says so. Costs a system call.
#[cfg(target_os = "linux")]
pub(crate) fn on_processor() -> Option<Nanos> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(u64::try_from(time.tv_sec).ok()? * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn on_processor() -> Option<Nanos> {
    None
}

/// A duration in nanoseconds; what does not fit is for ever.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

pub(crate) fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}
