//! The metrics of the manners: names, units, and the handles through which they are published.
//!
//! Manners count anyway, so their numbers are published from a snapshot, on demand: whoever scrapes calls `publish_metrics`
//! first, and a call pays nothing. Handles are resolved at the first publication; install the recorder before that.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_breaker_state` | gauge | breaker | 0 closed, 1 half open, 2 open, 3 forced open, 4 forced closed |
//! | `trimtab_breaker_calls_total`, `…_failed_total`, `…_slow_total`, `…_dropped_total`, `…_refused_total` | counter | breaker | calls |
//! | `trimtab_breaker_opened_total` | counter | breaker | times |
//! | `trimtab_permits_limit`, `…_in_use`, `…_waiting` | gauge | semaphore or bulkhead | permits, callers |
//! | `trimtab_permits_acquired_total`, `…_waited_total`, `…_refused_total`, `…_left_total` | counter | semaphore or bulkhead | callers |
//! | `trimtab_permits_wait_seconds_total` | gauge | semaphore or bulkhead | seconds, only growing |
//! | `trimtab_pace_waiting` | gauge | pace | callers |
//! | `trimtab_pace_passed_total`, `…_waited_total`, `…_refused_total` | counter | pace | callers |
//! | `trimtab_retry_budget` | gauge | retry | tries left |
//! | `trimtab_retry_retries_total`, `…_recovered_total`, `…_gave_up_total`, `…_denied_total` | counter | retry | tries, calls |
//! | `trimtab_timeout_expired_total` | counter | timeout | calls |
//! | `trimtab_hedge_hedged_total`, `…_won_total`, `…_denied_total` | counter | hedge | calls |
//! | `trimtab_batch_waiting`, `…_in_work` | gauge | batch | items, batches |
//! | `trimtab_batch_items_total`, `…_batches_total`, `…_left_total`, `…_refused_total`, `…_lost_total` | counter | batch | items, batches |
//! | `trimtab_balancer_workers`, `…_ejected`, `…_in_use` | gauge | balancer | workers, calls |
//! | `trimtab_balancer_picks_total`, `…_refused_total`, `…_ejections_total` | counter | balancer | calls, times |

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Unit, counter, gauge};

use crate::balance::BalanceStats;
use crate::batch::BatchStats;
use crate::gate::breaker::{BreakerState, BreakerStats};
use crate::gate::pace::PaceStats;
use crate::gate::semaphore::PermitStats;
use crate::hedge::HedgeStats;
use crate::retry::RetryStats;
use crate::timeout::TimeoutStats;

