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
use trimtab_monitor::MonitorSettings;
use trimtab_pool::PoolSettings;

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
        for (name, pool) in &self.pool {
            if let Err(error) = trimtab_config::check_name("pool", name) {
                problems.report(format!("pool.{name}"), name, error.to_string());
            }
            problems.within(&format!("pool.{name}"), |problems| pool.check(problems));
        }
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
