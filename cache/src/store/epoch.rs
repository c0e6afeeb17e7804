//! Epochs: readers announce themselves, writers wait with the reuse of memory until no announced reader can see it.
//!
//! A reader takes no lock. It writes the current epoch into its thread's own *seat*, reads, and clears the seat. A writer
//! that has made something unreachable stamps it with the epoch and moves the epoch on; the thing may be reused once the
//! smallest announced epoch, the *horizon*, lies above its stamp.
//!
//! Why this is enough. The writer orders "unlink, fence, look at the seats"; the reader orders "fill the seat, fence, read".
//! One fence is first. If the writer's is, the reader cannot find what was unlinked; if the reader's is, the writer
//! sees the seat. A seat above the stamp was filled by a reader that had seen the epoch move, hence the unlinking before it.
//!
//! **Two prices.** The reader's fence is most of what a read costs. Where values have destructors it is paid, because a writer
//! then knows at once that nobody reads and drops what it removed before it returns. Where they have none nobody can tell
//! when memory is reused, so the reader only keeps the compiler from reordering, and the writer has the system put a fence
//! into every running thread instead. That takes microseconds, so it is done once for some hundred removals, by
//! [`Registry::advance`], for all caches of the program.
//!
//! A reader that stays for long delays reuse, never a writer. Seats are never freed: they are as many as there ever
//! were threads at the same time, and threads that come later take over the seats of those that ended.
//!
//! Source: K. Fraser, "Practical lock-freedom", 2004, chapter 5; M. Desnoyers et al., "User-Level Implementations of
//! Read-Copy Update", IEEE TPDS 2012, section 3.4, for the fence that writers impose. Departure: no thread owns garbage, so none can leave with
//! it; each part of a cache keeps its own and looks at the horizon under its own lock.
//!
//! # Invariant
//!
//! `first` and `next` are null or point to seats that were leaked, and so stay valid for ever.

#![allow(unsafe_code, reason = "follows the pointers of a list whose nodes are never freed")]

use std::hint::spin_loop;
use std::ptr;
use std::sync::atomic::Ordering;

use super::sync::{
    AtomicPtr, AtomicU64, AtomicUsize, PATIENCE, announce, announce_lightly, fence, fence_everywhere, maybe_const_fn,
};

/// What a seat holds while its thread reads nothing.
const QUIET: u64 = 0;

/// All seats, and the epoch that they announce.
pub(crate) struct Registry {
    epoch: Padded<AtomicU64>,
    /// What was marked below this is out of every reader's reach.
    safe: Padded<AtomicU64>,
    /// 1 while a thread moves the epoch on.
    advancing: AtomicU64,
    /// 1 when somebody waits for the epoch to move on.
    wanted: Padded<AtomicU64>,
    first: AtomicPtr<Seat>,
    seats: AtomicUsize,
}

/// A value in cache lines of its own.
#[repr(align(128))]
struct Padded<T>(T);

/// Where one thread announces its reads.
#[repr(align(128))]
pub(crate) struct Seat {
    /// The epoch at which the thread began to read, or [`QUIET`].
    announced: AtomicU64,
    /// 1 while a thread owns the seat.
    taken: AtomicU64,
    index: usize,
    next: *mut Seat,
}

// SAFETY: `next` is written before the seat is shared and only read afterwards; all else is atomic or constant.
unsafe impl Send for Seat {}
// SAFETY: as above.
unsafe impl Sync for Seat {}

impl Registry {
    maybe_const_fn! {
        /// A registry without seats.
        new() -> Self {
            Self {
                epoch: Padded(AtomicU64::new(QUIET + 1)),
                safe: Padded(AtomicU64::new(QUIET + 1)),
                advancing: AtomicU64::new(0),
                wanted: Padded(AtomicU64::new(0)),
                first: AtomicPtr::new(ptr::null_mut()),
                seats: AtomicUsize::new(0),
            }
        }
    }

