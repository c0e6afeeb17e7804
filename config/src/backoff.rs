//! How long to wait before the next try: exponential, bounded, spread by chance.
//!
//! The settings are plain data; the delays are computed by the `backoff` package, which nothing outside this file knows.
//! It is no longer maintained, yet small, without unsafe code, and used for arithmetic only: who replaces it changes this
//! file (docs/decisions/backoff.md).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Problems, Profile, Settings, Share};

#[cfg(feature = "backoff")]
pub use delays::Delays;

/// Delays between tries: `base`, then `multiplier` times more with each try up to `max`, each spread by `jitter`.
///
/// The delays themselves, [`delays`](Self::delays), come with the feature `backoff`.
///
/// ```
/// # #[cfg(feature = "backoff")] {
/// use trimtab_config::{Backoff, Share};
///
/// let steady = Backoff { jitter: Share::NONE, max_retries: 4, ..Backoff::default() };
/// let delays: Vec<u128> = steady.delays().map(|delay| delay.as_millis()).collect();
/// assert_eq!(delays, [10, 20, 40, 80]);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first delay. Default: "10ms".
    pub base: Duration,
    /// The longest delay, after the spread too. Default: "5s".
    pub max: Duration,
    /// Growth from one delay to the next, 1 to 100. Default: 2.
    pub multiplier: f64,
    /// How far a delay may lie from its place in the series, as a share of it, either way. Callers that failed together
    /// would otherwise come back together. Default: "50%".
    pub jitter: Share,
    /// How many delays there are; then the caller gives up. Default: 20.
    pub max_retries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for Backoff {
    fn for_profile(_profile: Profile) -> Self {
        Self {
            base: Duration::from_millis(10),
            max: Duration::from_secs(5),
            multiplier: 2.0,
            jitter: Share::percent(50),
            max_retries: 20,
        }
    }

    fn check(&self, problems: &mut Problems) {
        if !(self.multiplier.is_finite() && (1.0..=MULTIPLIER_MAX).contains(&self.multiplier)) {
            problems.report("multiplier", self.multiplier, format!("use a number from 1 to {MULTIPLIER_MAX}"));
        }
        if self.base == Duration::ZERO {
            problems.report("base", self.base, "there would be no pause between tries; use at least \"1us\"");
        } else if self.base > self.max {
            problems.report("base", self.base, format!("use at most max, which is {}", self.max));
        }
    }
}

/// The largest growth factor.
const MULTIPLIER_MAX: f64 = 100.0;

#[cfg(feature = "backoff")]
mod delays {
    use std::iter::FusedIterator;

    use backoff::ExponentialBackoff;
    use backoff::backoff::Backoff as _;

    use super::{Backoff, MULTIPLIER_MAX};

    impl Backoff {
        /// The delays of one series of tries; ends after `max_retries` of them. Costs no allocation.
        ///
        /// Values that the check of the settings would refuse are taken as the nearest allowed ones.
        pub fn delays(&self) -> Delays {
            let max = self.max.get();
            let base = self.base.get().min(max);
            let multiplier = if self.multiplier.is_finite() { self.multiplier.clamp(1.0, MULTIPLIER_MAX) } else { 1.0 };
            let series = ExponentialBackoff {
                current_interval: base,
                initial_interval: base,
                randomization_factor: self.jitter.get(),
                multiplier,
                max_interval: max,
                max_elapsed_time: None,
                ..ExponentialBackoff::default()
            };
            Delays { series, max, left: self.max_retries }
        }
    }

    /// The delays of one series of tries; see [`Backoff::delays`].
    #[derive(Debug)]
    pub struct Delays {
        series: ExponentialBackoff,
        max: std::time::Duration,
        left: u32,
    }

    impl Iterator for Delays {
        type Item = std::time::Duration;

        fn next(&mut self) -> Option<Self::Item> {
            self.left = self.left.checked_sub(1)?;
            // Without a limit of elapsed time the package always answers.
            self.series.next_backoff().map(|delay| delay.min(self.max))
        }

        fn size_hint(&self) -> (usize, Option<usize>) {
            (self.left as usize, Some(self.left as usize))
        }
    }

    impl FusedIterator for Delays {}
    impl ExactSizeIterator for Delays {}
}

#[cfg(all(test, feature = "backoff"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_series_grows_to_its_maximum_and_ends() {
        let backoff =
            Backoff { jitter: Share::NONE, max: Duration::from_millis(50), max_retries: 5, ..Backoff::default() };
        let delays: Vec<_> = backoff.delays().map(|delay| delay.as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 50, 50]);
        assert_eq!(Backoff { max_retries: 0, ..backoff }.delays().next(), None);
    }

    proptest! {
        #[test]
        fn no_setting_panics_and_no_delay_leaves_its_bounds(
            base in 0_u64..1 << 50, max in 0_u64..1 << 50, multiplier in prop::num::f64::ANY, jitter in 0.0..=1.0_f64,
        ) {
            let backoff = Backoff {
                base: Duration::from_millis(base),
                max: Duration::from_millis(max),
                multiplier,
                jitter: Share::new(jitter).unwrap(),
                max_retries: 40,
            };
            prop_assert_eq!(backoff.delays().len(), 40);
            prop_assert!(backoff.delays().all(|delay| delay <= backoff.max.get()));
            backoff.check(&mut Problems::new());
        }

        #[test]
        fn the_spread_is_as_told(share in 0.0..=1.0_f64) {
            let backoff = Backoff { jitter: Share::new(share).unwrap(), ..Backoff::default() };
            let first = backoff.delays().next().unwrap().as_secs_f64() * 1e3;
            prop_assert!((first - 10.0).abs() <= 10.0 * share + 1e-6, "{first}");
        }
    }
}
