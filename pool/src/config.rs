//! Settings of a pool, as they stand in a file, in variables, in code or in a request.
//!
//! Defaults per profile stand in one table, [`PoolSettings::for_profile`]. One shape serves pools of all kinds, so that a
//! service names a pool and need not repeat of what kind it is; a field that concerns one kind only says so.

use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Problems, Profile, Settings};

use crate::error::BuildError;

/// The most resources or objects that one pool can hold.
pub const MAX: u32 = 1 << 20;
/// The largest growth factor.
pub const GROWTH_MAX: f64 = 16.0;

/// Settings of one pool.
///
/// ```
/// use trimtab_pool::PoolSettings;
///
/// let settings: PoolSettings = serde_json::from_str(r#"{"min": 2, "max": 20, "timeout": "250ms"}"#)?;
/// assert_eq!(settings.max, Some(20));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PoolSettings {
    /// Objects made when an object pool is built, or buffers of each class when a buffer pool is. Default: 0.
    pub initial: u32,
    /// Resources, objects or buffers of each class that are kept even when nobody asks. Default: 0, 2 or 4 by profile.
    pub min: u32,
    /// The most resources, or the most objects kept; absent for 4, 10 or 50 resources and 50, 100 or 200 objects by
    /// profile.
    pub max: Option<u32>,
    /// Resources kept ready beyond those in use, up to `max`. Resource pools only. Default: 0.
    pub min_idle: u32,
    /// The most memory of all buffers, such as "16MiB". Buffer pools only. Default: 4, 16 or 64 MiB by profile.
    pub max_bytes: ByteSize,
    /// Whether a buffer is overwritten with zeros when it comes back, so that nothing of one request can be read in another.
    /// Buffer pools only; it costs a pass over the buffer. Default: false.
    pub zero_on_return: bool,
    /// When more are needed, the pool grows to so many times its size, 1 to 16. Default: 1.5.
    pub growth_factor: f64,
    /// How often a pool looks back at its use and lets go of what it did not need. Default: "5m".
    pub cleanup_interval: Duration,
    /// How long a caller waits for a resource. Resource pools only, as all that follows. Default: "30s".
    pub timeout: Duration,
    /// The most callers that wait at the same time; further ones are refused. Default: 10,000.
    pub max_waiters: u32,
    /// How long making a resource may take. Default: "10s".
    pub create_timeout: Duration,
    /// How many resources are made at the same time. Default: 2, 4 or 8 by profile.
    pub creating_max: u32,
    /// A resource that was used or checked within this time is given out without a check. Default: "500ms".
    pub check_after: Duration,
    /// Idle resources are checked in the background this often; absent for never. Default: "2m".
    pub check_interval: Option<Duration>,
    /// How long a check or a recycling may take. Default: "5s".
    pub check_timeout: Duration,
    /// How long closing a resource may take. Default: "5s".
    pub close_timeout: Duration,
    /// A resource that nobody used for so long is closed, as long as `min` stay; absent for never. Default: "10m".
    pub idle_timeout: Option<Duration>,
    /// A resource of this age is replaced, spread by 10 % so that they do not all go at once; absent for never.
    /// Default: "30m".
    pub max_lifetime: Option<Duration>,
    /// A lease that lasts longer is reported as a leak, with the line that took it; absent for never. Default: "15m",
    /// "5m" or "1m" by profile.
    pub leak_after: Option<Duration>,
    /// So many failures to make a resource in a row, and callers are refused at once while none is there. Default: 5.
    pub breaker_failures: u32,
    /// Pause after the first such failure; it doubles with each further one. Default: "100ms".
    pub retry_min: Duration,
    /// The longest such pause. Default: "5s".
    pub retry_max: Duration,
    /// Whether the pool publishes metrics. Default: true.
    pub metrics: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl PoolSettings {
    /// The most resources: `max`, or what the profile says.
    pub fn max_resources(&self, profile: Profile) -> u32 {
        self.max.unwrap_or(profile.pick(4, 10, 50)).max(self.min)
    }

    /// The most objects: `max`, or what the profile says.
    pub fn max_objects(&self, profile: Profile) -> u32 {
        self.max.unwrap_or(profile.pick(50, 100, 200)).max(self.min).max(self.initial)
    }
}