    /// A seat for the calling thread: one that is free, the oldest first, or a new one.
    pub(crate) fn take_seat(&self) -> &'static Seat {
        let free = self.iter().filter(|seat| seat.taken.load(Ordering::Relaxed) == 0);
        let free = free.min_by_key(|seat| seat.index);
        if let Some(seat) = free
            && seat.taken.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return seat;
        }
        let seat = Box::leak(Box::new(Seat {
            announced: AtomicU64::new(QUIET),
            taken: AtomicU64::new(1),
            index: self.seats.fetch_add(1, Ordering::Relaxed),
            next: self.first.load(Ordering::Acquire),
        }));
        let new: *mut Seat = seat;
        loop {
            // SAFETY: `new` was just leaked, and nobody else knows it before the exchange succeeds.
            let next = unsafe { (*new).next };
            match self.first.compare_exchange(next, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: leaked above; from here on it is only shared.
                Ok(_) => return unsafe { &*new },
                // SAFETY: still unknown to others.
                Err(head) => unsafe { (*new).next = head },
            }
        }
    }

    /// How many seats there are.
    pub(crate) fn seats(&self) -> usize {
        self.seats.load(Ordering::Relaxed)
    }

    /// The smallest announced epoch, or `u64::MAX` when nobody reads. What was unlinked before this call, and stamped lower,
    /// is out of the reach of fenced readers.
    pub(crate) fn horizon(&self) -> u64 {
        fence(Ordering::SeqCst);
        let announced = self.iter().map(|seat| seat.announced.load(Ordering::Acquire));
        announced.filter(|epoch| *epoch != QUIET).min().unwrap_or(u64::MAX)
    }

    /// The stamp for what was unlinked before this call.
    pub(crate) fn stamp(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.epoch.0.fetch_add(1, Ordering::AcqRel)
    }

    /// The mark for what was unlinked before this call: like a stamp, but the epoch does not move.
    pub(crate) fn mark(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.epoch.0.load(Ordering::SeqCst)
    }

    /// What was marked, or stamped, below this is out of the reach of all readers, fenced or not.
    pub(crate) fn safe(&self) -> u64 {
        self.safe.0.load(Ordering::Acquire)
    }

    /// Asks for the epoch to be moved on, by whoever next comes to [`advance_if_wanted`](Self::advance_if_wanted).
    pub(crate) fn want(&self) {
        self.wanted.0.store(1, Ordering::Relaxed);
    }

    /// Moves the epoch on if somebody asked for it. Call it without a lock: others would wait for microseconds.
    #[inline]
    pub(crate) fn advance_if_wanted(&self) {
        if self.wanted.0.load(Ordering::Relaxed) != 0 {
            self.advance();
        }
    }

    /// Moves the epoch on and looks what has come out of reach. Takes microseconds; does nothing while another thread is at it.
    pub(crate) fn advance(&self) {
        if self.advancing.swap(1, Ordering::Acquire) != 0 {
            return;
        }
        self.wanted.0.store(0, Ordering::Relaxed);
        let next = self.epoch.0.fetch_add(1, Ordering::SeqCst) + 1;
        // From here on each reader either shows its seat or finds nothing that was marked below `next`.
        fence_everywhere();
        let mut horizon = QUIET;
        // Reads are short: one that began before the fence is over in a moment, and spares the next fence.
        for _ in 0..PATIENCE {
            let announced = self.iter().map(|seat| seat.announced.load(Ordering::Acquire));
            horizon = announced.filter(|epoch| *epoch != QUIET).min().unwrap_or(next).min(next);
            if horizon == next {
                break;
            }
            spin_loop();
        }
        if horizon > self.safe.0.load(Ordering::Relaxed) {
            self.safe.0.store(horizon, Ordering::Release);
        }
        self.advancing.store(0, Ordering::Release);
    }

    fn iter(&self) -> impl Iterator<Item = &'static Seat> {
        let mut at = self.first.load(Ordering::Acquire).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: the invariant of this file.
            let seat: &'static Seat = unsafe { at.as_ref() }?;
            at = seat.next;
            Some(seat)
        })
    }
}

impl Seat {
    /// Announces a read, unless one is announced; answers what to leave the seat with. The owner of the seat calls this.
    ///
    /// Only a `fenced` read is seen by [`horizon`](Registry::horizon); [`advance`](Registry::advance) sees all.
    #[inline]
    pub(crate) fn enter(&self, registry: &Registry, fenced: bool) -> u64 {
        let before = self.announced.load(Ordering::Relaxed);
        if before == QUIET {
            let epoch = registry.epoch.0.load(Ordering::Acquire);
            if fenced {
                announce(&self.announced, epoch);
            } else {
                announce_lightly(&self.announced, epoch);
            }
        } else if fenced {
            // The outer read may have had no fence.
            fence(Ordering::SeqCst);
        }
        before
    }

    /// Ends the read that `enter` announced, unless it was within another, by what `enter` answered.
    #[inline]
    pub(crate) fn leave(&self, before: u64) {
        self.announced.store(before, Ordering::Release);
    }

    /// Gives the seat back.
    pub(crate) fn vacate(&self) {
        self.announced.store(QUIET, Ordering::Release);
        self.taken.store(0, Ordering::Release);
    }

    /// A number that no other thread has at the same time; small ones first.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}
