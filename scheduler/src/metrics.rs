//! The metrics of lanes: names, units, and the handles through which a scheduler publishes.
//!
//! Lanes count anyway, so their numbers are published from a snapshot, on demand: whoever scrapes calls
//! [`Scheduler::publish_metrics`](crate::Scheduler::publish_metrics) first. A job pays nothing. Handles are resolved at the
//! first publication; install the recorder before that.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_scheduler_running`, `…_ceiling` | gauge | scheduler, lane | jobs |
//! | `trimtab_scheduler_resting` | gauge | scheduler, lane | jobs that wait for their next try |
//! | `trimtab_scheduler_retries_total` | counter | scheduler, lane | tries after a job's first |
//! | `trimtab_scheduler_queued` | gauge | scheduler, lane, priority | jobs |
//! | `trimtab_scheduler_queued_bytes` | gauge | scheduler, lane | bytes |
//! | `trimtab_scheduler_callers_waiting` | gauge | scheduler, lane | callers |
//! | `trimtab_scheduler_submitted_total` | counter | scheduler, lane | jobs |
//! | `trimtab_scheduler_ended_total` | counter | scheduler, lane, outcome (`done`, `failed`, `panicked`, `cancelled`, `rejected`, `shed`, `expired`) | jobs |
//! | `trimtab_scheduler_wait_seconds`, `…_run_seconds` | gauge | scheduler, lane, quantile (`0.5`, `0.9`, `0.99`) | seconds, of the last 30,000 to 60,000 jobs |
//! | `trimtab_scheduler_cpu_used`, `…_cpu_limit` | gauge | scheduler, lane (and `all`) | processors, by estimate |
//! | `trimtab_scheduler_memory_used_bytes`, `…_memory_limit_bytes` | gauge | scheduler, lane (and `all`) | bytes, by estimate |
//! | `trimtab_scheduler_background_open`, `…_background_kept` | gauge | scheduler | tasks |

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::histogram::Quantiles;
use crate::job::{Outcome, Priority};
use crate::lane::{LANES, LaneKind};
use crate::stats::{LaneStats, SchedulerStats};

/// Jobs that have started.
pub const RUNNING: &str = "trimtab_scheduler_running";
/// How many may run at the same time.
pub const CEILING: &str = "trimtab_scheduler_ceiling";
/// Jobs whose last try failed, and that will be tried again.
pub const RESTING: &str = "trimtab_scheduler_resting";
/// Tries after the first of a job.
pub const RETRIES: &str = "trimtab_scheduler_retries_total";
/// Jobs that wait for their turn, by priority.
pub const QUEUED: &str = "trimtab_scheduler_queued";
/// Bytes that queued jobs hold.
pub const QUEUED_BYTES: &str = "trimtab_scheduler_queued_bytes";
/// Callers who wait for a place in the queue.
pub const CALLERS_WAITING: &str = "trimtab_scheduler_callers_waiting";
/// Jobs handed in.
pub const SUBMITTED: &str = "trimtab_scheduler_submitted_total";
/// Jobs that ended, by outcome.
pub const ENDED: &str = "trimtab_scheduler_ended_total";
/// From the submission to the start.
pub const WAIT_SECONDS: &str = "trimtab_scheduler_wait_seconds";
/// From the start to the end.
pub const RUN_SECONDS: &str = "trimtab_scheduler_run_seconds";
/// Processors that running jobs were admitted with.
pub const CPU_USED: &str = "trimtab_scheduler_cpu_used";
/// The most that may be.
pub const CPU_LIMIT: &str = "trimtab_scheduler_cpu_limit";
/// Memory that running jobs were admitted with.
pub const MEMORY_USED: &str = "trimtab_scheduler_memory_used_bytes";
/// The most that may be.
pub const MEMORY_LIMIT: &str = "trimtab_scheduler_memory_limit_bytes";
/// Background tasks that have not ended.
pub const BACKGROUND_OPEN: &str = "trimtab_scheduler_background_open";
/// Background tasks whose results are kept.
pub const BACKGROUND_KEPT: &str = "trimtab_scheduler_background_kept";

const QUANTILES: [&str; 3] = ["0.5", "0.9", "0.99"];

/// The handles of one scheduler, resolved when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct Meters(OnceLock<Handles>);

#[derive(Debug)]
struct Handles {
    lanes: [Lane; LANES],
    all: [Gauge; 4],
    background: [Gauge; 2],
}

#[derive(Debug)]
struct Lane {
    gauges: [Gauge; 5],
    budget: [Gauge; 4],
    queued: [Gauge; 5],
    submitted: Counter,
    retries: Counter,
    ended: [(Outcome, Counter); 7],
    waits: [Gauge; 3],
    runs: [Gauge; 3],
}

fn budget(scheduler: &str, lane: &'static str) -> [Gauge; 4] {
    [CPU_USED, CPU_LIMIT, MEMORY_USED, MEMORY_LIMIT]
        .map(|name| gauge!(name, "scheduler" => scheduler.to_owned(), "lane" => lane))
}

