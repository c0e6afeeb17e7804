//! The pool of resources that are made and checked over a network: connections above all.
//!
//! `HikariCP` is the model for what such a pool must do. Two things are done otherwise. Callers wait in one strict queue
//! and get a resource handed, so that nobody is overtaken and none is lost between two looks. And everything that takes
//! time (make, check, recycle, close) is a task of the pool: a caller who stops waiting leaves the work undisturbed.
//!
//! Read `core` for the rules, `waiters` for the queue, `jobs` for the tasks, `acquire` and `lease` for the caller's side.

mod acquire;
mod breaker;
mod builder;
mod core;
mod jobs;
mod lease;
mod shared;
mod waiters;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use trimtab_config::{Profile, Share};

pub use acquire::Acquire;
pub use builder::ResourcePoolBuilder;
pub use lease::Lease;
pub use waiters::Priority;

use self::core::{Effects, Start};
use self::shared::Shared;
use crate::config::{FOREVER, PoolSettings, check};
use crate::error::{AcquireError, BuildError, CloseError};
use crate::leak::LeaseReport;
use crate::manager::{FromFactory, Manager};
use crate::stats::{ResourceStats, Trimmed};

/// A pool of resources. Clones are cheap and speak of the same pool.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use trimtab_pool::{Never, ResourcePool};
///
/// let pool = ResourcePool::from_factory("numbers", || async { Ok::<_, Never>(7) })?;
/// {
///     let number = pool.acquire().await?;
///     assert_eq!((*number, pool.stats().in_use), (7, 1));
/// } // goes back
/// assert_eq!(pool.stats().in_use, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct ResourcePool<M: Manager> {
    shared: Arc<Shared<M>>,
    profile: Profile,
}

impl<M: Manager> Clone for ResourcePool<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), profile: self.profile }
    }
}

impl<M: Manager> fmt::Debug for ResourcePool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl<F, R, E, Made> ResourcePool<FromFactory<F, Result<R, E>>>
where
    F: Fn() -> Made + Send + Sync + 'static,
    Made: Future<Output = Result<R, E>> + Send,
    R: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    /// A pool with default settings whose resources are made by a closure, need no check and are closed by being dropped.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name, or no runtime.
    pub fn from_factory(name: &str, factory: F) -> Result<Self, BuildError> {
        Self::builder(name, FromFactory::new(factory)).configure(|settings| settings.min = 0).build()
    }
}

impl<M: Manager> ResourcePool<M> {
    /// Describes a pool.
    pub fn builder(name: &str, manager: M) -> ResourcePoolBuilder<M> {
        ResourcePoolBuilder::new(name, manager)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The manager.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// A resource: an idle one at once, or else the next that comes back or is made, first come, first served.
    ///
    /// The line of this call is kept with the lease. Wait shorter or rank higher with [`Acquire::timeout`] and
    /// [`Acquire::priority`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] tells why there is none, and what to do.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe; see [`Acquire`].
    ///
    /// # Complexity
    ///
    /// Constant. An idle resource that was used within `check_after` costs one lock, and a reading of the clock where its
    /// tick (1 to 10 ms) has moved since the last; the age of such a lease is exact to that tick.
    #[track_caller]
    #[inline]
    pub fn acquire(&self) -> Acquire<'_, M> {
        Acquire::new(&self.shared, Location::caller())
    }

    /// An idle resource that needs no check, if there is one and nobody waits.
    #[track_caller]
    pub fn try_acquire(&self) -> Option<Lease<M>> {
        let location = Location::caller();
        let time = self.shared.time();
        let started = self.shared.core().start(time, location);
        match started {
            Start::Ready(entry) => Some(Lease::new(entry, self.shared.clone())),
            Start::Queue(_) | Start::Refused(_) => None,
        }
    }

