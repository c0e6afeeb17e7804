//! The recent past of each lane, as the page draws it: running, queued, ceiling, and rates of what ended and what was refused.
//!
//! Kept from the first job on: a program that submits none keeps nothing.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use trimtab_scheduler::{LaneStats, SchedulerStats};

use crate::history::{Point, push};

/// `[at, running, queued, ceiling, ended/s, refused/s]`: milliseconds since 1970, jobs.
pub(crate) type LanePoint = Point<5>;

/// One lane in a frame.
#[derive(Debug, Serialize)]
pub(crate) struct LaneFrame {
    name: &'static str,
    running: u32,
    queued: usize,
    ceiling: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<LanePoint>,
}

impl LaneFrame {
    fn new(stats: &LaneStats, point: Option<LanePoint>) -> Self {
        let LaneStats { lane, running, queued, ceiling, .. } = *stats;
        Self { name: lane.label(), running, queued, ceiling, point }
    }
}

#[derive(Debug)]
struct Series {
    /// When, what had ended, what was refused.
    last: (u64, u64, u64),
    points: VecDeque<LanePoint>,
}

/// The rings, by lane.
#[derive(Debug, Default)]
pub(crate) struct LaneHistory(BTreeMap<&'static str, Series>);

/// A frame of lanes without points, for a stream that has just opened.
pub(crate) fn now(stats: &SchedulerStats) -> Vec<LaneFrame> {
    stats.lanes.iter().map(|lane| LaneFrame::new(lane, None)).collect()
}

impl LaneHistory {
    /// Notes a reading of all lanes, and answers the frame that it makes.
    pub(crate) fn record(&mut self, at: u64, stats: &SchedulerStats, capacity: usize) -> Vec<LaneFrame> {
        if stats.ledger().submitted == 0 {
            return now(stats);
        }
        stats.lanes.iter().map(|lane| LaneFrame::new(lane, self.push(at, lane, capacity))).collect()
    }

    fn push(&mut self, at: u64, lane: &LaneStats, capacity: usize) -> Option<LanePoint> {
        let refused = lane.ledger.rejected + lane.ledger.shed + lane.ledger.expired;
        let ended = lane.ledger.ended() - refused;
        let Some(series) = self.0.get_mut(lane.lane.label()) else {
            self.0.insert(lane.lane.label(), Series { last: (at, ended, refused), points: VecDeque::new() });
            return None;
        };
        let before = std::mem::replace(&mut series.last, (at, ended, refused));
        let seconds = at.saturating_sub(before.0).max(1) as f32 / 1000.0;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f32 / seconds;
        let [running, queued, ceiling] = [f64::from(lane.running), lane.queued as f64, f64::from(lane.ceiling)];
        let numbers = [running as f32, queued as f32, ceiling as f32, rate(ended, before.1), rate(refused, before.2)];
        let point = LanePoint { at, numbers };
        push(&mut series.points, point, capacity);
        Some(point)
    }

    /// The rings as a new stream is told them.
    pub(crate) fn snapshot(&self) -> BTreeMap<&'static str, Vec<LanePoint>> {
        self.0.iter().map(|(name, series)| (*name, series.points.iter().copied().collect())).collect()
    }
}

#[cfg(test)]
mod tests {
    use trimtab_scheduler::{Job, Scheduler};

    use super::*;

    #[tokio::test]
    async fn points_begin_with_the_first_job_and_hold_rates() {
        let scheduler = Scheduler::new("app").expect("a scheduler");
        let mut history = LaneHistory::default();
        assert_eq!(history.record(1_000, &scheduler.stats(), 2).len(), scheduler.stats().lanes.len());
        assert!(history.snapshot().is_empty(), "no job, no history");
        scheduler.submit(Job::io(async {})).await.expect("a result");
        history.record(2_000, &scheduler.stats(), 2);
        for _ in 0..6 {
            scheduler.submit(Job::io(async {})).await.expect("a result");
        }
        for at in [4_000, 5_000, 6_000] {
            history.record(at, &scheduler.stats(), 2);
        }
        let points = &history.snapshot()["io"];
        assert_eq!(points.len(), 2, "the ring is bounded");
        history = LaneHistory::default();
        history.record(1_000, &scheduler.stats(), 9);
        for _ in 0..6 {
            scheduler.submit(Job::io(async {})).await.expect("a result");
        }
        history.record(3_000, &scheduler.stats(), 9);
        let [point] = history.snapshot()["io"][..] else { panic!("one point") };
        assert_eq!(point.numbers[3..], [3.0, 0.0], "{point:?}");
        assert_eq!(
            serde_json::to_string(&point).expect("plain"),
            format!("[3000,0,0,{},3,0]", scheduler.stats().lanes[0].ceiling)
        );
    }
}
