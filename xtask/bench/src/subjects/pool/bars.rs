//! What the pools promise, against whom.

use crate::frame::{Bar, Wanted};
use Wanted::{AtLeast, AtMost, RatioAtMost};

const fn bar(case: &'static str, measure: &'static str, wanted: Wanted, source: &'static str) -> Bar {
    Bar { case, measure, ours: "trimtab", wanted, source }
}

const OBJECTS: &str = "at most 0.65x of Linear at 1 thread, 0.2x at 2 and 4; faster than malloc and free";
const IDLE: &str = "with location, ledger and counts: at most 0.6x deadpool, 1.4x of a bare semaphore and queue";
const TURNS: &str = "64 tasks for 8 resources: at most 0.85x deadpool's time, its p99 of waiting, fairness 1.3";
const CANCELLED: &str = "100 acquires cancelled in the check: none lost, none made anew";
const CONNECT: &str = "connect 20 ms, time-out 10 ms, 20 tries: at least 19 served";
const WORDS: &str = "known words: at most 1.0x of the best peer; resolve at most 3 ns; at most 45 B beyond the text";
const FIGURES: &str = "1,000 pooled allocations, 10,000 tracked resources: at least 40 % less memory";

/// The bars.
pub(super) const BARS: &[Bar] = &[
    bar("object/1t", "time", RatioAtMost(0.65, "Linear"), OBJECTS),
    bar("object/2t", "time", RatioAtMost(0.2, "Linear"), OBJECTS),
    bar("object/4t", "time", RatioAtMost(0.2, "Linear"), OBJECTS),
    bar("object/*", "time", RatioAtMost(1.0, "malloc"), OBJECTS),
    bar("buffer/*-1t", "time", RatioAtMost(0.65, "Linear"), OBJECTS),
    bar("buffer/*-2t", "time", RatioAtMost(0.2, "Linear"), OBJECTS),
    bar("buffer/*-4t", "time", RatioAtMost(0.2, "Linear"), OBJECTS),
    bar("buffer/*", "time", RatioAtMost(1.0, "malloc"), OBJECTS),
    bar("idle/1t", "time", RatioAtMost(0.6, "deadpool"), IDLE),
    bar("idle/1t", "time", RatioAtMost(1.4, "semaphore and queue"), IDLE),
    bar("turns/*", "time", RatioAtMost(0.85, "deadpool"), TURNS),
    bar("turns/*", "p99", RatioAtMost(1.0, "deadpool"), TURNS),
    bar("turns/*", "fairness", AtMost(1.3), TURNS),
    bar("cancelled/check", "lost", AtMost(0.0), CANCELLED),
    bar("cancelled/check", "made", AtMost(1.0), CANCELLED),
    bar("cancelled/connect", "served", AtLeast(19.0), CONNECT),
    bar("words/*", "time", RatioAtMost(1.0, "ustr"), WORDS),
    bar("words/*", "time", RatioAtMost(1.0, "string-interner"), WORDS),
    bar("words/*", "time", RatioAtMost(1.0, "lasso"), WORDS),
    bar("resolve/1t", "time", AtMost(3.0), WORDS),
    bar("memory/words", "beyond the text", AtMost(45.0), WORDS),
    bar("memory/allocations", "asked for", RatioAtMost(0.6, "unpooled"), FIGURES),
    bar("memory/resources", "held", RatioAtMost(0.6, "strong registry"), FIGURES),
    bar("memory/*", "leaks", AtMost(0.0), FIGURES),
];
