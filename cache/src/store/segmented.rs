//! An array that grows without moving: items are found by number while others are added.
//!
//! Segments are an eighth of the next power of two each, so at most an eighth of the memory waits unused, and a fixed number
//! of pointers reaches every 32-bit number: there is no directory that could overflow or would have to be replaced.
//!
//! # Invariant
//!
//! A pointer in `segments` is null or comes from a boxed slice of `segment_len` items that was leaked into it, and is
//! changed only from null to that, until the array is dropped.

#![allow(unsafe_code, reason = "owns its segments through atomic pointers")]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

use super::sync::AtomicPtr;

/// Numbers are raised by this, so that the first segments are not tiny.
const FIRST: u64 = 1 << FIRST_BITS;
const FIRST_BITS: u32 = 7;
/// Segments of one power of two, as a shift.
const STEP_BITS: u32 = 3;
/// How many segments there are at most.
pub(crate) const SEGMENTS: usize = ((32 - FIRST_BITS + 1) << STEP_BITS) as usize;

/// Items by number.
pub(crate) struct Segmented<T> {
    segments: [AtomicPtr<T>; SEGMENTS],
    owns: PhantomData<Box<[T]>>,
}

/// The segment of a number, and the place in it.
#[inline(always)]
pub(crate) fn place(index: u32) -> (usize, usize) {
    let raised = u64::from(index) + FIRST;
    let shift = raised.ilog2() - STEP_BITS;
    // The step's leading one is counted as eight, hence the `- 1` segments of the power below.
    let segment = (u64::from((shift + STEP_BITS - FIRST_BITS) << STEP_BITS) + (raised >> shift)) as usize - (1 << STEP_BITS);
    (segment, (raised & ((1 << shift) - 1)) as usize)
}

/// How many items a segment has.
pub(crate) fn segment_len(segment: usize) -> usize {
    1 << ((segment >> STEP_BITS) as u32 + FIRST_BITS - STEP_BITS)
}

impl<T> Segmented<T> {
    pub(crate) fn new() -> Self {
        Self { segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())), owns: PhantomData }
    }

    /// The item of a number, if its segment exists.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (segment, offset) = place(index);
        let start = self.segments[segment].load(Ordering::Acquire);
        if start.is_null() {
            return None;
        }
        // SAFETY: the invariant of this file; `offset` is below `segment_len(segment)` by `place`.
        Some(unsafe { &*start.add(offset) })
    }

    /// Makes sure that a number has an item. One thread at a time.
    pub(crate) fn ensure(&self, index: u32, make: impl Fn() -> T) {
        let (segment, _) = place(index);
        if self.segments[segment].load(Ordering::Relaxed).is_null() {
            let items: Box<[T]> = (0..segment_len(segment)).map(|_| make()).collect();
            self.segments[segment].store(Box::into_raw(items).cast::<T>(), Ordering::Release);
        }
    }
}

impl<T> Drop for Segmented<T> {
    fn drop(&mut self) {
        for (segment, start) in self.segments.iter().enumerate() {
            let start = start.load(Ordering::Relaxed);
            if !start.is_null() {
                let items = ptr::slice_from_raw_parts_mut(start, segment_len(segment));
                // SAFETY: the invariant of this file; nobody else can use the array while it is dropped.
                drop(unsafe { Box::from_raw(items) });
            }
        }
    }
}
