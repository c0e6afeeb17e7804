//! How a resource pool is described and checked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use trimtab_config::{Profile, Settings, check_name};

use super::ResourcePool;
use super::breaker::Rule;
use super::core::{Core, Limits};
use super::jobs;
use super::shared::{Parts, Shared, StepLimits};
use crate::config::{FOREVER, PoolSettings, check};
use crate::error::BuildError;
use crate::leak::{Leak, LeakHandler};
use crate::manager::Manager;

/// Describes a resource pool; made by [`ResourcePool::builder`]. Only [`build`](Self::build) checks.
pub struct ResourcePoolBuilder<M> {
    name: String,
    manager: M,
    profile: Profile,
    settings: PoolSettings,
    runtime: Option<Handle>,
    leak_handler: Option<LeakHandler>,
}

impl<M> fmt::Debug for ResourcePoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, settings, .. } = self;
        f.debug_struct("ResourcePoolBuilder").field("name", name).field("settings", settings).finish_non_exhaustive()
    }
}

impl<M: Manager> ResourcePoolBuilder<M> {
    pub(super) fn new(name: &str, manager: M) -> Self {
        Self {
            name: name.to_owned(),
            manager,
            profile: Profile::default(),
            settings: PoolSettings::default(),
            runtime: None,
            leak_handler: None,
        }
    }

    /// Takes all settings from elsewhere, such as a file.
    pub fn settings(mut self, settings: PoolSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Takes the defaults of a profile, for all settings and for a `max` that is left out.
    pub fn profile(mut self, profile: Profile) -> Self {
        (self.profile, self.settings) = (profile, PoolSettings::for_profile(profile));
        self
    }

    pub(crate) fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Resources that are kept even when nobody asks.
    pub fn min(mut self, min: u32) -> Self {
        self.settings.min = min;
        self
    }

    /// The most resources. Lowers `min` to it where `min` is the default.
    pub fn max(mut self, max: u32) -> Self {
        self.settings.max = Some(max);
        if self.settings.min == PoolSettings::for_profile(self.profile).min {
            self.settings.min = self.settings.min.min(max);
        }
        self
    }

    /// How long a caller waits.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout.into();
        self
    }

    /// Lets a function change any setting.
    pub fn configure(mut self, change: impl FnOnce(&mut PoolSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Where the pool's tasks run, instead of the runtime in which it is built.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Is told of each lease that lasts longer than `leak_after`, once. It runs on a task of the pool and must not block.
    pub fn on_leak(mut self, handler: impl Fn(&Leak) + Send + Sync + 'static) -> Self {
        self.leak_handler = Some(Arc::new(handler));
        self
    }

    /// Builds the pool and starts to make its first `min` resources, without waiting for them.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name, settings that make no pool (all of them at once), no runtime.
    pub fn build(self) -> Result<ResourcePool<M>, BuildError> {
        let Self { name, manager, profile, settings, runtime, leak_handler } = self;
        check_name("pool", &name)?;
        check(&name, &settings)?;
        let Some(runtime) = runtime.or_else(|| Handle::try_current().ok()) else {
            return Err(BuildError::NoRuntime { name });
        };
        let name: Arc<str> = name.into();
        let core = Core::new(name.clone(), limits(&settings, profile), Instant::now());
        let parts = Parts { name, manager, runtime, steps: steps(&settings), settings, leak_handler };
        let shared = Arc::new(Shared::new(parts, core));
        drop(shared.runtime.spawn(jobs::keep(Arc::downgrade(&shared), shared.keeper.clone())));
        Ok(ResourcePool { shared, profile })
    }
}

pub(super) fn steps(settings: &PoolSettings) -> StepLimits {
    StepLimits {
        create: settings.create_timeout.get().min(FOREVER),
        check: settings.check_timeout.get().min(FOREVER),
        close: settings.close_timeout.get().min(FOREVER),
    }
}

pub(super) fn limits(settings: &PoolSettings, profile: Profile) -> Limits {
    let capped = |duration: trimtab_config::Duration| duration.get().min(FOREVER);
    Limits {
        min: settings.min as usize,
        max: settings.max_resources(profile) as usize,
        min_idle: settings.min_idle as usize,
        growth: settings.growth_factor,
        max_waiters: settings.max_waiters as usize,
        creating_max: settings.creating_max as usize,
        timeout: capped(settings.timeout),
        check_after: capped(settings.check_after),
        check_interval: settings.check_interval.map(capped),
        idle_timeout: settings.idle_timeout.map(capped),
        max_lifetime: settings.max_lifetime.map(capped),
        leak_after: settings.leak_after.map(capped),
        period: capped(settings.cleanup_interval),
        breaker: Rule {
            failures: settings.breaker_failures,
            retry_min: capped(settings.retry_min),
            retry_max: capped(settings.retry_max),
        },
    }
}
