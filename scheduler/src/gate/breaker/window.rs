//! How the last calls went: the last *n* of them without a lock, or those of the last so-and-so long under a short one.
//!
//! A full window without a fault does not change when another call works, so that call writes nothing: what is healthy is
//! not slowed down by threads that fight for a line. Otherwise a window of calls is a ring of small words. A call draws a ticket, which names its slot; where the slot says already what
//! the call has to say, as nearly always, nothing more is written. Otherwise it swaps its own word in and corrects the totals
//! by the difference, so that at rest the totals are exactly what the ring holds, whoever raced whom. The totals are signed:
//! a thread may take away what another is about to add.

use std::sync::atomic::Ordering::Relaxed;

use super::sync::{AtomicI32, AtomicU8, AtomicU64};

/// A word of the ring: this call failed.
pub(crate) const FAILED: u8 = 1;
/// A word of the ring: this call was slow.
pub(crate) const SLOW: u8 = 2;

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub calls: u32,
    /// Of these, failed.
    pub failed: u32,
    /// Of these, slow.
    pub slow: u32,
}

/// The last *n* calls.
#[derive(Debug)]
pub(crate) struct CallWindow {
    head: AtomicU64,
    base: AtomicU64,
    failed: AtomicI32,
    slow: AtomicI32,
    ring: Box<[AtomicU8]>,
}

impl CallWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self {
            head: AtomicU64::new(0),
            base: AtomicU64::new(0),
            failed: AtomicI32::new(0),
            slow: AtomicI32::new(0),
            ring: (0..size.max(1)).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    /// Adds a call and tells what the window holds now.
    #[inline]
    pub(crate) fn record(&self, word: u8) -> Counts {
        if word == 0 {
            let counts = self.counts();
            if counts.failed | counts.slow == 0 && counts.calls as usize == self.ring.len() && self.is_faultless() {
                return counts;
            }
        }
        let ticket = self.head.fetch_add(1, Relaxed);
        let slot = &self.ring[(ticket % self.ring.len() as u64) as usize];
        if slot.load(Relaxed) != word {
            self.replace(slot, word);
        }
        self.counts_at(ticket + 1)
    }

    #[inline]
    fn counts_at(&self, head: u64) -> Counts {
        let calls = head.saturating_sub(self.base.load(Relaxed)).min(self.ring.len() as u64) as u32;
        // Racing threads may show a total below zero, or above the number of calls, for an instant.
        let bounded = |total: &AtomicI32| u32::try_from(total.load(Relaxed)).unwrap_or(0).min(calls);
        Counts { calls, failed: bounded(&self.failed), slow: bounded(&self.slow) }
    }

    #[cold]
    fn replace(&self, slot: &AtomicU8, word: u8) {
        let old = slot.swap(word, Relaxed);
        for (bit, total) in [(FAILED, &self.failed), (SLOW, &self.slow)] {
            let change = i32::from(word & bit != 0) - i32::from(old & bit != 0);
            if change != 0 {
                total.fetch_add(change, Relaxed);
            }
        }
    }

    /// What the window holds.
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        self.counts_at(self.head.load(Relaxed))
    }

    /// Exactly none, where [`counts`](Self::counts) shows a total below zero as none.
    #[inline]
    fn is_faultless(&self) -> bool {
        self.failed.load(Relaxed) == 0 && self.slow.load(Relaxed) == 0
    }

    /// Forgets all calls.
    pub(crate) fn clear(&self) {
        self.base.store(self.head.load(Relaxed), Relaxed);
        for slot in &self.ring {
            self.replace(slot, 0);
        }
    }
}

impl Counts {
    const BITS: u32 = 21;
    const MOST: u32 = (1 << Self::BITS) - 1;

    /// As one word; what is beyond 2 million is cut.
    pub(crate) fn pack(self) -> u64 {
        let [calls, failed, slow] = [self.calls, self.failed, self.slow].map(|n| u64::from(n.min(Self::MOST)));
        calls | failed << Self::BITS | slow << (2 * Self::BITS)
    }

    pub(crate) fn unpack(word: u64) -> Self {
        let part = |index: u32| (word >> (index * Self::BITS)) as u32 & Self::MOST;
        Self { calls: part(0), failed: part(1), slow: part(2) }
    }
}

/// Into how many parts a window of time is cut.
pub(crate) const PARTS: u64 = 10;

/// The calls of the last so-and-so long; to be kept under a lock.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// Nanoseconds of a part.
    part: u64,
    /// Each with its number, counted from the start of the clock; what is in the window has numbers that end differently.
    parts: [(u64, Counts); PARTS as usize],
    total: Counts,
}

impl TimeWindow {
    /// A window of so many nanoseconds.
    pub(crate) fn new(length: u64) -> Self {
        let parts = std::array::from_fn(|index| (index as u64, Counts::default()));
        Self { part: (length / PARTS).max(1), parts, total: Counts::default() }
    }

    /// Adds a call at `now` and tells what the window holds.
    pub(crate) fn record(&mut self, now: u64, word: u8) -> Counts {
        let tick = self.forget(now);
        let part = &mut self.parts[(tick % PARTS) as usize].1;
        for counts in [part, &mut self.total] {
            counts.calls = counts.calls.saturating_add(1);
            counts.failed += u32::from(word & FAILED != 0);
            counts.slow += u32::from(word & SLOW != 0);
        }
        self.total
    }

    /// Lets go of the parts that are too old; tells the part of `now`.
    fn forget(&mut self, now: u64) -> u64 {
        let tick = now / self.part;
        if self.parts[(tick % PARTS) as usize].0 != tick {
            for (index, (stamp, counts)) in self.parts.iter_mut().enumerate() {
                if *stamp + PARTS <= tick {
                    *counts = Counts::default();
                    // The latest part of this place that has begun.
                    *stamp = tick - (tick - index as u64) % PARTS;
                }
            }
            self.total = Counts::default();
            for (_, counts) in &self.parts {
                self.total.calls = self.total.calls.saturating_add(counts.calls);
                self.total.failed += counts.failed;
                self.total.slow += counts.slow;
            }
        }
        tick
    }

    /// What the window holds.
    pub(crate) fn counts(&mut self, now: u64) -> Counts {
        self.forget(now);
        self.total
    }

    /// Forgets all calls.
    pub(crate) fn clear(&mut self) {
        for (_, counts) in &mut self.parts {
            *counts = Counts::default();
        }
        self.total = Counts::default();
    }
}
