//! Where the entries of an arena lie: a slot for each token, and beside it what only some caches keep.
//!
//! Who may write or read a slot's pair is the arena's business; its invariants stand in [`arena`](super::arena).
//! Deadlines, weights and what moves a deadline are kept apart from the slots, and only by caches that need them.
//!
//! # Invariant
//!
//! The pair of a slot whose flag [`HELD`] is set is filled.

#![allow(unsafe_code, reason = "slots are filled and emptied by hand")]

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::chunked::Chunked;
use super::sync::{AtomicU8, AtomicU32, AtomicU64, UnsafeCell, prefetch};
use crate::expiry::NEVER;
use crate::policy::queues::Link;

/// The token of the slot is in the index.
pub(super) const LIVE: u8 = 1;
/// The pair of the slot is filled.
pub(super) const HELD: u8 = 2;
/// The entry has a deadline.
pub(super) const EXPIRES: u8 = 4;

/// An entry's place.
#[repr(C)]
pub(super) struct Slot<K, V> {
    pub(super) pair: UnsafeCell<MaybeUninit<(K, V)>>,
    pub(super) hash: AtomicU32,
    pub(super) uses: AtomicU8,
    pub(super) flags: AtomicU8,
    /// Where the entry stands in the policy's queues.
    prev: AtomicU32,
    next: AtomicU32,
}

// SAFETY: readers share the pair (hence `Sync`), and whichever thread reclaims it moves or drops it (hence `Send`); the
// invariants of this file keep the two apart.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Slot<K, V> {}

impl<K, V> Slot<K, V> {
    pub(super) fn new() -> Self {
        Self {
            pair: UnsafeCell::new(MaybeUninit::uninit()),
            hash: AtomicU32::new(0),
            uses: AtomicU8::new(0),
            flags: AtomicU8::new(0),
            prev: AtomicU32::new(Link::NONE.prev),
            next: AtomicU32::new(Link::NONE.next),
        }
    }

    #[inline]
    pub(super) fn flag(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    /// # Safety
    ///
    /// The pair is filled, and stays so for as long as the reference is used.
    #[inline]
    pub(super) unsafe fn pair(&self) -> &(K, V) {
        // SAFETY: promised by the caller.
        self.pair.with(|pair| unsafe { (*pair).assume_init_ref() })
    }
}

/// What the policies may see and change of the entries: never keys or values.
pub(crate) struct Slab<K, V> {
    pub(super) slots: Chunked<Slot<K, V>>,
    /// Deadlines by token; made when the first entry that can expire comes.
    pub(super) deadlines: OnceLock<Box<Chunked<AtomicU64>>>,
    /// Weights by token; made when the first entry comes, unless all weigh the same.
    pub(super) weights: OnceLock<Box<Chunked<AtomicU64>>>,
    /// What moves the deadlines, by token; made when the first entry comes whose deadline can move.
    pub(super) spans: OnceLock<Box<Chunked<[AtomicU64; 2]>>>,
    pub(super) scales: Scales,
}

/// How the entries of an arena are weighed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scales {
    /// Weight of every entry, if nothing is weighed.
    pub(crate) uniform: Option<u64>,
    /// Whether policies count bytes; otherwise each entry costs them 1.
    pub(crate) by_weight: bool,
}

impl<K, V> Slab<K, V> {
    pub(super) fn new(scales: Scales) -> Arc<Self> {
        Arc::new(Self {
            slots: Chunked::new(),
            deadlines: OnceLock::new(),
            weights: OnceLock::new(),
            spans: OnceLock::new(),
            scales,
        })
    }

    #[inline]
    pub(super) fn slot(&self, token: u32) -> &Slot<K, V> {
        self.slots.get(token).expect("a token that was given out has a slot")
    }

    pub(super) fn deadline(&self, token: u32) -> u64 {
        let deadlines = self.deadlines.get().and_then(|deadlines| deadlines.get(token));
        deadlines.map_or(NEVER, |deadline| deadline.load(Ordering::Relaxed))
    }

    /// When the entry of a token ends, or [`NEVER`].
    pub(crate) fn deadline_of(&self, token: u32) -> u64 {
        crate::policy::Facts::deadline(self, token)
    }

    #[inline]
    pub(super) fn weight(&self, token: u32) -> u64 {
        if let Some(uniform) = self.scales.uniform {
            return uniform;
        }
        let weights = self.weights.get().and_then(|weights| weights.get(token));
        weights.map_or(0, |weight| weight.load(Ordering::Relaxed))
    }

    /// Weight and deadline of an entry.
    #[inline]
    pub(crate) fn weight_and_deadline(&self, token: u32) -> (u64, u64) {
        let deadline = if self.slot(token).flag(EXPIRES) { self.deadline(token) } else { NEVER };
        (self.weight(token), deadline)
    }

