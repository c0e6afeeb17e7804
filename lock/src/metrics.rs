//! The numbers of a group and their publication: names, units, handles.
//!
//! A group counts anyway, so its numbers are published from a snapshot, on demand: whoever scrapes calls `publish_metrics`
//! first. Waits and holds go into histograms as they happen; their handles are resolved when the group is built, so install the
//! recorder before that. Of uncontended holds in memory one in sixteen goes there: reading the clock would cost as much as the lock.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_lock_held`, `…_waiting` | gauge | group | locks held and callers waiting in this process |
//! | `trimtab_lock_acquired_total`, `…_waited_total`, `…_released_total` | counter | group | leases |
//! | `trimtab_lock_lost_total` | counter | group | leases that ended before their release |
//! | `trimtab_lock_forced_total` | counter | group | leases taken away by an operator through this process |
//! | `trimtab_lock_hand_overs_total` | counter | group | leases that went to the next task of the process |
//! | `trimtab_lock_refusals_total` | counter | group, cause (`timeout`, `crowded`) | callers |
//! | `trimtab_lock_round_trips_total` | counter | group | questions to the store |
//! | `trimtab_lock_wait_seconds`, `…_hold_seconds` | histogram | group | seconds |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit, counter, gauge, histogram};
use tokio::time::Instant;

/// Locks held in this process.
pub const HELD: &str = "trimtab_lock_held";
/// Callers waiting in this process.
pub const WAITING: &str = "trimtab_lock_waiting";
/// Leases.
pub const ACQUIRED: &str = "trimtab_lock_acquired_total";
/// Leases whose caller queued.
pub const WAITED: &str = "trimtab_lock_waited_total";
/// Leases given back in time.
pub const RELEASED: &str = "trimtab_lock_released_total";
/// Leases that ended before their release.
pub const LOST: &str = "trimtab_lock_lost_total";
/// Leases taken away by an operator through this process.
pub const FORCED: &str = "trimtab_lock_forced_total";
/// Leases that went to the next task of the process.
pub const HAND_OVERS: &str = "trimtab_lock_hand_overs_total";
/// Callers who got nothing, by cause.
pub const REFUSALS: &str = "trimtab_lock_refusals_total";
/// Questions to the store.
pub const ROUND_TRIPS: &str = "trimtab_lock_round_trips_total";
/// How long callers queued.
pub const WAIT_SECONDS: &str = "trimtab_lock_wait_seconds";
/// How long leases lasted.
pub const HOLD_SECONDS: &str = "trimtab_lock_hold_seconds";

/// A group in numbers. Counts are since it was built, and of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockStats {
    /// The group.
    pub name: Arc<str>,
    /// Locks held.
    pub held: usize,
    /// Callers waiting.
    pub waiting: usize,
    /// Leases.
    pub acquired: u64,
    /// Leases whose caller queued: in a store, all of them.
    pub waited: u64,
    /// Leases given back in time.
    pub released: u64,
    /// Leases that ended before their release.
    pub lost: u64,
    /// Leases taken away by an operator through this process, whoever held them.
    pub forced: u64,
    /// Leases that went to the next task of this process.
    pub hand_overs: u64,
    /// Callers whose time ran out.
    pub timeouts: u64,
    /// Callers refused because too many waited.
    pub refused: u64,
    /// Questions to the store.
    pub round_trips: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    acquired: AtomicU64,
    released: AtomicU64,
    waited: AtomicU64,
    timeouts: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) forced: AtomicU64,
    pub(crate) hand_overs: AtomicU64,
    meters: Option<Meters>,
}

/// What every lease counts. Each name counts for itself, under the lock that it takes anyway, and tells its group now and then.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acquired: u64,
    pub(crate) released: u64,
}

