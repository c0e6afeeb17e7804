//! The few objects that one thread keeps for itself, in a cache line of its own, and how others get at them.
//!
//! An exchange makes sure that an object is taken once, and is most of what an uncontended round trip costs. So a seat is
//! *quiet* at first: its owner takes with plain loads and stores, after it has said that it is inside. What says so is the
//! count of its steps, which is odd while it is inside and so counts its visits too. A thief makes the seat *loud*, imposes a fence on the owner (`fence::everywhere`), waits until the owner is outside, and takes by exchange; from
//! then on the owner exchanges too. Once the owner has come `CALM` times without meeting a thief it makes its seat quiet again,
//! so that threads which live off each other pay for a fence now and then, not each time. It is the idea of biased locks
//! (Kawachiya, Koseki and Onodera 2002), for a section of six instructions.
//!
//! # What the unsafe code relies on
//!
//! `Slot::take_alone` runs in two places. In `take`, between the flag and its release: the owner has seen the seat quiet
//! after it made `steps` odd. A thief exchanges only under the lock of the thieves, after it has made the seat loud, with a
//! fence on both sides, and has then seen `steps` even; so either the owner sees the seat loud, or the thief sees the
//! owner inside. The seat becomes quiet only by its owner, under the same lock, so no thief is at work then. That a seat has
//! one owner is kept by `threads`. The model in `tests/models.rs` tries the interleavings.

#![allow(unsafe_code, reason = "takes without an exchange while no thief is there; see above")]

use std::sync::atomic::Ordering;

use super::slot::Slot;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, CALM, Mutex, PATIENCE, SLOTS, fence, pause};

/// A thread's own objects.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    /// Odd while the owner takes without an exchange; two for each of its visits.
    steps: AtomicU64,
    /// Everybody takes by exchange.
    loud: AtomicBool,
    /// How often the owner came since a thief was here.
    calm: AtomicU32,
    /// Whether the seat may be quiet: no, where fences cannot be imposed.
    quiets: bool,
    thieves: Mutex<()>,
    slots: [Slot<T>; SLOTS],
}

impl<T> Seat<T> {
    /// An empty seat; quiet, if `quiets`.
    pub(crate) fn new(quiets: bool) -> Self {
        Self {
            steps: AtomicU64::new(0),
            loud: AtomicBool::new(!quiets),
            calm: AtomicU32::new(0),
            quiets,
            thieves: Mutex::new(()),
            slots: std::array::from_fn(|_| Slot::new()),
        }
    }

    /// Takes an object, for the owner only.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps.store(steps + 1, Ordering::Relaxed);
        fence::lightly();
        if self.loud.load(Ordering::Relaxed) {
            // Released, although nothing was done: a thief may see this store instead of an earlier one.
            self.steps.store(steps + 2, Ordering::Release);
            return self.take_loudly();
        }
        // SAFETY: we are the owner, and no thief takes while we are inside; see above.
        let taken = self.slots.iter().find_map(|slot| unsafe { slot.take_alone() });
        self.steps.store(steps + 2, Ordering::Release);
        taken
    }

    #[inline(never)]
    fn take_loudly(&self) -> Option<Box<T>> {
        if self.quiets {
            let calm = self.calm.load(Ordering::Relaxed) + 1;
            self.calm.store(calm, Ordering::Relaxed);
            if calm >= CALM
                && let Some(_nobody) = self.thieves.try_lock()
            {
                self.calm.store(0, Ordering::Relaxed);
                self.loud.store(false, Ordering::Relaxed);
            }
        }
        self.slots.iter().find_map(Slot::take)
    }

    /// Puts an object in, for the owner only; gives it back when all slots are full.
    #[inline]
    pub(crate) fn fill(&self, mut object: Box<T>) -> Result<(), Box<T>> {
        for slot in &self.slots {
            match slot.fill(object) {
                Ok(()) => return Ok(()),
                Err(back) => object = back,
            }
        }
        Err(object)
    }

    /// Takes an object, for any thread; nothing, if the owner stays inside because its thread was interrupted there.
    pub(crate) fn steal(&self) -> Option<Box<T>> {
        if self.held() == 0 {
            return None;
        }
        let _alone = self.thieves.lock();
        if !self.loud.load(Ordering::Relaxed) {
            self.loud.store(true, Ordering::Relaxed);
            fence::everywhere();
        }
        self.calm.store(0, Ordering::Relaxed);
        for _ in 0..PATIENCE {
            if self.steps.load(Ordering::Acquire).is_multiple_of(2) {
                return self.slots.iter().find_map(Slot::take);
            }
            pause();
        }
        None
    }

    /// How often the owner came to take.
    pub(crate) fn visits(&self) -> u64 {
        self.steps.load(Ordering::Relaxed) / 2
    }

    /// How many objects are here.
    pub(crate) fn held(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_full()).count()
    }
}
