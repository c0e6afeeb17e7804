//! The metrics of this crate: names, units, and the handles through which a cache publishes.
//!
//! A cache counts anyway, so its counters are published from a snapshot, on demand: whoever scrapes calls
//! [`publish_metrics`](crate::Cache::publish_metrics) first. A hit pays nothing. Handles are resolved at the first
//! publication or load, once per cache; install the recorder before that.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_cache_hits_total`, `…_misses_total` | counter | cache | lookups |
//! | `trimtab_cache_inserts_total`, `…_updates_total`, `…_rejected_total` | counter | cache | values |
//! | `trimtab_cache_evictions_total` | counter | cache, cause | entries |
//! | `trimtab_cache_loads_total`, `…_load_failures_total`, `…_load_aborts_total` | counter | cache | loads |
//! | `trimtab_cache_load_joins_total` | counter | cache | calls |
//! | `trimtab_cache_load_seconds` | histogram | cache | seconds |
//! | `trimtab_cache_refreshes_total`, `…_refresh_failures_total` | counter | cache | reloads of a [loading cache](crate::LoadingCache) |
//! | `trimtab_cache_stale_total` | counter | cache, reason (`error`, `timeout`) | answers out of date |
//! | `trimtab_cache_load_timeouts_total` | counter | cache | calls |
//! | `trimtab_cache_vanished_total` | counter | cache | values of a [weak cache](crate::WeakCache) whose last owner left |
//! | `trimtab_cache_listener_panics_total` | counter | cache | calls |
//! | `trimtab_cache_entries`, `…_capacity_entries` | gauge | cache | entries |
//! | `trimtab_cache_weight_bytes`, `…_capacity_bytes` | gauge | cache | bytes |
//! | `trimtab_cache_curve_hit_ratio`, `…_error` | gauge | cache, size (`0.25` to `4`) | share of lookups |
//! | `trimtab_cache_policy_hit_ratio` | gauge | cache, policy | share of lookups |
//! | `trimtab_cache_budget_bytes`, `…_free_bytes` | gauge | | bytes |
//! | `trimtab_cache_budget_moves_total` | counter | cache, direction (`in`, `out`) | moves |
//! | `trimtab_cache_budget_moved_bytes_total` | counter | cache, direction | bytes |
//!
//! A capacity gauge is absent while that limit is not set.

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};

use crate::arbiter::Decision;
use crate::curve::Curve;
use crate::loading::LoadingStats;
use crate::stats::{CacheStats, Cause};
use crate::weak::WeakStats;

/// Lookups that found a live entry.
pub const HITS: &str = "trimtab_cache_hits_total";
/// Lookups that found none.
pub const MISSES: &str = "trimtab_cache_misses_total";
/// Values stored under a new key.
pub const INSERTS: &str = "trimtab_cache_inserts_total";
/// Values stored over another one.
pub const UPDATES: &str = "trimtab_cache_updates_total";
/// Values refused.
pub const REJECTED: &str = "trimtab_cache_rejected_total";
/// Entries that left, by cause.
pub const EVICTIONS: &str = "trimtab_cache_evictions_total";
/// Loaders that ran to their end.
pub const LOADS: &str = "trimtab_cache_loads_total";
/// Loaders that answered with an error.
pub const LOAD_FAILURES: &str = "trimtab_cache_load_failures_total";
/// Loaders that were cancelled or panicked.
pub const LOAD_ABORTS: &str = "trimtab_cache_load_aborts_total";
/// Calls that waited for another call's load.
pub const LOAD_JOINS: &str = "trimtab_cache_load_joins_total";
/// Time of a load.
pub const LOAD_SECONDS: &str = "trimtab_cache_load_seconds";
/// Calls of a listener that panicked.
pub const LISTENER_PANICS: &str = "trimtab_cache_listener_panics_total";
/// Entries held.
pub const ENTRIES: &str = "trimtab_cache_entries";
/// Limit on entries.
pub const CAPACITY_ENTRIES: &str = "trimtab_cache_capacity_entries";
/// Bytes held, overhead included.
pub const WEIGHT: &str = "trimtab_cache_weight_bytes";
/// Limit on bytes.
pub const CAPACITY_BYTES: &str = "trimtab_cache_capacity_bytes";

/// Reloads of ageing values by a loading cache.
pub const REFRESHES: &str = "trimtab_cache_refreshes_total";
/// Such reloads that failed.
pub const REFRESH_FAILURES: &str = "trimtab_cache_refresh_failures_total";
/// Answers with a value out of date, by reason.
pub const STALE: &str = "trimtab_cache_stale_total";
/// Calls that ended without an answer after the hard time-out.
pub const LOAD_TIMEOUTS: &str = "trimtab_cache_load_timeouts_total";

