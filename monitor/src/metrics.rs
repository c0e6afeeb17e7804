//! Every metric of this crate: names, units, meaning, and the handles that write them.
//!
//! Handles are resolved once; a macro call costs many times a handle. Labels come from closed sets:
//! `kind` is `some` or `full`, `level` a pressure level, `result` is `done` or `refused`.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::pressure::{Pressure, PressureReport};
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::reclaim::Reclaimed;
use crate::sample::Sample;

/// Time that one sample took.
pub const SAMPLE_SECONDS: &str = "trimtab_monitor_sample_seconds";
/// Time that one whole tick took: sample, gauges, callbacks.
pub const TICK_SECONDS: &str = "trimtab_monitor_tick_seconds";
/// Callbacks that panicked.
pub const CALLBACK_PANICS: &str = "trimtab_monitor_callback_panics_total";
/// CPU used by the process, in cores.
pub const PROCESS_CPU: &str = "trimtab_monitor_process_cpu_cores";
/// CPU used by the process as a fraction of what it may use.
pub const PROCESS_CPU_RATIO: &str = "trimtab_monitor_process_cpu_ratio";
/// Resident memory of the process.
pub const PROCESS_RSS: &str = "trimtab_monitor_process_resident_bytes";
/// Threads of the process.
pub const PROCESS_THREADS: &str = "trimtab_monitor_process_threads";
/// Open files of the process.
pub const PROCESS_FILES: &str = "trimtab_monitor_process_open_files";
/// Time since the process started.
pub const UPTIME: &str = "trimtab_monitor_process_uptime_seconds";
/// Cores that the process may use.
pub const MACHINE_CPUS: &str = "trimtab_monitor_machine_cpu_cores";
/// Busy fraction of the machine's cores.
pub const MACHINE_CPU_RATIO: &str = "trimtab_monitor_machine_cpu_ratio";
/// One-minute load average.
pub const MACHINE_LOAD: &str = "trimtab_monitor_machine_load_tasks";
/// Memory of the machine.
pub const MACHINE_MEMORY: &str = "trimtab_monitor_machine_memory_bytes";
/// Memory that the machine has left.
pub const MACHINE_AVAILABLE: &str = "trimtab_monitor_machine_memory_available_bytes";
/// Memory that counts against the limit.
pub const MEMORY_USED: &str = "trimtab_monitor_memory_used_bytes";
/// The memory limit.
pub const MEMORY_LIMIT: &str = "trimtab_monitor_memory_limit_bytes";
/// Used memory as a fraction of the limit.
pub const MEMORY_RATIO: &str = "trimtab_monitor_memory_ratio";
/// Fraction of the last ten seconds lost to waiting for memory.
pub const MEMORY_STALL: &str = "trimtab_monitor_memory_stall_ratio";
/// Pressure level, 0 to 3.
pub const PRESSURE: &str = "trimtab_monitor_pressure_level";
/// Changes of the pressure level.
pub const PRESSURE_CHANGES: &str = "trimtab_monitor_pressure_changes_total";
/// Requests to return memory to the system.
pub const RECLAIMS: &str = "trimtab_monitor_reclaims_total";
/// Bytes by which reclaims made the resident set fall.
pub const RECLAIMED: &str = "trimtab_monitor_reclaimed_bytes_total";
/// Time that a reclaim took.
pub const RECLAIM_SECONDS: &str = "trimtab_monitor_reclaim_seconds";

/// Tells the recorder what each metric means. Call it after installing a recorder;
/// [`prometheus::install`](crate::prometheus::install) and [`MonitorBuilder::start`](crate::MonitorBuilder::start) do.
pub fn describe() {
    describe_histogram!(SAMPLE_SECONDS, Unit::Seconds, "Time that one sample of process and machine took.");
    describe_histogram!(
        TICK_SECONDS,
        Unit::Seconds,
        "Time that one tick of the monitor took: sample, tracked values, callbacks."
    );
    describe_counter!(CALLBACK_PANICS, Unit::Count, "Callbacks of the monitor that panicked; each was contained.");
    describe_gauge!(PROCESS_CPU, Unit::Count, "CPU used by the process since the last sample, in cores.");
    describe_gauge!(PROCESS_CPU_RATIO, "CPU used by the process as a fraction (0 to 1) of the cores that it may use.");
    describe_gauge!(PROCESS_RSS, Unit::Bytes, "Resident memory of the process.");
    describe_gauge!(PROCESS_THREADS, Unit::Count, "Operating-system threads of the process.");
    describe_gauge!(PROCESS_FILES, Unit::Count, "Open file descriptors of the process.");
    describe_gauge!(UPTIME, Unit::Seconds, "Time since the process started.");
    describe_gauge!(MACHINE_CPUS, Unit::Count, "Cores that the process may use: its quota, or all.");
    describe_gauge!(MACHINE_CPU_RATIO, "Busy fraction (0 to 1) of the machine's cores since the last sample.");
    describe_gauge!(MACHINE_LOAD, Unit::Count, "Load average of the machine over one minute.");
    describe_gauge!(MACHINE_MEMORY, Unit::Bytes, "Memory of the machine.");
    describe_gauge!(MACHINE_AVAILABLE, Unit::Bytes, "Memory that the machine can give without swapping.");
    describe_gauge!(MEMORY_USED, Unit::Bytes, "Memory that counts against the limit.");
    describe_gauge!(MEMORY_LIMIT, Unit::Bytes, "Memory that may be used.");
    describe_gauge!(MEMORY_RATIO, "Used memory as a fraction of the limit.");
    describe_gauge!(MEMORY_STALL, "Fraction (0 to 1) of the last ten seconds in which tasks waited for memory.");
    describe_gauge!(PRESSURE, Unit::Count, "Memory pressure: 0 low, 1 moderate, 2 high, 3 critical.");
    describe_counter!(PRESSURE_CHANGES, Unit::Count, "Changes of the memory pressure to a level.");
    describe_counter!(RECLAIMS, Unit::Count, "Requests to return memory to the system.");
    describe_counter!(RECLAIMED, Unit::Bytes, "Bytes by which reclaims made the resident set fall.");
    describe_histogram!(RECLAIM_SECONDS, Unit::Seconds, "Time that a reclaim took.");
}

