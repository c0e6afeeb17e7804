//! The end of a scheduler: no new jobs, a while for those there are, and a report of what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::Cancellation;
use crate::lane::{Lane, Tally};
use crate::stats::Ledger;

/// What became of the jobs that a scheduler still had when its drain began.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DrainReport {
    /// Jobs that ended by themselves, in whatever way.
    pub finished: u64,
    /// Jobs that had started and were cancelled, by kind.
    pub cancelled: BTreeMap<String, usize>,
    /// Jobs that never started, by kind.
    pub never_started: BTreeMap<String, usize>,
    /// Jobs that could not be interrupted and still run: closures on their threads, and futures that do not return from
    /// a poll. They end when they end; their handles are told then.
    pub still_running: u64,
    /// How long the drain took.
    pub took: Duration,
}

impl DrainReport {
    /// Whether every job came to its own end.
    pub fn is_clean(&self) -> bool {
        self.cancelled.is_empty() && self.never_started.is_empty() && self.still_running == 0
    }
}

impl fmt::Display for DrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |tally: &BTreeMap<String, usize>| tally.values().sum::<usize>();
        let Self { finished, cancelled, never_started, still_running, took } = self;
        write!(
            f,
            "drained in {took:.1?}: {finished} jobs finished, {} were cancelled, {} never started, {still_running} still run",
            sum(cancelled),
            sum(never_started)
        )
    }
}

fn add(to: &mut BTreeMap<String, usize>, tally: Tally) {
    for (kind, count) in tally.0 {
        *to.entry(kind.into()).or_default() += count;
    }
}

fn ledger(lanes: &[Arc<Lane>]) -> Ledger {
    let all = lanes.iter().map(|lane| lane.stats().ledger);
    all.fold(Ledger::default(), |sum, lane| sum.combine(&lane, |a, b| a + b))
}

/// Closes the lanes, waits for their jobs up to `time`, and cancels the rest.
pub(crate) async fn drain(lanes: &[Arc<Lane>], time: Duration) -> DrainReport {
    let start = tokio::time::Instant::now();
    for lane in lanes {
        lane.close();
    }
    let before = ledger(lanes).ended();
    let all = async {
        for lane in lanes {
            lane.emptied().await;
        }
    };
    // Whether in time or not, the lanes are ended next.
    let _ = tokio::time::timeout(time, all).await;
    let mut report = DrainReport { finished: ledger(lanes).ended() - before, ..DrainReport::default() };
    for lane in lanes {
        let left = lane.abort(Cancellation::Drained);
        add(&mut report.cancelled, left.cancelled);
        add(&mut report.never_started, left.never_started);
    }
    report.still_running = ledger(lanes).open();
    report.took = start.elapsed();
    report
}
