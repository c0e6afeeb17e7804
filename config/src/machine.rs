//! What this process may really use: memory and processors of the machine, cut down by control groups.
//!
//! A container on a 64-core host with a quota of two must not start 64 workers. Everything is read from `/proc` and `/sys` below
//! a root that tests replace by a fixture tree. Nothing here fails: what cannot be read is absent, and each figure names the
//! file that it came from.

mod cgroup;
mod files;

pub use cgroup::{Cgroup, CgroupVersion, MemoryFiles, MemoryUsage};

use std::path::Path;

use serde::Serialize;

use crate::ByteSize;
use files::{count_cpu_list, read_text};

/// A figure and the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measured<T> {
    /// The figure.
    pub value: T,
    /// A file, or how the figure was derived.
    pub source: String,
}

impl<T> Measured<T> {
    /// A figure with its source.
    pub fn new(value: T, source: impl Into<String>) -> Self {
        Self { value, source: source.into() }
    }
}

/// The memory and processors that this process may use.
///
/// ```
/// use trimtab_config::Machine;
///
/// let machine = Machine::detect();
/// assert!(machine.cpus.value > 0.0);
/// println!("{} cpus, from {}", machine.cpus.value, machine.cpus.source);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// Memory of the whole machine.
    pub memory_total: Option<Measured<ByteSize>>,
    /// The smallest limit of the control groups around this process; `None` when there is none.
    pub memory_limit: Option<Measured<ByteSize>>,
    /// Processors that this process may use, in fractions when a quota says so. Always above 0.
    pub cpus: Measured<f64>,
    /// Processors of the whole machine, at least 1.
    pub cpus_total: Measured<usize>,
    /// Which control groups the process lives in.
    pub cgroup: CgroupVersion,
}

impl Machine {
    /// Reads this machine.
    pub fn detect() -> Self {
        Self::read(Path::new("/"))
    }

    /// Reads `proc` and `sys` below `root`.
    pub fn read(root: &Path) -> Self {
        let cgroup = Cgroup::locate(root);
        let cpus_total = cpus_total(root);
        Self {
            memory_total: memory_total(root),
            memory_limit: cgroup.memory_limit(),
            cpus: cpus(root, &cgroup, &cpus_total),
            cpus_total,
            cgroup: cgroup.version(),
        }
    }

    /// A machine that tells nothing: one processor, memory unknown. A start for tests.
    pub fn unknown() -> Self {
        Self {
            memory_total: None,
            memory_limit: None,
            cpus: Measured::new(1.0, "unknown"),
            cpus_total: Measured::new(1, "unknown"),
            cgroup: CgroupVersion::None,
        }
    }

    /// The memory that this process may use: the control group's limit, or the machine's memory where that is smaller or alone.
    pub fn memory(&self) -> Option<Measured<ByteSize>> {
        if self.memory_is_limited() { self.memory_limit.clone() } else { self.memory_total.clone() }
    }

    /// Whether a control group allows less than the machine has.
    pub fn memory_is_limited(&self) -> bool {
        match (&self.memory_limit, &self.memory_total) {
            (Some(limit), Some(total)) => limit.value < total.value,
            (limit, _) => limit.is_some(),
        }
    }

    /// Whole processors to plan threads for: [`cpus`](Self::cpus) rounded up, at least 1.
    pub fn threads(&self) -> usize {
        (self.cpus.value.ceil() as usize).max(1)
    }
}

fn memory_total(root: &Path) -> Option<Measured<ByteSize>> {
    let text = read_text(&root.join("proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    (kib > 0).then(|| Measured::new(ByteSize::kib(kib), "/proc/meminfo"))
}

fn cpus_total(root: &Path) -> Measured<usize> {
    let online = || {
        let count = count_cpu_list(&read_text(&root.join("sys/devices/system/cpu/online"))?)?;
        Some(Measured::new(count, "/sys/devices/system/cpu/online"))
    };
    let listed = || {
        let text = read_text(&root.join("proc/cpuinfo"))?;
        let count = text.lines().filter(|line| line.starts_with("processor")).count();
        (count > 0).then(|| Measured::new(count, "/proc/cpuinfo"))
    };
    // Only for the real machine: a fixture tree must not show the figures of the host it is tested on.
    let asked = || {
        let count = std::thread::available_parallelism().ok().filter(|_| root == Path::new("/"))?;
        Some(Measured::new(count.get(), "operating system"))
    };
    online().or_else(listed).or_else(asked).unwrap_or_else(|| Measured::new(1, "unknown"))
}

/// The smallest of: the machine, the process's affinity, its cpuset, its quota.
fn cpus(root: &Path, cgroup: &Cgroup, total: &Measured<usize>) -> Measured<f64> {
    let affinity = || {
        let text = read_text(&root.join("proc/self/status"))?;
        let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(Measured::new(count_cpu_list(list)? as f64, "/proc/self/status"))
    };
    let whole = Measured::new(total.value as f64, total.source.clone());
    let set = cgroup.cpu_set().map(|set| Measured::new(set.value as f64, set.source));
    [affinity(), set, cgroup.cpu_quota()]
        .into_iter()
        .flatten()
        .fold(whole, |least, next| if next.value < least.value { next } else { least })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::detect();
        assert!(machine.cpus.value > 0.0 && machine.cpus.value <= machine.cpus_total.value as f64);
        assert!(machine.threads() >= 1);
        if cfg!(target_os = "linux") {
            assert!(machine.memory().is_some_and(|memory| memory.value > ByteSize::mib(1)));
        }
    }

    #[test]
    fn an_empty_tree_gives_one_unknown_processor() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Machine::read(root.path()), Machine::unknown());
    }

    #[test]
    fn garbage_is_treated_as_absent() {
        let root = tree(&[
            ("proc/meminfo", "MemTotal: many kB\n"),
            ("proc/self/status", "Cpus_allowed_list:\t9-1\n"),
            ("sys/devices/system/cpu/online", "zero"),
            ("proc/cpuinfo", "\u{0}\u{1}"),
            ("proc/self/cgroup", ":::::\n0\n\n7:memory\n"),
            ("proc/self/mountinfo", "x y z - \n1 2 3\n - cgroup2"),
        ]);
        assert_eq!(Machine::read(root.path()), Machine::unknown());
    }

    #[test]
    fn affinity_cuts_the_machine_down() {
        let root = tree(&[
            ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n"),
            ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1,4\n"),
            ("sys/devices/system/cpu/online", "0-7\n"),
        ]);
        let machine = Machine::read(root.path());
        assert_eq!(machine.cpus, Measured::new(3.0, "/proc/self/status"));
        assert_eq!(machine.cpus_total.value, 8);
        assert_eq!(machine.memory().unwrap().value, ByteSize::kib(16_384_000));
        assert!(!machine.memory_is_limited());
    }
}
