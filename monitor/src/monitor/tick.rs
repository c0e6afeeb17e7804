//! One tick, and the task that makes them happen.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::builder::Source;
use super::{Shared, series};
use crate::health::Component;
use crate::metrics::Handles;
use crate::pressure::{Pressure, PressureGauge, PressureReport};
use crate::sample::Sample;

/// Histograms of the recorder grow between two upkeeps, so that the longest pause is bounded
/// whatever the interval is.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a callback is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tick {
    /// The newest sample.
    pub sample: Arc<Sample>,
    /// The pressure it gives.
    pub pressure: PressureReport,
    /// Whether the level changed with this tick.
    pub pressure_changed: bool,
}

/// What handles tell the task.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) stop: bool,
    pub(super) generation: u64,
}

/// How many series every monitor keeps.
pub(super) const FIXED: usize = 9;

fn fixed(sample: &Sample) -> [(&'static str, f64); FIXED] {
    let float = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let whole = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
    [
        (series::PROCESS_CPU, float(sample.process.cpu_share)),
        (series::PROCESS_RSS, whole(sample.process.rss)),
        (series::PROCESS_THREADS, whole(sample.process.threads)),
        (series::PROCESS_OPEN_FILES, whole(sample.process.open_files)),
        (series::MACHINE_CPU, float(sample.machine.cpu_share)),
        (series::MACHINE_AVAILABLE, whole(sample.machine.memory_available)),
        (series::MEMORY_USED, whole(sample.memory.used)),
        (series::MEMORY_LIMIT, whole(sample.memory.limit)),
        (series::MEMORY_SHARE, float(sample.memory.share)),
    ]
}

pub(super) fn is_fixed(name: &str) -> bool {
    fixed(&Sample::empty()).iter().any(|(known, _)| *known == name)
}

/// Everything that only the sampling task touches.
pub(super) struct Task {
    shared: Arc<Shared>,
    source: Source,
    gauge: PressureGauge,
    handles: Handles,
    memory: Component,
    /// Things that panicked at the last tick: only the first of a row of panics is logged.
    broken: Vec<String>,
    #[cfg(feature = "prometheus")]
    pub(super) prometheus: Option<crate::prometheus::Prometheus>,
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>, source: Source, memory: Component) -> Self {
        let thresholds = shared.settings.lock().pressure.thresholds();
        Self {
            shared,
            source,
            gauge: PressureGauge::new(thresholds),
            handles: Handles::resolve(),
            memory,
            broken: Vec::new(),
            #[cfg(feature = "prometheus")]
            prometheus: None,
        }
    }

    /// The tick that `start` makes; a source that panics here is the caller's to see.
    pub(super) fn first(&mut self) {
        let start = Instant::now();
        let sample = self.source.sample();
        self.tick(start, sample);
    }

    /// Ticks until told to stop. Ticks that were missed (a blocked runtime, a suspended machine) are
    /// left out: late samples in a row would say nothing new.
    pub(super) async fn run(mut self, mut control: watch::Receiver<Control>, finished: watch::Sender<()>) {
        let mut interval = self.interval();
        let mut next = Instant::now() + interval;
        let mut upkeep = Instant::now() + UPKEEP;
        loop {
            let woken = timeout_at(next.min(upkeep), control.changed()).await;
            if matches!(woken, Ok(Err(_))) || control.borrow_and_update().stop {
                break;
            }
            if woken.is_ok() {
                let last = next - interval;
                interval = self.interval();
                next = last + interval;
                self.gauge.set_thresholds(self.shared.settings.lock().pressure.thresholds());
            }
            let now = Instant::now();
            if now >= next {
                match contained(&mut self.broken, &self.handles, "the source of samples", || self.source.sample()) {
                    Some(sample) => self.tick(now, sample),
                    None => self.shared.ticks.send_modify(|ticks| *ticks += 1),
                }
                next += interval;
                if next <= Instant::now() {
                    next = Instant::now() + interval;
                }
            }
            if now >= upkeep {
                self.upkeep();
                upkeep = now + UPKEEP;
            }
        }
        drop(self);
        drop(finished);
    }

    fn interval(&self) -> Duration {
        self.shared.settings.lock().interval.get()
    }

    #[cfg(feature = "prometheus")]
    fn upkeep(&self) {
        if let Some(prometheus) = self.prometheus.clone().or_else(crate::prometheus::installed) {
            prometheus.upkeep();
        }
    }

    #[cfg(not(feature = "prometheus"))]
    #[expect(clippy::unused_self, reason = "has something to keep up only with a recorder of ours")]
    fn upkeep(&self) {}

    fn tick(&mut self, start: Instant, sample: Sample) {
        let report = self.gauge.observe(start.into_std(), &sample);
        let changed = self.publish_pressure(&report);
        self.remember(&sample);
        self.handles.publish(&sample);
        let sample = Arc::new(sample);
        self.shared.samples.send_replace(Arc::clone(&sample));
        // The list is copied, so that a callback may add and remove callbacks.
        let callbacks = self.shared.callbacks.lock().clone();
        if !callbacks.is_empty() {
            let tick = Tick { sample, pressure: report, pressure_changed: changed };
            for callback in callbacks {
                let what = format!("callback {}", callback.id.0);
                contained(&mut self.broken, &self.handles, &what, || (callback.call)(&tick));
            }
        }
        self.handles.tick(start.elapsed());
        self.shared.ticks.send_modify(|ticks| *ticks += 1);
    }

    /// Readers are woken by a change of level only, and always find the newest evidence.
    fn publish_pressure(&mut self, report: &PressureReport) -> bool {
        let before = self.shared.pressure.borrow().level;
        let changed = before != report.level;
        self.shared.pressure.send_if_modified(|shared| {
            *shared = report.clone();
            changed
        });
        self.handles.publish_pressure(report, changed);
        match (changed, report.level > before) {
            (true, true) if report.level >= Pressure::High => {
                tracing::warn!(from = %before, to = %report.level, evidence = report.explain(), "memory pressure rose");
            }
            (true, _) => {
                tracing::info!(from = %before, to = %report.level, evidence = report.explain(), "memory pressure changed");
            }
            _ => {}
        }
        match report.level {
            Pressure::Low | Pressure::Moderate => self.memory.up(),
            Pressure::High | Pressure::Critical => self.memory.degraded(report.explain()),
        }
        changed
    }

    fn remember(&mut self, sample: &Sample) {
        // Readers are called outside of every lock: they may call the monitor.
        let tracked = self.shared.tracked.lock().clone();
        let values: Vec<f64> = tracked
            .iter()
            .map(|tracked| {
                contained(&mut self.broken, &self.handles, &tracked.name, || (tracked.read)()).unwrap_or(f64::NAN)
            })
            .collect();
        let own = tracked.iter().map(|tracked| &*tracked.name).zip(values);
        // One that was untracked meanwhile must not come back. The list is mostly the same as before.
        let current = self.shared.tracked.lock();
        let still = |(index, (name, _)): &(usize, (&str, f64))| {
            let same = |tracked: &super::Tracked| &*tracked.name == *name;
            current.get(*index).is_some_and(same) || current.iter().any(same)
        };
        let own = own.enumerate().filter(still).map(|(_, value)| value);
        self.shared.history.lock().push(sample.at, fixed(sample).into_iter().chain(own));
    }
}

/// Runs foreign code; a panic is counted, logged once in a row, and goes no further.
fn contained<T>(broken: &mut Vec<String>, handles: &Handles, what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let known = broken.iter().position(|name| name == what);
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => {
            if let Some(index) = known {
                broken.swap_remove(index);
            }
            Some(value)
        }
        Err(panic) => {
            handles.callback_panics.increment(1);
            if known.is_none() {
                tracing::error!(
                    what,
                    panic = words(&*panic),
                    "panicked in the monitor's task; it is called again at the next tick"
                );
                broken.push(what.to_owned());
            }
            None
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
