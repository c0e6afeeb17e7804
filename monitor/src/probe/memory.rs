//! Memory in use against the memory that may be used.
//!
//! Inside a control group with a limit, the group is what the kernel kills, so the group is what is
//! measured, at the level up the tree whose limit is smallest. Its raw usage counts page cache that
//! the kernel drops before it kills anything; `max(usage − inactive_file, anonymous)` leaves that out
//! and still notices a group whose cache is all active. (One measured pod showed 46 of 51 GB "used"
//! that were cold page cache.) Without such a limit the resident set of the process counts.
//!
//! Where the limit itself comes from is [`MemoryLimit::resolve`]'s business.

use std::borrow::Cow;
use std::path::Path;

use trimtab_config::{Cgroup, Machine, MemoryFiles, MemoryLimit};

use super::kept::KeptFile;
use super::process::unreadable;
use crate::sample::{Stall, UsedSource};

/// The limit that applies, and what must be measured against it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Budget {
    pub(crate) limit: Option<u64>,
    pub(crate) source: Cow<'static, str>,
    pub(crate) measure: UsedSource,
}

impl Budget {
    pub(crate) const UNKNOWN: Self = Self {
        limit: None,
        source: Cow::Borrowed("unknown: neither a control group nor the machine tells; set the limit in bytes"),
        measure: UsedSource::Process,
    };

    /// Works out the budget from the setting and the machine.
    ///
    /// A limit relative to a control group is one of the group. A number of bytes is what this
    /// process may take, unless it leaves the group no more room than `auto` would: then the group
    /// meets its own limit first, and is what to watch. More than there is cannot be promised at all.
    pub(crate) fn new(setting: MemoryLimit, machine: &Machine) -> Self {
        let limited = machine.memory_is_limited();
        let group = if limited { UsedSource::Cgroup } else { UsedSource::Process };
        let auto = MemoryLimit::Auto.resolve(machine);
        let (limit, measure) = match (setting, auto, machine.memory()) {
            (MemoryLimit::Bytes(bytes), Some(mut auto), Some(whole)) if bytes > whole.value => {
                auto.source = format!("{}, less than the {bytes} that were set", auto.source);
                (Some(auto), group)
            }
            (MemoryLimit::Bytes(bytes), Some(auto), _) if bytes > auto.value => (setting.resolve(machine), group),
            (MemoryLimit::Bytes(_), _, _) => (setting.resolve(machine), UsedSource::Process),
            _ => (setting.resolve(machine), group),
        };
        limit.map_or(Self::UNKNOWN, |limit| Self {
            limit: Some(limit.value.as_u64()),
            source: Cow::Owned(limit.source),
            measure,
        })
    }
}

/// Reads usage and stalls of the binding group, or the machine's stalls where there is none.
#[derive(Debug)]
pub(crate) struct MemoryReader {
    files: Option<MemoryFiles>,
    usage: KeptFile,
    stat: KeptFile,
    /// The group's own stalls, which only version 2 has.
    group_stall: Option<KeptFile>,
    machine_stall: KeptFile,
}

impl MemoryReader {
    pub(crate) fn new(root: &Path, cgroup: &Cgroup) -> Self {
        let files = cgroup.memory_files();
        let kept = |path: Option<&Path>| KeptFile::new(path.map(Path::to_owned).unwrap_or_default());
        Self {
            usage: kept(files.as_ref().map(|files| files.current.as_path())),
            stat: kept(files.as_ref().map(|files| files.stat.as_path())),
            group_stall: files
                .as_ref()
                .map(|files| files.current.with_file_name("memory.pressure"))
                .filter(|path| path.exists())
                .map(KeptFile::new),
            machine_stall: KeptFile::new(root.join("proc/pressure/memory")),
            files,
        }
    }

    /// Whether it reads the files that `cgroup` names: then its open descriptors are still right.
    pub(crate) fn fits(&self, cgroup: &Cgroup) -> bool {
        self.files == cgroup.memory_files()
    }

    /// What the kernel cannot drop from the group before it kills.
    pub(crate) fn working_set(&mut self, buffer: &mut Vec<u8>) -> Result<u64, String> {
        let files = self.files.as_ref().ok_or("no memory control group was found")?;
        let text = self.usage.read(buffer)?;
        let usage: u64 = text.trim().parse().map_err(|_| unreadable(&self.usage))?;
        let text = self.stat.read(buffer)?;
        let (anonymous, inactive) = parse_stat(text, files).ok_or_else(|| unreadable(&self.stat))?;
        Ok(usage.saturating_sub(inactive).max(anonymous))
    }

    pub(crate) fn stall(&mut self, buffer: &mut Vec<u8>) -> Result<Stall, String> {
        let file = self.group_stall.as_mut().unwrap_or(&mut self.machine_stall);
        let text = file.read(buffer)?;
        parse_stall(text).ok_or_else(|| unreadable(file))
    }
}

