//! What one look at the process and the machine says.
//!
//! Everything that a platform, a kernel or a container may withhold is an `Option`: a value that
//! could not be read is `None`, and [`Sample::gaps`] says which one and why. A sample is plain
//! data; it serialises to JSON with bytes as whole numbers and times in seconds.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// One measurement of the process, the machine and the memory that may be used.
///
/// # Example
///
/// ```
/// use trimtab_monitor::{Probe, Sample};
///
/// let sample: Sample = Probe::new().sample();
/// assert!(sample.machine.cpus > 0.0);
/// # if cfg!(target_os = "linux") {
/// assert!(sample.process.rss.unwrap() > 0);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// Wall clock when the sample was taken; milliseconds since the Unix epoch in JSON.
    #[serde(serialize_with = "unix_millis")]
    pub at: SystemTime,
    /// How long the process has been running; seconds in JSON.
    #[serde(serialize_with = "seconds")]
    pub uptime: Duration,
    /// What taking this sample cost; seconds in JSON.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
    /// This process.
    pub process: ProcessSample,
    /// The machine or container it runs on.
    pub machine: MachineSample,
    /// The memory it may use and does use.
    pub memory: MemorySample,
    /// Values that could not be read, each with the reason.
    pub gaps: Arc<[Gap]>,
}

/// This process, as the kernel sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProcessSample {
    /// CPU used since the previous sample, in cores: 1.0 is one core kept busy, 2.5 two and a half.
    /// `None` in the first sample.
    pub cpu_share: Option<f64>,
    /// The same, as a fraction of the cores that this process may use (its CPU quota, or all).
    pub cpu_quota_share: Option<f64>,
    /// CPU time used since the process started (user and system); seconds in JSON.
    #[serde(serialize_with = "maybe_seconds")]
    pub cpu_time: Option<Duration>,
    /// Resident memory in bytes.
    pub rss: Option<u64>,
    /// Operating-system threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

/// The machine, or the part of it that the container may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MachineSample {
    /// Cores that this process may use: the CPU quota where one is set, else the cores there are.
    pub cpus: f64,
    /// Busy fraction (0 to 1) of all cores of the machine since the previous sample.
    /// `None` in the first sample.
    pub cpu_share: Option<f64>,
    /// Load average.
    pub load: Option<LoadAverage>,
    /// Memory of the machine in bytes.
    pub memory_total: Option<u64>,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available: Option<u64>,
}

/// Runnable and waiting tasks, averaged by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LoadAverage {
    /// Over one minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
}

/// The memory budget and how much of it is taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemorySample {
    /// Bytes that count against the limit, as [`used_source`](Self::used_source) measures them.
    pub used: Option<u64>,
    /// What `used` measures: the working set of the control group, or the resident set of the process.
    pub used_source: UsedSource,
    /// Bytes that may be used before the system refuses or kills.
    pub limit: Option<u64>,
    /// Where the limit comes from, in words.
    pub limit_source: Cow<'static, str>,
    /// `used / limit`; above 1 when the limit is exceeded.
    pub share: Option<f64>,
    /// Fraction of the last ten seconds in which tasks waited for memory (Linux PSI).
    pub stall: Option<Stall>,
}

impl MemorySample {
    /// A sample that knows `used` of `limit` bytes; for fake probes and tests.
    ///
    /// ```
    /// use trimtab_monitor::MemorySample;
    ///
    /// assert_eq!(MemorySample::of(50, 100).share, Some(0.5));
    /// ```
    pub fn of(used: u64, limit: u64) -> Self {
        Self {
            used: Some(used),
            used_source: UsedSource::Process,
            limit: Some(limit),
            limit_source: Cow::Borrowed("given"),
            share: (limit > 0).then(|| used as f64 / limit as f64),
            stall: None,
        }
    }
}

impl Default for MemorySample {
    fn default() -> Self {
        Self {
            used: None,
            used_source: UsedSource::Process,
            limit: None,
            limit_source: Cow::Borrowed("unknown"),
            share: None,
            stall: None,
        }
    }
}

/// What the used memory was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsedSource {
    /// The larger of (usage − inactive page cache) and anonymous memory of the control group whose
    /// limit binds: what the kernel cannot drop before it kills.
    Cgroup,
    /// The resident set of this process.
    Process,
}

impl UsedSource {
    /// In words, for evidence and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "working set of the control group",
            Self::Process => "resident set of the process",
        }
    }
}

/// Fractions of the last ten seconds (0 to 1) lost to waiting for memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stall {
    /// At least one task waited.
    pub some: f64,
    /// All tasks waited at once.
    pub full: f64,
}

/// A value that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// The value, as its path in the sample: `process.threads`.
    pub value: &'static str,
    /// Why it is missing, with the file that was tried.
    pub reason: String,
}

impl Sample {
    /// A sample without any value, taken now; fake probes fill in what they want to show.
    ///
    /// ```
    /// use trimtab_monitor::{MemorySample, Sample};
    ///
    /// let mut sample = Sample::empty();
    /// sample.memory = MemorySample::of(90, 100);
    /// assert_eq!(sample.memory.share, Some(0.9));
    /// ```
    pub fn empty() -> Self {
        Self {
            at: SystemTime::now(),
            uptime: Duration::ZERO,
            took: Duration::ZERO,
            process: ProcessSample::default(),
            machine: MachineSample { cpus: cpus_known(), ..MachineSample::default() },
            memory: MemorySample::default(),
            gaps: Arc::default(),
        }
    }
}

/// Cores by the standard library, which knows affinity and quota on most platforms.
pub(crate) fn cpus_known() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

pub(crate) fn unix_millis<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
pub(crate) fn maybe_seconds<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => serializer.serialize_some(&span.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_plain_numbers() {
        let mut sample = Sample::empty();
        sample.at = UNIX_EPOCH + Duration::from_millis(1_500);
        sample.uptime = Duration::from_millis(2_500);
        sample.process.cpu_time = Some(Duration::from_millis(250));
        sample.memory = MemorySample::of(1, 4);
        let json = serde_json::to_value(&sample).expect("plain data");
        assert_eq!(json["at"], 1_500);
        assert_eq!(json["uptime"], 2.5);
        assert_eq!(json["process"]["cpu_time"], 0.25);
        assert_eq!(json["process"]["rss"], serde_json::Value::Null);
        assert_eq!(json["memory"]["used_source"], "process");
        assert_eq!(json["memory"]["share"], 0.25);
    }

    #[test]
    fn share_of_a_zero_limit_is_unknown() {
        assert_eq!(MemorySample::of(1, 0).share, None);
    }
}
