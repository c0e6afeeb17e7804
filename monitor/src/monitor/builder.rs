//! Setting a monitor up and starting its task.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use trimtab_config::MemoryLimit;

use super::tick::{Control, Task};
use super::{Monitor, Owner, Shared, check};
use crate::error::MonitorError;
use crate::health::{Health, Need};
use crate::history::History;
use crate::metrics;
use crate::pressure::PressureReport;
use crate::probe::Probe;
use crate::reclaim::Reclaimer;
use crate::sample::Sample;
use crate::settings::MonitorSettings;

/// Where samples come from.
pub(super) enum Source {
    Probe(Box<Probe>),
    Call(Box<dyn FnMut() -> Sample + Send>),
}

impl Source {
    pub(super) fn sample(&mut self) -> Sample {
        match self {
            Self::Probe(probe) => probe.sample(),
            Self::Call(call) => call(),
        }
    }
}

/// Sets a [`Monitor`] up; everything has a default.
#[must_use = "a builder does nothing until `start`"]
#[derive(Default)]
pub struct MonitorBuilder {
    settings: MonitorSettings,
    limit: MemoryLimit,
    source: Option<Source>,
    health: Health,
    #[cfg(feature = "prometheus")]
    prometheus: Option<crate::prometheus::Prometheus>,
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder")
            .field("settings", &self.settings)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl MonitorBuilder {
    /// Interval, history and pressure thresholds.
    pub fn settings(mut self, settings: MonitorSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The memory that the process may use; automatic by default. Has no effect on samples that come
    /// from [`source`](Self::source).
    pub fn memory_limit(mut self, limit: MemoryLimit) -> Self {
        self.limit = limit;
        self
    }

    /// Takes samples from this probe, with the builder's memory limit.
    pub fn probe(mut self, probe: Probe) -> Self {
        self.source = Some(Source::Probe(Box::new(probe)));
        self
    }

    /// Takes samples from this function: for tests, and for platforms that are measured otherwise.
    ///
    /// ```
    /// use trimtab_monitor::{MemorySample, Monitor, Pressure, Sample};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let monitor = Monitor::builder()
    ///     .source(|| {
    ///         let mut sample = Sample::empty();
    ///         sample.memory = MemorySample::of(96, 100);
    ///         sample
    ///     })
    ///     .start()?;
    /// assert_eq!(monitor.level(), Pressure::Critical);
    /// # Ok(())
    /// # }
    /// ```
    pub fn source(mut self, source: impl FnMut() -> Sample + Send + 'static) -> Self {
        self.source = Some(Source::Call(Box::new(source)));
        self
    }

    /// Reports the state of memory to this registry instead of one of its own.
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Keeps the histograms of this recorder small. The one that
    /// [`install`](crate::prometheus::install) set up is found without being named.
    #[cfg(feature = "prometheus")]
    pub fn prometheus(mut self, prometheus: crate::prometheus::Prometheus) -> Self {
        self.prometheus = Some(prometheus);
        self
    }

    /// Takes the first sample and starts the task. A recorder for metrics should be installed before.
    ///
    /// # Errors
    ///
    /// [`MonitorError::Settings`] with every problem in the settings; [`MonitorError::NoRuntime`]
    /// outside a tokio runtime.
    ///
    /// # Panics
    ///
    /// When the [`source`](Self::source) panics on its first call; later panics are contained.
    pub fn start(self) -> Result<Monitor, MonitorError> {
        check(&self.settings)?;
        let runtime = Handle::try_current().map_err(|_| MonitorError::NoRuntime)?;
        metrics::describe();
        let source = match self.source {
            Some(Source::Probe(probe)) => Source::Probe(Box::new(probe.memory_limit(self.limit))),
            Some(other) => other,
            None => Source::Probe(Box::new(Probe::new().memory_limit(self.limit))),
        };
        let (control, controlled) = watch::channel(Control::default());
        let (finished, done) = watch::channel(());
        let shared = Arc::new(Shared {
            samples: watch::Sender::new(Arc::new(Sample::empty())),
            pressure: watch::Sender::new(PressureReport::unknown()),
            history: Mutex::new(History::new(self.settings.points())),
            reclaimer: Reclaimer::new(self.settings.reclaim_gap.get()),
            settings: Mutex::new(self.settings),
            tracked: Mutex::default(),
            callbacks: Mutex::default(),
            next_callback: AtomicU64::new(0),
            ticks: watch::Sender::new(0),
            health: self.health.clone(),
        });
        let mut task = Task::new(Arc::clone(&shared), source, self.health.component("memory", Need::Optional));
        #[cfg(feature = "prometheus")]
        {
            task.prometheus = self.prometheus;
        }
        // The first tick happens here: whoever holds a monitor finds a sample in it.
        task.first();
        runtime.spawn(task.run(controlled, finished));
        Ok(Monitor { shared, control: Arc::new(Owner { control }), done })
    }
}
