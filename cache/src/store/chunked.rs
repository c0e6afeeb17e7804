//! An array that grows without moving: items are found by number while others are added.
//!
//! Chunks of about 16 KiB, found through a directory. A full directory is replaced by one of twice the size that names the
//! same chunks. The old ones stay until the array is dropped, since a reader may still look into them; all together they
//! are a few hundredths of a byte for each item.
//!
//! # Invariants
//!
//! 1. `directory` is null or the start of as many pointers as `len` says, or more: it is stored before `len`, and
//!    readers load `len` first. Directories only grow and are freed with the array.
//! 2. A pointer in a directory is null or comes from `allocate`. It changes from null to that, and back, in all
//!    directories, when `release` frees the chunk, whose items nobody uses then.

#![allow(unsafe_code, reason = "owns its chunks through atomic pointers")]

use std::alloc::{self, Layout};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

use super::sync::{AtomicPtr, AtomicUsize, CHUNK_BYTES, Mutex};

/// Items by number.
pub(crate) struct Chunked<T> {
    directory: AtomicPtr<AtomicPtr<T>>,
    len: AtomicUsize,
    /// All directories, the last one in use.
    directories: Mutex<Vec<Box<[AtomicPtr<T>]>>>,
    owns: PhantomData<Box<[T]>>,
}

impl<T> Chunked<T> {
    /// Items of a chunk, as a shift.
    const SHIFT: u32 = {
        assert!(size_of::<T>() > 0, "an item has a size, or its chunk has no memory");
        let fit = CHUNK_BYTES / size_of::<T>();
        if fit == 0 { 0 } else { fit.ilog2() }
    };

    pub(crate) fn new() -> Self {
        Self {
            directory: AtomicPtr::new(ptr::null_mut()),
            len: AtomicUsize::new(0),
            directories: Mutex::new(Vec::new()),
            owns: PhantomData,
        }
    }

    /// The item of a number, if its chunk exists.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let chunk = (index >> Self::SHIFT) as usize;
        if chunk >= self.len.load(Ordering::Acquire) {
            return None;
        }
        // SAFETY: invariant 1, and the bound was checked.
        let start = unsafe { &*self.directory.load(Ordering::Acquire).add(chunk) }.load(Ordering::Acquire);
        if start.is_null() {
            return None;
        }
        // SAFETY: invariant 2; the offset is below the number of items of a chunk.
        Some(unsafe { &*start.add((index & ((1 << Self::SHIFT) - 1)) as usize) })
    }

    /// Makes sure that a number has an item. One thread at a time.
    #[inline]
    pub(crate) fn ensure(&self, index: u32, make: impl Fn() -> T) {
        if self.get(index).is_none() {
            self.add_chunk((index >> Self::SHIFT) as usize, make);
        }
    }

    /// Frees the chunks whose items all lie from `from` on; those that begin at `to` or later are not looked at. A freed
    /// chunk can be made again.
    ///
    /// # Safety
    ///
    /// Nobody holds or asks for an item from `from` on meanwhile. One thread at a time.
    pub(crate) unsafe fn release(&self, from: u32, to: u32) {
        let directories = self.directories.lock();
        let Some((current, older)) = directories.split_last() else { return };
        let first = (from as usize).div_ceil(1 << Self::SHIFT);
        let end = (to as usize).div_ceil(1 << Self::SHIFT).min(current.len());
        for chunk in first..end {
            let start = current[chunk].swap(ptr::null_mut(), Ordering::AcqRel);
            // Nobody may follow the pointers that older directories still have.
            older.iter().filter_map(|old| old.get(chunk)).for_each(|old| old.store(ptr::null_mut(), Ordering::Release));
            if !start.is_null() {
                // SAFETY: invariant 2, and the caller's promise that nobody uses these items.
                unsafe { free(start, 1 << Self::SHIFT) };
            }
        }
    }

    #[cold]
    fn add_chunk(&self, chunk: usize, make: impl Fn() -> T) {
        let mut directories = self.directories.lock();
        let len = self.len.load(Ordering::Relaxed);
        if chunk >= len {
            let larger: Box<[AtomicPtr<T>]> = (0..(chunk + 1).next_power_of_two().max(4))
                .map(|at| {
                    directories
                        .last()
                        .and_then(|old| old.get(at))
                        .map_or(ptr::null_mut(), |chunk| chunk.load(Ordering::Relaxed))
                })
                .map(AtomicPtr::new)
                .collect();
            let (start, len) = (larger.as_ptr().cast_mut(), larger.len());
            directories.push(larger);
            self.directory.store(start, Ordering::Release);
            self.len.store(len, Ordering::Release);
        }
        if let Some(place) = directories.last().and_then(|directory| directory.get(chunk)) {
            place.store(allocate(1 << Self::SHIFT, make), Ordering::Release);
        }
    }
}

/// Memory for so many items, where a cache line begins: items of half a line then never lie across two.
fn layout<T>(len: usize) -> Layout {
    let layout = Layout::array::<T>(len).and_then(|layout| layout.align_to(64));
    layout.expect("a chunk is smaller than half the address space")
}

fn allocate<T>(len: usize, make: impl Fn() -> T) -> *mut T {
    let layout = layout::<T>(len);
    // SAFETY: the layout's size is not zero, since neither that of an item nor their number is.
    let start = unsafe { alloc::alloc(layout) }.cast::<T>();
    if start.is_null() {
        alloc::handle_alloc_error(layout);
    }
    for offset in 0..len {
        // SAFETY: within the memory that was just allocated for `len` items.
        unsafe { start.add(offset).write(make()) };
    }
    start
}

/// # Safety
///
/// The memory comes from `allocate` with this length, and nobody uses it from now on.
unsafe fn free<T>(start: *mut T, len: usize) {
    // SAFETY: promised by the caller; `allocate` has filled all items.
    unsafe {
        ptr::slice_from_raw_parts_mut(start, len).drop_in_place();
        alloc::dealloc(start.cast(), layout::<T>(len));
    }
}

impl<T> Drop for Chunked<T> {
    fn drop(&mut self) {
        let directories = std::mem::take(&mut *self.directories.lock());
        for chunk in directories.last().into_iter().flatten() {
            let start = chunk.load(Ordering::Relaxed);
            if !start.is_null() {
                // SAFETY: invariant 2; nobody else can use the array while it is dropped.
                unsafe { free(start, 1 << Self::SHIFT) };
            }
        }
    }
}