    /// Waits until `min` resources are there, for at most the pool's `timeout`.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] when they cannot be made in time.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the resources are made whether or not anyone waits.
    pub async fn warm_up(&self) -> Result<(), AcquireError> {
        let started = Instant::now();
        let (timeout, min) = {
            let core = self.shared.core();
            (core.limits.timeout, core.limits.min.min(core.limits.max))
        };
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let failure = {
                let core = self.shared.core();
                if core.is_closed() {
                    return Err(AcquireError::Closed { pool: self.shared.name.clone() });
                }
                if core.total() - core.creating() >= min {
                    return Ok(());
                }
                core.breaker().cause().cloned()
            };
            if timeout_at(started + timeout, changed).await.is_err() {
                let shortage = Box::new(self.shared.core().shortage(started.elapsed()));
                return Err(match failure {
                    Some(cause) => AcquireError::FailedCreate(shortage, cause),
                    None => AcquireError::SlowCreate(shortage),
                });
            }
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> PoolSettings {
        let mut settings = self.shared.settings.lock().clone();
        settings.max = Some(self.shared.core().limits.max as u32);
        settings
    }

    /// Changes the least and the most resources while the pool runs. What is too much is closed as it comes back.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`] when `min` exceeds `max` or `max` is 0; then nothing changed.
    pub fn resize(&self, min: u32, max: u32) -> Result<(), BuildError> {
        let mut settings = self.shared.settings.lock().clone();
        (settings.min, settings.max) = (min, Some(max));
        settings.min_idle = settings.min_idle.min(max);
        settings.initial = settings.initial.min(max);
        self.apply(settings)
    }

    /// Changes all settings while the pool runs.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`] with all problems; then nothing changed.
    pub fn apply(&self, settings: PoolSettings) -> Result<(), BuildError> {
        check(&self.shared.name, &settings)?;
        let limits = builder::limits(&settings, self.profile);
        *self.shared.steps.lock() = builder::steps(&settings);
        *self.shared.settings.lock() = settings;
        self.shared.event(|core| core.set_limits(limits, Instant::now()));
        Ok(())
    }

    /// Closes a share of the idle resources, coldest first and never below `min`; answers how many.
    pub fn trim_idle(&self, share: Share) -> Trimmed {
        let mut effects = Effects::default();
        let objects = self.shared.core().trim(share.get(), &mut effects);
        self.shared.apply(effects);
        Trimmed { objects, bytes: 0 }
    }

    /// Replaces all resources by new ones: idle ones now, leased ones when they come back. For after a fail-over, or a
    /// change of password.
    pub fn drain(&self) {
        self.shared.event(|core| core.drain(Instant::now()));
    }

    /// Closes the pool: callers who wait are refused, idle resources are closed, and leases are waited for.
    ///
    /// # Errors
    ///
    /// [`CloseError`] names the lines whose leases were not given back within `within`. They still go back when they end.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once polled, the pool closes whether or not anyone waits.
    pub async fn close(&self, within: Duration) -> Result<(), CloseError> {
        let started = Instant::now();
        self.shared.event(self::core::Core::close);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let left = self.shared.core().total();
            if left == 0 {
                return Ok(());
            }
            if timeout_at(started + within.min(FOREVER), changed).await.is_err() {
                let (pool, report) = (self.shared.name.clone(), self.shared.report());
                let left = self.shared.core().total();
                return if left == 0 {
                    Ok(())
                } else {
                    Err(CloseError { pool, left, waited: started.elapsed(), report })
                };
            }
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.core().is_closed()
    }

    /// Open leases by the line that took them.
    pub fn report(&self) -> LeaseReport {
        self.shared.report()
    }

    /// What the pool holds now, and what happened since it was built.
    pub fn stats(&self) -> ResourceStats {
        let core = self.shared.core();
        let counts = core.counts;
        ResourceStats {
            name: self.shared.name.clone(),
            min: core.limits.min,
            max: core.limits.max,
            wanted: core.wanted(),
            total: core.total(),
            in_use: core.ledger.leased(),
            idle: core.idle(),
            creating: core.creating(),
            checking: core.checking(),
            waiting: core.waiting(),
            acquired: counts.acquired,
            waited: counts.waited,
            created: counts.created,
            create_failures: counts.create_failures,
            recycled: counts.recycled,
            check_failures: counts.check_failures,
            discarded: counts.discarded,
            expired: counts.expired,
            trimmed: counts.trimmed,
            taken: counts.taken,
            timeouts: counts.timeouts,
            cancelled: counts.cancelled,
            refused: counts.refused,
            leaked: counts.leaked,
            waits: core.waits(),
        }
    }

    /// Publishes the statistics as metrics, unless the settings say not to. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.shared.settings.lock().metrics {
            self.shared.meters.publish_resources(&self.stats());
        }
    }
}