/// What a breaker does with calls, as a number.
pub const BREAKER_STATE: &str = "trimtab_breaker_state";
/// Calls whose answers a breaker counted.
pub const BREAKER_CALLS: &str = "trimtab_breaker_calls_total";
/// Of these, failed.
pub const BREAKER_FAILED: &str = "trimtab_breaker_failed_total";
/// Of these, slow.
pub const BREAKER_SLOW: &str = "trimtab_breaker_slow_total";
/// Of these, dropped by their callers.
pub const BREAKER_DROPPED: &str = "trimtab_breaker_dropped_total";
/// Calls that a breaker refused.
pub const BREAKER_REFUSED: &str = "trimtab_breaker_refused_total";
/// How often a breaker opened.
pub const BREAKER_OPENED: &str = "trimtab_breaker_opened_total";
/// The most permits of a semaphore or bulkhead.
pub const PERMITS_LIMIT: &str = "trimtab_permits_limit";
/// Permits out.
pub const PERMITS_IN_USE: &str = "trimtab_permits_in_use";
/// Callers that wait for permits.
pub const PERMITS_WAITING: &str = "trimtab_permits_waiting";
/// Callers that got permits.
pub const PERMITS_ACQUIRED: &str = "trimtab_permits_acquired_total";
/// Of these, those that had waited.
pub const PERMITS_WAITED: &str = "trimtab_permits_waited_total";
/// Callers that were refused permits.
pub const PERMITS_REFUSED: &str = "trimtab_permits_refused_total";
/// Callers that left while they waited.
pub const PERMITS_LEFT: &str = "trimtab_permits_left_total";
/// How long callers waited for permits, together.
pub const PERMITS_WAIT_SECONDS: &str = "trimtab_permits_wait_seconds_total";
/// Callers in the line of a pace.
pub const PACE_WAITING: &str = "trimtab_pace_waiting";
/// Callers let through by a pace.
pub const PACE_PASSED: &str = "trimtab_pace_passed_total";
/// Of these, those that had waited.
pub const PACE_WAITED: &str = "trimtab_pace_waited_total";
/// Callers refused by a pace.
pub const PACE_REFUSED: &str = "trimtab_pace_refused_total";
/// Extra tries that a budget would allow now.
pub const RETRY_BUDGET: &str = "trimtab_retry_budget";
/// Tries after the first.
pub const RETRY_RETRIES: &str = "trimtab_retry_retries_total";
/// Calls that worked after all.
pub const RETRY_RECOVERED: &str = "trimtab_retry_recovered_total";
/// Calls that failed after the last try.
pub const RETRY_GAVE_UP: &str = "trimtab_retry_gave_up_total";
/// Calls that the budget did not let try again.
pub const RETRY_DENIED: &str = "trimtab_retry_denied_total";
/// Calls that did not end in time.
pub const TIMEOUT_EXPIRED: &str = "trimtab_timeout_expired_total";
/// Calls with a second try.
pub const HEDGE_HEDGED: &str = "trimtab_hedge_hedged_total";
/// Of these, those whose second try was first.
pub const HEDGE_WON: &str = "trimtab_hedge_won_total";
/// Calls that the budget gave no second try.
pub const HEDGE_DENIED: &str = "trimtab_hedge_denied_total";
/// Items that wait for their batch.
pub const BATCH_WAITING: &str = "trimtab_batch_waiting";
/// Batches in work.
pub const BATCH_IN_WORK: &str = "trimtab_batch_in_work";
/// Items that went into a batch.
pub const BATCH_ITEMS: &str = "trimtab_batch_items_total";
/// Batches.
pub const BATCH_BATCHES: &str = "trimtab_batch_batches_total";
/// Items whose callers left before their batch began.
pub const BATCH_LEFT: &str = "trimtab_batch_left_total";
/// Items given back because too many waited.
pub const BATCH_REFUSED: &str = "trimtab_batch_refused_total";
/// Items whose batch ended without a result for them.
pub const BATCH_LOST: &str = "trimtab_batch_lost_total";
/// Workers of a balancer.
pub const BALANCER_WORKERS: &str = "trimtab_balancer_workers";
/// Of these, those that are ejected or unhealthy.
pub const BALANCER_EJECTED: &str = "trimtab_balancer_ejected";
/// Calls out at the workers.
pub const BALANCER_IN_USE: &str = "trimtab_balancer_in_use";
/// Calls given to workers.
pub const BALANCER_PICKS: &str = "trimtab_balancer_picks_total";
/// Calls that no worker had room for.
pub const BALANCER_REFUSED: &str = "trimtab_balancer_refused_total";
/// How often workers were ejected.
pub const BALANCER_EJECTIONS: &str = "trimtab_balancer_ejections_total";

/// The handles of one manner, resolved when they are first needed.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    handles: OnceLock<(Vec<Gauge>, Vec<Counter>)>,
}

