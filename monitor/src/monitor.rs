//! The sampling task: looks at regular times, remembers, judges and tells.
//!
//! One tick: sample → pressure → tracked values → history → watch channels → gauges → callbacks. All
//! of it is one tokio task that sleeps in between. Callbacks run in that task and must not block;
//! one that panics is contained, logged and called again at the next tick.
//!
//! The task ends when the last [`Monitor`] handle is dropped, or on [`Monitor::shutdown`].

mod builder;
mod tick;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use trimtab_config::{Problems, Settings};

pub use self::builder::MonitorBuilder;
use self::tick::Control;
pub use self::tick::Tick;
use crate::advise::MemoryEvidence;
use crate::error::MonitorError;
use crate::health::{Health, MemoryHealth};
use crate::history::{History, Point, Summary};
use crate::pressure::{Pressure, PressureReport};
use crate::reclaim::{ReclaimError, Reclaimed, Reclaimer};
use crate::sample::Sample;
use crate::settings::MonitorSettings;

/// Longest name of a series.
pub(crate) const NAME_MAX: usize = 200;
/// Most series in the history.
const SERIES_MAX: usize = 1_024;

/// The names of the series that every monitor keeps.
pub mod series {
    /// CPU used by the process, in cores.
    pub const PROCESS_CPU: &str = "process.cpu_share";
    /// Resident memory of the process, in bytes.
    pub const PROCESS_RSS: &str = "process.rss";
    /// Threads of the process.
    pub const PROCESS_THREADS: &str = "process.threads";
    /// Open files of the process.
    pub const PROCESS_OPEN_FILES: &str = "process.open_files";
    /// Busy fraction of the machine's cores.
    pub const MACHINE_CPU: &str = "machine.cpu_share";
    /// Memory that the machine has left, in bytes.
    pub const MACHINE_AVAILABLE: &str = "machine.memory_available";
    /// Memory that counts against the limit, in bytes.
    pub const MEMORY_USED: &str = "memory.used";
    /// The memory limit, in bytes.
    pub const MEMORY_LIMIT: &str = "memory.limit";
    /// Used memory as a fraction of the limit.
    pub const MEMORY_SHARE: &str = "memory.share";
}

/// A running monitor: a cheap handle, every clone speaks of the same one.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use trimtab_monitor::{Monitor, series};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let monitor = Monitor::builder().start()?;
/// monitor.track("queue.depth", || 3.0)?;
///
/// println!("{}", monitor.pressure().explain());
/// let mut pressure = monitor.pressure_changes();
/// tokio::spawn(async move {
///     while pressure.changed().await.is_ok() {
///         println!("pressure is now {}", pressure.borrow().level);
///     }
/// });
///
/// monitor.sampled().await;
/// let depth = monitor.summary("queue.depth", Duration::from_secs(60)).expect("sampled");
/// assert_eq!(depth.average, 3.0);
/// assert!(monitor.series().iter().any(|name| name == series::MEMORY_USED));
/// monitor.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
    control: Arc<Owner>,
    /// Closes when the task has ended.
    done: watch::Receiver<()>,
}

/// Ends the task when the last handle goes.
#[derive(Debug)]
struct Owner {
    control: watch::Sender<Control>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.control.send_modify(|control| control.stop = true);
    }
}

/// What the task and the handles share. It holds no handle, so that handles can be counted.
struct Shared {
    samples: watch::Sender<Arc<Sample>>,
    pressure: watch::Sender<PressureReport>,
    history: Mutex<History>,
    settings: Mutex<MonitorSettings>,
    tracked: Mutex<Vec<Tracked>>,
    callbacks: Mutex<Vec<Callback>>,
    next_callback: AtomicU64,
    ticks: watch::Sender<u64>,
    health: Health,
    reclaimer: Reclaimer,
}

#[derive(Clone)]
struct Tracked {
    name: Arc<str>,
    read: Arc<dyn Fn() -> f64 + Send + Sync>,
}

