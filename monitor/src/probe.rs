//! Looks at the process and the machine: an own reader of /proc and of control groups.
//!
//! Descriptors stay open and are read in place, so a sample costs a handful of system calls. The
//! root is a parameter: tests, and containers that mount the host's /proc elsewhere, point it at
//! another tree. What cannot be read becomes `None` with a reason in [`Sample::gaps`]; nothing stops
//! the sampling. On platforms without /proc the same code says so, value by value.
//!
//! Control groups are located again every ten seconds: limits change while a program runs, and
//! processes are moved between groups.

mod kept;
mod machine;
mod memory;
pub(crate) mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use trimtab_config::{Cgroup, Machine, MemoryLimit};

use self::machine::{CpuTimes, MachineReader};
use self::memory::{Budget, MemoryReader};
use self::process::ProcessReader;
use crate::sample::{Gap, MachineSample, MemorySample, ProcessSample, Sample, UsedSource};

/// How often limits, quota and the place in the control group tree are read again.
const RELOCATE: Duration = Duration::from_secs(10);

/// The kernel counts CPU time in ticks of 10 ms: a share over less than this says nothing.
const SHARE_SPAN_MIN: Duration = Duration::from_millis(100);

/// Takes samples.
///
/// # Example
///
/// ```
/// use trimtab_monitor::Probe;
///
/// let mut probe = Probe::new();
/// let first = probe.sample();
/// assert_eq!(first.process.cpu_share, None); // needs two samples
/// for gap in first.gaps.iter() {
///     println!("{} is unknown: {}", gap.value, gap.reason);
/// }
/// ```
#[derive(Debug)]
pub struct Probe {
    root: PathBuf,
    setting: MemoryLimit,
    created: Instant,
    /// Age of the process when the probe was made; `Err` says why it is not known.
    age: Result<Duration, String>,
    process: ProcessReader,
    machine: MachineReader,
    memory: MemoryReader,
    budget: Budget,
    cpus: f64,
    located: Instant,
    before: Option<Baseline>,
    shares: Shares,
    gaps: Arc<[Gap]>,
    buffer: Vec<u8>,
}

/// What the next shares are counted from.
#[derive(Debug, Clone, Copy)]
struct Baseline {
    at: Instant,
    process: Option<Duration>,
    machine: Option<CpuTimes>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Shares {
    process: Option<f64>,
    machine: Option<f64>,
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe {
    /// A probe of this process on this machine, with an automatic memory limit.
    pub fn new() -> Self {
        Self::with_root("/")
    }

    /// A probe that reads `proc/…` and `sys/fs/cgroup/…` below `root`.
    pub fn with_root(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref().to_owned();
        let mut process = ProcessReader::new(&root);
        let machine = MachineReader::new(&root);
        let mut buffer = vec![0; 4096];
        let age = process.stat(&mut buffer).and_then(|stat| process.age(&stat, &mut buffer));
        let now = Instant::now();
        let mut probe = Self {
            memory: MemoryReader::new(&root, &Cgroup::default()),
            root,
            setting: MemoryLimit::Auto,
            created: now,
            age,
            process,
            machine,
            budget: Budget::UNKNOWN,
            cpus: 1.0,
            located: now,
            before: None,
            shares: Shares::default(),
            gaps: Arc::default(),
            buffer,
        };
        probe.locate(now);
        probe
    }

    /// Measures against this limit instead of the automatic one.
    pub fn memory_limit(mut self, limit: MemoryLimit) -> Self {
        self.set_memory_limit(limit);
        self
    }

    /// Measures against this limit from the next sample on.
    pub fn set_memory_limit(&mut self, limit: MemoryLimit) {
        self.setting = limit;
        self.locate(Instant::now());
    }

    /// Finds the binding control group; works out the budget and the quota. The same group keeps its
    /// open descriptors.
    fn locate(&mut self, now: Instant) {
        self.located = now;
        let cgroup = Cgroup::locate(&self.root);
        if !self.memory.fits(&cgroup) {
            self.memory = MemoryReader::new(&self.root, &cgroup);
        }
        let machine = Machine::read(&self.root);
        self.cpus = machine.cpus.value;
        self.budget = Budget::new(self.setting, &machine);
    }

    /// Takes a sample. Costs about 25 µs (more when caches are cold) and allocates nothing that grows; the shares of CPU
    /// are those since the last call that lies at least 100 ms back.
    pub fn sample(&mut self) -> Sample {
        let start = Instant::now();
        if start.saturating_duration_since(self.located) >= RELOCATE {
            self.locate(start);
        }
        let mut gaps = Gaps::default();
        let buffer = &mut self.buffer;
        let stat = gaps.take("process.cpu_time", self.process.stat(buffer));
        let open_files = gaps.take("process.open_files", self.process.open_files());
        let cpu_times = gaps.take("machine.cpu_share", self.machine.cpu_times());
        let load = gaps.take("machine.load", self.machine.load(buffer));
        let machine_memory = gaps.take("machine.memory_total", self.machine.memory(buffer));
        let age = gaps.take("uptime", self.age.clone());
        let (memory, rss) = self.measure(&mut gaps);
        let cpu_time = stat.map(|stat| stat.cpu_time);
        self.count_shares(start, cpu_time, cpu_times);
        let at = SystemTime::now();
        Sample {
            at,
            uptime: age.unwrap_or_default() + start.saturating_duration_since(self.created),
            process: ProcessSample {
                cpu_share: self.shares.process,
                cpu_quota_share: self.shares.process.map(|share| share / self.cpus),
                cpu_time,
                rss,
                threads: stat.map(|stat| stat.threads),
                open_files,
            },
            machine: MachineSample {
                cpus: self.cpus,
                cpu_share: self.shares.machine,
                load,
                memory_total: machine_memory.map(|memory| memory.total),
                memory_available: machine_memory.and_then(|memory| memory.available),
            },
            memory,
            gaps: gaps.publish(&mut self.gaps),
            took: start.elapsed(),
        }
    }

    /// Only the memory: about 3 µs, for callers who look often.
    pub fn memory(&mut self) -> MemorySample {
        self.measure(&mut Gaps::default()).0
    }

    fn measure(&mut self, gaps: &mut Gaps) -> (MemorySample, Option<u64>) {
        let buffer = &mut self.buffer;
        let rss = gaps.take("process.rss", self.process.statm(buffer)).map(|statm| statm.rss);
        let group = match self.budget.measure {
            UsedSource::Cgroup => gaps.take("memory.used", self.memory.working_set(buffer)),
            UsedSource::Process => None,
        };
        let (used, used_source) = match group {
            Some(working_set) => (Some(working_set), UsedSource::Cgroup),
            None => (rss, UsedSource::Process),
        };
        let stall = gaps.take("memory.stall", self.memory.stall(buffer));
        let limit = self.budget.limit;
        let share = used.zip(limit.filter(|&limit| limit > 0)).map(|(used, limit)| used as f64 / limit as f64);
        (MemorySample { used, used_source, limit, limit_source: self.budget.source.clone(), share, stall }, rss)
    }

    fn count_shares(&mut self, now: Instant, process: Option<Duration>, machine: Option<CpuTimes>) {
        if let Some(before) = self.before {
            let span = now.saturating_duration_since(before.at);
            if span < SHARE_SPAN_MIN {
                return;
            }
            self.shares = Shares {
                process: process
                    .zip(before.process)
                    .map(|(now, before)| now.saturating_sub(before).as_secs_f64() / span.as_secs_f64()),
                machine: machine.zip(before.machine).and_then(|(now, before)| now.share_since(before)),
            };
        }
        self.before = Some(Baseline { at: now, process, machine });
    }
}

/// Resident bytes of this process, for before-and-after comparisons.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn rss_now() -> Option<u64> {
    ProcessReader::new(Path::new("/")).statm(&mut vec![0; 128]).ok().map(|statm| statm.rss)
}

/// Collects reasons; shares the last list while nothing changes.
#[derive(Default)]
struct Gaps(Vec<Gap>);

impl Gaps {
    fn take<T>(&mut self, value: &'static str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.0.push(Gap { value, reason })).ok()
    }

