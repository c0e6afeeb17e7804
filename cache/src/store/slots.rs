//! What an arena keeps of its entries, by token: the slots, in groups, and beside them what only some caches keep.
//!
//! Deadlines, weights and what moves a deadline are kept apart from the slots, and only by caches that need them.

#![allow(unsafe_code, reason = "frees what the arena says that nobody uses")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use super::chunked::Chunked;
use super::group::{EXPIRES, Group, Slot};
use super::sync::{AtomicU64, GROUP};
use crate::expiry::NEVER;
use crate::policy::queues::Link;

/// What the policies may see and change of the entries: never keys or values.
pub(crate) struct Slab<K, V> {
    groups: Chunked<Group<K, V>>,
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
            groups: Chunked::new(),
            deadlines: OnceLock::new(),
            weights: OnceLock::new(),
            spans: OnceLock::new(),
            scales,
        })
    }

    /// The slot of a number, if there is one.
    #[inline]
    pub(super) fn get(&self, token: u32) -> Option<Slot<'_, K, V>> {
        Some(Slot::within(self.groups.get(token / GROUP as u32)?, token))
    }

    #[inline]
    pub(super) fn slot(&self, token: u32) -> Slot<'_, K, V> {
        self.get(token).expect("a token that was given out has a slot")
    }

    /// Makes sure that a token has a slot. One thread at a time.
    #[inline]
    pub(super) fn ensure(&self, token: u32) {
        self.groups.ensure(token / GROUP as u32, Group::new);
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
        to.set_hash(from.hash());
        to.uses().store(from.uses().load(Ordering::Relaxed), Ordering::Relaxed);
        to.flags().store(from.flags().load(Ordering::Relaxed), Ordering::Relaxed);
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
            self.groups.release(from.div_ceil(GROUP as u32), to.div_ceil(GROUP as u32));
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
        self.get(token).map_or(0, |slot| slot.uses().load(Ordering::Relaxed))
    }

    #[inline]
    fn set_uses(&self, token: u32, uses: u8) {
        if let Some(slot) = self.get(token) {
            slot.uses().store(uses, Ordering::Relaxed);
        }
    }

    #[inline]
    fn hash(&self, token: u32) -> u32 {
        self.get(token).map_or(0, Slot::hash)
    }

    #[inline]
    fn cost(&self, token: u32) -> u32 {
        if self.scales.by_weight { u32::try_from(self.weight(token)).unwrap_or(u32::MAX) } else { 1 }
    }

    fn deadline(&self, token: u32) -> u64 {
        // A slot without the flag may still have the deadline of an entry before it.
        let expires = self.get(token).is_some_and(|slot| slot.flag(EXPIRES));
        if expires { Slab::deadline(self, token) } else { NEVER }
    }

    #[inline]
    fn link(&self, token: u32) -> Link {
        self.get(token).map_or(Link::NONE, |slot| {
            let (prev, next) = (slot.prev().load(Ordering::Relaxed), slot.next().load(Ordering::Relaxed));
            Link { prev, next }
        })
    }

    #[inline]
    fn set_link(&self, token: u32, link: Link) {
        if let Some(slot) = self.get(token) {
            slot.prev().store(link.prev, Ordering::Relaxed);
            slot.next().store(link.next, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_prev(&self, token: u32, prev: u32) {
        if let Some(slot) = self.get(token) {
            slot.prev().store(prev, Ordering::Relaxed);
        }
    }

    #[inline]
    fn set_next(&self, token: u32, next: u32) {
        if let Some(slot) = self.get(token) {
            slot.next().store(next, Ordering::Relaxed);
        }
    }

    #[inline]
    fn look_ahead(&self, token: u32) {
        if let Some(slot) = self.get(token) {
            slot.look_ahead();
        }
    }

    #[inline]
    fn alike(&self) -> bool {
        !self.scales.by_weight
    }
}
