//! The atomics of the engine, behind one seam, so that the models in `tests/models.rs` can run the same files under a
//! checker that tries every interleaving.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};

/// About how many bytes a chunk of slots has.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;
/// Slots that lie together: what readers see of so many entries of eight bytes fills whole cache lines.
pub(crate) const GROUP: usize = 32;
/// How often an explicit removal looks whether the readers have left before it settles for later.
pub(crate) const PATIENCE: usize = 64;

/// About a tenth of a microsecond.
pub(crate) fn breathe() {
    (0..8).for_each(|_| std::hint::spin_loop());
}

/// So many free slots are not worth a compaction.
pub(crate) const SPARE: usize = 64;

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

/// Whether the system puts fences into other threads, so that readers need none.
static FENCES_FOR_OTHERS: AtomicBool = AtomicBool::new(false);

/// Finds out whether the system can put fences into other threads. Every cache calls this before it is used.
pub(crate) fn prepare_fences() {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| FENCES_FOR_OTHERS.store(can_fence_others(), Ordering::SeqCst));
}

#[cfg(target_os = "linux")]
fn can_fence_others() -> bool {
    use rustix::thread::{MembarrierCommand, membarrier};
    membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
        && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn can_fence_others() -> bool {
    false
}

/// Stores a value so that every later load of this thread is ordered after the store for a thread that calls
/// [`fence_everywhere`].
#[inline]
pub(crate) fn announce_lightly(cell: &AtomicU64, value: u64) {
    if FENCES_FOR_OTHERS.load(Ordering::Relaxed) {
        cell.store(value, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    } else {
        announce(cell, value);
    }
}

/// A fence in every thread of the program that runs, this one included; those that do not run have passed one.
pub(crate) fn fence_everywhere() {
    fence(Ordering::SeqCst);
    #[cfg(target_os = "linux")]
    if FENCES_FOR_OTHERS.load(Ordering::Relaxed) {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::PrivateExpedited).expect("the system granted this fence before");
    }
    fence(Ordering::SeqCst);
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
