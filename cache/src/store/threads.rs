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
    kind: Kind,
    stays: PhantomData<*const ()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Within another pin of the thread, which ends later.
    Inner,
    Outer,
    /// The thread is about to end and has given its seat back; this one is borrowed.
    Guest,
}

/// Announces a read.
#[inline]
pub(crate) fn pin() -> Pin {
    match SEAT.get() {
        Some(seat) => {
            let kind = if seat.enter(&REGISTRY) { Kind::Outer } else { Kind::Inner };
            Pin { seat, kind, stays: PhantomData }
        }
        None => pin_first(),
    }
}

#[cold]
fn pin_first() -> Pin {
    let seat = REGISTRY.take_seat();
    let kind = if OWNER.try_with(|_| ()).is_ok() {
        SEAT.set(Some(seat));
        Kind::Outer
    } else {
        Kind::Guest
    };
    seat.enter(&REGISTRY);
    Pin { seat, kind, stays: PhantomData }
}

/// A number that no other thread has at the same time; small ones first.
#[inline]
pub(crate) fn index() -> usize {
    SEAT.get().map_or_else(|| pin().index(), Seat::index)
}

impl Pin {
    /// A number that no other thread has at the same time; small ones first.
    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.seat.index()
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.kind != Kind::Inner {
            self.seat.leave();
            if self.kind == Kind::Guest {
                self.seat.vacate();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_within_a_pin_keeps_the_seat_until_the_outer_one_ends() {
        let outer = pin();
        let announced = registry().horizon();
        assert_ne!(announced, u64::MAX);
        registry().stamp();
        drop(pin());
        assert!(pin().kind == Kind::Inner);
        assert!(registry().horizon() <= announced, "the outer read is still announced");
        drop(outer);
    }

    #[test]
    fn threads_that_come_later_take_over_seats() {
        let seats = (0..64).map(|_| std::thread::spawn(|| pin().index()).join().unwrap());
        assert!(seats.max().unwrap() < 48, "each thread ended before the next began");
    }
}
