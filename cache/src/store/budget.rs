//! The one capacity of a cache, shared by all its shards: a number of entries, a number of bytes, or both.
//!
//! A writer adds its entry first and then evicts until the sums are within the limits again, so a busy cache is over by
//! at most one entry per writer and a quiet one not at all. There is no share per shard: one entry may use everything.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Cause;

/// The limit that means "none".
pub(crate) const UNLIMITED: u64 = u64::MAX;

/// Sums and limits. Aligned to two cache lines, since every writer changes it and every reader's data must lie elsewhere.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Budget {
    entries: AtomicU64,
    weight: AtomicU64,
    max_entries: AtomicU64,
    max_bytes: AtomicU64,
    /// Weight of every entry when nothing is weighed; then the sum of weights is a product.
    uniform: Option<u64>,
}

impl Budget {
    pub(crate) fn new(max_entries: Option<u64>, max_bytes: Option<u64>, uniform: Option<u64>) -> Self {
        Self {
            entries: AtomicU64::new(0),
            weight: AtomicU64::new(0),
            max_entries: AtomicU64::new(max_entries.unwrap_or(UNLIMITED)),
            max_bytes: AtomicU64::new(max_bytes.unwrap_or(UNLIMITED)),
            uniform,
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::SeqCst)
    }

    pub(crate) fn weight(&self) -> u64 {
        match self.uniform {
            Some(each) => self.entries().saturating_mul(each),
            None => self.weight.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn max_entries(&self) -> u64 {
        self.max_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_max_entries(&self, max: u64) {
        self.max_entries.store(max, Ordering::SeqCst);
    }

    pub(crate) fn set_max_bytes(&self, max: u64) {
        self.max_bytes.store(max, Ordering::SeqCst);
    }

    /// Adds an entry and takes `left` others off, of the weight `freed`. Writes nothing that does not change: a full cache
    /// whose writers evict one for one has no shared counter.
    pub(crate) fn exchange(&self, weight: u64, left: u64, freed: u64) {
        match left {
            0 => drop(self.entries.fetch_add(1, Ordering::SeqCst)),
            1 => {}
            more => drop(self.entries.fetch_sub(more - 1, Ordering::SeqCst)),
        }
        self.reweigh(freed, weight);
    }

    /// Which limit an entry of this weight would exceed if `left` others, of the weight `freed`, were gone.
    pub(crate) fn over_with(&self, weight: u64, left: u64, freed: u64) -> Option<Cause> {
        if self.entries() + 1 > self.max_entries().saturating_add(left) {
            return Some(Cause::Capacity);
        }
        let max_bytes = self.max_bytes();
        (max_bytes != UNLIMITED && self.weight() + weight > max_bytes.saturating_add(freed)).then_some(Cause::Size)
    }

    pub(crate) fn sub(&self, weight: u64) {
        self.entries.fetch_sub(1, Ordering::SeqCst);
        if self.uniform.is_none() {
            self.weight.fetch_sub(weight, Ordering::SeqCst);
        }
    }

    /// Exchanges weights. No sum can overflow: each weight is at most `max_bytes` as it was, and
    /// weights of caches without a byte limit are cut to 2^40 bytes an entry.
    pub(crate) fn reweigh(&self, old: u64, new: u64) {
        if self.uniform.is_none() && new != old {
            if new > old {
                self.weight.fetch_add(new - old, Ordering::SeqCst);
            } else {
                self.weight.fetch_sub(old - new, Ordering::SeqCst);
            }
        }
    }

    /// Which limit is exceeded, if one is.
    pub(crate) fn over(&self) -> Option<Cause> {
        if self.entries() > self.max_entries() {
            return Some(Cause::Capacity);
        }
        let max_bytes = self.max_bytes();
        (max_bytes != UNLIMITED && self.weight() > max_bytes).then_some(Cause::Size)
    }
}
