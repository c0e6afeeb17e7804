//! The metrics of worker processes: names, units, handles. Published with those of the lanes.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_scheduler_workers` | gauge | scheduler, state (`busy`, `idle`) | processes |
//! | `trimtab_scheduler_worker_starts_total` | counter | scheduler, outcome (`started`, `failed`) | starts |
//! | `trimtab_scheduler_worker_ends_total` | counter | scheduler, reason (`crashed`, `timed_out`, `cancelled`, `retired`, `closed`) | processes |

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::WorkerStats;

/// Worker processes, by state.
pub const WORKERS: &str = "trimtab_scheduler_workers";
/// Starts of workers, by outcome.
pub const STARTS: &str = "trimtab_scheduler_worker_starts_total";
/// Ends of workers, by reason.
pub const ENDS: &str = "trimtab_scheduler_worker_ends_total";

/// The handles of one pool, resolved when they are first needed.
#[derive(Debug, Default)]
pub(super) struct Meters(OnceLock<Handles>);

#[derive(Debug)]
struct Handles {
    workers: [Gauge; 2],
    starts: [Counter; 2],
    ends: [Counter; 5],
}

impl Handles {
    fn resolve(scheduler: &str) -> Self {
        describe_gauge!(WORKERS, Unit::Count, "Worker processes");
        describe_counter!(STARTS, Unit::Count, "Starts of worker processes");
        describe_counter!(ENDS, Unit::Count, "Ends of worker processes");
        let name = || scheduler.to_owned();
        Self {
            workers: ["busy", "idle"].map(|state| gauge!(WORKERS, "scheduler" => name(), "state" => state)),
            starts: ["started", "failed"].map(|outcome| counter!(STARTS, "scheduler" => name(), "outcome" => outcome)),
            ends: ["crashed", "timed_out", "cancelled", "retired", "closed"]
                .map(|reason| counter!(ENDS, "scheduler" => name(), "reason" => reason)),
        }
    }
}

impl Meters {
    pub(super) fn publish(&self, scheduler: &str, stats: &WorkerStats) {
        let handles = self.0.get_or_init(|| Handles::resolve(scheduler));
        for (gauge, count) in handles.workers.iter().zip([stats.alive - stats.idle, stats.idle]) {
            gauge.set(count as f64);
        }
        for (counter, count) in handles.starts.iter().zip([stats.started, stats.start_failures]) {
            counter.absolute(count);
        }
        let ends = [stats.crashed, stats.timed_out, stats.cancelled, stats.retired, stats.closed];
        for (counter, count) in handles.ends.iter().zip(ends) {
            counter.absolute(count);
        }
    }
}
