//! Settings of a scheduler, as they stand in a file, in variables, in code or in a request.
//!
//! Defaults per profile stand in one table, [`SchedulerSettings::for_profile`]. Lanes share one shape; a field that concerns
//! some lanes only says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Machine, Problems, Profile, Settings, Share};

use crate::error::SchedulerError;
use crate::job::Cost;
use crate::lane::LaneKind;
#[cfg(feature = "process")]
use crate::process::config::WorkerSettings;

/// The highest ceiling.
pub const CEILING_MAX: u32 = 1 << 20;
/// The longest queue.
pub const QUEUE_MAX: u32 = 1 << 26;
/// The most processors that a budget can speak of.
const CORES_MAX: f64 = 65_536.0;
/// The most threads of the cpu lane.
const THREADS_MAX: u32 = 1024;

/// What happens to a job when the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhenFull {
    /// The newcomer is refused, and told when to come back.
    #[default]
    Reject,
    /// The least important job of the queue gives way, if it is less important than the newcomer.
    Shed,
}

/// How the ceiling of a lane is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Adaptation {
    /// It stays where the settings put it.
    #[default]
    Fixed,
    /// Up by one while jobs are fast enough, down by a tenth when they fail or are slower than `latency_max`.
    Aimd,
    /// Follows the ratio of the latency without load to the present one.
    Gradient,
}

/// Settings of one lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LaneSettings {
    /// How many jobs run at the same time; absent for the number of processors in the cpu lane, and for 256, 1,024 or 8,192
    /// (io) and 8, 16 or 64 (memory) by profile; in the process lane, where it is the number of workers, that of the processors, and
    /// 1 in the smallest profile. Where the ceiling adapts, this is where it begins.
    pub ceiling: Option<u32>,
    /// How the ceiling is found: "fixed", "aimd" or "gradient". Default: "fixed".
    pub adaptation: Adaptation,
    /// The lowest ceiling that adaptation may choose. Default: 1.
    pub ceiling_min: u32,
    /// The highest; absent for 8 times the ceiling.
    pub ceiling_max: Option<u32>,
    /// Jobs that take longer than this lower an "aimd" ceiling. Default: "1s".
    pub latency_max: Duration,
    /// Where somebody tells the scheduler how loaded the machine is, a ceiling that adapts goes down beyond this. Default:
    /// "95%".
    pub load_max: Share,
    /// Processors that the lane's jobs may take in sum, by their estimates; absent for those of the machine.
    pub cpu: Option<f64>,
    /// Memory that the lane's jobs may take in sum, by their estimates; absent for what the machine's budget has.
    pub memory: Option<ByteSize>,
    /// Jobs that wait at the same time. Default: 10,000, 100,000 or 1,000,000 by profile.
    pub queue_max: u32,
    /// Bytes that they hold. Default: 16, 64 or 512 MiB by profile.
    pub queue_bytes: ByteSize,
    /// What happens to a job when the queue is full: "reject" or "shed". Default: "reject".
    pub when_full: WhenFull,
    /// A job that waited longer than this gets every eighth start, whatever its priority. Default: "1s".
    pub patience: Duration,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for LaneSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            ceiling: None,
            adaptation: Adaptation::Fixed,
            ceiling_min: 1,
            ceiling_max: None,
            latency_max: Duration::from_secs(1),
            load_max: Share::percent(95),
            cpu: None,
            memory: None,
            queue_max: profile.pick(10_000, 100_000, 1_000_000),
            queue_bytes: profile.pick(ByteSize::mib(16), ByteSize::mib(64), ByteSize::mib(512)),
            when_full: WhenFull::Reject,
            patience: Duration::from_secs(1),
        }
    }

    fn check(&self, problems: &mut Problems) {
        for (field, value) in
            [("ceiling", self.ceiling), ("ceiling_min", Some(self.ceiling_min)), ("ceiling_max", self.ceiling_max)]
        {
            if value.is_some_and(|value| value == 0 || value > CEILING_MAX) {
                problems.report(field, value.unwrap_or_default(), format!("must be from 1 to {CEILING_MAX}"));
            }
        }
        if let Some(max) = self.ceiling_max
            && max < self.ceiling_min
        {
            problems.report("ceiling_max", max, format!("must be at least ceiling_min, which is {}", self.ceiling_min));
        }
        if self.queue_max == 0 || self.queue_max > QUEUE_MAX {
            problems.report("queue_max", self.queue_max, format!("must be from 1 to {QUEUE_MAX}"));
        }
        if self.queue_bytes.is_zero() {
            problems.report("queue_bytes", self.queue_bytes, "must be more than 0");
        }
        if self.load_max.get() <= 0.0 {
            problems.report("load_max", self.load_max, "must be more than 0");
        }
        check_cores("cpu", self.cpu, problems);
        if self.memory.is_some_and(ByteSize::is_zero) {
            problems.report("memory", ByteSize::ZERO, "must be more than 0; leave it out for the machine's budget");
        }
        for (field, value) in [("latency_max", self.latency_max), ("patience", self.patience)] {
            if value.is_zero() {
                problems.report(field, value, "must be more than 0");
            }
        }
    }
}