impl Meters {
    fn publish(
        &self,
        what: &'static str,
        name: &str,
        gauges: &[(&'static str, f64)],
        counters: &[(&'static str, u64)],
    ) {
        let (gauge_handles, counter_handles) = self.handles.get_or_init(|| {
            for (metric, _) in gauges {
                let unit = if *metric == PERMITS_WAIT_SECONDS { Unit::Seconds } else { Unit::Count };
                metrics::describe_gauge!(*metric, unit, "See the documentation of the manners");
            }
            for (metric, _) in counters {
                metrics::describe_counter!(*metric, Unit::Count, "See the documentation of the manners");
            }
            (
                gauges.iter().map(|(metric, _)| gauge!(*metric, what => name.to_owned())).collect(),
                counters.iter().map(|(metric, _)| counter!(*metric, what => name.to_owned())).collect(),
            )
        });
        for (handle, (_, value)) in gauge_handles.iter().zip(gauges) {
            handle.set(*value);
        }
        for (handle, (_, value)) in counter_handles.iter().zip(counters) {
            handle.absolute(*value);
        }
    }

    pub(crate) fn breaker(&self, stats: &BreakerStats) {
        let state = match stats.state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
            BreakerState::ForcedOpen => 3.0,
            BreakerState::ForcedClosed => 4.0,
        };
        self.publish(
            "breaker",
            &stats.name,
            &[(BREAKER_STATE, state)],
            &[
                (BREAKER_CALLS, stats.calls),
                (BREAKER_FAILED, stats.failed),
                (BREAKER_SLOW, stats.slow),
                (BREAKER_DROPPED, stats.dropped),
                (BREAKER_REFUSED, stats.refused),
                (BREAKER_OPENED, stats.opened),
            ],
        );
    }

    pub(crate) fn permits(&self, what: &'static str, stats: &PermitStats) {
        self.publish(
            what,
            &stats.name,
            &[
                (PERMITS_LIMIT, stats.limit as f64),
                (PERMITS_IN_USE, stats.in_use as f64),
                (PERMITS_WAITING, stats.waiting as f64),
                (PERMITS_WAIT_SECONDS, stats.wait_total.as_secs_f64()),
            ],
            &[
                (PERMITS_ACQUIRED, stats.acquired),
                (PERMITS_WAITED, stats.waited),
                (PERMITS_REFUSED, stats.refused),
                (PERMITS_LEFT, stats.left),
            ],
        );
    }

    pub(crate) fn pace(&self, stats: &PaceStats) {
        self.publish(
            "pace",
            &stats.name,
            &[(PACE_WAITING, stats.waiting as f64)],
            &[(PACE_PASSED, stats.passed), (PACE_WAITED, stats.waited), (PACE_REFUSED, stats.refused)],
        );
    }

    pub(crate) fn retry(&self, stats: &RetryStats) {
        self.publish(
            "retry",
            &stats.name,
            &[(RETRY_BUDGET, stats.budget)],
            &[
                (RETRY_RETRIES, stats.retries),
                (RETRY_RECOVERED, stats.recovered),
                (RETRY_GAVE_UP, stats.gave_up),
                (RETRY_DENIED, stats.denied),
            ],
        );
    }

    pub(crate) fn timeout(&self, stats: &TimeoutStats) {
        self.publish("timeout", &stats.name, &[], &[(TIMEOUT_EXPIRED, stats.expired)]);
    }

    pub(crate) fn hedge(&self, stats: &HedgeStats) {
        self.publish(
            "hedge",
            &stats.name,
            &[],
            &[(HEDGE_HEDGED, stats.hedged), (HEDGE_WON, stats.won), (HEDGE_DENIED, stats.denied)],
        );
    }

    pub(crate) fn batch(&self, stats: &BatchStats) {
        self.publish(
            "batch",
            &stats.name,
            &[(BATCH_WAITING, stats.waiting as f64), (BATCH_IN_WORK, stats.in_work as f64)],
            &[
                (BATCH_ITEMS, stats.items),
                (BATCH_BATCHES, stats.batches),
                (BATCH_LEFT, stats.left),
                (BATCH_REFUSED, stats.refused),
                (BATCH_LOST, stats.lost),
            ],
        );
    }

    pub(crate) fn balancer(&self, stats: &BalanceStats) {
        let ejected = stats.workers.iter().filter(|worker| !worker.available).count();
        self.publish(
            "balancer",
            &stats.name,
            &[
                (BALANCER_WORKERS, stats.workers.len() as f64),
                (BALANCER_EJECTED, ejected as f64),
                (BALANCER_IN_USE, stats.workers.iter().map(|worker| worker.in_use).sum::<usize>() as f64),
            ],
            &[(BALANCER_PICKS, stats.picks), (BALANCER_REFUSED, stats.refused), (BALANCER_EJECTIONS, stats.ejections)],
        );
    }
}
