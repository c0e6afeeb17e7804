//! What a caller is told, and the arithmetic of a rate.
//!
//! The rule is the generic cell rate algorithm (ITU-T I.371): one instant for each key, the *theoretical arrival time* at which
//! its burst will be whole again. A call moves it on by its weight, and passes if it stays within a burst from now.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::Quota;
use governor::middleware::StateSnapshot;
use trimtab_config::Rate;

/// The longest time in which a burst may come back: 36 years, so that no sum of nanoseconds overflows.
const WHOLE_MAX: u128 = 1 << 60;

/// A rate in whole nanoseconds; rounded up, so that it is never exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) burst: NonZeroU32,
}

impl Pace {
    pub(crate) fn new(rate: Rate) -> Result<Self, String> {
        let permits = u128::from(rate.permits().get());
        let period = rate.period().as_nanos();
        if period < permits {
            return Err("must be at most 1000000000/s".into());
        }
        let interval = period.div_ceil(permits);
        let whole = interval.saturating_mul(u128::from(rate.burst().get()));
        if whole > WHOLE_MAX {
            return Err(
                "a burst would take more than 36 years to come back; use a smaller burst or a higher rate".into()
            );
        }
        Ok(Self { interval: Duration::from_nanos(interval as u64), burst: rate.burst() })
    }

    pub(crate) fn quota(self) -> Quota {
        // An interval of zero was refused above; the fallback is never used.
        Quota::with_period(self.interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(self.burst)
    }
}

/// A call may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(pub(crate) Left);

/// Figures are computed when somebody asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    Measured(StateSnapshot),
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "said by a server"))]
    Told {
        burst: u32,
        remaining: u32,
        interval: Duration,
    },
}

impl Allowed {
    /// The most permits at once.
    pub fn burst(&self) -> u32 {
        match &self.0 {
            Left::Measured(state) => state.quota().burst_size().get(),
            Left::Told { burst, .. } => *burst,
        }
    }

    /// Permits left after this call.
    pub fn remaining(&self) -> u32 {
        match &self.0 {
            Left::Measured(state) => state.remaining_burst_capacity(),
            Left::Told { remaining, .. } => *remaining,
        }
    }

    /// When the burst is whole again, if nobody calls until then; within one interval of the rate.
    pub fn reset(&self) -> Duration {
        let interval = match &self.0 {
            Left::Measured(state) => state.quota().replenish_interval(),
            Left::Told { interval, .. } => *interval,
        };
        interval.saturating_mul(self.burst().saturating_sub(self.remaining()))
    }
}

/// A call may not pass now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// When the same call could pass, if nobody comes between.
    pub retry_after: Duration,
    /// The most permits at once.
    pub burst: u32,
    /// Permits left now, where that is known: fewer than asked for.
    pub remaining: u32,
}
