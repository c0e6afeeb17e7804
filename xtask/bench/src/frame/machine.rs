//! Where a run took place: processor, kernel, compiler, versions of the peers.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

const LOCK: &str = include_str!("../../Cargo.lock");

/// The circumstances of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Memory of the machine in MiB.
    pub memory_mib: u64,
    /// Operating system and kernel release.
    pub kernel: String,
    /// The compiler that built the benchmarks.
    pub rustc: &'static str,
    /// Whether the build was optimised; figures of one that was not mean nothing.
    pub optimised: bool,
    /// One-minute load of the machine when the run began.
    pub load: f64,
    /// Versions of the packages compared.
    pub packages: BTreeMap<String, String>,
}

impl Machine {
    /// Describes this machine and the locked versions of `packages`.
    pub fn detect(packages: &[&str]) -> Self {
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned()))
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let memory_kib: u64 = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0);
        Self {
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib / 1024,
            kernel: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
            rustc: env!("BENCH_RUSTC"),
            optimised: cfg!(not(debug_assertions)),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            packages: versions(LOCK, packages),
        }
    }
}

impl Machine {
    /// Whether other work took a good part of the processors when the run began.
    pub fn busy(&self) -> bool {
        self.load > self.cores as f64 * 0.6
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The versions of `wanted` in the text of a `Cargo.lock`.
fn versions(lock: &str, wanted: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(text) = quoted(line, "name = ") {
            name = text;
        } else if let Some(version) = quoted(line, "version = ")
            && wanted.contains(&name)
        {
            found
                .entry(name.to_owned())
                .and_modify(|all: &mut String| *all = format!("{all}, {version}"))
                .or_insert_with(|| version.to_owned());
        }
    }
    found
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix('"')?.strip_suffix('"')
}

/// This moment, UTC, as `2026-01-02T03:04:05Z`.
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    rfc3339(seconds)
}

/// Seconds since 1970 as a date. The calendar part is Howard Hinnant's `civil_from_days`, for years after 1970.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + era * 400 + carry;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_767_323_045), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn versions_come_from_the_lock_file_and_name_every_copy() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n[[package]]\nname = \"b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"3.0.0\"\n";
        let found = versions(lock, &["b", "c"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found["b"], "2.0.0, 3.0.0");
    }

    #[test]
    fn this_machine_has_cores_and_a_compiler() {
        let machine = Machine::detect(&["moka", "quick_cache"]);
        assert!(machine.cores >= 1);
        assert!(machine.rustc.starts_with("rustc "));
        assert_eq!(machine.packages.len(), 2);
    }

    #[test]
    fn a_machine_with_other_work_is_busy() {
        let machine = Machine { cores: 2, load: 0.4, ..Machine::detect(&[]) };
        assert!(!machine.busy());
        assert!(Machine { load: 1.9, ..machine }.busy());
    }
}
