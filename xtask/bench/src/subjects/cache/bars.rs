//! What the cache promises, against whom.

use crate::frame::{Bar, Wanted};
use Wanted::{AheadOfEveryPeer, AtLeast, AtMost, RatioAtLeast, RatioAtMost};

const fn bar(case: &'static str, measure: &'static str, wanted: Wanted, source: &'static str) -> Bar {
    Bar { case, measure, ours: "trimtab", wanted, source }
}

const READ: &str = "read-only: 1.2x quick_cache at 1 thread, 1.5x at 2 and 4, 15x moka";
const MIXED: &str = "95/5 on Zipf 0.99: 1.15x quick_cache at 1 thread, 1.4x at 2 and 4";
const REPLAY: &str = "OLTP replay: 1.2x quick_cache at 1 thread, 2x at 2 and 4";
const LATENCY: &str = "under a 2-thread mix: get p99.9 not above quick_cache's, insert p99.9 at most 5 µs";
const MEMORY: &str = "u64 at most 56 B an entry filled and 62 B churned; string and vector at most 200 B";
const ENTRIES: &str = "one global capacity, all of which can be used";
const HITS: &str = "mean above every peer's; mean shortfall at most 0.6; no long trace's cell short by more than 3";
const BYTES: &str = "limited by bytes, no cell short of LRU or quick_cache by more than 3 points";
const THREADS: &str = "1 and 2 threads within 0.3 points of each other";
const FLIGHTS: &str = "10,000 waiters cause one load, two when the leader is aborted";
const STATISTICS: &str = "statistics, shadow and metrics together cost at most 10 % of the read path";
const SHRINK: &str =
    "shrinking 1 GiB to 25 % leaves at most 45 % resident within 2 s; readers' p99 stays under 3x of quiet";
const SIMULATE: &str = "simulated and measured hit ratios within 0.3 points";

/// The bars. Those whose case does not exist yet are short in a whole run: a promise is not kept by leaving it out.
pub(super) const BARS: &[Bar] = &[
    bar("read/1t", "rate", RatioAtLeast(1.2, "quick_cache"), READ),
    bar("read/2t", "rate", RatioAtLeast(1.5, "quick_cache"), READ),
    bar("read/4t", "rate", RatioAtLeast(1.5, "quick_cache"), READ),
    bar("read/*", "rate", RatioAtLeast(15.0, "moka"), READ),
    bar("mixed/1t", "rate", RatioAtLeast(1.15, "quick_cache"), MIXED),
    bar("mixed/2t", "rate", RatioAtLeast(1.4, "quick_cache"), MIXED),
    bar("mixed/4t", "rate", RatioAtLeast(1.4, "quick_cache"), MIXED),
    bar("replay/oltp-1t", "rate", RatioAtLeast(1.2, "quick_cache"), REPLAY),
    bar("replay/oltp-2t", "rate", RatioAtLeast(2.0, "quick_cache"), REPLAY),
    bar("replay/oltp-4t", "rate", RatioAtLeast(2.0, "quick_cache"), REPLAY),
    bar("latency/2t", "get p99.9", RatioAtMost(1.0, "quick_cache"), LATENCY),
    bar("latency/2t", "insert p99.9", AtMost(5_000.0), LATENCY),
    bar("memory/u64", "after 1e6 inserts", AtMost(56.0), MEMORY),
    bar("memory/u64", "after 3e6 inserts", AtMost(62.0), MEMORY),
    bar("memory/*", "entries after 1e6", AtLeast(1_000_000.0), ENTRIES),
    bar("memory/text", "after 1e6 inserts", AtMost(200.0), MEMORY),
    bar("memory/text", "after 3e6 inserts", AtMost(200.0), MEMORY),
    bar("summary/mean", "hit ratio", AheadOfEveryPeer, HITS),
    bar("summary/shortfall", "mean shortfall", AtMost(0.6), HITS),
    bar("summary/worst", "largest shortfall", AtMost(3.0), HITS),
    bar("summary/bytes", "largest shortfall", AtMost(3.0), BYTES),
    bar("summary/threads", "gap", AtMost(0.3), THREADS),
    bar("flights/finished", "loads", AtMost(1.0), FLIGHTS),
    bar("flights/aborted", "loads", AtMost(2.0), FLIGHTS),
    bar("statistics/*", "rate", RatioAtLeast(0.9, "all off"), STATISTICS),
    bar("shrink/1GiB", "resident", AtMost(45.0), SHRINK),
    bar("shrink/1GiB", "readers' p99", AtMost(3.0), SHRINK),
    bar("summary/simulate", "gap", AtMost(0.3), SIMULATE),
];
