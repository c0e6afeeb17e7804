//! One worker of a balancer: its room, its record, whether it may be chosen, and how dear a call to it is expected to be.
//!
//! Choosers read a few atomics. What is learned from answers is written under a small lock of the worker's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use parking_lot::Mutex;

use crate::manners::pad::Padded;

/// The share of its calls that a worker gets when it is new or comes back.
const FIRST_SHARE: f64 = 0.1;

/// What a balancer must know to look at its workers.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// Nanoseconds since the balancer was made.
    pub(super) now: u64,
    /// Nanoseconds in which a cost fades to 37 %.
    pub(super) decay: f64,
    /// Nanoseconds.
    pub(super) slow_start: u64,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker<T> {
    // Written by each call.
    pub(super) in_use: Padded<AtomicUsize>,
    pub(super) calls: AtomicU64,
    // Read by each choice.
    pub(super) cost: AtomicU64,
    pub(super) stamp: AtomicU64,
    pub(super) ejected_until: AtomicU64,
    /// When its slow start is over.
    pub(super) full_at: AtomicU64,
    pub(super) healthy: AtomicBool,
    pub(super) failures: AtomicU32,
    pub(super) failed: AtomicU64,
    pub(super) record: Mutex<Record>,
    pub(super) name: Arc<str>,
    pub(super) capacity: usize,
    pub(super) weight: f64,
    pub(super) value: Arc<T>,
}

/// What is written under the worker's lock.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Ejections without a good time in between.
    pub(super) ejections: u32,
}

impl<T> Worker<T> {
    pub(super) fn new(
        name: Arc<str>,
        value: T,
        weight: u32,
        capacity: usize,
        full_at: u64,
        now: u64,
        cost: f64,
    ) -> Self {
        Self {
            in_use: Padded::default(),
            calls: AtomicU64::new(0),
            cost: AtomicU64::new(cost.to_bits()),
            stamp: AtomicU64::new(now),
            ejected_until: AtomicU64::new(0),
            full_at: AtomicU64::new(full_at),
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            record: Mutex::default(),
            name,
            capacity,
            weight: f64::from(weight),
            value: Arc::new(value),
        }
    }

    /// Neither ejected nor unhealthy.
    pub(super) fn available(&self, view: &View) -> bool {
        self.healthy.load(Relaxed) && self.ejected_until.load(Relaxed) <= view.now
    }

    /// Takes a place, if there is one.
    pub(super) fn claim(&self) -> bool {
        // Added first and looked at then: the nearly always right guess costs one operation instead of two.
        if self.in_use.fetch_add(1, SeqCst) < self.capacity {
            return true;
        }
        self.in_use.fetch_sub(1, SeqCst);
        false
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_use.load(SeqCst) < self.capacity
    }

    /// From a tenth to one, while it starts slowly.
    pub(super) fn share(&self, view: &View) -> f64 {
        let left = self.full_at.load(Relaxed).saturating_sub(view.now);
        if left == 0 || view.slow_start == 0 {
            return 1.0;
        }
        (1.0 - (1.0 - FIRST_SHARE) * left as f64 / view.slow_start as f64).max(FIRST_SHARE)
    }

    /// Calls that would be out, for its weight and share.
    pub(super) fn load(&self, view: &View) -> f64 {
        (self.in_use.load(Relaxed) + 1) as f64 / (self.weight * self.share(view))
    }

    /// The expected time of an answer in nanoseconds, faded since the last one.
    pub(super) fn cost(&self, view: &View) -> f64 {
        let cost = f64::from_bits(self.cost.load(Relaxed));
        let age = view.now.saturating_sub(self.stamp.load(Relaxed)) as f64;
        // Two numbers that do not belong together make it fade a little too much or too little, once.
        cost * (-age / view.decay).exp()
    }

    /// Learns the time of an answer: the worst counts at once, better ones little by little.
    pub(super) fn learn(&self, view: &View, elapsed: u64) {
        let _record = self.record.lock();
        let elapsed = elapsed as f64;
        let old = f64::from_bits(self.cost.load(Relaxed));
        let cost = if elapsed >= old {
            elapsed
        } else {
            let age = view.now.saturating_sub(self.stamp.load(Relaxed)) as f64;
            let kept = (-age / view.decay).exp();
            old * kept + elapsed * (1.0 - kept)
        };
        self.cost.store(cost.to_bits(), Relaxed);
        self.stamp.store(view.now, Relaxed);
    }
}