/// Values of a weak cache that were found dead.
pub const VANISHED: &str = "trimtab_cache_vanished_total";

/// Estimated hit ratio at a multiple of the cache's size.
pub const CURVE: &str = "trimtab_cache_curve_hit_ratio";
/// Its standard error.
pub const CURVE_ERROR: &str = "trimtab_cache_curve_hit_ratio_error";
/// Estimated hit ratio at the cache's size under another policy.
pub const POLICY: &str = "trimtab_cache_policy_hit_ratio";

/// The memory budget over all caches.
pub const BUDGET: &str = "trimtab_cache_budget_bytes";
/// What of it no cache has.
pub const BUDGET_FREE: &str = "trimtab_cache_budget_free_bytes";
/// Moves of bytes into and out of a cache.
pub const BUDGET_MOVES: &str = "trimtab_cache_budget_moves_total";
/// The bytes moved.
pub const BUDGET_MOVED: &str = "trimtab_cache_budget_moved_bytes_total";

/// The resolved handles of one cache.
#[derive(Debug)]
pub(crate) struct Handles {
    cache: String,
    hits: Counter,
    misses: Counter,
    inserts: Counter,
    updates: Counter,
    rejected: Counter,
    evictions: [Counter; Cause::ALL.len()],
    loads: Counter,
    load_failures: Counter,
    load_aborts: Counter,
    load_joins: Counter,
    load_seconds: Histogram,
    listener_panics: Counter,
    entries: Gauge,
    weight: Gauge,
}

impl Handles {
    pub(crate) fn resolve(cache: &str) -> Self {
        describe();
        let cache = cache.to_string();
        let labels = || [("cache", cache.clone())];
        Self {
            hits: counter!(HITS, &labels()),
            misses: counter!(MISSES, &labels()),
            inserts: counter!(INSERTS, &labels()),
            updates: counter!(UPDATES, &labels()),
            rejected: counter!(REJECTED, &labels()),
            evictions: Cause::ALL.map(|cause| counter!(EVICTIONS, "cache" => cache.clone(), "cause" => cause.as_str())),
            loads: counter!(LOADS, &labels()),
            load_failures: counter!(LOAD_FAILURES, &labels()),
            load_aborts: counter!(LOAD_ABORTS, &labels()),
            load_joins: counter!(LOAD_JOINS, &labels()),
            load_seconds: histogram!(LOAD_SECONDS, &labels()),
            listener_panics: counter!(LISTENER_PANICS, &labels()),
            entries: gauge!(ENTRIES, &labels()),
            weight: gauge!(WEIGHT, &labels()),
            cache,
        }
    }

    pub(crate) fn publish(&self, stats: &CacheStats) {
        self.hits.absolute(stats.hits);
        self.misses.absolute(stats.misses);
        self.inserts.absolute(stats.inserts);
        self.updates.absolute(stats.updates);
        self.rejected.absolute(stats.rejected);
        for (counter, cause) in self.evictions.iter().zip(Cause::ALL) {
            counter.absolute(stats.evictions.by(cause));
        }
        self.loads.absolute(stats.loads);
        self.load_failures.absolute(stats.load_failures);
        self.load_aborts.absolute(stats.load_aborts);
        self.load_joins.absolute(stats.load_joins);
        self.listener_panics.absolute(stats.listener_panics);
        self.entries.set(stats.entries as f64);
        self.weight.set(stats.weight_bytes as f64);
        // Limits may be set and lifted at run time, so these two are looked up: publication is rare.
        for (name, limit) in [(CAPACITY_ENTRIES, stats.max_entries), (CAPACITY_BYTES, stats.max_bytes)] {
            if let Some(limit) = limit {
                gauge!(name, "cache" => self.cache.clone()).set(limit as f64);
            }
        }
    }

    pub(crate) fn record_load(&self, nanos: u64) {
        self.load_seconds.record(nanos as f64 / 1e9);
    }
}

/// Publishes what a loading cache counts beside the cache below. Looked up each time: publication is rare.
pub(crate) fn publish_loading(cache: &str, stats: &LoadingStats) {
    let counts =
        [(REFRESHES, stats.refreshes), (REFRESH_FAILURES, stats.refresh_failures), (LOAD_TIMEOUTS, stats.timeouts)];
    for (name, count) in counts {
        counter!(name, "cache" => cache.to_string()).absolute(count);
    }
    for (reason, count) in [("error", stats.stale_on_error), ("timeout", stats.stale_on_timeout)] {
        counter!(STALE, "cache" => cache.to_string(), "reason" => reason).absolute(count);
    }
}

