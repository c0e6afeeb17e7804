//! The one registry of readers in this program, and each thread's seat in it.

use std::cell::Cell;
use std::marker::PhantomData;

use super::epoch::{Registry, Seat};

static REGISTRY: Registry = Registry::new();

thread_local! {
    static SEAT: Cell<Option<&'static Seat>> = const { Cell::new(None) };
    static OWNER: Owner = const { Owner };
}

/// Gives the seat back at the end of its thread.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(seat) = SEAT.take() {
            seat.vacate();
        }
    }
}

/// The readers of this program.
pub(crate) fn registry() -> &'static Registry {
    &REGISTRY
}

/// While it lives, nothing that this thread can find is reused. Stays on its thread.
pub(crate) struct Pin {
    seat: &'static Seat,
    /// What the seat showed before, and shows again afterwards; or [`BORROWED`].
    before: u64,
    /// Only for checks: two numbers are handed over in registers, three are not.
    #[cfg(debug_assertions)]
    fenced: bool,
    stays: PhantomData<*const ()>,
}

/// The thread is about to end and has given its seat back; this one is borrowed for the pin.
const BORROWED: u64 = u64::MAX;

/// Announces a read, with a fence or without; see [`epoch`](super::epoch).
#[inline]
pub(crate) fn pin(fenced: bool) -> Pin {
    match SEAT.get() {
        Some(seat) => Pin::new(seat, seat.enter(&REGISTRY, fenced), fenced),
        None => pin_first(fenced),
    }
}

#[cold]
fn pin_first(fenced: bool) -> Pin {
    let seat = REGISTRY.take_seat();
    let mut before = seat.enter(&REGISTRY, fenced);
    if OWNER.try_with(|_| ()).is_ok() {
        SEAT.set(Some(seat));
    } else {
        before = BORROWED;
    }
    Pin::new(seat, before, fenced)
}

/// A number that no other thread has at the same time; small ones first.
#[inline]
pub(crate) fn index() -> usize {
    SEAT.get().map_or_else(|| pin(false).index(), Seat::index)
}

impl Pin {
    #[inline]
    fn new(seat: &'static Seat, before: u64, fenced: bool) -> Self {
        let _ = fenced;
        Self {
            seat,
            before,
            #[cfg(debug_assertions)]
            fenced,
            stays: PhantomData,
        }
    }

    /// Whether the read was announced with a fence. Known only where checks are on; otherwise taken to be right.
    #[inline]
    pub(crate) fn is_fenced(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.fenced;
        #[cfg(not(debug_assertions))]
        true
    }

    /// A number that no other thread has at the same time; small ones first.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.seat.index()
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.before == BORROWED {
            self.seat.vacate();
        } else {
            self.seat.leave(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_within_a_pin_keeps_the_seat_until_the_outer_one_ends() {
        let outer = pin(true);
        let announced = registry().horizon();
        assert_ne!(announced, u64::MAX);
        registry().stamp();
        drop(pin(true));
        assert_eq!(pin(false).before, announced);
        assert!(registry().horizon() <= announced, "the outer read is still announced");
        drop(outer);
    }

    #[test]
    fn threads_that_come_later_take_over_seats() {
        let seats = (0..64).map(|_| std::thread::spawn(|| pin(true).index()).join().unwrap());
        assert!(seats.max().unwrap() < 48, "each thread ended before the next began");
    }
}
