//! The process: CPU time, resident memory, threads, open files, age.
//!
//! From `/proc/self/stat`, `statm` and the folder `fd`. Page size and clock tick come from
//! `/proc/self/auxv`, where the kernel hands them to every program: no foreign call needed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kept::KeptFile;

/// What `/proc/self/stat` says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stat {
    pub(crate) cpu_time: Duration,
    pub(crate) threads: u64,
    /// After the machine's start.
    pub(crate) started: Duration,
}

/// What `/proc/self/statm` says, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statm {
    #[cfg_attr(not(feature = "prometheus"), allow(dead_code, reason = "only exposed to Prometheus"))]
    pub(crate) virtual_size: u64,
    pub(crate) rss: u64,
}

#[derive(Debug)]
pub(crate) struct ProcessReader {
    stat: KeptFile,
    statm: KeptFile,
    uptime: KeptFile,
    descriptors: Descriptors,
    units: Units,
}

impl ProcessReader {
    pub(crate) fn new(root: &Path) -> Self {
        let own = root.join("proc/self");
        Self {
            stat: KeptFile::new(own.join("stat")),
            statm: KeptFile::new(own.join("statm")),
            uptime: KeptFile::new(root.join("proc/uptime")),
            descriptors: Descriptors::new(own.join("fd")),
            units: Units::read(&own.join("auxv")),
        }
    }

    pub(crate) fn stat(&mut self, buffer: &mut Vec<u8>) -> Result<Stat, String> {
        let text = self.stat.read(buffer)?;
        parse_stat(text, self.units.ticks_per_second).ok_or_else(|| unreadable(&self.stat))
    }

    pub(crate) fn statm(&mut self, buffer: &mut Vec<u8>) -> Result<Statm, String> {
        let text = self.statm.read(buffer)?;
        parse_statm(text, self.units.page_size).ok_or_else(|| unreadable(&self.statm))
    }

    pub(crate) fn open_files(&mut self) -> Result<u64, String> {
        self.descriptors.count()
    }

    /// How long the process has been running, from the machine's own age.
    pub(crate) fn age(&mut self, stat: &Stat, buffer: &mut Vec<u8>) -> Result<Duration, String> {
        let text = self.uptime.read(buffer)?;
        let machine = text.split_ascii_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        let machine = machine.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(machine.ok_or_else(|| unreadable(&self.uptime))?.saturating_sub(stat.started))
    }
}

pub(crate) fn unreadable(file: &KeptFile) -> String {
    format!("{} has a form that is not understood", file.path().display())
}

/// `pid (name) state ppid …`: the name may hold spaces and parentheses, so fields count from the last one.
fn parse_stat(text: &str, ticks_per_second: u64) -> Option<Stat> {
    let fields = &text[text.rfind(')')? + 1..];
    let mut fields = fields.split_ascii_whitespace();
    // The state is field 3 of proc(5); utime 14, stime 15, num_threads 20, starttime 22.
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let threads = fields.nth(20 - 16)?.parse().ok()?;
    let started: u64 = fields.nth(22 - 21)?.parse().ok()?;
    let span = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    Some(Stat { cpu_time: span(user.checked_add(system)?), threads, started: span(started) })
}

fn parse_statm(text: &str, page_size: u64) -> Option<Statm> {
    let mut fields = text.split_ascii_whitespace();
    let virtual_pages: u64 = fields.next()?.parse().ok()?;
    let resident_pages: u64 = fields.next()?.parse().ok()?;
    Some(Statm { virtual_size: virtual_pages.checked_mul(page_size)?, rss: resident_pages.checked_mul(page_size)? })
}

/// The kernel's units, as it tells them to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    page_size: u64,
    ticks_per_second: u64,
}

impl Units {
    const PAGE_SIZE: usize = 6;
    const CLOCK_TICK: usize = 17;

