//! The atomics of the engine, behind one seam, so that the models in `tests/models.rs` can run the same files under a
//! checker that tries every interleaving.

use std::sync::atomic::{Ordering, compiler_fence};

pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};

/// About how many bytes a chunk of slots has.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;
/// How often an explicit removal looks whether the readers have left before it settles for later.
pub(crate) const PATIENCE: usize = 64;

/// Stores a value so that every later load of this thread is ordered after the store, for all threads to see.
///
/// On x86 an exchange does that at the price of one instruction, and is cheaper than a store and a fence.
#[inline]
pub(crate) fn announce(cell: &AtomicU64, value: u64) {
    if cfg!(target_arch = "x86_64") {
        cell.swap(value, Ordering::SeqCst);
        compiler_fence(Ordering::SeqCst);
    } else {
        cell.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// Asks the processor to fetch a cache line; any address will do.
#[inline]
#[allow(unsafe_code, reason = "the instruction reads nothing that the program could see")]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the caches, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

pub(crate) use parking_lot::{Mutex, MutexGuard};

/// A cell whose accesses a checker can see.
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// Makes a function `const`, where the atomics that it makes are.
macro_rules! maybe_const_fn {
    ($(#[$doc:meta])* $name:ident() -> $result:ty $body:block) => {
        $(#[$doc])*
        pub(crate) const fn $name() -> $result $body
    };
}
pub(crate) use maybe_const_fn;
