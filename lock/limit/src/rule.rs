//! The rule of a limit: the generic cell rate algorithm (ITU-T I.371) on plain nanoseconds, with terms that may change.
//!
//! Each key has one instant at which its burst will be whole again. A call moves it on by the interval times its weight, and
//! passes if it then lies within a whole burst from now. It is governor's rule too, and the tests hold it against governor's;
//! it stands here because a rate can be changed while it is in use, which governor's quota cannot.
//!
//! An instant that lies further ahead than a whole burst was left by a slower rate: it counts as a burst that is used up, so a
//! raised rate helps at once, and from the change on the new bound holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use trimtab_config::Rate;

use crate::decision::Pace;

/// Interval and whole burst, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) interval: u64,
    pub(crate) whole: u64,
}

impl Terms {
    pub(crate) fn of(pace: Pace) -> Self {
        let interval = pace.interval.as_nanos() as u64;
        Self { interval, whole: interval * u64::from(pace.burst.get()) }
    }

    pub(crate) fn burst(self) -> u32 {
        (self.whole / self.interval) as u32
    }

    /// The instant after a call that costs so much, or how long it must wait. `cost` is at most a whole burst.
    #[inline]
    pub(crate) fn decide(self, instant: u64, now: u64, cost: u64) -> Result<u64, Wait> {
        let before = instant.saturating_sub(now);
        let ahead = before.min(self.whole) + cost;
        if ahead <= self.whole {
            return Ok(now + ahead);
        }
        Err(Wait { nanos: ahead - self.whole, forgiven: (before > self.whole).then(|| now + self.whole) })
    }
}

/// A call must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) nanos: u64,
    /// The instant to go on from, where a slower rate had left one too far ahead.
    pub(crate) forgiven: Option<u64>,
}

/// Terms that all callers read and an operator changes.
#[derive(Debug)]
pub(crate) struct Rule {
    // Two loads may see the two sides of a change: one call then pays by the one rate and is held against the other's burst,
    // as if it had come on either side of the change.
    interval: AtomicU64,
    whole: AtomicU64,
    rate: Mutex<Rate>,
}

impl Rule {
    pub(crate) fn new(rate: Rate, pace: Pace) -> Self {
        let Terms { interval, whole } = Terms::of(pace);
        Self { interval: interval.into(), whole: whole.into(), rate: Mutex::new(rate) }
    }

    pub(crate) fn change(&self, rate: Rate, pace: Pace) {
        let Terms { interval, whole } = Terms::of(pace);
        // Changes come one after the other.
        let mut current = self.rate.lock();
        self.interval.store(interval, Ordering::Relaxed);
        self.whole.store(whole, Ordering::Relaxed);
        *current = rate;
    }

    pub(crate) fn rate(&self) -> Rate {
        *self.rate.lock()
    }

    #[inline]
    pub(crate) fn terms(&self) -> Terms {
        Terms { interval: self.interval.load(Ordering::Relaxed), whole: self.whole.load(Ordering::Relaxed) }
    }

    /// The pace in force.
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "asked by shared limits"))]
    pub(crate) fn pace(&self) -> Pace {
        let terms = self.terms();
        let burst = std::num::NonZeroU32::new(terms.burst()).unwrap_or(std::num::NonZeroU32::MIN);
        Pace { interval: Duration::from_nanos(terms.interval), burst }
    }
}
