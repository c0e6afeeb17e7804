//! What the lanes promise, against whom. What the manners promise stands beside them.

use crate::frame::{Bar, Wanted};
use Wanted::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};

pub(super) const fn bar(
    case: &'static str,
    measure: &'static str,
    ours: &'static str,
    wanted: Wanted,
    source: &'static str,
) -> Bar {
    Bar { case, measure, ours, wanted, source }
}

const AWAITED: &str = "a job with priority and cost, awaited: at most 1.0x tokio::spawn and await";
const SPAWNED: &str = "a job with priority and cost, not awaited: at most 0.75x tokio::spawn";
const FLOOD: &str = "an important job behind a flood of 1,000: starts within 100 us by half, within 1 ms by 99 of 100";
const QUEUED: &str = "a million queued jobs: at most 200 B each beyond the closure; a critical one passes within 1 ms";
const OVERLOAD: &str = "three times too much for 60 s: at least 95 % of the important work is still done in time";
const CEILINGS: &str =
    "a ceiling that adapts: at least 90 % of the best fixed one after 10 s, also when the knee moves";
const FIGURES: &str =
    "semaphore 8,000/s at 10, limiter 95 to 100 of 100/s, batches 2,000/s and at least 60 % more throughput";

/// The bars.
pub(super) const BARS: &[Bar] = &[
    bar("jobs/awaited-*", "time", "trimtab", RatioAtMost(1.0, "tokio::spawn"), AWAITED),
    bar("jobs/spawned-*", "time", "trimtab", RatioAtMost(0.75, "tokio::spawn"), SPAWNED),
    bar("flood/start", "p50", "trimtab", AtMost(100.0), FLOOD),
    bar("flood/start", "p99", "trimtab", AtMost(1_000.0), FLOOD),
    bar("queued/memory", "beyond the closure", "trimtab", AtMost(200.0), QUEUED),
    bar("queued/critical", "start", "trimtab", AtMost(1_000.0), QUEUED),
    bar("overload/3x", "important in time", "trimtab", AtLeast(0.95), OVERLOAD),
    bar("ceiling/*", "found", "gradient", RatioAtLeast(0.9, "best fixed"), CEILINGS),
    bar("ceiling/*", "followed", "gradient", RatioAtLeast(0.9, "best fixed"), CEILINGS),
    bar("figures/semaphore", "rate", "trimtab", AtLeast(8_000.0), FIGURES),
    bar("figures/limiter", "rate", "trimtab", AtLeast(95.0), FIGURES),
    bar("figures/limiter", "rate", "trimtab", AtMost(100.0), FIGURES),
    bar("figures/batch", "rate", "trimtab", AtLeast(2_000.0), FIGURES),
    bar("figures/batching", "rate", "trimtab", RatioAtLeast(1.6, "one by one"), FIGURES),
];
