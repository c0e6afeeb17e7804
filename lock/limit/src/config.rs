//! Settings of a limit, as they stand in a file, in variables, in code or in a request.
//!
//! Defaults per profile stand in one table, [`LimitSettings::for_profile`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{Duration, Problems, Profile, Rate, Secret, Settings};

/// The most keys of one limit.
pub const KEYS_MAX: u32 = 1 << 24;
/// The most permits that one question to a server can bring.
pub const LEASED_MAX: u32 = 1 << 20;

/// What a shared limit does while its server is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// Everything passes: the limit is a courtesy.
    Open,
    /// Nothing passes: the limit protects something that must not be overrun.
    Closed,
    /// Each process limits by itself, at the whole rate: together they may pass as many times the rate as there are processes.
    #[default]
    Local,
}

/// Settings of one limit.
///
/// ```
/// use trimtab_limit::LimitSettings;
///
/// let settings: LimitSettings = serde_json::from_str(r#"{"rate": "5/m burst 3"}"#)?;
/// assert_eq!(settings.rate.burst().get(), 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitSettings {
    /// What is allowed, such as "100/s burst 20". Default: "100/s".
    pub rate: Rate,
    /// The most keys that are remembered; a key is forgotten only when its burst is whole again. Default: 10,000, 100,000 or
    /// 1,000,000 by profile.
    pub keys_max: u32,
    /// The server of a shared limit, `redis://…` or `postgres://…`; absent for a limit inside of the process.
    pub url: Option<Secret>,
    /// So many permits are fetched from the server at once and spent here; 1 asks for each. Shared limits only. Default: 1.
    pub leased: u32,
    /// How long fetched permits may lie here before they are dropped. Shared limits only. Default: "1s".
    pub leased_for: Duration,
    /// What happens while the server is away: `open`, `closed` or `local`. Shared limits only. Default: `local`.
    pub fallback: Fallback,
    /// How long the server may take. Shared limits only. Default: "250ms".
    pub timeout: Duration,
    /// After a failure the server is left alone for so long. Shared limits only. Default: "1s".
    pub retry_after: Duration,
    /// Whether the limit publishes metrics. Default: true.
    pub metrics: bool,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl LimitSettings {
    /// The default settings with this rate.
    pub fn of(rate: Rate) -> Self {
        Self { rate, ..Self::default() }
    }
}

impl Settings for LimitSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            rate: hundred(),
            keys_max: profile.pick(10_000, 100_000, 1_000_000),
            url: None,
            leased: 1,
            leased_for: Duration::from_secs(1),
            fallback: Fallback::Local,
            timeout: Duration::from_millis(250),
            retry_after: Duration::from_secs(1),
            metrics: true,
        }
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(why) = crate::decision::Pace::new(self.rate) {
            problems.report("rate", self.rate, why);
        }
        for (field, value, max) in [("keys_max", self.keys_max, KEYS_MAX), ("leased", self.leased, LEASED_MAX)] {
            if value == 0 || value > max {
                problems.report(field, value, format!("must be from 1 to {max}"));
            }
        }
        if self.leased > self.rate.burst().get() {
            let burst = self.rate.burst();
            problems.report("leased", self.leased, format!("must be at most the burst of the rate, which is {burst}"));
        }
        if self.url.is_some() && self.rate.interval().as_micros() == 0 {
            problems.report("rate", self.rate, "must be at most 1000000/s for a limit that is shared");
        }
        for (field, value) in
            [("leased_for", self.leased_for), ("timeout", self.timeout), ("retry_after", self.retry_after)]
        {
            if value.is_zero() {
                problems.report(field, value, "must be more than 0");
            }
        }
    }
}

fn hundred() -> Rate {
    // Neither is zero.
    Rate::new(100, Duration::from_secs(1)).unwrap_or_else(|_| unreachable!("100 per second is a rate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_survives_json() {
        for settings in Profile::ALL.map(LimitSettings::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<LimitSettings>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn rates_that_no_clock_can_hold_are_refused() {
        for (rate, why) in [
            ("4000000000/ns", "at most 1000000000/s"),
            ("1/52w burst 4000000000", "a burst would take"),
            ("10/s burst 3", ""),
        ] {
            let mut problems = Problems::new();
            LimitSettings::of(rate.parse().unwrap()).check(&mut problems);
            let text = problems.iter().map(ToString::to_string).collect::<String>();
            assert_eq!(text.is_empty(), why.is_empty(), "{rate}: {text}");
            assert!(text.contains(why), "{rate}: {text}");
        }
        let mut problems = Problems::new();
        let settings = LimitSettings { leased: 200, timeout: Duration::ZERO, keys_max: 0, ..LimitSettings::default() };
        settings.check(&mut problems);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
