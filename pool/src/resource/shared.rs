//! What all handles, leases and jobs of one pool share: the manager, and the rules behind one lock.
//!
//! An event is handled under the lock by [`Core`], and its effects happen after: wakers are called, jobs become tasks.
//! The lock is held for tens of nanoseconds and never across foreign code.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::core::{Core, Effects, Entry, Job, Time};
use super::jobs;
use crate::clock;
use crate::config::PoolSettings;
use crate::leak::{Leak, LeakHandler, LeaseReport};
use crate::manager::{Fate, Manager};
use crate::metrics::Meters;
use crate::sync::{Mutex, MutexGuard, SPINS};

/// How long each step of the manager may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLimits {
    pub(crate) create: Duration,
    pub(crate) check: Duration,
    pub(crate) close: Duration,
}

pub(crate) struct Shared<M: Manager> {
    pub(crate) name: Arc<str>,
    pub(crate) manager: M,
    pub(crate) runtime: Handle,
    core: Mutex<Core<M::Resource>>,
    /// Whether the clock is the system's. That of a runtime with one thread may be paused and moved by a test.
    real_clock: bool,
    /// Whether the last caller had to wait. A hint, so that the clock is not read under the lock.
    crowded: AtomicBool,
    pub(crate) steps: Mutex<StepLimits>,
    pub(crate) settings: Mutex<PoolSettings>,
    /// Wakes the keeper.
    pub(crate) keeper: Arc<Notify>,
    /// Told when the last resource of a closed pool is gone, and when one was made or could not be made.
    pub(crate) changed: Notify,
    pub(crate) leak_handler: Option<LeakHandler>,
    pub(crate) kind: Arc<str>,
    pub(crate) meters: Meters,
}

impl<M: Manager> fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePool").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the builder hands in.
pub(crate) struct Parts<M> {
    pub(crate) name: Arc<str>,
    pub(crate) manager: M,
    pub(crate) runtime: Handle,
    pub(crate) steps: StepLimits,
    pub(crate) settings: PoolSettings,
    pub(crate) leak_handler: Option<LeakHandler>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(parts: Parts<M>, core: Core<M::Resource>) -> Self {
        let Parts { name, manager, runtime, steps, settings, leak_handler } = parts;
        Self {
            meters: Meters::default(),
            real_clock: runtime.runtime_flavor() != RuntimeFlavor::CurrentThread,
            crowded: AtomicBool::new(true),
            name,
            manager,
            runtime,
            core: Mutex::new(core),
            steps: Mutex::new(steps),
            settings: Mutex::new(settings),
            keeper: Arc::default(),
            changed: Notify::new(),
            leak_handler,
            kind: "resource".into(),
        }
    }

    #[inline]
    pub(crate) fn core(&self) -> MutexGuard<'_, Core<M::Resource>> {
        self.core.try_lock().unwrap_or_else(|| self.core_in_use())
    }

    /// The lock is held for tens of nanoseconds, so waiting a little longer is cheaper than what `parking_lot` does after a
    /// few looks: to give the processor away.
    #[cold]
    fn core_in_use(&self) -> MutexGuard<'_, Core<M::Resource>> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if !self.core.is_locked()
                && let Some(core) = self.core.try_lock()
            {
                return core;
            }
        }
        self.core.lock()
    }

    /// The time, as exactly as the next caller is likely to need it. Who queues is timed exactly.
    #[inline]
    pub(crate) fn time(&self) -> Time {
        let exact = !self.real_clock || self.crowded.load(Ordering::Relaxed);
        match if exact { None } else { clock::tick() } {
            Some(tick) => Time::Tick(tick),
            None => Time::Exact(Instant::now()),
        }
    }

    /// The last caller had to wait, or not.
    #[inline]
    pub(crate) fn set_crowded(&self, crowded: bool) {
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
    }

    /// Handles an event, then lets its effects happen.
    #[inline]
    pub(crate) fn event(self: &Arc<Self>, event: impl FnOnce(&mut Core<M::Resource>) -> Effects<M::Resource>) {
        let effects = event(&mut self.core());
        self.apply(effects);
    }

    #[inline]
    pub(crate) fn apply(self: &Arc<Self>, effects: Effects<M::Resource>) {
        let Effects { jobs, wake, wake_one, call_keeper } = effects;
        if let Some(waker) = wake_one {
            waker.wake();
        }
        if !jobs.is_empty() || !wake.is_empty() || call_keeper {
            self.apply_rest(jobs, wake, call_keeper);
        }
    }

    #[cold]
    fn apply_rest(self: &Arc<Self>, jobs: Vec<Job<M::Resource>>, wake: Vec<std::task::Waker>, call_keeper: bool) {
        wake.into_iter().for_each(std::task::Waker::wake);
        for job in jobs {
            jobs::start(self, job);
        }
        if call_keeper {
            self.keeper.notify_one();
        }
    }

    /// A lease ends.
    #[inline]
    pub(crate) fn take_back(self: &Arc<Self>, mut entry: Box<Entry<M::Resource>>) {
        // A panic of the user may have left the resource in the middle of something, so it is recycled.
        let fate = if std::thread::panicking() {
            Fate::Recycle
        } else {
            catch_unwind(AssertUnwindSafe(|| self.manager.returned(&mut entry.resource))).unwrap_or_else(panicked)
        };
        match fate {
            Fate::Keep => {
                let effects = self.core().give_back(entry);
                if let Some(effects) = effects {
                    self.apply(effects);
                }
            }
            Fate::Recycle => {
                self.core().give_back_for_check(Core::slot(&entry));
                jobs::recycle(self, entry);
            }
            Fate::Discard => self.event(|core| core.discard(entry, Instant::now())),
        }
    }

    /// Leases by location.
    pub(crate) fn report(&self) -> LeaseReport {
        let now = Instant::now();
        self.core().report(now, &self.kind)
    }

    /// One look of the keeper; answers when the next one is due, or that it is the last.
    pub(crate) fn look(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut effects = Effects::default();
        let (due, limit) = {
            let mut core = self.core();
            (core.tick(now, &mut effects), core.limits.leak_after)
        };
        self.apply(effects);
        let leaks: Vec<Leak> = due
            .leaks
            .into_iter()
            .map(|(location, age)| Leak {
                pool: self.name.clone(),
                kind: self.kind.clone(),
                location,
                age,
                limit: limit.unwrap_or_default(),
            })
            .collect();
        crate::leak::tell(&leaks, self.leak_handler.as_ref());
        due.next
    }
}

#[cold]
fn panicked(_: Box<dyn Any + Send>) -> Fate {
    Fate::Discard
}

impl<M: Manager> Drop for Shared<M> {
    fn drop(&mut self) {
        // The keeper finds nobody and ends.
        self.keeper.notify_one();
    }
}