fn check_cores(field: &str, cores: Option<f64>, problems: &mut Problems) {
    if let Some(cores) = cores
        && !(cores > 0.0 && cores <= CORES_MAX)
    {
        problems.report(field, cores, format!("must be more than 0 and at most {CORES_MAX}"));
    }
}

/// What all lanes may take together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MachineSettings {
    /// Processors that jobs may take in sum, by their estimates; absent for those that this process may use.
    pub cpu: Option<f64>,
    /// Memory that jobs may take in sum, by their estimates; absent for half of what this process may use.
    pub memory: Option<ByteSize>,
}

/// Background tasks and their results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BackgroundSettings {
    /// Ended tasks whose results are kept. Default: 1,000.
    pub keep_max: u32,
    /// How long a result is kept. Default: "1h".
    pub keep_for: Duration,
}

impl Default for BackgroundSettings {
    fn default() -> Self {
        Self { keep_max: 1000, keep_for: Duration::from_hours(1) }
    }
}

/// Settings of a scheduler.
///
/// ```
/// use trimtab_scheduler::SchedulerSettings;
///
/// let settings: SchedulerSettings = serde_json::from_str(r#"{"io": {"ceiling": 64}, "cpu_threads": 2}"#)?;
/// assert_eq!(settings.io.ceiling, Some(64));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SchedulerSettings {
    /// What all lanes may take together.
    pub machine: MachineSettings,
    /// Jobs that wait more than they compute.
    pub io: LaneSettings,
    /// Jobs that compute.
    pub cpu: LaneSettings,
    /// Jobs that need much memory.
    pub memory: LaneSettings,
    /// Jobs in worker processes.
    #[cfg(feature = "process")]
    pub process: LaneSettings,
    /// The worker processes.
    #[cfg(feature = "process")]
    pub workers: WorkerSettings,
    /// Threads of the cpu lane; absent for the number of processors.
    pub cpu_threads: Option<u32>,
    /// How far the threads of the cpu lane step back behind tokio's workers: the nice value, 0 to 19. Linux only.
    /// Default: 5.
    pub cpu_nice: u8,
    /// Background tasks and their results.
    pub background: BackgroundSettings,
}

impl Default for SchedulerSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for SchedulerSettings {
    fn for_profile(profile: Profile) -> Self {
        let lane = LaneSettings::for_profile(profile);
        Self {
            machine: MachineSettings::default(),
            io: LaneSettings { ceiling: Some(profile.pick(256, 1024, 8192)), ..lane.clone() },
            cpu: lane.clone(),
            memory: LaneSettings { ceiling: Some(profile.pick(8, 16, 64)), ..lane.clone() },
            #[cfg(feature = "process")]
            process: LaneSettings { ceiling: profile.pick(Some(1), None, None), ..lane },
            #[cfg(feature = "process")]
            workers: WorkerSettings::for_profile(profile),
            cpu_threads: None,
            cpu_nice: 5,
            background: BackgroundSettings::default(),
        }
    }