impl Lane {
    fn resolve(scheduler: &str, kind: LaneKind) -> Self {
        let lane = kind.label();
        let scheduler = scheduler.to_owned();
        let gauge = |name| gauge!(name, "scheduler" => scheduler.clone(), "lane" => lane);
        let quantiles = |name| {
            QUANTILES
                .map(|quantile| gauge!(name, "scheduler" => scheduler.clone(), "lane" => lane, "quantile" => quantile))
        };
        let none = crate::stats::Ledger::default();
        Self {
            gauges: [RUNNING, RESTING, CEILING, QUEUED_BYTES, CALLERS_WAITING].map(gauge),
            budget: budget(&scheduler, lane),
            queued: Priority::ALL.map(|priority| {
                gauge!(QUEUED, "scheduler" => scheduler.clone(), "lane" => lane, "priority" => priority.label())
            }),
            submitted: counter!(SUBMITTED, "scheduler" => scheduler.clone(), "lane" => lane),
            retries: counter!(RETRIES, "scheduler" => scheduler.clone(), "lane" => lane),
            ended: none.by_outcome().map(|(outcome, _)| {
                let label = outcome.label();
                (outcome, counter!(ENDED, "scheduler" => scheduler.clone(), "lane" => lane, "outcome" => label))
            }),
            waits: quantiles(WAIT_SECONDS),
            runs: quantiles(RUN_SECONDS),
        }
    }

    fn publish(&self, stats: &LaneStats) {
        let bytes = stats.queued_bytes.as_u64() as f64;
        let [running, ceiling] = [stats.running, stats.ceiling].map(f64::from);
        set(&self.gauges, [running, stats.resting as f64, ceiling, bytes, stats.callers_waiting as f64]);
        let memory = [stats.memory_used, stats.memory_limit].map(|bytes| bytes.as_u64() as f64);
        set(&self.budget, [stats.cpu_used, stats.cpu_limit, memory[0], memory[1]]);
        set(&self.queued, stats.queued_by_priority.map(|count| count as f64));
        self.submitted.absolute(stats.ledger.submitted);
        self.retries.absolute(stats.retries);
        for ((_, counter), (_, count)) in self.ended.iter().zip(stats.ledger.by_outcome()) {
            counter.absolute(count);
        }
        let seconds = |of: Quantiles| [of.p50, of.p90, of.p99].map(|time| time.as_secs_f64());
        set(&self.waits, seconds(stats.waits));
        set(&self.runs, seconds(stats.runs));
    }
}

fn set<const N: usize>(gauges: &[Gauge; N], values: [f64; N]) {
    for (gauge, value) in gauges.iter().zip(values) {
        gauge.set(value);
    }
}

impl Meters {
    pub(crate) fn publish(&self, stats: &SchedulerStats) {
        let handles = self.0.get_or_init(|| {
            describe();
            let scheduler = || stats.name.clone();
            Handles {
                lanes: LaneKind::ALL.map(|kind| Lane::resolve(&stats.name, kind)),
                all: budget(&stats.name, "all"),
                background: [BACKGROUND_OPEN, BACKGROUND_KEPT].map(|name| gauge!(name, "scheduler" => scheduler())),
            }
        });
        for (lane, stats) in handles.lanes.iter().zip(&stats.lanes) {
            lane.publish(stats);
        }
        let memory = [stats.memory_used, stats.memory_limit].map(|bytes| bytes.as_u64() as f64);
        set(&handles.all, [stats.cpu_used, stats.cpu_limit, memory[0], memory[1]]);
        set(&handles.background, [stats.background_open as f64, stats.background_kept as f64]);
    }
}

fn describe() {
    describe_gauge!(RUNNING, Unit::Count, "Jobs that have started");
    describe_gauge!(RESTING, Unit::Count, "Jobs that wait for their next try");
    describe_counter!(RETRIES, Unit::Count, "Tries after the first of a job");
    describe_gauge!(CEILING, Unit::Count, "How many jobs may run at the same time");
    describe_gauge!(QUEUED, Unit::Count, "Jobs that wait for their turn");
    describe_gauge!(QUEUED_BYTES, Unit::Bytes, "Bytes that queued jobs hold");
    describe_gauge!(CALLERS_WAITING, Unit::Count, "Callers who wait for a place in the queue");
    describe_counter!(SUBMITTED, Unit::Count, "Jobs handed in");
    describe_counter!(ENDED, Unit::Count, "Jobs that ended, by outcome");
    describe_gauge!(WAIT_SECONDS, Unit::Seconds, "From the submission of a job to its start");
    describe_gauge!(RUN_SECONDS, Unit::Seconds, "From the start of a job to its end");
    describe_gauge!(CPU_USED, Unit::Count, "Processors that running jobs were admitted with");
    describe_gauge!(CPU_LIMIT, Unit::Count, "Processors that running jobs may take by their estimates");
    describe_gauge!(MEMORY_USED, Unit::Bytes, "Memory that running jobs were admitted with");
    describe_gauge!(MEMORY_LIMIT, Unit::Bytes, "Memory that running jobs may take by their estimates");
    describe_gauge!(BACKGROUND_OPEN, Unit::Count, "Background tasks that have not ended");
    describe_gauge!(BACKGROUND_KEPT, Unit::Count, "Background tasks whose results are kept");
}
