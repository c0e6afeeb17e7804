//! A global allocator that counts, when told to.
//!
//! Counting is off everywhere but in the child processes that measure memory: a shared counter would tax exactly the
//! contenders that allocate from several threads. Off, it costs one predicted branch an allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The system's allocator, with an account.
#[derive(Debug)]
pub struct Counting {
    on: AtomicBool,
    allocated: AtomicU64,
    freed: AtomicU64,
}

impl Counting {
    /// An account that is switched off.
    pub const fn new() -> Self {
        Self { on: AtomicBool::new(false), allocated: AtomicU64::new(0), freed: AtomicU64::new(0) }
    }

    /// Switches it on for the rest of the process.
    pub fn start(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Bytes asked for and not given back since the start; what the allocator adds is not in it.
    pub fn live(&self) -> u64 {
        // Memory from before the start may be freed after it, so the difference can be negative: that is nothing.
        self.allocated.load(Ordering::Relaxed).saturating_sub(self.freed.load(Ordering::Relaxed))
    }

    /// Bytes asked for since the start, whether or not they were given back.
    pub fn asked(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    #[inline]
    fn count(&self, counter: &AtomicU64, bytes: usize) {
        if self.on.load(Ordering::Relaxed) {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: every call is handed to `System` unchanged; counting touches atomics only and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(&self.allocated, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(&self.allocated, layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.count(&self.freed, layout.size());
        // SAFETY: `at` came from this allocator with this layout, hence from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(&self.freed, layout.size());
        self.count(&self.allocated, size);
        // SAFETY: as for `dealloc`, and the caller keeps the contract on `size`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_knows_what_is_live() {
        let account = Counting::new();
        let layout = Layout::from_size_align(1_000, 8).unwrap();
        // SAFETY: the layout has a size; each block is freed once with the layout it then has.
        unsafe {
            let before = account.alloc(layout);
            assert_eq!(account.live(), 0, "off counts nothing");
            account.start();
            let kept = account.alloc_zeroed(layout);
            let grown = account.realloc(account.alloc(layout), layout, 3_000);
            assert_eq!(account.live(), 4_000);
            account.dealloc(grown, Layout::from_size_align(3_000, 8).unwrap());
            assert_eq!(account.live(), 1_000);
            account.dealloc(kept, layout);
            account.dealloc(before, layout);
            assert_eq!(account.live(), 0, "freeing what is older than the account is no debt");
        }
    }
}
