//! A place for one boxed object that one thread fills and every thread may empty.
//!
//! Emptying is an exchange, so whoever gets the object is the only one; the owner may do without while it knows that nobody
//! else empties (see `seat`). Filling is a plain store: only the slot's owner fills, so a slot that it has seen empty stays
//! empty until it stores.
//!
//! # What the unsafe code relies on
//!
//! The pointer is null, or came from `Box::into_raw` and was not yet turned back. Whoever takes it puts null in its place, so
//! it is turned back at most once. If two threads filled at the same time one object would be leaked (never freed twice);
//! that a slot has one owner is kept by `Seat`, and the model in `tests/models.rs` checks the pair.

#![allow(unsafe_code, reason = "owns a box through an atomic pointer; see above")]

use std::fmt;
use std::ptr;
use std::sync::atomic::Ordering;

use crate::sync::AtomicPtr;

/// A place for a `Box<T>`.
pub(crate) struct Slot<T> {
    object: AtomicPtr<T>,
}

// SAFETY: a slot hands each box to one thread only, so sharing it moves `T`s between threads and never shares one.
unsafe impl<T: Send> Sync for Slot<T> {}
// SAFETY: a slot owns its box, like `Option<Box<T>>`.
unsafe impl<T: Send> Send for Slot<T> {}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { object: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Takes the object away, for any thread.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        // An exchange costs several times a load, and many slots are empty.
        let object = self.object.load(Ordering::Relaxed);
        if object.is_null() {
            return None;
        }
        // Whoever comes too late writes nothing, so that no null of its can follow what the owner fills in meanwhile.
        self.object.compare_exchange(object, ptr::null_mut(), Ordering::Acquire, Ordering::Relaxed).ok()?;
        // SAFETY: not null, hence from `Box::into_raw` in `fill`; the exchange made us the only ones who have it.
        Some(unsafe { Box::from_raw(object) })
    }

    /// Takes the object away without an exchange.
    ///
    /// # Safety
    ///
    /// Only for the owner, and only while no other thread can take.
    #[inline]
    pub(crate) unsafe fn take_alone(&self) -> Option<Box<T>> {
        // The owner itself stored what is here, so it needs no order.
        let object = self.object.load(Ordering::Relaxed);
        if object.is_null() {
            return None;
        }
        self.object.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: not null, hence from `Box::into_raw` in `fill`; nobody else takes, so we are the only ones who have it.
        Some(unsafe { Box::from_raw(object) })
    }

    /// Puts an object in, for the owner only; gives it back when the slot is full.
    #[inline]
    pub(crate) fn fill(&self, object: Box<T>) -> Result<(), Box<T>> {
        if self.is_full() {
            return Err(object);
        }
        self.object.store(Box::into_raw(object), Ordering::Release);
        Ok(())
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        !self.object.load(Ordering::Relaxed).is_null()
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "full" } else { "empty" })
    }
}
