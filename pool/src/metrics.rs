//! The metrics of this crate: names, units, and the handles through which a pool publishes.
//!
//! A pool counts anyway, so its numbers are published from a snapshot, on demand: whoever scrapes calls `publish_metrics`
//! first. A lease pays nothing. Handles are resolved at the first publication; install the recorder before that.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_pool_in_use`, `…_idle`, `…_waiting`, `…_creating`, `…_checking` | gauge | pool | resources, objects, callers |
//! | `trimtab_pool_max`, `…_wanted` | gauge | pool | resources, objects |
//! | `trimtab_pool_acquired_total`, `…_waited_total` | counter | pool | leases |
//! | `trimtab_pool_created_total`, `…_create_failures_total` | counter | pool | resources, objects |
//! | `trimtab_pool_recycled_total`, `…_check_failures_total` | counter | pool | resources, objects |
//! | `trimtab_pool_removed_total` | counter | pool, cause (`discarded`, `expired`, `trimmed`, `taken`) | resources, objects |
//! | `trimtab_pool_refusals_total` | counter | pool, cause (`timeout`, `cancelled`, `refused`) | callers |
//! | `trimtab_pool_leaks_total` | counter | pool | leases beyond their limit |
//! | `trimtab_pool_wait_seconds` | gauge | pool, quantile (`0.5`, `0.9`, `0.99`) | seconds, over the last periods |
//! | `trimtab_pool_bytes` | gauge | pool | bytes of a buffer pool or of an interner's words |
//! | `trimtab_pool_saved_bytes_total` | counter | pool | bytes that an interner did not store again |
//! | `trimtab_pool_request_bytes` | histogram | pool | bytes that a request allocated (`ScopeLayer`, with feature `account`) |

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Unit, counter, gauge};

use crate::stats::ResourceStats;

/// Resources or objects in callers' hands.
pub const IN_USE: &str = "trimtab_pool_in_use";
/// Resources or objects ready for the next caller.
pub const IDLE: &str = "trimtab_pool_idle";
/// Callers waiting.
pub const WAITING: &str = "trimtab_pool_waiting";
/// Resources being made.
pub const CREATING: &str = "trimtab_pool_creating";
/// Resources being checked.
pub const CHECKING: &str = "trimtab_pool_checking";
/// The most resources or objects.
pub const MAX: &str = "trimtab_pool_max";
/// What the demand of the last periods asks for.
pub const WANTED: &str = "trimtab_pool_wanted";
/// Leases.
pub const ACQUIRED: &str = "trimtab_pool_acquired_total";
/// Leases whose caller waited.
pub const WAITED: &str = "trimtab_pool_waited_total";
/// Resources or objects made.
pub const CREATED: &str = "trimtab_pool_created_total";
/// Attempts to make a resource that failed.
pub const CREATE_FAILURES: &str = "trimtab_pool_create_failures_total";
/// Resources or objects that came back.
pub const RECYCLED: &str = "trimtab_pool_recycled_total";
/// Checks that failed.
pub const CHECK_FAILURES: &str = "trimtab_pool_check_failures_total";
/// Resources or objects that left, by cause.
pub const REMOVED: &str = "trimtab_pool_removed_total";
/// Callers who got nothing, by cause.
pub const REFUSALS: &str = "trimtab_pool_refusals_total";
/// Leases beyond their limit.
pub const LEAKS: &str = "trimtab_pool_leaks_total";
/// How long callers waited lately.
pub const WAIT_SECONDS: &str = "trimtab_pool_wait_seconds";
/// Bytes held.
pub const BYTES: &str = "trimtab_pool_bytes";
/// Bytes that were not stored again.
pub const SAVED_BYTES: &str = "trimtab_pool_saved_bytes_total";

/// Bytes that a request allocated.
pub const REQUEST_BYTES: &str = "trimtab_pool_request_bytes";

/// The handle of what requests allocate, for the layer that sees them end.
#[cfg(all(feature = "account", feature = "tower"))]
pub(crate) fn request_bytes(pool: &str) -> metrics::Histogram {
    metrics::describe_histogram!(REQUEST_BYTES, Unit::Bytes, "Bytes that a request asked of the allocator");
    metrics::histogram!(REQUEST_BYTES, "pool" => pool.to_owned())
}

/// The handles of one pool, resolved when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    resources: OnceLock<Resources>,
    objects: OnceLock<Objects>,
}

#[derive(Debug)]
struct Resources {
    gauges: [Gauge; 7],
    counters: [Counter; 6],
    removed: [Counter; 4],
    refusals: [Counter; 3],
    leaks: Counter,
    waits: [Gauge; 3],
}

impl Resources {
    fn resolve(pool: &str) -> Self {
        describe();
        let pool = pool.to_owned();
        let gauge = |name| gauge!(name, "pool" => pool.clone());
        let counter = |name| counter!(name, "pool" => pool.clone());
        Self {
            gauges: [IN_USE, IDLE, WAITING, CREATING, CHECKING, MAX, WANTED].map(gauge),
            counters: [ACQUIRED, WAITED, CREATED, CREATE_FAILURES, RECYCLED, CHECK_FAILURES].map(counter),
            removed: ["discarded", "expired", "trimmed", "taken"]
                .map(|cause| counter!(REMOVED, "pool" => pool.clone(), "cause" => cause)),
            refusals: ["timeout", "cancelled", "refused"]
                .map(|cause| counter!(REFUSALS, "pool" => pool.clone(), "cause" => cause)),
            leaks: counter(LEAKS),
            waits: ["0.5", "0.9", "0.99"]
                .map(|quantile| gauge!(WAIT_SECONDS, "pool" => pool.clone(), "quantile" => quantile)),
        }
    }
}

