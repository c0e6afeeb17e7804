//! Settings of the worker processes. How many there are at most is the ceiling of the process lane.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{Backoff, ByteSize, Duration, Problems, Profile, Settings};

/// The largest message that may be allowed.
pub const MESSAGE_MAX: ByteSize = ByteSize::gib(1);

/// What a worker process may take, and how long it lives. The section is `[scheduler.workers]`; queue and ceiling of the lane
/// stand in `[scheduler.process]`, as those of any lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// Memory that one worker may have: what it asks the system for to write to (`RLIMIT_DATA` on Linux), elsewhere its address
    /// space. A worker that needs more aborts. Default: 256 MiB, 1 GiB or 4 GiB by profile.
    pub memory_limit: ByteSize,
    /// How long a job may run unless it says otherwise; then its worker is killed. Default: "30s", "1m" or "5m" by profile.
    pub timeout: Duration,
    /// The largest argument and the largest result. Default: 4, 16 or 64 MiB by profile; at most 1 GiB.
    pub message_max: ByteSize,
    /// Jobs after which a worker is replaced by a fresh one. Default: 100, 1,000 or 10,000 by profile.
    pub jobs_max: u32,
    /// How long a worker without work is kept. Default: "10s", "1m" or "5m" by profile.
    pub idle_max: Duration,
    /// How far workers step back behind the program: added to its nice value, 0 to 19. Default: 5.
    pub nice: u8,
    /// How long the start of a worker may take. Default: "10s".
    pub start_timeout: Duration,
    /// How long to wait before the next start when starts fail one after another; after the last delay, `max` is waited.
    pub backoff: Backoff,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for WorkerSettings {
    fn for_profile(profile: Profile) -> Self {
        let seconds = |(minimal, balanced, maximum)| Duration::from_secs(profile.pick(minimal, balanced, maximum));
        Self {
            memory_limit: profile.pick(ByteSize::mib(256), ByteSize::gib(1), ByteSize::gib(4)),
            timeout: seconds((30, 60, 300)),
            message_max: profile.pick(ByteSize::mib(4), ByteSize::mib(16), ByteSize::mib(64)),
            jobs_max: profile.pick(100, 1_000, 10_000),
            idle_max: seconds((10, 60, 300)),
            nice: 5,
            start_timeout: Duration::from_secs(10),
            backoff: Backoff { base: Duration::from_millis(100), ..Backoff::for_profile(profile) },
        }
    }

    fn check(&self, problems: &mut Problems) {
        if self.memory_limit < ByteSize::mib(1) {
            problems.report("memory_limit", self.memory_limit, "must be at least 1MiB: a program needs some to start");
        }
        if self.message_max.is_zero() || self.message_max > MESSAGE_MAX {
            problems.report("message_max", self.message_max, format!("must be more than 0 and at most {MESSAGE_MAX}"));
        }
        if self.jobs_max == 0 {
            problems.report("jobs_max", 0, "must be at least 1");
        }
        if self.nice > 19 {
            problems.report("nice", self.nice, "must be from 0 to 19");
        }
        let times = [("timeout", self.timeout), ("idle_max", self.idle_max), ("start_timeout", self.start_timeout)];
        for (field, time) in times {
            if time.is_zero() {
                problems.report(field, time, "must be more than 0");
            }
        }
        problems.within("backoff", |problems| self.backoff.check(problems));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_mistakes_are_told_together() {
        for profile in Profile::ALL {
            let mut problems = Problems::new();
            WorkerSettings::for_profile(profile).check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
        }
        let mut settings =
            WorkerSettings { jobs_max: 0, nice: 20, timeout: Duration::ZERO, ..WorkerSettings::default() };
        settings.memory_limit = ByteSize::kib(4);
        settings.message_max = ByteSize::gib(2);
        let mut problems = Problems::new();
        settings.check(&mut problems);
        let told = problems.into_result().unwrap_err().to_string();
        for part in ["memory_limit = 4KiB", "message_max = 2GiB", "jobs_max = 0", "nice = 20", "timeout = 0"] {
            assert!(told.contains(part), "{part} is missing in {told}");
        }
    }
}