    /// The auxiliary vector is pairs of machine words. Where it cannot be read (a process that is
    /// not dumpable), the values of nearly every Linux stand in.
    fn read(path: &Path) -> Self {
        let mut units = Self { page_size: 4096, ticks_per_second: 100 };
        let words = std::fs::read(path).unwrap_or_default();
        let (words, _) = words.as_chunks::<{ size_of::<usize>() }>();
        for pair in words.chunks_exact(2) {
            let value = usize::from_ne_bytes(pair[1]) as u64;
            match usize::from_ne_bytes(pair[0]) {
                Self::PAGE_SIZE if value.is_power_of_two() => units.page_size = value,
                Self::CLOCK_TICK if value > 0 => units.ticks_per_second = value,
                _ => {}
            }
        }
        units
    }
}

/// Counts the entries of `/proc/self/fd`.
///
/// Since Linux 6.2 the folder's size *is* the count, one call instead of a listing. Any other folder
/// has some size too, so the short way is taken only after both ways agreed three times.
#[derive(Debug)]
struct Descriptors {
    path: PathBuf,
    folder: Option<File>,
    agreed: u32,
}

impl Descriptors {
    const AGREE: u32 = 3;

    fn new(path: PathBuf) -> Self {
        Self { path, folder: None, agreed: 0 }
    }

    fn count(&mut self) -> Result<u64, String> {
        if self.agreed >= Self::AGREE
            && let Some(size) = self.folder.as_ref().and_then(|folder| folder.metadata().ok()).map(|data| data.len())
            && size > 0
        {
            return Ok(size);
        }
        let reason = |error: std::io::Error| format!("{} could not be read: {error}", self.path.display());
        let listed = std::fs::read_dir(&self.path).map_err(reason)?.count() as u64;
        // On the real folder the listing sees its own descriptor.
        let listed = if self.path.starts_with("/proc") { listed.saturating_sub(1) } else { listed };
        if self.folder.is_none() {
            self.folder = File::open(&self.path).ok();
            return Ok(listed + u64::from(self.folder.is_some() && self.path.starts_with("/proc")));
        }
        let size = self.folder.as_ref().and_then(|folder| folder.metadata().ok()).map(|data| data.len());
        self.agreed = if size == Some(listed) { self.agreed + 1 } else { 0 };
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (odd ) name) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 9 0 1200 1000000 300 18446744073709551615 1 1";

    #[test]
    fn stat_survives_a_name_with_parentheses() {
        let stat = parse_stat(STAT, 100).expect("a good line");
        assert_eq!(stat, Stat { cpu_time: Duration::from_secs(3), threads: 9, started: Duration::from_secs(12) });
    }

    #[test]
    fn cut_or_foreign_text_is_none() {
        for text in ["", "42", "42 (a", "42 (a) S 1 2", "42 (a) S x x x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(parse_stat(text, 100), None, "{text}");
        }
        for text in ["", "12", "a b", "1 18446744073709551615"] {
            assert_eq!(parse_statm(text, 4096), None, "{text}");
        }
        assert_eq!(parse_statm("10 3 2 1 0 4 0\n", 4096), Some(Statm { virtual_size: 40_960, rss: 12_288 }));
    }

    #[test]
    fn units_come_from_the_auxiliary_vector_when_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("auxv");
        assert_eq!(Units::read(&path), Units { page_size: 4096, ticks_per_second: 100 });
        let words = [16_usize, 1, 6, 16_384, 17, 1_000, 0, 0];
        std::fs::write(&path, words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>()).expect("written");
        assert_eq!(Units::read(&path), Units { page_size: 16_384, ticks_per_second: 1_000 });
    }

    #[test]
    fn descriptors_of_a_plain_folder_are_counted_by_listing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut descriptors = Descriptors::new(folder.path().to_owned());
        for count in 0..8 {
            assert_eq!(descriptors.count(), Ok(count));
            std::fs::write(folder.path().join(count.to_string()), "").expect("written");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn open_files_of_this_process_rise_with_what_is_opened() {
        let mut descriptors = Descriptors::new(PathBuf::from("/proc/self/fd"));
        for _ in 0..8 {
            descriptors.count().expect("readable");
        }
        // Other tests of this program open and close files meanwhile: enough of them drown that out.
        let before = descriptors.count().expect("readable");
        let held: Vec<_> = (0..200).map(|_| File::open("/dev/null").expect("opens")).collect();
        let after = descriptors.count().expect("readable");
        assert!(after >= before + 100, "{before} {after} {}", held.len());
    }
}
