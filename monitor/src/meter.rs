//! Meters of your own: counters, gauges, histograms and timers as handles.
//!
//! A handle is resolved once and then costs nanoseconds; the `metrics` macros look the name up on
//! every call and cost many times that. A handle is bound to the recorder that is installed when it
//! is made: install the recorder ([`prometheus::install`](crate::prometheus::install)) first, for a
//! handle made before it writes nowhere for good.
//!
//! Names end in their base unit (`_seconds`, `_bytes`, `_total` for counters, `_ratio`). Labels must
//! come from small closed sets, never from keys, users or paths: every combination is a series.

use std::future::Future;
use std::time::{Duration, Instant};

pub use metrics::{Counter, Gauge, Histogram};

/// A counter: only ever rises.
///
/// ```
/// let created = trimtab_monitor::meter::counter("orders_created_total", &[("kind", "web")]);
/// created.increment(1);
/// ```
pub fn counter(name: &'static str, labels: &[(&'static str, &'static str)]) -> Counter {
    metrics::counter!(name, labels)
}

/// A gauge: goes up and down.
///
/// ```
/// let depth = trimtab_monitor::meter::gauge("queue_depth_jobs", &[]);
/// depth.set(3.0);
/// ```
pub fn gauge(name: &'static str, labels: &[(&'static str, &'static str)]) -> Gauge {
    metrics::gauge!(name, labels)
}

/// A histogram: a distribution of sizes or times.
///
/// ```
/// let sizes = trimtab_monitor::meter::histogram("answer_bytes", &[]);
/// sizes.record(512.0);
/// ```
pub fn histogram(name: &'static str, labels: &[(&'static str, &'static str)]) -> Histogram {
    metrics::histogram!(name, labels)
}

/// Measures how long things take, into a histogram in seconds.
///
/// # Example
///
/// ```
/// use trimtab_monitor::Timer;
///
/// let timer = Timer::new("report_render_seconds", &[]);
/// let answer = timer.time(|| 6 * 7);
/// assert_eq!(answer, 42);
///
/// let scope = timer.start(); // records when it goes out of scope, also by `?` or a panic
/// let took = scope.stop();
/// assert!(took.as_secs() < 1);
/// ```
#[derive(Debug, Clone)]
pub struct Timer {
    histogram: Histogram,
}

impl Timer {
    /// A timer for the histogram `name`, which should end in `_seconds`.
    pub fn new(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        Self::from(histogram(name, labels))
    }

    /// Starts to measure; the time is recorded when the scope is dropped.
    #[must_use = "a scope that is dropped at once measures nothing"]
    pub fn start(&self) -> TimerScope<'_> {
        TimerScope { histogram: Some(&self.histogram), start: Instant::now() }
    }

    /// Measures a call.
    pub fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let _scope = self.start();
        call()
    }

    /// Measures a future from its first poll to its end.
    ///
    /// # Cancel safety
    ///
    /// As that of `future`; a future that is dropped on the way is recorded with the time until then.
    pub async fn time_async<F: Future>(&self, future: F) -> F::Output {
        let _scope = self.start();
        future.await
    }

    /// Records a time that was measured elsewhere.
    pub fn record(&self, took: Duration) {
        self.histogram.record(took);
    }
}

impl From<Histogram> for Timer {
    fn from(histogram: Histogram) -> Self {
        Self { histogram }
    }
}

/// A measurement under way. Records when dropped.
#[derive(Debug)]
pub struct TimerScope<'a> {
    histogram: Option<&'a Histogram>,
    start: Instant,
}

impl TimerScope<'_> {
    /// Time so far.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends and records; the time that it took.
    pub fn stop(mut self) -> Duration {
        let took = self.start.elapsed();
        if let Some(histogram) = self.histogram.take() {
            histogram.record(took);
        }
        took
    }

    /// Ends without recording: what was measured is not what the histogram is about.
    pub fn discard(mut self) {
        self.histogram = None;
    }
}

impl Drop for TimerScope<'_> {
    fn drop(&mut self) {
        if let Some(histogram) = self.histogram {
            histogram.record(self.start.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::*;

    fn recorded(run: impl FnOnce(&Timer)) -> usize {
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || run(&Timer::new("thing_seconds", &[("kind", "test")])));
        let all = recorder.snapshotter().snapshot().into_vec();
        all.iter()
            .map(|(_, _, _, value)| match value {
                DebugValue::Histogram(values) => values.len(),
                other => panic!("no histogram: {other:?}"),
            })
            .sum()
    }

    #[test]
    fn a_scope_records_once_however_it_ends() {
        assert_eq!(recorded(|timer| drop(timer.start())), 1);
        assert_eq!(recorded(|timer| assert!(timer.start().stop().as_secs() < 60)), 1);
        assert_eq!(recorded(|timer| timer.start().discard()), 0);
        assert_eq!(recorded(|timer| timer.time(|| ())), 1);
        assert_eq!(recorded(|timer| drop(catch_unwind(AssertUnwindSafe(|| timer.time(|| panic!("on purpose")))))), 1);
    }

    #[test]
    fn a_future_that_is_dropped_on_the_way_is_recorded() {
        use std::task::{Context, Waker};
        assert_eq!(
            recorded(|timer| {
                let mut future = Box::pin(timer.time_async(std::future::pending::<()>()));
                assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }),
            1
        );
    }
}
