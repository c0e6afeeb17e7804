//! Every setting of the assembled system in one tree: the shape of `trimtab.toml`.
//!
//! Each subsystem owns its own section, with its defaults per profile; this file only names the sections and puts
//! them together. What a profile or the machine changes is stated by the section's owner or in [`for_machine`].
//!
//! [`for_machine`]: TrimtabSettings::for_machine

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_cache::{BudgetSettings, CacheSettings};
use trimtab_config::{MemoryLimit, Problems, Profile, Settings, Share, Template};
#[cfg(feature = "limit")]
use trimtab_limit::LimitSettings;
#[cfg(feature = "lock")]
use trimtab_lock::LockSettings;
use trimtab_monitor::MonitorSettings;
use trimtab_pool::PoolSettings;
#[cfg(feature = "scheduler")]
use trimtab_scheduler::{BreakerSettings, BulkheadSettings, CallSettings, RetrySettings, SchedulerSettings};

/// The whole of `trimtab.toml`.
///
/// ```
/// use trimtab::TrimtabSettings;
/// use trimtab::config::{Profile, Settings};
///
/// let settings = TrimtabSettings::for_profile(Profile::Minimal);
/// assert!(settings.cache.is_empty(), "caches are named by the file, by code or over HTTP");
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrimtabSettings {
    /// The one memory number of this process.
    pub memory: MemorySettings,
    /// Named caches: `[cache.users]` gives the cache `users` its capacity, time to live and policy.
    pub cache: BTreeMap<String, CacheSettings>,
    /// One memory budget over all caches that are limited by bytes; off unless `budget.total` is set.
    pub budget: BudgetSettings,
    /// Named pools: `[pool.orders]` gives the pool `orders` its sizes and time limits.
    pub pool: BTreeMap<String, PoolSettings>,
    /// Lanes for jobs: ceilings, queues, budgets.
    #[cfg(feature = "scheduler")]
    pub scheduler: SchedulerSettings,
    /// Named calls: `[call.orders]` puts retries, a time-out, a breaker, a pace and a bulkhead around the call `orders`.
    #[cfg(feature = "scheduler")]
    pub call: BTreeMap<String, CallSettings>,
    /// Named groups of locks: `[lock.jobs]` says where the locks of the group `jobs` are kept.
    #[cfg(feature = "lock")]
    pub lock: BTreeMap<String, LockSettings>,
    /// Named rate limits: `[limit.logins]` gives the limit `logins` its rate.
    #[cfg(feature = "limit")]
    pub limit: BTreeMap<String, LimitSettings>,
    /// Sampling, history and pressure thresholds.
    pub monitor: MonitorSettings,
    /// The HTTP API and the dashboard.
    #[cfg(feature = "admin")]
    pub server: trimtab_admin::AdminSettings,
    /// What the program writes to standard error.
    #[cfg(feature = "log")]
    pub log: crate::log::LogSettings,
}

/// How much memory this process may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// `auto` (90 % of the smallest control-group limit, else 75 % of the machine), a size (`1800MiB`) or a share
    /// of the machine (`80%`). Pressure levels are measured against it.
    pub limit: MemoryLimit,
    /// What all caches together keep of their bytes, and pools of what they have idle, when memory pressure becomes high, and
    /// again for as long as it stays: `75%`. Those go first that are regretted least. `100%` lets go of nothing.
    pub keep_when_high: Share,
    /// The same for critical pressure: `50%`.
    pub keep_when_critical: Share,
}

impl MemorySettings {
    /// The defaults of a profile: the smaller the machine, the more is given back at once.
    pub fn for_profile(profile: Profile) -> Self {
        let (high, critical) = match profile {
            Profile::Minimal => (60, 30),
            Profile::Balanced => (75, 50),
            Profile::Maximum => (85, 60),
        };
        Self {
            limit: MemoryLimit::default(),
            keep_when_high: Share::percent(high),
            keep_when_critical: Share::percent(critical),
        }
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Settings for TrimtabSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            memory: MemorySettings::for_profile(profile),
            cache: BTreeMap::new(),
            budget: BudgetSettings::for_profile(profile),
            pool: BTreeMap::new(),
            #[cfg(feature = "scheduler")]
            scheduler: SchedulerSettings::for_profile(profile),
            #[cfg(feature = "scheduler")]
            call: BTreeMap::new(),
            #[cfg(feature = "lock")]
            lock: BTreeMap::new(),
            #[cfg(feature = "limit")]
            limit: BTreeMap::new(),
            monitor: MonitorSettings::for_profile(profile),
            #[cfg(feature = "admin")]
            server: trimtab_admin::AdminSettings::for_profile(profile),
            #[cfg(feature = "log")]
            log: crate::log::LogSettings::default(),
        }
    }

    fn templates(profile: Profile) -> Vec<Template> {
        vec![
            Template::new("cache.*", CacheSettings::for_profile(profile)),
            Template::new("pool.*", PoolSettings::for_profile(profile)),
            // A call has only the manners that somebody wrote; what is left out of one comes from the profile.
            #[cfg(feature = "scheduler")]
            Template::new("call.*.retry?", RetrySettings::for_profile(profile)),
            #[cfg(feature = "scheduler")]
            Template::new("call.*.breaker?", BreakerSettings::for_profile(profile)),
            #[cfg(feature = "scheduler")]
            Template::new("call.*.bulkhead?", BulkheadSettings::for_profile(profile)),
            #[cfg(feature = "lock")]
            Template::new("lock.*", LockSettings::for_profile(profile)),
            #[cfg(feature = "limit")]
            Template::new("limit.*", LimitSettings::for_profile(profile)),
        ]
    }

    fn check(&self, problems: &mut Problems) {
        for (name, cache) in &self.cache {
            if let Err(error) = trimtab_config::check_name("cache", name) {
                problems.report(format!("cache.{name}"), name, error.to_string());
            }
            problems.within(&format!("cache.{name}"), |problems| cache.check(problems));
            #[cfg(feature = "admin")]
            if cache.snapshot && self.server.snapshots.is_none() {
                let remedy = "there is no directory to save it in; set server.snapshots to one";
                problems.report(format!("cache.{name}.snapshot"), true, remedy);
            }
        }
        problems.within("budget", |problems| self.budget.check(problems));
        check_named("pool", "pool", &self.pool, problems);
        #[cfg(feature = "scheduler")]
        {
            problems.within("scheduler", |problems| self.scheduler.check(problems));
            check_named("call", "call", &self.call, problems);
        }
        #[cfg(feature = "lock")]
        check_named("lock", "lock group", &self.lock, problems);
        #[cfg(feature = "limit")]
        check_named("limit", "limit", &self.limit, problems);
        problems.within("monitor", |problems| self.monitor.check(problems));
        #[cfg(feature = "admin")]
        problems.within("server", |problems| self.server.check(problems));
        #[cfg(feature = "log")]
        problems.within("log", |problems| self.log.check(problems));
    }

    fn shorthands() -> &'static [(&'static str, &'static str)] {
        &[("TRIMTAB_MEMORY_LIMIT", "memory.limit")]
    }

    fn restart_only() -> &'static [&'static str] {
        crate::reload::RESTART_ONLY
    }
}

/// Checks every entry of a section of named things, and the names.
fn check_named<S: Settings>(section: &str, what: &'static str, named: &BTreeMap<String, S>, problems: &mut Problems) {
    for (name, settings) in named {
        let path = format!("{section}.{name}");
        if let Err(error) = trimtab_config::check_name(what, name) {
            problems.report(path.clone(), name, error.to_string());
        }
        problems.within(&path, |problems| settings.check(problems));
    }
}
