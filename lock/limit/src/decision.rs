//! What a caller is told, and the arithmetic of a rate.
//!
//! What is left is computed when somebody asks for it: most callers only want to know that they may pass.

use std::num::NonZeroU32;
use std::time::Duration;

use trimtab_config::Rate;

use crate::rule::Terms;

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
}

/// A call may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(pub(crate) Left);

/// Figures are computed when somebody asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    /// How far ahead of the moment of the call its instant lies, in nanoseconds.
    Measured { terms: Terms, ahead: u64 },
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "said by a server"))]
    Told { burst: u32, remaining: u32, interval: Duration },
}

impl Allowed {
    /// The most permits at once.
    pub fn burst(&self) -> u32 {
        match &self.0 {
            Left::Measured { terms, .. } => terms.burst(),
            Left::Told { burst, .. } => *burst,
        }
    }

    /// Permits left after this call.
    pub fn remaining(&self) -> u32 {
        match &self.0 {
            Left::Measured { terms, ahead } => (terms.whole.saturating_sub(*ahead) / terms.interval) as u32,
            Left::Told { remaining, .. } => *remaining,
        }
    }

    /// When the burst is whole again, if nobody calls until then; of a shared limit within one interval of the rate.
    pub fn reset(&self) -> Duration {
        match &self.0 {
            Left::Measured { ahead, .. } => Duration::from_nanos(*ahead),
            Left::Told { burst, remaining, interval } => interval.saturating_mul(burst.saturating_sub(*remaining)),
        }
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