    /// Copies all that is kept beside a pair to a slot that nobody sees yet, but for its place in the policy's queues.
    pub(super) fn copy_facts(&self, old: u32, new: u32) {
        let (from, to) = (self.slot(old), self.slot(new));
        to.hash.store(from.hash.load(Ordering::Relaxed), Ordering::Relaxed);
        to.uses.store(from.uses.load(Ordering::Relaxed), Ordering::Relaxed);
        to.flags.store(from.flags.load(Ordering::Relaxed), Ordering::Relaxed);
        if from.flag(EXPIRES) {
            note(&self.deadlines, new, Slab::deadline(self, old));
            if let Some(cells) = self.spans.get().and_then(|spans| spans.get(old)) {
                self.note_span(new, [cells[0].load(Ordering::Relaxed), cells[1].load(Ordering::Relaxed)]);
            }
        }
        if self.scales.uniform.is_none() {
            note(&self.weights, new, self.weight(old));
        }
    }

    /// Frees the chunks that lie wholly between two tokens, rounded up to the next chunk.
    ///
    /// # Safety
    ///
    /// Nobody holds or looks up anything of a token from `from` on; one thread at a time.
    pub(super) unsafe fn release(&self, from: u32, to: u32) {
        // SAFETY: promised by the caller, for all of these arrays.
        unsafe {
            self.slots.release(from, to);
            self.deadlines.get().inspect(|deadlines| deadlines.release(from, to));
            self.weights.get().inspect(|weights| weights.release(from, to));
            self.spans.get().inspect(|spans| spans.release(from, to));
        }
    }

    /// Writes what moves the deadline of an entry to be.
    pub(super) fn note_span(&self, token: u32, span: [u64; 2]) {
        let spans = self.spans.get_or_init(|| Box::new(Chunked::new()));
        spans.ensure(token, || [AtomicU64::new(0), AtomicU64::new(0)]);
        if let Some(cells) = spans.get(token) {
            cells.iter().zip(span).for_each(|(cell, number)| cell.store(number, Ordering::Relaxed));
        }
    }
}

/// Writes a number under a token of an array that may not exist yet.
pub(super) fn note(numbers: &OnceLock<Box<Chunked<AtomicU64>>>, token: u32, number: u64) {
    let numbers = numbers.get_or_init(|| Box::new(Chunked::new()));
    numbers.ensure(token, || AtomicU64::new(0));
    if let Some(cell) = numbers.get(token) {
        cell.store(number, Ordering::Relaxed);
    }
}

impl<K, V> crate::policy::Facts for Slab<K, V> {
    #[inline]
    fn uses(&self, token: u32) -> u8 {
        self.slots.get(token).map_or(0, |slot| slot.uses.load(Ordering::Relaxed))
    }

    #[inline]
    fn set_uses(&self, token: u32, uses: u8) {
        if let Some(slot) = self.slots.get(token) {
            slot.uses.store(uses, Ordering::Relaxed);
        }
    }

    #[inline]
    fn hash(&self, token: u32) -> u32 {
        self.slots.get(token).map_or(0, |slot| slot.hash.load(Ordering::Relaxed))
    }

    #[inline]
    fn cost(&self, token: u32) -> u32 {
        if self.scales.by_weight { u32::try_from(self.weight(token)).unwrap_or(u32::MAX) } else { 1 }
    }

    fn deadline(&self, token: u32) -> u64 {
        // A slot without the flag may still have the deadline of an entry before it.
        let expires = self.slots.get(token).is_some_and(|slot| slot.flag(EXPIRES));
        if expires { Slab::deadline(self, token) } else { NEVER }
    }

    #[inline]
    fn link(&self, token: u32) -> Link {
        self.slots.get(token).map_or(Link::NONE, |slot| {
            let (prev, next) = (slot.prev.load(Ordering::Relaxed), slot.next.load(Ordering::Relaxed));
            Link { prev, next }
        })
    }

    #[inline]
    fn set_link(&self, token: u32, link: Link) {
        if let Some(slot) = self.slots.get(token) {
            slot.prev.store(link.prev, Ordering::Relaxed);
            slot.next.store(link.next, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_prev(&self, token: u32, prev: u32) {
        if let Some(slot) = self.slots.get(token) {
            slot.prev.store(prev, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_next(&self, token: u32, next: u32) {
        if let Some(slot) = self.slots.get(token) {
            slot.next.store(next, Ordering::Relaxed);
        }
    }

    #[inline]
    fn look_ahead(&self, token: u32) {
        if let Some(slot) = self.slots.get(token) {
            prefetch(slot);
        }
    }

    #[inline]
    fn alike(&self) -> bool {
        !self.scales.by_weight
    }
}

/// Bytes of one slot, key and value included.
pub(crate) const fn slot_bytes<K, V>() -> usize {
    size_of::<Slot<K, V>>()
}