/// Anonymous memory and inactive page cache, from `key number` lines.
fn parse_stat(text: &str, files: &MemoryFiles) -> Option<(u64, u64)> {
    let (mut anonymous, mut inactive) = (None, None);
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if name == files.anon {
            anonymous = value.trim().parse().ok();
        } else if name == files.inactive_file {
            inactive = value.trim().parse().ok();
        }
        if anonymous.is_some() && inactive.is_some() {
            break;
        }
    }
    Some((anonymous?, inactive?))
}

/// `some avg10=1.23 avg60=… avg300=… total=…`, then the same for `full`; percent.
fn parse_stall(text: &str) -> Option<Stall> {
    let find = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let percent: f64 = line.trim_start().strip_prefix("avg10=")?.split(' ').next()?.parse().ok()?;
        percent.is_finite().then_some(percent / 100.0)
    };
    Some(Stall { some: find("some ")?, full: find("full ").unwrap_or(0.0) })
}

#[cfg(test)]
mod tests {
    use trimtab_config::{ByteSize, Measured, Share};

    use super::*;

    fn machine(limit: Option<u64>, total: Option<u64>) -> Machine {
        let mut machine = Machine::unknown();
        machine.memory_limit = limit.map(|gib| Measured::new(ByteSize::gib(gib), "memory.max"));
        machine.memory_total = total.map(|gib| Measured::new(ByteSize::gib(gib), "/proc/meminfo"));
        machine
    }

    #[test]
    fn every_setting_gives_a_limit_and_says_where_from() {
        use MemoryLimit::{Auto, Bytes};
        use UsedSource::{Cgroup, Process};
        let share = |percent| MemoryLimit::Share(Share::percent(percent));
        let gib = |n| Bytes(ByteSize::gib(n));
        let table = [
            (Auto, Some(10), Some(64), Some(9 << 30), Cgroup, "90% of 10GiB (memory.max)"),
            (Auto, Some(64), Some(4), Some(3 << 30), Process, "75% of 4GiB (/proc/meminfo)"),
            (Auto, None, Some(4), Some(3 << 30), Process, "75% of 4GiB (/proc/meminfo)"),
            (Auto, None, None, None, Process, "unknown: neither"),
            (share(80), Some(10), None, Some(8 << 30), Cgroup, "80% of 10GiB (memory.max)"),
            (share(50), None, Some(4), Some(2 << 30), Process, "50% of 4GiB"),
            (gib(2), Some(10), None, Some(2 << 30), Process, "set"),
            (Bytes(ByteSize::mib(9_500)), Some(10), None, Some(9_500 << 20), Cgroup, "set"),
            (
                gib(20),
                Some(10),
                None,
                Some(9 << 30),
                Cgroup,
                "90% of 10GiB (memory.max), less than the 20GiB that were set",
            ),
            (gib(20), None, Some(4), Some(3 << 30), Process, "75% of 4GiB (/proc/meminfo), less than the 20GiB"),
            (gib(2), None, None, Some(2 << 30), Process, "set"),
        ];
        for (setting, limit, total, wanted, measure, words) in table {
            let budget = Budget::new(setting, &machine(limit, total));
            assert_eq!((budget.limit, budget.measure), (wanted, measure), "{setting:?} {limit:?} {total:?}");
            assert!(budget.source.starts_with(words), "{} should begin with {words}", budget.source);
        }
    }

    #[test]
    fn stat_is_read_by_the_keys_of_its_version() {
        let files = |inactive_file, anon| MemoryFiles { current: "a".into(), stat: "b".into(), inactive_file, anon };
        let text = "anon 10\nfile 20\nkernel 1\ninactive_file 7\n";
        assert_eq!(parse_stat(text, &files("inactive_file", "anon")), Some((10, 7)));
        let old = "cache 1\nrss 2\ninactive_file 3\ntotal_cache 10\ntotal_rss 20\ntotal_inactive_file 30\n";
        assert_eq!(parse_stat(old, &files("total_inactive_file", "total_rss")), Some((20, 30)));
        assert_eq!(parse_stat("anon 10\n", &files("inactive_file", "anon")), None);
        assert_eq!(parse_stat("anon x\ninactive_file 3", &files("inactive_file", "anon")), None);
    }

    #[test]
    fn stall_is_a_fraction() {
        let text = "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=2.50 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(parse_stall(text), Some(Stall { some: 0.125, full: 0.025 }));
        assert_eq!(parse_stall("some avg10=1.00 avg60=0"), Some(Stall { some: 0.01, full: 0.0 }));
        for text in ["", "some", "some avg10=NaN avg60", "some avg60=1 avg10=2"] {
            assert_eq!(parse_stall(text), None, "{text}");
        }
    }
}
