//! Giving freed memory back to the system, on request.
//!
//! A program that drops 500 MiB of cache entries often keeps the pages: its allocator holds them
//! for later. [`reclaim`] asks the allocator to return what it can and tells what that brought.
//! With glibc's allocator this is `malloc_trim(0)`, which walks every arena and takes milliseconds
//! for each GiB of free chunks while it holds their locks: call it off the busy moments, from
//! `spawn_blocking`, and through a [`Reclaimer`] that keeps a minimum gap between two calls.
//!
//! Other allocators (jemalloc, mimalloc) return pages by themselves; there and on other platforms
//! the answer is [`ReclaimError::Unsupported`], never a success that freed nothing by design.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod trim;

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::metrics;
use crate::sample;

/// What a reclaim brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reclaimed {
    /// Resident bytes before.
    pub rss_before: u64,
    /// Resident bytes after.
    pub rss_after: u64,
    /// Bytes by which the resident set fell; 0 when other threads allocated more meanwhile.
    pub freed: u64,
    /// How long it took; seconds in JSON.
    #[serde(serialize_with = "sample::seconds")]
    pub took: Duration,
    /// Whether the allocator says that it returned anything.
    pub released: bool,
}

/// Why memory was not reclaimed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReclaimError {
    /// Called again before the minimum gap was over.
    #[error("memory was reclaimed {} s ago, at most once in {} s is allowed; try again in {} s", since.as_secs_f64(), min_gap.as_secs_f64(), retry_after.as_secs_f64())]
    TooSoon {
        /// How long ago the last reclaim began.
        since: Duration,
        /// The smallest allowed time between two.
        min_gap: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// This platform's allocator cannot be asked.
    #[error(
        "memory cannot be reclaimed here: {platform} has no allocator call for it; use an allocator that returns pages by itself"
    )]
    Unsupported {
        /// What the program was built for.
        platform: String,
    },
}

/// Asks the allocator to return free pages to the system, now, and measures what it brought.
///
/// Blocks for milliseconds when much is free: call it from `tokio::task::spawn_blocking`.
///
/// # Errors
///
/// [`ReclaimError::Unsupported`] where the C library is not glibc on Linux.
///
/// # Example
///
/// ```
/// match trimtab_monitor::reclaim() {
///     Ok(done) => assert!(done.rss_after > 0),
///     Err(error) => assert!(error.to_string().contains("cannot be reclaimed here")),
/// }
/// ```
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn reclaim() -> Result<Reclaimed, ReclaimError> {
    let start = Instant::now();
    let rss_before = crate::probe::rss_now().unwrap_or(0);
    let released = trim::malloc_trim();
    let rss_after = crate::probe::rss_now().unwrap_or(0);
    let done = Reclaimed {
        rss_before,
        rss_after,
        freed: rss_before.saturating_sub(rss_after),
        took: start.elapsed(),
        released,
    };
    metrics::reclaimed(&done);
    tracing::debug!(freed = done.freed, took = ?done.took, released, "memory reclaimed");
    Ok(done)
}

/// Asks the allocator to return free pages; not possible on this platform.
///
/// # Errors
///
/// Always [`ReclaimError::Unsupported`].
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn reclaim() -> Result<Reclaimed, ReclaimError> {
    Err(ReclaimError::Unsupported { platform: format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH) })
}

/// [`reclaim`], at most once in a given time.
///
/// Concurrent callers do not queue: while one reclaims, the others are told when to come back.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use trimtab_monitor::{ReclaimError, Reclaimer};
///
/// let reclaimer = Reclaimer::new(Duration::from_secs(30));
/// let first = reclaimer.reclaim();
/// # if cfg!(all(target_os = "linux", target_env = "gnu")) {
/// assert!(first.is_ok());
/// assert!(matches!(reclaimer.reclaim(), Err(ReclaimError::TooSoon { .. })));
/// # }
/// ```
#[derive(Debug)]
pub struct Reclaimer {
    state: Mutex<Gate>,
}

#[derive(Debug)]
struct Gate {
    min_gap: Duration,
    last: Option<Instant>,
}

impl Reclaimer {
    /// Allows a reclaim every `min_gap`; zero allows all.
    pub fn new(min_gap: Duration) -> Self {
        let gate = Gate { min_gap, last: None };
        Self { state: Mutex::new(gate) }
    }

    /// Takes another gap, also for the time that runs already.
    pub fn set_min_gap(&self, min_gap: Duration) {
        self.state.lock().min_gap = min_gap;
    }

    /// Reclaims, if the last time is long enough ago.
    ///
    /// # Errors
    ///
    /// [`ReclaimError::TooSoon`] with the time to wait; [`ReclaimError::Unsupported`] as for
    /// [`reclaim`].
    pub fn reclaim(&self) -> Result<Reclaimed, ReclaimError> {
        self.admit(Instant::now())?;
        reclaim()
    }

    fn admit(&self, now: Instant) -> Result<(), ReclaimError> {
        let mut gate = self.state.lock();
        if let Some(before) = gate.last {
            let since = now.saturating_duration_since(before);
            if let Some(retry_after) = gate.min_gap.checked_sub(since).filter(|left| !left.is_zero()) {
                metrics::reclaim_refused();
                return Err(ReclaimError::TooSoon { since, min_gap: gate.min_gap, retry_after });
            }
        }
        gate.last = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_reclaim_within_the_gap_is_told_when_to_come_back() {
        let reclaimer = Reclaimer::new(Duration::from_secs(30));
        let now = Instant::now();
        reclaimer.admit(now).expect("the first");
        let error = reclaimer.admit(now + Duration::from_secs(10)).expect_err("too soon");
        assert_eq!(
            error.to_string(),
            "memory was reclaimed 10 s ago, at most once in 30 s is allowed; try again in 20 s"
        );
        reclaimer.admit(now + Duration::from_secs(30)).expect("the gap is over");
        reclaimer.admit(now + Duration::from_secs(40)).expect_err("counted from the second");
    }

    #[test]
    fn a_gap_of_zero_allows_all() {
        let reclaimer = Reclaimer::new(Duration::ZERO);
        let now = Instant::now();
        reclaimer.admit(now).expect("first");
        reclaimer.admit(now).expect("second");
    }
}