    fn check(&self, problems: &mut Problems) {
        problems.within("io", |problems| self.io.check(problems));
        problems.within("cpu", |problems| self.cpu.check(problems));
        problems.within("memory", |problems| self.memory.check(problems));
        #[cfg(feature = "process")]
        {
            problems.within("process", |problems| self.process.check(problems));
            problems.within("workers", |problems| self.workers.check(problems));
        }
        problems.within("machine", |problems| {
            check_cores("cpu", self.machine.cpu, problems);
            if self.machine.memory.is_some_and(ByteSize::is_zero) {
                problems.report(
                    "memory",
                    ByteSize::ZERO,
                    "must be more than 0; leave it out for half of the machine's",
                );
            }
        });
        if self.cpu_threads.is_some_and(|threads| threads == 0 || threads > THREADS_MAX) {
            let threads = self.cpu_threads.unwrap_or_default();
            problems.report("cpu_threads", threads, format!("must be from 1 to {THREADS_MAX}"));
        }
        if self.cpu_nice > 19 {
            problems.report("cpu_nice", self.cpu_nice, "must be from 0 to 19");
        }
        if self.background.keep_max == 0 {
            problems.report("background.keep_max", 0, "must be at least 1");
        }
        if self.background.keep_for.is_zero() {
            problems.report("background.keep_for", self.background.keep_for, "must be more than 0");
        }
    }
}

impl SchedulerSettings {
    /// Settings of one lane.
    pub fn lane(&self, lane: LaneKind) -> &LaneSettings {
        match lane {
            LaneKind::Io => &self.io,
            LaneKind::Cpu => &self.cpu,
            LaneKind::Memory => &self.memory,
            #[cfg(feature = "process")]
            LaneKind::Process => &self.process,
        }
    }

    /// Threads of the cpu lane on `machine`.
    pub fn threads(&self, machine: &Machine) -> usize {
        self.cpu_threads.map_or_else(|| machine.threads(), |threads| threads as usize).clamp(1, THREADS_MAX as usize)
    }

    /// Where the ceiling of a lane begins on `machine`.
    pub fn ceiling(&self, lane: LaneKind, machine: &Machine) -> u32 {
        let default = match lane {
            LaneKind::Io => 1024,
            LaneKind::Cpu => self.threads(machine) as u32,
            LaneKind::Memory => 16,
            #[cfg(feature = "process")]
            LaneKind::Process => machine.threads() as u32,
        };
        self.lane(lane).ceiling.unwrap_or(default)
    }

    /// What all lanes may take together on `machine`.
    pub fn budget(&self, machine: &Machine) -> Cost {
        let cores = self.machine.cpu.unwrap_or(machine.cpus.value);
        let half = machine.memory().map_or(ByteSize::MAX, |memory| ByteSize::b(memory.value.as_u64() / 2));
        Cost::cpu(cores).with_memory(self.machine.memory.unwrap_or(half))
    }

    /// What a lane may take on `machine`.
    pub fn lane_budget(&self, lane: LaneKind, machine: &Machine) -> Cost {
        let all = self.budget(machine);
        let settings = self.lane(lane);
        Cost::cpu(settings.cpu.unwrap_or(all.cores())).with_memory(settings.memory.unwrap_or(all.bytes()))
    }
}

/// Checks the settings of the scheduler `name`.
pub(crate) fn check(name: &str, settings: &SchedulerSettings) -> Result<(), SchedulerError> {
    let mut problems = Problems::new();
    problems.within("scheduler", |problems| settings.check(problems));
    problems.into_result().map_err(|problems| SchedulerError::Settings { name: name.to_owned(), problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_survives_json() {
        for settings in Profile::ALL.map(SchedulerSettings::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<SchedulerSettings>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_their_paths() {
        let mut settings = SchedulerSettings::default();
        settings.io.ceiling = Some(0);
        settings.io.ceiling_min = 9;
        settings.io.ceiling_max = Some(3);
        settings.cpu.cpu = Some(f64::NAN);
        settings.cpu_nice = 20;
        settings.background.keep_max = 0;
        let error = check("app", &settings).unwrap_err().to_string();
        for part in [
            "scheduler.io.ceiling = 0: must be from 1 to 1048576",
            "scheduler.io.ceiling_max = 3: must be at least ceiling_min, which is 9",
            "scheduler.cpu.cpu = NaN",
            "scheduler.cpu_nice = 20",
            "scheduler.background.keep_max = 0",
        ] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }

    #[test]
    fn what_is_absent_comes_from_the_machine() {
        let settings = SchedulerSettings::default();
        let machine = Machine::unknown();
        assert_eq!(settings.ceiling(LaneKind::Cpu, &machine), 1);
        assert_eq!(settings.budget(&machine), Cost::cpu(1.0).with_memory(ByteSize::MAX));
        assert_eq!(settings.lane_budget(LaneKind::Io, &machine), settings.budget(&machine));
    }
}
