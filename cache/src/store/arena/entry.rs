//! Entries as they go in, are found, and come out.
//!
//! # Invariant
//!
//! An [`Entry`] or a [`Shared`] is only made by the arena, and only where the pair of its slot stays filled for as long as the
//! lifetime says: found under a pin, or under the lock; or put into limbo before the pin that it holds was taken.

#![allow(unsafe_code, reason = "reads pairs that the arena says are filled")]

use std::sync::atomic::Ordering;

use super::super::group::{EXPIRES, Slot};
use super::super::slots::Slab;
use super::super::sync::AtomicU8;
use super::super::threads::Pin;
use crate::expiry::NEVER;
use crate::policy::USES_MAX;

/// What is stored for a key.
pub(crate) struct Pair<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) hash: u32,
    /// Bytes, overhead included.
    pub(crate) weight: u64,
    /// Nanoseconds on the cache's clock, or [`NEVER`].
    pub(crate) deadline: u64,
    /// For the rule that moves the deadline with use, if there is one.
    pub(crate) span: Option<[u64; 2]>,
}

/// An entry that a reader has found.
pub(crate) struct Entry<'p, K, V> {
    pub(super) slot: Slot<'p, K, V>,
    pub(super) slab: &'p Slab<K, V>,
}

impl<K, V> Clone for Entry<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Entry<'_, K, V> {}

impl<'p, K, V> Entry<'p, K, V> {
    #[inline]
    fn pair(&self) -> &'p (K, V) {
        // SAFETY: the invariant of this file.
        unsafe { self.slot.pair() }
    }

    #[inline]
    pub(crate) fn token(&self) -> u32 {
        self.slot.token
    }

    #[inline]
    pub(crate) fn key(&self) -> &'p K {
        &self.pair().0
    }

    #[inline]
    pub(crate) fn value(&self) -> &'p V {
        &self.pair().1
    }

    /// Nanoseconds, or [`NEVER`].
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        if self.slot.flag(EXPIRES) { self.slab.deadline(self.token()) } else { NEVER }
    }

    /// Whether the entry may expire at all; if not, no clock needs to be read.
    #[inline]
    pub(crate) fn may_expire(&self) -> bool {
        self.slot.flag(EXPIRES)
    }

    /// What was stored with the entry for the rule that moves its deadline. Only where every entry has that.
    pub(crate) fn span(&self) -> Option<[u64; 2]> {
        let cells = self.slab.spans.get()?.get(self.token())?;
        Some([cells[0].load(Ordering::Relaxed), cells[1].load(Ordering::Relaxed)])
    }

    /// Moves the deadline of an entry that can expire, never to an earlier time; needs no lock. Whoever found the entry keeps
    /// its slot from being reused, so this cannot hit another entry.
    pub(crate) fn postpone(&self, deadline: u64) {
        if let Some(cell) = self.slab.deadlines.get().and_then(|deadlines| deadlines.get(self.token())) {
            cell.fetch_max(deadline.min(NEVER - 1), Ordering::Relaxed);
        }
    }

    /// Bytes, overhead included; the same number that was added to the budget.
    pub(crate) fn weight(&self) -> u64 {
        self.slab.weight(self.token())
    }

    pub(crate) fn hash(&self) -> u32 {
        self.slot.hash()
    }

    /// Counts a use.
    #[inline]
    pub(crate) fn touch(self) {
        self.counter().touch();
    }

    /// Where the uses of the entry are counted.
    #[inline]
    pub(crate) fn counter(self) -> Counter<'p> {
        Counter(self.slot.uses())
    }
}

/// Counts the uses of an entry.
#[derive(Clone, Copy)]
pub(crate) struct Counter<'p>(&'p AtomicU8);

impl Counter<'_> {
    /// Counts a use. Writes nothing once the count is full; races may lose a count, by design.
    #[inline]
    pub(crate) fn touch(self) {
        let uses = self.0.load(Ordering::Relaxed);
        if uses < USES_MAX {
            self.0.store(uses + 1, Ordering::Relaxed);
        }
    }
}

/// What a removal yields.
pub(crate) enum Taken<'a, K, V> {
    /// Nobody was reading.
    Moved(K, V),
    /// Somebody may be reading; this borrows what they do.
    Shared(Shared<'a, K, V>),
}

impl<K, V> Taken<'_, K, V> {
    /// What was taken.
    pub(crate) fn pair(&self) -> (&K, &V) {
        match self {
            Self::Moved(key, value) => (key, value),
            Self::Shared(shared) => shared.pair(),
        }
    }
}

/// A pair in limbo, readable while this lives.
pub(crate) struct Shared<'a, K, V> {
    pub(super) slot: Slot<'a, K, V>,
    /// Taken before the lock was released, and so before anyone could reclaim the slot.
    pub(super) _pin: Pin,
}

impl<K, V> Shared<'_, K, V> {
    pub(crate) fn pair(&self) -> (&K, &V) {
        // SAFETY: the slot went into limbo under the lock that was held when `_pin` was taken; invariant 2 of the arena keeps
        // it filled until the pin ends.
        let (key, value) = unsafe { self.slot.pair() };
        (key, value)
    }
}