impl Settings for PoolSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            initial: 0,
            min: profile.pick(0, 2, 4),
            max: None,
            min_idle: 0,
            max_bytes: profile.pick(ByteSize::mib(4), ByteSize::mib(16), ByteSize::mib(64)),
            zero_on_return: false,
            growth_factor: 1.5,
            cleanup_interval: Duration::from_mins(5),
            timeout: Duration::from_secs(30),
            max_waiters: 10_000,
            create_timeout: Duration::from_secs(10),
            creating_max: profile.pick(2, 4, 8),
            check_after: Duration::from_millis(500),
            check_interval: Some(Duration::from_mins(2)),
            check_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            idle_timeout: Some(Duration::from_mins(10)),
            max_lifetime: Some(Duration::from_mins(30)),
            leak_after: Some(profile.pick(Duration::from_mins(15), Duration::from_mins(5), Duration::from_mins(1))),
            breaker_failures: 5,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            metrics: true,
        }
    }

    fn check(&self, problems: &mut Problems) {
        if let Some(max) = self.max {
            if max == 0 || max > MAX {
                problems.report("max", max, format!("must be from 1 to {MAX}"));
            }
            for (field, value) in [("min", self.min), ("initial", self.initial), ("min_idle", self.min_idle)] {
                if value > max {
                    problems.report(field, value, format!("must be at most max, which is {max}"));
                }
            }
        }
        for (field, value) in [("min", self.min), ("initial", self.initial), ("min_idle", self.min_idle)] {
            if value > MAX {
                problems.report(field, value, format!("must be at most {MAX}"));
            }
        }
        if !(1.0..=GROWTH_MAX).contains(&self.growth_factor) {
            problems.report("growth_factor", self.growth_factor, format!("must be from 1 to {GROWTH_MAX}"));
        }
        if self.max_bytes.is_zero() {
            problems.report("max_bytes", self.max_bytes, "must be more than 0");
        }
        for (field, value) in [
            ("max_waiters", self.max_waiters),
            ("creating_max", self.creating_max),
            ("breaker_failures", self.breaker_failures),
        ] {
            if value == 0 {
                problems.report(field, 0, "must be at least 1");
            }
        }
        for (field, value) in [
            ("cleanup_interval", Some(self.cleanup_interval)),
            ("timeout", Some(self.timeout)),
            ("create_timeout", Some(self.create_timeout)),
            ("check_timeout", Some(self.check_timeout)),
            ("close_timeout", Some(self.close_timeout)),
            ("retry_min", Some(self.retry_min)),
            ("check_interval", self.check_interval),
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("leak_after", self.leak_after),
        ] {
            if value.is_some_and(|value| value.is_zero()) {
                problems.report(
                    field,
                    Duration::ZERO,
                    "must be more than 0; where it can be left out, that means never",
                );
            }
        }
        if self.retry_max < self.retry_min {
            problems.report(
                "retry_max",
                self.retry_max,
                format!("must be at least retry_min, which is {}", self.retry_min),
            );
        }
    }
}

/// Checks the settings of the pool `name`.
pub(crate) fn check(name: &str, settings: &PoolSettings) -> Result<(), BuildError> {
    let mut problems = Problems::new();
    problems.within(&format!("pool.{name}"), |problems| settings.check(problems));
    problems.into_result().map_err(|problems| BuildError::Settings { name: name.to_owned(), problems })
}

/// The longest time that is added to an instant: far enough for never, and no clock overflows.
pub(crate) const FOREVER: StdDuration = StdDuration::from_secs(60 * 60 * 24 * 365 * 30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_survives_json() {
        for settings in Profile::ALL.map(PoolSettings::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<PoolSettings>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut problems = Problems::new();
        let settings = PoolSettings {
            min: 9,
            max: Some(3),
            growth_factor: 0.5,
            max_waiters: 0,
            idle_timeout: Some(Duration::ZERO),
            retry_max: Duration::from_millis(1),
            ..PoolSettings::default()
        };
        settings.check(&mut problems);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(problems.len(), 5, "{text}");
        assert!(text.contains("min = 9: must be at most max, which is 3"), "{text}");
    }

    #[test]
    fn unknown_fields_are_refused_with_the_known_ones() {
        let error = serde_json::from_str::<PoolSettings>(r#"{"max_size": 1}"#).unwrap_err().to_string();
        assert!(error.contains("max_waiters"), "{error}");
    }

    #[test]
    fn absent_limits_come_from_the_profile_and_never_below_the_least() {
        let settings = PoolSettings { min: 70, ..PoolSettings::for_profile(Profile::Minimal) };
        assert_eq!(settings.max_resources(Profile::Minimal), 70);
        assert_eq!(settings.max_objects(Profile::Balanced), 100);
    }
}
