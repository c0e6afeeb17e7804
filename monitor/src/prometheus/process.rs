//! The `process_*` metrics that every Prometheus client library exposes, read when asked.
//!
//! Source: "Process metrics" in Prometheus' guide to writing client libraries. They do not go through
//! the recorder: its counters are whole numbers, and CPU time in whole seconds would make every rate
//! over a minute wrong by up to 1.7 % of a core.

use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::probe::process::ProcessReader;

#[derive(Debug)]
pub(super) struct ProcessCollector {
    reader: ProcessReader,
    /// Seconds since the Unix epoch; computed once, so that it never wavers.
    started: Option<f64>,
    files_max: Option<u64>,
    buffer: Vec<u8>,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let mut reader = ProcessReader::new(Path::new("/"));
        let mut buffer = vec![0; 1024];
        let age = reader.stat(&mut buffer).and_then(|stat| reader.age(&stat, &mut buffer)).ok();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { reader, started: age.map(|age| now.saturating_sub(age).as_secs_f64()), files_max: files_max(), buffer }
    }

    /// Appends what is known; on platforms without /proc that is nothing.
    pub(super) fn render(&mut self, text: &mut String) {
        let stat = self.reader.stat(&mut self.buffer).ok();
        let statm = self.reader.statm(&mut self.buffer).ok();
        let files = self.reader.open_files().ok();
        let mut line = |name: &str, kind: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
            }
        };
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        line(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            stat.map(|stat| stat.cpu_time.as_secs_f64()),
        );
        line(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            whole(statm.map(|statm| statm.rss)),
        );
        line(
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory size in bytes.",
            whole(statm.map(|statm| statm.virtual_size)),
        );
        line("process_open_fds", "gauge", "Number of open file descriptors.", whole(files));
        line("process_max_fds", "gauge", "Maximum number of open file descriptors.", whole(self.files_max));
        line("process_threads", "gauge", "Number of OS threads in the process.", whole(stat.map(|stat| stat.threads)));
        line(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            self.started,
        );
    }
}

/// The soft limit on open files. Read once: a program that raises its own does so when it starts.
fn files_max() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
