//! The numbers of a limit and their publication: names, units, handles.
//!
//! Refusals are counted and calls that pass are not: a counter that all threads share would cost more than the decision.
//! Whoever scrapes calls `publish_metrics` first.
//!
//! | name | kind | labels | unit |
//! |---|---|---|---|
//! | `trimtab_limit_refused_total` | counter | limit | calls |
//! | `trimtab_limit_crowded_total` | counter | limit | calls of newcomers that shared one bucket, for want of room |
//! | `trimtab_limit_keys` | gauge | limit | keys remembered |
//! | `trimtab_limit_questions_total` | counter | limit | questions to the server |
//! | `trimtab_limit_away_total` | counter | limit | calls decided by the fallback |

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Unit, counter, gauge};

/// Calls over the limit.
pub const REFUSED: &str = "trimtab_limit_refused_total";
/// Calls of newcomers that shared one bucket.
pub const CROWDED: &str = "trimtab_limit_crowded_total";
/// Keys remembered.
pub const KEYS: &str = "trimtab_limit_keys";
/// Questions to the server.
pub const QUESTIONS: &str = "trimtab_limit_questions_total";
/// Calls decided by the fallback.
pub const AWAY: &str = "trimtab_limit_away_total";

/// A limit in numbers. Counts are since it was built, and of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStats {
    /// Calls over the limit.
    pub refused: u64,
    /// Calls of newcomers that shared one bucket, because all keys that are remembered were in use.
    pub crowded: u64,
    /// Keys remembered.
    pub keys: usize,
    /// Questions to the server.
    pub questions: u64,
    /// Calls decided by the fallback.
    pub away: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refused: AtomicU64,
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "of shared limits"))]
    pub(crate) questions: AtomicU64,
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "of shared limits"))]
    pub(crate) away: AtomicU64,
    meters: OnceLock<Meters>,
}

struct Meters {
    counters: [Counter; 4],
    keys: Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

impl Counts {
    pub(crate) fn stats(&self, keys: usize, crowded: u64) -> LimitStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LimitStats {
            refused: read(&self.refused),
            crowded,
            keys,
            questions: read(&self.questions),
            away: read(&self.away),
        }
    }

    pub(crate) fn publish(&self, limit: &str, stats: LimitStats) {
        let meters = self.meters.get_or_init(|| {
            describe();
            let limit = limit.to_owned();
            Meters {
                counters: [REFUSED, CROWDED, QUESTIONS, AWAY].map(|name| counter!(name, "limit" => limit.clone())),
                keys: gauge!(KEYS, "limit" => limit),
            }
        });
        let values = [stats.refused, stats.crowded, stats.questions, stats.away];
        for (counter, value) in meters.counters.iter().zip(values) {
            counter.absolute(value);
        }
        meters.keys.set(stats.keys as f64);
    }
}

fn describe() {
    metrics::describe_counter!(REFUSED, Unit::Count, "Calls over the limit");
    metrics::describe_counter!(CROWDED, Unit::Count, "Calls of newcomers that shared one bucket, for want of room");
    metrics::describe_counter!(QUESTIONS, Unit::Count, "Questions to the server of a shared limit");
    metrics::describe_counter!(AWAY, Unit::Count, "Calls decided by the fallback");
    metrics::describe_gauge!(KEYS, Unit::Count, "Keys remembered");
}
