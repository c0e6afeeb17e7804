//! What the manners promise, against whom.

use super::super::bars::bar;
use crate::frame::{Bar, Wanted};
use Wanted::{AtMost, RatioAtMost};

const BREAKER: &str = "a breaker around a sync call: at most 40 ns at 1 thread, not above failsafe's at 2 and 4";
const SEMAPHORE: &str = "a semaphore with metrics: at most 1.15x tokio's";
const RETRY: &str = "a retry that has nothing to do: at most 15 ns";
const TIMEOUT: &str = "a time-out: at most 1.1x tokio's";
const CHAIN: &str = "limit, breaker, bulkhead, retry and time-out around an async call: at most 200 ns";
const PICK: &str =
    "a choice of 8: two choices by peak EWMA at most 0.5x tower's, least load at most tower's by calls out";
const BATCH: &str = "a batched item: at most 0.9x batch-aint-one; memory flat over 2.4 million items";
const LEARNS: &str = "a breaker counts dropped calls, and lets in exactly its probes";

/// The bars.
pub(super) const BARS: &[Bar] = &[
    bar("breaker/1t", "time", "trimtab", AtMost(40.0), BREAKER),
    bar("breaker/2t", "time", "trimtab", RatioAtMost(1.0, "failsafe"), BREAKER),
    bar("breaker/4t", "time", "trimtab", RatioAtMost(1.0, "failsafe"), BREAKER),
    bar("semaphore/*", "time", "trimtab", RatioAtMost(1.15, "tokio"), SEMAPHORE),
    bar("call/retry", "time beyond bare", "trimtab", AtMost(15.0), RETRY),
    bar("call/timeout", "time", "trimtab", RatioAtMost(1.1, "tokio"), TIMEOUT),
    bar("call/timeout-waits", "time", "trimtab", RatioAtMost(1.1, "tokio"), TIMEOUT),
    bar("call/chain", "time", "trimtab", AtMost(200.0), CHAIN),
    bar("pick/8", "time", "peak EWMA", RatioAtMost(0.5, "tower peak EWMA"), PICK),
    bar("pick/8", "time", "least loaded", RatioAtMost(1.0, "tower pending"), PICK),
    bar("batch/*", "time", "trimtab", RatioAtMost(0.9, "batch-aint-one"), BATCH),
    bar("memory/batch", "grown", "trimtab", AtMost(1.0), BATCH),
    bar("learns/dropped", "ignored", "trimtab", AtMost(0.0), LEARNS),
    bar("learns/probes", "let in", "trimtab", AtMost(3.0), LEARNS),
];