/// The monitor's handles, resolved when it starts.
#[derive(Debug)]
pub(crate) struct Handles {
    sample_seconds: Histogram,
    tick_seconds: Histogram,
    pub(crate) callback_panics: Counter,
    cpu: Gauge,
    cpu_ratio: Gauge,
    rss: Gauge,
    threads: Gauge,
    files: Gauge,
    uptime: Gauge,
    cpus: Gauge,
    machine_cpu: Gauge,
    load: Gauge,
    machine_memory: Gauge,
    available: Gauge,
    used: Gauge,
    limit: Gauge,
    ratio: Gauge,
    stall_some: Gauge,
    stall_full: Gauge,
    pressure: Gauge,
    changes: [Counter; 4],
}

impl Handles {
    pub(crate) fn resolve() -> Self {
        Self {
            sample_seconds: histogram!(SAMPLE_SECONDS),
            tick_seconds: histogram!(TICK_SECONDS),
            callback_panics: counter!(CALLBACK_PANICS),
            cpu: gauge!(PROCESS_CPU),
            cpu_ratio: gauge!(PROCESS_CPU_RATIO),
            rss: gauge!(PROCESS_RSS),
            threads: gauge!(PROCESS_THREADS),
            files: gauge!(PROCESS_FILES),
            uptime: gauge!(UPTIME),
            cpus: gauge!(MACHINE_CPUS),
            machine_cpu: gauge!(MACHINE_CPU_RATIO),
            load: gauge!(MACHINE_LOAD),
            machine_memory: gauge!(MACHINE_MEMORY),
            available: gauge!(MACHINE_AVAILABLE),
            used: gauge!(MEMORY_USED),
            limit: gauge!(MEMORY_LIMIT),
            ratio: gauge!(MEMORY_RATIO),
            stall_some: gauge!(MEMORY_STALL, "kind" => "some"),
            stall_full: gauge!(MEMORY_STALL, "kind" => "full"),
            pressure: gauge!(PRESSURE),
            changes: Pressure::ALL.map(|level| counter!(PRESSURE_CHANGES, "level" => level.as_str())),
        }
    }

    /// Publishes one sample. A value that is not known is NaN: a gauge that kept its last value would
    /// show a number that nobody measured.
    pub(crate) fn publish(&self, sample: &Sample) {
        let float = |gauge: &Gauge, value: Option<f64>| gauge.set(value.unwrap_or(f64::NAN));
        let whole = |gauge: &Gauge, value: Option<u64>| gauge.set(value.map_or(f64::NAN, |value| value as f64));
        self.sample_seconds.record(sample.took);
        float(&self.cpu, sample.process.cpu_share);
        float(&self.cpu_ratio, sample.process.cpu_quota_share);
        whole(&self.rss, sample.process.rss);
        whole(&self.threads, sample.process.threads);
        whole(&self.files, sample.process.open_files);
        self.uptime.set(sample.uptime.as_secs_f64());
        self.cpus.set(sample.machine.cpus);
        float(&self.machine_cpu, sample.machine.cpu_share);
        float(&self.load, sample.machine.load.map(|load| load.one));
        whole(&self.machine_memory, sample.machine.memory_total);
        whole(&self.available, sample.machine.memory_available);
        whole(&self.used, sample.memory.used);
        whole(&self.limit, sample.memory.limit);
        float(&self.ratio, sample.memory.share);
        float(&self.stall_some, sample.memory.stall.map(|stall| stall.some));
        float(&self.stall_full, sample.memory.stall.map(|stall| stall.full));
    }

    pub(crate) fn publish_pressure(&self, report: &PressureReport, changed: bool) {
        self.pressure.set(f64::from(report.level as u8));
        if changed {
            self.changes[report.level as usize].increment(1);
        }
    }

    pub(crate) fn tick(&self, took: Duration) {
        self.tick_seconds.record(took);
    }
}

// Reclaims are rare and may come before a recorder is installed: their handles are resolved each
// time, so that none stays bound to "no recorder" for good.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn reclaimed(done: &Reclaimed) {
    counter!(RECLAIMS, "result" => "done").increment(1);
    counter!(RECLAIMED).increment(done.freed);
    histogram!(RECLAIM_SECONDS).record(done.took);
}

pub(crate) fn reclaim_refused() {
    counter!(RECLAIMS, "result" => "refused").increment(1);
}
