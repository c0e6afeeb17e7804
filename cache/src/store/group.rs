//! Entries that lie together: what readers touch in lines of its own, apart from what only the policy looks at.
//!
//! ```text
//! | 32 pairs | 32 counts of uses | 32 flags | 32 × (hash, link) |
//!   read by a hit                            written and read under the lock
//! ```
//!
//! A hit touches a pair and two bytes of marks. Of entries of 16 bytes the cache's lines then hold 18 bytes each, where a
//! slot with everything in it takes 32: on a hot path the bytes that pass through the processor's caches decide.
//!
//! # Invariant
//!
//! The pair of a slot whose flag [`HELD`] is set is filled. Who may write or read a pair is the arena's business; its
//! invariants stand in [`arena`](super::arena).

#![allow(unsafe_code, reason = "slots are filled and emptied by hand")]

use std::array::from_fn;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::sync::{AtomicU8, AtomicU32, GROUP, UnsafeCell, prefetch};
use crate::policy::queues::Link;

/// The token of the slot is in the index.
pub(super) const LIVE: u8 = 1;
/// The pair of the slot is filled.
pub(super) const HELD: u8 = 2;
/// The entry has a deadline.
pub(super) const EXPIRES: u8 = 4;

/// Slots of consecutive tokens.
#[repr(C, align(64))]
pub(super) struct Group<K, V> {
    pairs: [UnsafeCell<MaybeUninit<(K, V)>>; GROUP],
    uses: [AtomicU8; GROUP],
    flags: [AtomicU8; GROUP],
    notes: [Note; GROUP],
}

/// What only the policy looks at, of one entry.
#[repr(C)]
struct Note {
    hash: AtomicU32,
    /// Where the entry stands in the policy's queues: towards the newer, and the older.
    prev: AtomicU32,
    next: AtomicU32,
}

// SAFETY: readers share the pairs (hence `Sync`), and whichever thread reclaims one moves or drops it (hence `Send`); the
// invariants of the arena keep the two apart.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Group<K, V> {}

impl<K, V> Group<K, V> {
    pub(super) fn new() -> Self {
        Self {
            pairs: from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
            uses: from_fn(|_| AtomicU8::new(0)),
            flags: from_fn(|_| AtomicU8::new(0)),
            notes: from_fn(|_| Note {
                hash: AtomicU32::new(0),
                prev: AtomicU32::new(Link::NONE.prev),
                next: AtomicU32::new(Link::NONE.next),
            }),
        }
    }
}

/// An entry's place.
pub(super) struct Slot<'g, K, V> {
    group: &'g Group<K, V>,
    pub(super) token: u32,
}

impl<K, V> Clone for Slot<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Slot<'_, K, V> {}

impl<'g, K, V> Slot<'g, K, V> {
    /// The slot of a token in its group.
    #[inline]
    pub(super) fn within(group: &'g Group<K, V>, token: u32) -> Self {
        Self { group, token }
    }

    #[inline]
    fn at(self) -> usize {
        self.token as usize % GROUP
    }

    /// The key and the value.
    #[inline]
    pub(super) fn cell(self) -> &'g UnsafeCell<MaybeUninit<(K, V)>> {
        &self.group.pairs[self.at()]
    }

    /// # Safety
    ///
    /// The pair is filled, and stays so for as long as the reference is used.
    #[inline]
    pub(super) unsafe fn pair(self) -> &'g (K, V) {
        // SAFETY: promised by the caller.
        self.cell().with(|pair| unsafe { (*pair).assume_init_ref() })
    }

    /// Counts the uses of the entry.
    #[inline]
    pub(super) fn uses(self) -> &'g AtomicU8 {
        &self.group.uses[self.at()]
    }

    #[inline]
    pub(super) fn flags(self) -> &'g AtomicU8 {
        &self.group.flags[self.at()]
    }

    #[inline]
    pub(super) fn flag(self, flag: u8) -> bool {
        self.flags().load(Ordering::Relaxed) & flag != 0
    }

    #[inline]
    fn note(self) -> &'g Note {
        &self.group.notes[self.at()]
    }

    #[inline]
    pub(super) fn hash(self) -> u32 {
        self.note().hash.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_hash(self, hash: u32) {
        self.note().hash.store(hash, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn prev(self) -> &'g AtomicU32 {
        &self.note().prev
    }

    #[inline]
    pub(super) fn next(self) -> &'g AtomicU32 {
        &self.note().next
    }

    /// Fetches what the policy looks at.
    #[inline]
    pub(super) fn look_ahead(self) {
        prefetch(self.uses());
        prefetch(self.note());
    }
}

/// Bytes of one slot, key and value included.
pub(crate) const fn slot_bytes<K, V>() -> usize {
    size_of::<Group<K, V>>().div_ceil(GROUP)
}
