//! The machine's budget, which all lanes share: the sum of what was admitted never exceeds it.
//!
//! A lane whose next job does not fit takes a place in a queue of lanes, and no other lane takes from the budget before it. So a
//! large job of one lane is not starved by small ones of another. A release tells the first lane in the queue to look again.

use std::collections::VecDeque;

use crate::job::Cost;
use crate::lane::LaneKind;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering::SeqCst};

/// One resource: what there is, what is taken, and the most that ever was.
#[derive(Debug)]
struct Stock {
    total: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl Stock {
    fn new(total: u64) -> Self {
        Self { total: AtomicU64::new(total), used: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    fn take(&self, amount: u64) -> bool {
        amount == 0 || self.take_from(self.used.load(SeqCst), amount)
    }

    /// The same with a look that an exchange makes, so that whoever gives back later sees what this thread wrote before.
    fn take_last(&self, amount: u64) -> bool {
        amount == 0 || self.take_from(self.used.fetch_add(0, SeqCst), amount)
    }

    /// Never shows more than there is, not even for a moment.
    fn take_from(&self, mut used: u64, amount: u64) -> bool {
        let total = self.total.load(SeqCst);
        loop {
            let next = used.saturating_add(amount);
            if next > total {
                return false;
            }
            match self.used.compare_exchange_weak(used, next, SeqCst, SeqCst) {
                Ok(_) => {
                    if next > self.peak.load(SeqCst) {
                        self.peak.fetch_max(next, SeqCst);
                    }
                    return true;
                }
                Err(other) => used = other,
            }
        }
    }

    fn release(&self, amount: u64) {
        if amount > 0 {
            self.used.fetch_sub(amount, SeqCst);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Budget {
    milli: Stock,
    memory: Stock,
    /// Whether a lane waits. While none does, jobs of one resource pass without the lock.
    queued: AtomicBool,
    waiting: Mutex<VecDeque<LaneKind>>,
}

impl Budget {
    pub(crate) fn new(total: Cost) -> Self {
        Self {
            milli: Stock::new(u64::from(total.milli())),
            memory: Stock::new(total.memory_bytes()),
            queued: AtomicBool::new(false),
            waiting: Mutex::new(VecDeque::new()),
        }
    }

    /// All, what is taken, and the most that ever was.
    pub(crate) fn usage(&self) -> (Cost, Cost, Cost) {
        let of = |get: fn(&Stock) -> &AtomicU64| {
            let milli = get(&self.milli).load(SeqCst);
            Cost::raw(u32::try_from(milli).unwrap_or(u32::MAX), get(&self.memory).load(SeqCst))
        };
        (of(|stock| &stock.total), of(|stock| &stock.used), of(|stock| &stock.peak))
    }

    /// Takes both, or nothing. What it takes for a moment others may miss, so that only one at a time may do it.
    fn take_both(&self, cost: Cost) -> bool {
        let milli = u64::from(cost.milli());
        let taken = self.milli.take_last(milli);
        if taken && !self.memory.take_last(cost.memory_bytes()) {
            self.milli.release(milli);
            return false;
        }
        taken
    }

    /// Takes `cost` for a job of `lane`, or notes that the lane waits.
    #[inline]
    pub(crate) fn take(&self, lane: LaneKind, cost: Cost) -> bool {
        if !self.queued.load(SeqCst) {
            let taken = match (cost.milli(), cost.memory_bytes()) {
                (milli, 0) => self.milli.take(u64::from(milli)),
                (0, memory) => self.memory.take(memory),
                _ => false,
            };
            if taken {
                return true;
            }
        }
        self.take_in_line(lane, cost)
    }

    #[cold]
    fn take_in_line(&self, lane: LaneKind, cost: Cost) -> bool {
        let mut waiting = self.waiting.lock();
        let first = waiting.front().copied();
        if first.is_none_or(|first| first == lane) {
            // Whoever releases looks at the mark after it has released: so the mark first, and then another look.
            self.queued.store(true, SeqCst);
            if self.take_both(cost) {
                waiting.pop_front();
                self.queued.store(!waiting.is_empty(), SeqCst);
                return true;
            }
        }
        if !waiting.contains(&lane) {
            waiting.push_back(lane);
        }
        false
    }

    /// Gives back what a job took. The lane to wake, if one waits.
    #[inline]
    pub(crate) fn release(&self, cost: Cost) -> Option<LaneKind> {
        self.milli.release(u64::from(cost.milli()));
        self.memory.release(cost.memory_bytes());
        self.next()
    }

    /// The lane no longer waits: its next job needs nothing, or is gone. The lane to wake, if the way is free for it now.
    pub(crate) fn leave(&self, lane: LaneKind) -> Option<LaneKind> {
        let mut waiting = self.waiting.lock();
        let before = waiting.front().copied();
        waiting.retain(|waiting| *waiting != lane);
        self.queued.store(!waiting.is_empty(), SeqCst);
        if before == Some(lane) { waiting.front().copied() } else { None }
    }

    /// Who is first in the queue of lanes.
    pub(crate) fn next(&self) -> Option<LaneKind> {
        if self.queued.load(SeqCst) { self.waiting.lock().front().copied() } else { None }
    }

    pub(crate) fn set_total(&self, total: Cost) -> Option<LaneKind> {
        self.milli.total.store(u64::from(total.milli()), SeqCst);
        self.memory.total.store(total.memory_bytes(), SeqCst);
        self.next()
    }
}
