//! The machine's budget, which all lanes share: the sum of what was admitted never exceeds it.
//!
//! A lane whose next job does not fit takes a place in a queue of lanes, and no other lane takes from the budget before it. So a
//! large job of one lane is not starved by small ones of another. A release tells the first lane in the queue to look again.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::job::Cost;
use crate::lane::LaneKind;

#[derive(Debug)]
pub(crate) struct Budget {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    total: Cost,
    used: Cost,
    peak: Cost,
    waiting: VecDeque<LaneKind>,
}

impl Inner {
    /// Who may look again.
    fn first(&self) -> Option<LaneKind> {
        self.waiting.front().copied()
    }
}

impl Budget {
    pub(crate) fn new(total: Cost) -> Self {
        Self { inner: Mutex::new(Inner { total, used: Cost::NONE, peak: Cost::NONE, waiting: VecDeque::new() }) }
    }

    /// All, what is taken, and the most that ever was.
    pub(crate) fn usage(&self) -> (Cost, Cost, Cost) {
        let inner = self.inner.lock();
        (inner.total, inner.used, inner.peak)
    }

    /// Takes `cost` for a job of `lane`, or notes that the lane waits.
    pub(crate) fn take(&self, lane: LaneKind, cost: Cost) -> bool {
        let mut inner = self.inner.lock();
        let first = inner.first();
        let used = inner.used.plus(cost);
        let may = first.is_none_or(|first| first == lane) && used.fits(inner.total);
        if may {
            inner.used = used;
            inner.peak =
                Cost::raw(inner.peak.milli().max(used.milli()), inner.peak.memory_bytes().max(used.memory_bytes()));
            if first.is_some() {
                inner.waiting.pop_front();
            }
        } else if !inner.waiting.contains(&lane) {
            inner.waiting.push_back(lane);
        }
        may
    }

    /// Gives back what a job took. The lane to wake, if one waits.
    pub(crate) fn release(&self, cost: Cost) -> Option<LaneKind> {
        let mut inner = self.inner.lock();
        inner.used = inner.used.minus(cost);
        inner.first()
    }

    /// The lane no longer waits: its next job needs nothing, or is gone. The lane to wake, if the way is free for it now.
    pub(crate) fn leave(&self, lane: LaneKind) -> Option<LaneKind> {
        let mut inner = self.inner.lock();
        let before = inner.first();
        inner.waiting.retain(|waiting| *waiting != lane);
        if before == Some(lane) { inner.first() } else { None }
    }

    /// Who is first in the queue of lanes.
    pub(crate) fn next(&self) -> Option<LaneKind> {
        self.inner.lock().first()
    }

    pub(crate) fn set_total(&self, total: Cost) -> Option<LaneKind> {
        let mut inner = self.inner.lock();
        inner.total = total;
        inner.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_job_of_one_lane_is_not_overtaken_by_small_ones_of_another() {
        let budget = Budget::new(Cost::cpu(2.0));
        assert!(budget.take(LaneKind::Io, Cost::cpu(1.0)));
        assert!(!budget.take(LaneKind::Cpu, Cost::cpu(2.0)));
        assert!(!budget.take(LaneKind::Io, Cost::cpu(0.5)), "there is room, but the other lane was first");
        assert_eq!(budget.release(Cost::cpu(1.0)), Some(LaneKind::Cpu));
        assert!(budget.take(LaneKind::Cpu, Cost::cpu(2.0)));
        assert_eq!(budget.release(Cost::cpu(2.0)), Some(LaneKind::Io));
        assert_eq!(budget.leave(LaneKind::Io), None);
        assert_eq!(budget.usage(), (Cost::cpu(2.0), Cost::NONE, Cost::cpu(2.0)));
    }

    #[test]
    fn a_lane_that_no_longer_waits_lets_the_next_one_look() {
        let budget = Budget::new(Cost::cpu(1.0));
        assert!(!budget.take(LaneKind::Io, Cost::cpu(1.5)));
        assert!(!budget.take(LaneKind::Cpu, Cost::cpu(1.0)));
        assert_eq!(budget.leave(LaneKind::Io), Some(LaneKind::Cpu));
        assert!(budget.take(LaneKind::Cpu, Cost::cpu(1.0)));
    }
}