/// Publishes a weak cache: what it has in common with others under the same names. Looked up each time.
pub(crate) fn publish_weak(cache: &str, stats: &WeakStats) {
    let counts = [
        (HITS, stats.hits),
        (MISSES, stats.misses),
        (INSERTS, stats.created),
        (LOAD_FAILURES, stats.failures),
        (LOAD_ABORTS, stats.aborts),
        (LOAD_JOINS, stats.joins),
        (VANISHED, stats.vanished),
    ];
    for (name, count) in counts {
        counter!(name, "cache" => cache.to_string()).absolute(count);
    }
    gauge!(ENTRIES, "cache" => cache.to_string()).set(stats.alive as f64);
}

/// Publishes what other sizes and policies would bring. Looked up each time: publication is rare.
pub(crate) fn publish_curve(cache: &str, curve: &Curve) {
    for point in &curve.points {
        for (name, value) in [(CURVE, point.hit_ratio), (CURVE_ERROR, point.error)] {
            gauge!(name, "cache" => cache.to_string(), "size" => point.factor.to_string()).set(value);
        }
    }
    for point in &curve.policies {
        gauge!(POLICY, "cache" => cache.to_string(), "policy" => point.policy.as_str()).set(point.hit_ratio);
    }
}

/// Publishes the budget.
pub(crate) fn publish_budget(total: u64, free: u64) {
    gauge!(BUDGET).set(total as f64);
    gauge!(BUDGET_FREE).set(free as f64);
}

/// Counts a move of bytes on both sides.
pub(crate) fn count_move(decision: &Decision) {
    let sides = [(Some(&decision.to), "in"), (decision.from.as_ref(), "out")];
    for (cache, direction) in sides.into_iter().filter_map(|(cache, direction)| Some((cache?, direction))) {
        counter!(BUDGET_MOVES, "cache" => cache.clone(), "direction" => direction).increment(1);
        counter!(BUDGET_MOVED, "cache" => cache.clone(), "direction" => direction).increment(decision.bytes);
    }
}

fn describe() {
    metrics::describe_gauge!(CURVE, Unit::Count, "Estimated hit ratio at a multiple of the cache's size");
    metrics::describe_gauge!(CURVE_ERROR, Unit::Count, "Standard error of the estimated hit ratio");
    metrics::describe_gauge!(POLICY, Unit::Count, "Estimated hit ratio at the cache's size under another policy");
    metrics::describe_gauge!(BUDGET, Unit::Bytes, "Memory budget over all caches");
    metrics::describe_gauge!(BUDGET_FREE, Unit::Bytes, "What of the budget no cache has");
    metrics::describe_counter!(BUDGET_MOVES, Unit::Count, "Moves of bytes into and out of a cache");
    metrics::describe_counter!(BUDGET_MOVED, Unit::Bytes, "Bytes moved into and out of a cache");
    metrics::describe_counter!(HITS, Unit::Count, "Lookups that found a live entry");
    metrics::describe_counter!(MISSES, Unit::Count, "Lookups that found none");
    metrics::describe_counter!(INSERTS, Unit::Count, "Values stored under a new key");
    metrics::describe_counter!(UPDATES, Unit::Count, "Values stored over another one");
    metrics::describe_counter!(REJECTED, Unit::Count, "Values refused as too heavy or expired at once");
    metrics::describe_counter!(EVICTIONS, Unit::Count, "Entries that left, by cause");
    metrics::describe_counter!(LOADS, Unit::Count, "Loaders that ran to their end");
    metrics::describe_counter!(LOAD_FAILURES, Unit::Count, "Loaders that answered with an error");
    metrics::describe_counter!(LOAD_ABORTS, Unit::Count, "Loaders that were cancelled or panicked");
    metrics::describe_counter!(LOAD_JOINS, Unit::Count, "Calls that waited for another call's load");
    metrics::describe_histogram!(LOAD_SECONDS, Unit::Seconds, "Time of a load");
    metrics::describe_counter!(LISTENER_PANICS, Unit::Count, "Calls of the listener that panicked");
    metrics::describe_counter!(REFRESHES, Unit::Count, "Reloads of ageing values");
    metrics::describe_counter!(REFRESH_FAILURES, Unit::Count, "Reloads of ageing values that failed");
    metrics::describe_counter!(STALE, Unit::Count, "Answers with a value out of date, by reason");
    metrics::describe_counter!(
        LOAD_TIMEOUTS,
        Unit::Count,
        "Calls that ended without an answer after the hard time-out"
    );
    metrics::describe_counter!(VANISHED, Unit::Count, "Values of a weak cache whose last owner left");
    metrics::describe_gauge!(ENTRIES, Unit::Count, "Entries held");
    metrics::describe_gauge!(CAPACITY_ENTRIES, Unit::Count, "Limit on entries");
    metrics::describe_gauge!(WEIGHT, Unit::Bytes, "Bytes held, overhead included");
    metrics::describe_gauge!(CAPACITY_BYTES, Unit::Bytes, "Limit on bytes");
}
