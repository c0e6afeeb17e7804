//! The machine: busy share of its cores, load average, memory.

use std::path::Path;

use super::kept::KeptFile;
use super::process::unreadable;
use crate::sample::LoadAverage;

/// Jiffies of all cores since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuTimes {
    pub(crate) busy: u64,
    pub(crate) total: u64,
}

impl CpuTimes {
    /// Busy share since `earlier`; `None` when no time passed or a counter went back (a core that
    /// was taken away takes its times along).
    pub(crate) fn share_since(self, earlier: Self) -> Option<f64> {
        let total = self.total.checked_sub(earlier.total).filter(|&total| total > 0)?;
        let busy = self.busy.checked_sub(earlier.busy)?;
        Some((busy as f64 / total as f64).min(1.0))
    }
}

/// Bytes of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MachineMemory {
    pub(crate) total: u64,
    pub(crate) available: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct MachineReader {
    stat: KeptFile,
    load: KeptFile,
    memory: KeptFile,
}

impl MachineReader {
    pub(crate) fn new(root: &Path) -> Self {
        let file = |name| KeptFile::new(root.join("proc").join(name));
        Self { stat: file("stat"), load: file("loadavg"), memory: file("meminfo") }
    }

    pub(crate) fn cpu_times(&mut self) -> Result<CpuTimes, String> {
        let mut head = [0; 256];
        let text = self.stat.read_head(&mut head)?;
        parse_cpu(text).ok_or_else(|| unreadable(&self.stat))
    }

    pub(crate) fn load(&mut self, buffer: &mut Vec<u8>) -> Result<LoadAverage, String> {
        let text = self.load.read(buffer)?;
        parse_load(text).ok_or_else(|| unreadable(&self.load))
    }

    pub(crate) fn memory(&mut self, buffer: &mut Vec<u8>) -> Result<MachineMemory, String> {
        let text = self.memory.read(buffer)?;
        parse_memory(text).ok_or_else(|| unreadable(&self.memory))
    }
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guest time is part of user.
fn parse_cpu(text: &str) -> Option<CpuTimes> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let mut times = [0_u64; 8];
    let mut count = 0;
    for (slot, word) in times.iter_mut().zip(fields.split_ascii_whitespace()) {
        *slot = word.parse().ok()?;
        count += 1;
    }
    if count < 4 {
        return None;
    }
    let total = times.iter().try_fold(0_u64, |sum, &time| sum.checked_add(time))?;
    Some(CpuTimes { busy: total - times[3] - times[4], total })
}

fn parse_load(text: &str) -> Option<LoadAverage> {
    let mut fields = text.split_ascii_whitespace().map(|word| word.parse().ok());
    Some(LoadAverage { one: fields.next()??, five: fields.next()??, fifteen: fields.next()?? })
}

fn parse_memory(text: &str) -> Option<MachineMemory> {
    let find = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kib.checked_mul(1024)
    };
    // Kernels before 3.14 have no MemAvailable: unknown is better than a guess from MemFree.
    Some(MachineMemory { total: find("MemTotal:")?, available: find("MemAvailable:") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_line_counts_idle_and_iowait_as_free() {
        let text = "cpu  100 10 50 800 40 0 0 0 7 7\ncpu0 1 2";
        assert_eq!(parse_cpu(text), Some(CpuTimes { busy: 160, total: 1_000 }));
        for text in ["", "cpu", "cpu 1 2 3", "cpu 1 2 x 4", "cpu0 1 2 3 4", "cpu 18446744073709551615 1 1 1"] {
            assert_eq!(parse_cpu(text), None, "{text}");
        }
    }

    #[test]
    fn a_counter_that_goes_back_gives_no_share() {
        let times = |busy, total| CpuTimes { busy, total };
        assert_eq!(times(30, 200).share_since(times(10, 100)), Some(0.2));
        assert_eq!(times(30, 100).share_since(times(10, 100)), None);
        assert_eq!(times(5, 200).share_since(times(10, 100)), None);
        assert_eq!(times(30, 90).share_since(times(10, 100)), None);
    }

    #[test]
    fn load_and_memory_parse_or_are_none() {
        assert_eq!(parse_load("0.50 1.25 2.00 3/400 5\n"), Some(LoadAverage { one: 0.5, five: 1.25, fifteen: 2.0 }));
        assert_eq!(parse_load("0.50 x"), None);
        let memory = parse_memory("MemTotal:       4046988 kB\nMemFree: 1 kB\nMemAvailable:   3000000 kB\n");
        assert_eq!(memory, Some(MachineMemory { total: 4_046_988 * 1024, available: Some(3_000_000 * 1024) }));
        assert_eq!(parse_memory("MemTotal: 10 kB\n"), Some(MachineMemory { total: 10_240, available: None }));
        for text in ["", "MemTotal: 10", "MemTotal: -1 kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(parse_memory(text), None, "{text}");
        }
    }
}