    fn publish(self, last: &mut Arc<[Gap]>) -> Arc<[Gap]> {
        if **last != *self.0 {
            for gap in self.0.iter().filter(|gap| !last.contains(gap)) {
                tracing::debug!(value = gap.value, reason = gap.reason, "a value cannot be sampled");
            }
            *last = self.0.into();
        }
        Arc::clone(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        let root = tempfile::tempdir().expect("a folder");
        Probe::with_root(root.path())
    }

    #[test]
    fn shares_are_counted_over_the_time_between_two_samples() {
        let mut probe = probe();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let cpu = |millis| Some(Duration::from_millis(millis));
        let times = |busy, total| Some(CpuTimes { busy, total });
        probe.count_shares(at(0), cpu(1_000), times(100, 1_000));
        assert_eq!((probe.shares.process, probe.shares.machine), (None, None));
        probe.count_shares(at(2_000), cpu(4_000), times(150, 1_400));
        assert_eq!((probe.shares.process, probe.shares.machine), (Some(1.5), Some(0.125)));
        // Too soon after: the last shares stand, and the time is not lost to the next ones.
        probe.count_shares(at(2_050), cpu(4_040), times(151, 1_401));
        assert_eq!(probe.shares.process, Some(1.5));
        probe.count_shares(at(3_000), cpu(4_100), times(150, 1_500));
        assert_eq!((probe.shares.process, probe.shares.machine), (Some(0.1), Some(0.0)));
        // What cannot be read has no share, and neither has the sample after it.
        probe.count_shares(at(4_000), None, None);
        assert_eq!((probe.shares.process, probe.shares.machine), (None, None));
        probe.count_shares(at(5_000), cpu(5_000), times(200, 1_600));
        assert_eq!((probe.shares.process, probe.shares.machine), (None, None));
    }

    #[test]
    fn an_empty_tree_gives_a_sample_of_gaps() {
        let mut probe = probe();
        let sample = probe.sample();
        assert_eq!(sample.process.rss, None);
        assert_eq!(sample.memory.limit, None);
        assert!(sample.memory.limit_source.starts_with("unknown"));
        let missing: Vec<_> = sample.gaps.iter().map(|gap| gap.value).collect();
        assert_eq!(
            missing,
            [
                "process.cpu_time",
                "process.open_files",
                "machine.cpu_share",
                "machine.load",
                "machine.memory_total",
                "uptime",
                "process.rss",
                "memory.stall"
            ]
        );
        assert!(sample.gaps[0].reason.contains("proc/self/stat could not be read"));
        // The list is shared while nothing changes.
        assert!(Arc::ptr_eq(&sample.gaps, &probe.sample().gaps));
    }
}
