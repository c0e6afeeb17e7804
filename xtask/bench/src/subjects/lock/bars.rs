//! What locks and limits promise, against whom.

use crate::frame::{Bar, Wanted};
use Wanted::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};

const fn bar(case: &'static str, measure: &'static str, wanted: Wanted, source: &'static str) -> Bar {
    Bar { case, measure, ours: "trimtab", wanted, source }
}

const TRIPS: &str = "acquire and release are two round trips: 0.48x of SELECT 1, 0.45x of PING, with the token";
const NEAR: &str = "file: 0.9x of try_lock in a blocking thread; memory: 0.5x of tokio's Mutex";
const HANDED: &str = "16 contenders: share of the time in the section; p99 of waiting 25 ms; Jain 0.99; trips";
const DELAY: &str = "70 % less delay than polling with the usual back-off; sixteen contenders";
const ENDED: &str =
    "killed: 5 ms over PostgreSQL and files, 20 ms after the lease over Redis; stopped: freed by the lease";
const LIMITS: &str = "direct at most 1.1x governor, keyed 1.2x its DashMap; bounded under a flood; leased permits 20x";
const FIGURES: &str =
    "10,000/s uncontended (p95 0.2 ms), file 5,000/s (0.4 ms), 1,500/s contended (1.5 ms, hold included)";

/// The bars.
pub(super) const BARS: &[Bar] = &[
    bar("uncontended/postgres", "rate", RatioAtLeast(0.48, "SELECT 1"), TRIPS),
    bar("uncontended/redis", "rate", RatioAtLeast(0.45, "PING"), TRIPS),
    bar("uncontended/file", "rate", RatioAtLeast(0.9, "blocking thread"), NEAR),
    bar("uncontended/memory", "rate", RatioAtLeast(0.5, "tokio Mutex"), NEAR),
    bar("contended/postgres-*", "share", AtLeast(93.0), HANDED),
    bar("contended/redis-*", "share", AtLeast(92.0), HANDED),
    bar("contended/file-*", "share", AtLeast(95.0), HANDED),
    bar("contended/*", "p99", AtMost(25.0), HANDED),
    bar("contended/*", "Jain", AtLeast(0.99), HANDED),
    bar("contended/postgres-*", "trips", AtMost(2.0), HANDED),
    bar("contended/redis-*", "trips", AtMost(3.0), HANDED),
    bar("contended/*", "delay", RatioAtMost(0.3, "polling"), DELAY),
    bar("killed/file", "held after", AtMost(5.0), ENDED),
    bar("killed/postgres", "held after", AtMost(5.0), ENDED),
    bar("killed/redis", "held after", AtMost(20.0), ENDED),
    // A lease of one second, counted from its last renewal; twenty milliseconds to hear of it.
    bar("stopped/*", "held after", AtMost(1_020.0), ENDED),
    bar("stopped/*", "told after", AtMost(20.0), ENDED),
    bar("figures/free-*", "rate", AtLeast(10_000.0), FIGURES),
    bar("figures/free-memory", "p95", AtMost(0.2), FIGURES),
    bar("figures/free-file", "p95", AtMost(0.4), FIGURES),
    bar("figures/contended-*", "rate", AtLeast(1_500.0), FIGURES),
    bar("figures/contended-*", "p95", AtMost(1.5), FIGURES),
    bar("limit/direct", "time", RatioAtMost(1.1, "governor"), LIMITS),
    bar("limit/keyed", "time", RatioAtMost(1.2, "governor DashMap"), LIMITS),
    bar("limit/flood", "keys", AtMost(100_000.0), LIMITS),
    bar("limit/flood", "held", AtMost(16.0), LIMITS),
    bar("limit/shared-*", "rate", RatioAtLeast(20.0, "one by one"), LIMITS),
];
