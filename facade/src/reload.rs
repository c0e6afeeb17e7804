//! A changed setting reaches the parts: limits and policies of caches, thresholds of the monitor.
//!
//! Settings that a part reads only at its start are listed in [`RESTART_ONLY`] and flagged by the change that touches
//! them, so that nobody believes in an effect that is not there.

use trimtab_cache::{AnyCache, CacheSettings, Caches};
use trimtab_config::{Change, Live, Profile, Settings, Subscription};
use trimtab_monitor::Monitor;
use trimtab_pool::Pools;

use crate::parts::Parts;
use crate::settings::TrimtabSettings;
use crate::system::bounded;

/// Settings that only a restart brings into effect.
pub(crate) const RESTART_ONLY: &[&str] = &[
    "memory.limit",
    "budget.*",
    "cache.*.shadow",
    "cache.*.compression",
    "cache.*.compress_above",
    "cache.*.metrics",
    "pool.*.initial",
    "scheduler.cpu_threads",
    "scheduler.cpu_nice",
    "lock.*",
    "limit.*.keys_max",
    "limit.*.url",
    "limit.*.leased",
    "limit.*.leased_for",
    "limit.*.fallback",
    "limit.*.timeout",
    "limit.*.retry_after",
    "limit.*.metrics",
    "server.*",
    "log.*",
];

/// Keeps the parts in step with the settings for as long as it lives.
pub(crate) struct Reload {
    _subscription: Subscription,
}

impl Reload {
    pub(crate) fn follow(
        live: &Live<TrimtabSettings>,
        caches: &Caches,
        pools: &Pools,
        parts: &Parts,
        monitor: &Monitor,
    ) -> Self {
        let (caches, pools, parts, monitor) = (caches.clone(), pools.clone(), parts.clone(), monitor.clone());
        let profile = live.loaded().profile;
        let subscription = live.on_change(move |change| {
            apply(change, profile, &caches, &monitor);
            crate::pools::follow(change, &pools);
            parts.follow(change);
        });
        Self { _subscription: subscription }
    }
}

fn apply(change: &Change<TrimtabSettings>, profile: Profile, caches: &Caches, monitor: &Monitor) {
    for leaf in change.changes.iter().filter(|leaf| leaf.restart) {
        tracing::warn!(setting = leaf.path, "changed, and takes effect at the next start");
    }
    let (old, new) = (&change.old, &change.new);
    if old.monitor != new.monitor
        && let Err(error) = monitor.apply(new.monitor.clone())
    {
        tracing::error!(%error, "the monitor keeps its old settings");
    }
    for (name, settings) in &new.cache {
        if old.cache.get(name) != Some(settings) {
            carry(name, settings, profile, caches);
        }
    }
    // A section that is gone leaves its cache with what a name without a section gets.
    for name in old.cache.keys().filter(|name| !new.cache.contains_key(*name)) {
        carry(name, &CacheSettings::for_profile(profile), profile, caches);
    }
}

/// Brings the settings of one name to its cache, or notes them for whoever opens it.
fn carry(name: &str, settings: &CacheSettings, profile: Profile, caches: &Caches) {
    if let Some(cache) = caches.get(name) {
        let bytes = cache.as_bytes().is_some();
        resize(&*cache, &if bytes { bounded(settings.clone(), profile) } else { settings.clone() });
    } else if !caches.redeclare(name, settings.clone())
        && let Err(error) = caches.declare(name, settings.clone())
    {
        tracing::error!(%error, "a cache of the changed settings cannot be declared");
    }
}

/// Applies what a cache can change while it runs.
fn resize(cache: &dyn AnyCache, settings: &CacheSettings) {
    // First, so that the policy asked for decides what leaves when a limit falls.
    cache.set_policy(settings.policy);
    let results = [
        cache.set_max_entries(settings.max_entries),
        cache.set_max_bytes(settings.max_bytes),
        cache.set_ttl(settings.ttl.map(Into::into)),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        tracing::error!(cache = cache.name(), %error, "the cache keeps its old limit");
    }
}