#[derive(Clone)]
struct Callback {
    id: CallbackId,
    call: Arc<dyn Fn(&Tick) + Send + Sync>,
}

/// Names a callback, to remove it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallbackId(u64);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("pressure", &self.pressure.borrow().level)
            .field("tracked", &self.tracked.lock().len())
            .field("callbacks", &self.callbacks.lock().len())
            .finish_non_exhaustive()
    }
}

impl Monitor {
    /// Sets a monitor up.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::default()
    }

    /// The newest sample.
    pub fn sample(&self) -> Arc<Sample> {
        Arc::clone(&self.shared.samples.borrow())
    }

    /// Follows the samples; a slow reader sees the newest only. Closes when the monitor has ended
    /// and its handles are gone.
    pub fn samples(&self) -> watch::Receiver<Arc<Sample>> {
        self.shared.samples.subscribe()
    }

    /// The pressure now, with its evidence.
    pub fn pressure(&self) -> PressureReport {
        self.shared.pressure.borrow().clone()
    }

    /// The pressure level now.
    pub fn level(&self) -> Pressure {
        self.shared.pressure.borrow().level
    }

    /// Follows the pressure: `changed()` resolves when the level changes; the value always shows the
    /// newest evidence. Closes when the monitor has ended and its handles are gone.
    pub fn pressure_changes(&self) -> watch::Receiver<PressureReport> {
        self.shared.pressure.subscribe()
    }

    /// Memory as a health page shows it.
    pub fn memory_health(&self) -> MemoryHealth {
        self.pressure().into()
    }

    /// The registry of components. The monitor itself reports one, `memory`, which is optional:
    /// degraded while pressure is high or critical.
    pub fn health(&self) -> &Health {
        &self.shared.health
    }

    /// The settings in force.
    pub fn settings(&self) -> MonitorSettings {
        self.shared.settings.lock().clone()
    }

    /// Takes other settings at once; the history is kept as far as it fits.
    ///
    /// # Errors
    ///
    /// [`MonitorError::Settings`] with every problem; the old settings stay in force.
    pub fn apply(&self, settings: MonitorSettings) -> Result<(), MonitorError> {
        check(&settings)?;
        self.shared.history.lock().set_capacity(settings.points());
        self.shared.reclaimer.set_min_gap(settings.reclaim_gap.get());
        *self.shared.settings.lock() = settings;
        self.control.control.send_modify(|control| control.generation += 1);
        Ok(())
    }

    /// Returns freed memory to the system, at most once in [`MonitorSettings::reclaim_gap`]; whoever
    /// asks through this monitor shares that gap. Blocks for milliseconds when much is free: call it
    /// from `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`ReclaimError::TooSoon`] with the time to wait; [`ReclaimError::Unsupported`] where the C
    /// library is not glibc on Linux.
    pub fn reclaim(&self) -> Result<Reclaimed, ReclaimError> {
        self.shared.reclaimer.reclaim()
    }

    /// Keeps a history of a number of your own, read once a tick. NaN leaves a hole.
    ///
    /// `read` runs in the sampling task: it must be quick and must not block. Tracking a name again
    /// replaces the reader and keeps the history.
    ///
    /// # Errors
    ///
    /// [`MonitorError::SeriesName`] for an unusable name or one of the [fixed series](series),
    /// [`MonitorError::TooManySeries`] beyond 1,024.
    pub fn track(
        &self,
        name: impl Into<Arc<str>>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<(), MonitorError> {
        let name = name.into();
        check_name(&name)?;
        let read = Arc::new(read);
        let mut tracked = self.shared.tracked.lock();
        if let Some(known) = tracked.iter_mut().find(|known| known.name == name) {
            known.read = read;
        } else if tracked.len() + tick::FIXED >= SERIES_MAX {
            return Err(MonitorError::TooManySeries { name: name.to_string(), limit: SERIES_MAX });
        } else {
            tracked.push(Tracked { name, read });
        }
        Ok(())
    }

    /// Stops to track a number and forgets its history; whether it was tracked.
    pub fn untrack(&self, name: &str) -> bool {
        let mut tracked = self.shared.tracked.lock();
        let before = tracked.len();
        tracked.retain(|known| &*known.name != name);
        let known = tracked.len() < before;
        drop(tracked);
        if known {
            self.shared.history.lock().forget(name);
        }
        known
    }

    /// Calls `call` at the end of every tick, in the sampling task: it must not block.
    pub fn on_tick(&self, call: impl Fn(&Tick) + Send + Sync + 'static) -> CallbackId {
        let id = CallbackId(self.shared.next_callback.fetch_add(1, Ordering::Relaxed));
        self.shared.callbacks.lock().push(Callback { id, call: Arc::new(call) });
        id
    }

    /// Removes a callback; whether it was there. One that is running ends its run.
    pub fn remove_callback(&self, id: CallbackId) -> bool {
        let mut callbacks = self.shared.callbacks.lock();
        let before = callbacks.len();
        callbacks.retain(|callback| callback.id != id);
        callbacks.len() < before
    }

    /// The names of all series.
    pub fn series(&self) -> Vec<String> {
        self.shared.history.lock().names().map(str::to_owned).collect()
    }

    /// The points of a series over the last `span`, oldest first; `None` for an unknown one.
    pub fn history(&self, name: &str, span: Duration) -> Option<Vec<Point>> {
        self.shared.history.lock().points(name, span)
    }

    /// Average, minimum, maximum and slope of a series over the last `span`; `None` for an unknown
    /// one, or one without a value in that time.
    pub fn summary(&self, name: &str, span: Duration) -> Option<Summary> {
        self.shared.history.lock().summary(name, span)
    }

    /// What [`advise`](crate::advise()) wants to know about memory: the pressure, and how use grew
    /// over the whole history.
    pub fn memory_evidence(&self) -> MemoryEvidence {
        MemoryEvidence::new(&self.pressure(), self.summary(series::MEMORY_USED, Duration::MAX).as_ref())
    }

    /// Waits for the next tick to end; returns at once when the monitor has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: nothing is lost but the waiting.
    pub async fn sampled(&self) {
        let mut ticks = self.shared.ticks.subscribe();
        let mut done = self.done.clone();
        let next = std::pin::pin!(ticks.changed());
        let end = std::pin::pin!(done.changed());
        either(next, end).await;
    }

    /// Ends the sampling and waits until it has ended. Further calls return at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once called, the monitor ends whether or not anyone waits.
    pub async fn shutdown(&self) {
        self.control.control.send_modify(|control| control.stop = true);
        let mut done = self.done.clone();
        // Nothing is ever sent: an error means that the task dropped its end.
        while done.changed().await.is_ok() {}
    }
}

/// Waits for the first of two futures. `select!` would cost a macro crate.
async fn either<A: Future + Unpin, B: Future + Unpin>(mut a: A, mut b: B) {
    std::future::poll_fn(|context| {
        if std::pin::Pin::new(&mut a).poll(context).is_ready() || std::pin::Pin::new(&mut b).poll(context).is_ready() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

fn check(settings: &MonitorSettings) -> Result<(), MonitorError> {
    let mut problems = Problems::new();
    settings.check(&mut problems);
    problems.into_result().map_err(MonitorError::Settings)
}

fn check_name(name: &str) -> Result<(), MonitorError> {
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > NAME_MAX {
        format!("it is {} bytes long", name.len())
    } else if name.chars().any(char::is_control) {
        "it holds a control character".to_owned()
    } else if tick::is_fixed(name) {
        "the monitor keeps a series of this name itself".to_owned()
    } else {
        return Ok(());
    };
    let name = name.chars().take(NAME_MAX).collect();
    Err(MonitorError::SeriesName { name, problem })
}