struct Meters {
    gauges: [Gauge; 2],
    counters: [Counter; 7],
    refusals: [Counter; 2],
    wait: Histogram,
    hold: Histogram,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Counts {
    pub(crate) fn new(group: &str, metrics: bool) -> Self {
        Self { meters: metrics.then(|| Meters::resolve(group)), ..Self::default() }
    }

    /// Takes over what a name has counted.
    pub(crate) fn take(&self, tally: &mut Tally) {
        let Tally { acquired, released } = std::mem::take(tally);
        self.acquired.fetch_add(acquired, Ordering::Relaxed);
        self.released.fetch_add(released, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, waited: Duration) {
        self.waited.fetch_add(1, Ordering::Relaxed);
        if let Some(meters) = &self.meters {
            meters.wait.record(waited.as_secs_f64());
        }
    }

    pub(crate) fn held(&self, since: Instant) {
        if let Some(meters) = &self.meters {
            meters.hold.record(Instant::now().saturating_duration_since(since).as_secs_f64());
        }
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, name: &Arc<str>, held: usize, waiting: usize, round_trips: u64) -> LockStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LockStats {
            name: name.clone(),
            held,
            waiting,
            acquired: read(&self.acquired),
            waited: read(&self.waited),
            released: read(&self.released),
            lost: read(&self.lost),
            forced: read(&self.forced),
            hand_overs: read(&self.hand_overs),
            timeouts: read(&self.timeouts),
            refused: read(&self.refused),
            round_trips,
        }
    }

    pub(crate) fn publish(&self, stats: &LockStats) {
        let Some(meters) = &self.meters else { return };
        for (gauge, value) in meters.gauges.iter().zip([stats.held, stats.waiting]) {
            gauge.set(value as f64);
        }
        let LockStats { acquired, waited, released, lost, forced, hand_overs, round_trips, .. } = *stats;
        let values = [acquired, waited, released, lost, forced, hand_overs, round_trips];
        for (counter, value) in meters.counters.iter().zip(values) {
            counter.absolute(value);
        }
        for (counter, value) in meters.refusals.iter().zip([stats.timeouts, stats.refused]) {
            counter.absolute(value);
        }
    }
}

impl Meters {
    fn resolve(group: &str) -> Self {
        describe();
        let group = group.to_owned();
        Self {
            gauges: [HELD, WAITING].map(|name| gauge!(name, "group" => group.clone())),
            counters: [ACQUIRED, WAITED, RELEASED, LOST, FORCED, HAND_OVERS, ROUND_TRIPS]
                .map(|name| counter!(name, "group" => group.clone())),
            refusals: ["timeout", "crowded"]
                .map(|cause| counter!(REFUSALS, "group" => group.clone(), "cause" => cause)),
            wait: histogram!(WAIT_SECONDS, "group" => group.clone()),
            hold: histogram!(HOLD_SECONDS, "group" => group),
        }
    }
}

fn describe() {
    metrics::describe_gauge!(HELD, Unit::Count, "Locks held in this process");
    metrics::describe_gauge!(WAITING, Unit::Count, "Callers waiting in this process");
    metrics::describe_counter!(ACQUIRED, Unit::Count, "Leases");
    metrics::describe_counter!(WAITED, Unit::Count, "Leases whose caller queued");
    metrics::describe_counter!(RELEASED, Unit::Count, "Leases given back in time");
    metrics::describe_counter!(LOST, Unit::Count, "Leases that ended before their release");
    metrics::describe_counter!(FORCED, Unit::Count, "Leases taken away by an operator");
    metrics::describe_counter!(HAND_OVERS, Unit::Count, "Leases that went to the next task of the process");
    metrics::describe_counter!(REFUSALS, Unit::Count, "Callers who got nothing, by cause");
    metrics::describe_counter!(ROUND_TRIPS, Unit::Count, "Questions to the store");
    metrics::describe_histogram!(WAIT_SECONDS, Unit::Seconds, "How long callers queued");
    metrics::describe_histogram!(HOLD_SECONDS, Unit::Seconds, "How long leases lasted");
}