#[derive(Debug)]
struct Objects {
    gauges: [Gauge; 5],
    counters: [Counter; 4],
    removed: [Counter; 3],
}

/// What pools of objects, buffers and words publish.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ObjectNumbers {
    pub(crate) in_use: usize,
    pub(crate) idle: usize,
    pub(crate) max: usize,
    pub(crate) wanted: usize,
    pub(crate) bytes: usize,
    pub(crate) acquired: u64,
    pub(crate) created: u64,
    pub(crate) recycled: u64,
    pub(crate) saved_bytes: u64,
    pub(crate) discarded: u64,
    pub(crate) trimmed: u64,
    pub(crate) taken: u64,
}

impl Meters {
    pub(crate) fn publish_resources(&self, stats: &ResourceStats) {
        let meters = self.resources.get_or_init(|| Resources::resolve(&stats.name));
        let ResourceStats { in_use, idle, waiting, creating, checking, max, wanted, .. } = *stats;
        for (gauge, value) in meters.gauges.iter().zip([in_use, idle, waiting, creating, checking, max, wanted]) {
            gauge.set(value as f64);
        }
        let ResourceStats { acquired, waited, created, create_failures, recycled, check_failures, .. } = *stats;
        for (counter, value) in
            meters.counters.iter().zip([acquired, waited, created, create_failures, recycled, check_failures])
        {
            counter.absolute(value);
        }
        for (counter, value) in meters.removed.iter().zip([stats.discarded, stats.expired, stats.trimmed, stats.taken])
        {
            counter.absolute(value);
        }
        for (counter, value) in meters.refusals.iter().zip([stats.timeouts, stats.cancelled, stats.refused]) {
            counter.absolute(value);
        }
        meters.leaks.absolute(stats.leaked);
        for (gauge, wait) in meters.waits.iter().zip([stats.waits.p50, stats.waits.p90, stats.waits.p99]) {
            gauge.set(wait.as_secs_f64());
        }
    }

    pub(crate) fn publish_objects(&self, pool: &str, numbers: &ObjectNumbers) {
        let meters = self.objects.get_or_init(|| {
            describe();
            let pool = pool.to_owned();
            Objects {
                gauges: [IN_USE, IDLE, MAX, WANTED, BYTES].map(|name| gauge!(name, "pool" => pool.clone())),
                counters: [ACQUIRED, CREATED, RECYCLED, SAVED_BYTES].map(|name| counter!(name, "pool" => pool.clone())),
                removed: ["discarded", "trimmed", "taken"]
                    .map(|cause| counter!(REMOVED, "pool" => pool.clone(), "cause" => cause)),
            }
        });
        let ObjectNumbers { in_use, idle, max, wanted, bytes, .. } = *numbers;
        for (gauge, value) in meters.gauges.iter().zip([in_use, idle, max, wanted, bytes]) {
            gauge.set(value as f64);
        }
        let ObjectNumbers { acquired, created, recycled, saved_bytes, .. } = *numbers;
        for (counter, value) in meters.counters.iter().zip([acquired, created, recycled, saved_bytes]) {
            counter.absolute(value);
        }
        for (counter, value) in meters.removed.iter().zip([numbers.discarded, numbers.trimmed, numbers.taken]) {
            counter.absolute(value);
        }
    }
}

fn describe() {
    metrics::describe_gauge!(IN_USE, Unit::Count, "Resources or objects in callers' hands");
    metrics::describe_gauge!(IDLE, Unit::Count, "Resources or objects ready for the next caller");
    metrics::describe_gauge!(WAITING, Unit::Count, "Callers waiting");
    metrics::describe_gauge!(CREATING, Unit::Count, "Resources being made");
    metrics::describe_gauge!(CHECKING, Unit::Count, "Resources being checked or recycled");
    metrics::describe_gauge!(MAX, Unit::Count, "The most resources or objects");
    metrics::describe_gauge!(WANTED, Unit::Count, "What the demand of the last periods asks for");
    metrics::describe_gauge!(BYTES, Unit::Bytes, "Bytes held by buffers or words");
    metrics::describe_gauge!(WAIT_SECONDS, Unit::Seconds, "How long callers waited lately, by quantile");
    metrics::describe_counter!(ACQUIRED, Unit::Count, "Leases");
    metrics::describe_counter!(WAITED, Unit::Count, "Leases whose caller had to wait");
    metrics::describe_counter!(CREATED, Unit::Count, "Resources or objects made");
    metrics::describe_counter!(CREATE_FAILURES, Unit::Count, "Attempts to make a resource that failed");
    metrics::describe_counter!(RECYCLED, Unit::Count, "Resources or objects that came back");
    metrics::describe_counter!(CHECK_FAILURES, Unit::Count, "Checks and recyclings that failed");
    metrics::describe_counter!(REMOVED, Unit::Count, "Resources or objects that left, by cause");
    metrics::describe_counter!(REFUSALS, Unit::Count, "Callers who got nothing, by cause");
    metrics::describe_counter!(LEAKS, Unit::Count, "Leases reported as held too long");
    metrics::describe_counter!(SAVED_BYTES, Unit::Bytes, "Bytes that an interner did not store again");
}
