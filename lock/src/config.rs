//! Settings of a group of locks, as they stand in a file, in variables, in code or in a request.
//!
//! Defaults per profile stand in one table, [`LockSettings::for_profile`]. The one decision that belongs to the service is
//! where the locks are kept; the rest has values that were measured.

use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{Backoff, Duration, Problems, Profile, Secret, Settings};

/// The shortest lease. Below it, a busy machine would lose locks that it uses.
pub const LEASE_MIN: StdDuration = StdDuration::from_millis(200);
/// The longest lease: nobody should wait longer for a dead holder.
pub const LEASE_MAX: StdDuration = StdDuration::from_secs(60 * 60);

/// Settings of one group of locks.
///
/// ```
/// use trimtab_lock::LockSettings;
///
/// let settings: LockSettings = serde_json::from_str(r#"{"url": "redis://localhost", "lease": "5s"}"#)?;
/// assert_eq!(settings.hand_overs, 16);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LockSettings {
    /// Where locks are kept: `memory:` (this process), `file:FOLDER`, `postgres://…` or `redis://…`. Default: "memory:".
    pub url: Secret,
    /// How long a lock outlives a holder that fell silent; renewed at a third of it while it is held. Not for `memory:` and
    /// `file:`, which know when a holder ends. 200 ms to 1 h. Default: "10s".
    pub lease: Duration,
    /// How often in a row a lock may go from one task of this process to the next while other processes wait. Default: 16.
    pub hand_overs: u32,
    /// The most callers that wait for one name at the same time; further ones are refused. Default: 10,000.
    pub waiters_max: u32,
    /// The most connections (or threads, for `file:`) that wait for contended locks; beyond that waiters poll with
    /// `backoff`. Default: 4, 16 or 64 by profile.
    pub sessions_max: u32,
    /// How long connecting, or one answer of the server, may take. Default: "5s".
    pub timeout: Duration,
    /// Delays between tries where nothing wakes a waiter: after failures of the server, or beyond `sessions_max`.
    pub backoff: Backoff,
    /// Whether the group publishes metrics. Default: true.
    pub metrics: bool,
}

impl Default for LockSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for LockSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            url: Secret::new("memory:"),
            lease: Duration::from_secs(10),
            hand_overs: 16,
            waiters_max: 10_000,
            sessions_max: profile.pick(4, 16, 64),
            timeout: Duration::from_secs(5),
            backoff: Backoff::for_profile(profile),
            metrics: true,
        }
    }

    fn check(&self, problems: &mut Problems) {
        let lease = self.lease.get();
        if lease < LEASE_MIN || lease > LEASE_MAX {
            let (min, max) = (Duration::from(LEASE_MIN), Duration::from(LEASE_MAX));
            problems.report("lease", self.lease, format!("must be from {min} to {max}"));
        }
        for (field, value) in [("waiters_max", self.waiters_max), ("sessions_max", self.sessions_max)] {
            if value == 0 {
                problems.report(field, 0, "must be at least 1");
            }
        }
        if self.timeout.is_zero() {
            problems.report("timeout", self.timeout, "must be more than 0");
        }
        if self.url.is_empty() {
            problems.report("url", "\"\"", "use memory:, file:FOLDER, postgres://… or redis://…");
        }
        problems.within("backoff", |problems| self.backoff.check(problems));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_a_url_is_never_printed() {
        for settings in Profile::ALL.map(LockSettings::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
        }
        let settings = LockSettings { url: Secret::new("redis://:hunter2@host"), ..LockSettings::default() };
        assert!(!format!("{settings:?} {}", serde_json::to_string(&settings).unwrap()).contains("hunter2"));
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut problems = Problems::new();
        let settings = LockSettings {
            url: Secret::new(""),
            lease: Duration::from_millis(10),
            waiters_max: 0,
            sessions_max: 0,
            timeout: Duration::ZERO,
            ..LockSettings::default()
        };
        settings.check(&mut problems);
        let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(problems.len(), 5, "{text}");
        assert!(text.contains("lease = 10ms: must be from 200ms to 1h"), "{text}");
    }
}
