//! Prometheus: a recorder for the `metrics` facade and its text exposition.
//!
//! Histograms have fixed buckets chosen by the unit at the end of the name, so that they can be added
//! up over instances; quantiles computed inside each could not. The usual `process_*` metrics are read
//! when the text is made, as Prometheus' own client libraries do: fresh, and CPU seconds with their
//! fraction.
//!
//! The recorder keeps histogram values until someone asks for the text or calls
//! [`Prometheus::upkeep`]; left alone it grows. A running [`Monitor`](crate::Monitor) does the upkeep
//! every five seconds.

mod process;

use std::fmt;
use std::sync::Arc;

use metrics::Recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;

use self::process::ProcessCollector;

/// What an HTTP answer that carries [`Prometheus::render`] should name as its content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Times: from a cache hit that loads nothing to a request that gave up.
const SECONDS: [f64; 20] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Sizes: powers of four from 64 B to 1 GiB.
const BYTES: [f64; 13] = [
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];
/// Fractions.
const RATIO: [f64; 12] = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99];
/// Counts and what has no known unit.
const COUNT: [f64; 19] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];

static INSTALLED: Mutex<Option<Prometheus>> = Mutex::new(None);

/// Why no recorder was installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The program has installed another recorder before.
    #[error(
        "the Prometheus recorder was not installed: this program has another metrics recorder already; install only one, or put both behind a fan-out with prometheus::build()"
    )]
    OtherRecorder,
}

/// Gives the text of everything that was measured. Cheap to clone.
#[derive(Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
    process: Arc<Mutex<ProcessCollector>>,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus").finish_non_exhaustive()
    }
}

impl Prometheus {
    /// The text exposition, version 0.0.4: every metric with its help and type.
    ///
    /// # Complexity
    ///
    /// About 1 µs for each series; a page of 10,000 takes 10 ms. Large pages belong on a blocking thread.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        self.process.lock().render(&mut text);
        text
    }

    /// Moves histogram values from where they are recorded to where they are kept, which bounds their
    /// memory. Call it every few seconds where no [`Monitor`](crate::Monitor) runs.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Makes the Prometheus recorder the program's own, or gives the handle of the one that
/// this function installed before.
///
/// Call it first in `main`: handles made before it write nowhere.
///
/// # Errors
///
/// [`InstallError::OtherRecorder`] when another recorder is installed.
///
/// # Example
///
/// ```
/// let prometheus = trimtab_monitor::prometheus::install()?;
/// let created = trimtab_monitor::meter::counter("orders_created_total", &[("kind", "web")]);
/// created.increment(2);
/// assert!(prometheus.render().contains("orders_created_total{kind=\"web\"} 2"));
/// # Ok::<(), trimtab_monitor::prometheus::InstallError>(())
/// ```
pub fn install() -> Result<Prometheus, InstallError> {
    let mut installed = INSTALLED.lock();
    if let Some(prometheus) = &*installed {
        return Ok(prometheus.clone());
    }
    let (recorder, prometheus) = build();
    metrics::set_global_recorder(recorder).map_err(|_| InstallError::OtherRecorder)?;
    crate::metrics::describe();
    *installed = Some(prometheus.clone());
    Ok(prometheus)
}

/// The handle of the recorder that [`install`] set up, if it did.
pub fn installed() -> Option<Prometheus> {
    INSTALLED.lock().clone()
}

/// A recorder and its handle, not installed: to stand behind a fan-out, or to be local to a test.
pub fn build() -> (impl Recorder + Send + Sync + 'static, Prometheus) {
    let buckets = [("_seconds", SECONDS.as_slice()), ("_bytes", &BYTES), ("_ratio", &RATIO)];
    let builder = buckets
        .into_iter()
        .try_fold(PrometheusBuilder::new(), |builder, (suffix, values)| {
            builder.set_buckets_for_metric(Matcher::Suffix(suffix.to_owned()), values)
        })
        .and_then(|builder| builder.set_buckets(&COUNT));
    // The builder refuses empty lists only, and these are not.
    let recorder = builder.expect("bucket lists are not empty").build_recorder();
    let prometheus = Prometheus { handle: recorder.handle(), process: Arc::new(Mutex::new(ProcessCollector::new())) };
    (recorder, prometheus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise() {
        for bounds in [SECONDS.as_slice(), &BYTES, &RATIO, &COUNT] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn unit_at_the_end_of_the_name_chooses_the_buckets() {
        let (recorder, prometheus) = build();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("a_seconds").record(0.000_02);
            metrics::histogram!("a_bytes").record(100.0);
            metrics::histogram!("a_ratio").record(0.25);
            metrics::histogram!("a_jobs").record(3.0);
        });
        let text = prometheus.render();
        for line in [
            "a_seconds_bucket{le=\"0.00001\"} 0",
            "a_seconds_bucket{le=\"0.000025\"} 1",
            "a_bytes_bucket{le=\"64\"} 0",
            "a_bytes_bucket{le=\"256\"} 1",
            "a_ratio_bucket{le=\"0.3\"} 1",
            "a_jobs_bucket{le=\"5\"} 1",
            "a_jobs_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_of_this_crate_has_help() {
        let (recorder, prometheus) = build();
        metrics::with_local_recorder(&recorder, || {
            crate::metrics::describe();
            let handles = crate::metrics::Handles::resolve();
            handles.publish(&crate::Sample::empty());
            handles.tick(std::time::Duration::from_millis(1));
            crate::metrics::reclaim_refused();
        });
        let text = prometheus.render();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().expect("a name");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        }
        assert!(text.contains("trimtab_monitor_memory_stall_ratio{kind=\"full\"} NaN"), "{text}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn process_metrics_have_their_usual_names() {
        let text = build().1.render();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value: f64 = value.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a number");
            assert!(value.is_finite() && value >= 0.0, "{name} {value}");
            assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")));
        }
    }
}
