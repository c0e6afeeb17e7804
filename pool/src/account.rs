//! What a piece of work allocates: an allocator that counts for its thread, and guards and futures that read the count.
//!
//! The program installs [`CountingAllocator`] around the allocator of its choice. Counting is two additions to cells of the
//! thread. Work that moves between threads is measured poll by poll ([`Metered`]), so what others allocate in between is
//! not charged to it. Without the allocator installed all accounts stay at 0, and [`is_counting`] says so.
//!
//! # What the unsafe code relies on
//!
//! Every call is handed to the inner allocator unchanged. Counting touches cells of the thread that need no destructor and
//! no memory, so it neither allocates nor fails, even while a thread ends.

#![allow(unsafe_code, reason = "an allocator is an unsafe trait; see above")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static COUNT: Cell<Allocated> = const { Cell::new(Allocated { bytes: 0, freed: 0, count: 0 }) };
}

/// What was allocated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocated {
    /// Bytes asked of the allocator; growing a block counts its growth.
    pub bytes: u64,
    /// Bytes given back, whoever had allocated them.
    pub freed: u64,
    /// How often memory was asked for.
    pub count: u64,
}

impl Allocated {
    fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_sub(before.bytes),
            freed: self.freed.wrapping_sub(before.freed),
            count: self.count.wrapping_sub(before.count),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_add(other.bytes),
            freed: self.freed.wrapping_add(other.freed),
            count: self.count.wrapping_add(other.count),
        }
    }
}

#[inline]
fn add(bytes: usize, freed: usize, count: u64) {
    let more = Allocated { bytes: bytes as u64, freed: freed as u64, count };
    // A cell without destructor is there to the very end of its thread.
    let _ = COUNT.try_with(|cell| cell.set(cell.get().plus(more)));
}

/// An allocator that counts what each thread allocates.
///
/// ```
/// use trimtab_pool::account::{Account, CountingAllocator};
///
/// #[global_allocator]
/// static ALLOCATOR: CountingAllocator = CountingAllocator::system();
///
/// let account = Account::open();
/// let page = vec![0_u8; 4_096];
/// assert!(account.so_far().bytes >= 4_096);
/// # drop(page);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator<A = System> {
    inner: A,
}

impl CountingAllocator {
    /// Around the system's allocator.
    pub const fn system() -> Self {
        Self { inner: System }
    }
}

impl<A> CountingAllocator<A> {
    /// Around another allocator.
    pub const fn around(inner: A) -> Self {
        Self { inner }
    }
}

// SAFETY: every call is handed to the inner allocator unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 0, 1);
        // SAFETY: the caller keeps the contract, which is the inner allocator's.
        unsafe { self.inner.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 0, 1);
        // SAFETY: as above.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        add(0, layout.size(), 0);
        // SAFETY: as above; `at` came from the inner allocator with this layout.
        unsafe { self.inner.dealloc(at, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size.saturating_sub(layout.size()), layout.size().saturating_sub(size), 1);
        // SAFETY: as for `dealloc`.
        unsafe { self.inner.realloc(at, layout, size) }
    }
}

fn thread_total() -> Allocated {
    COUNT.try_with(Cell::get).unwrap_or_default()
}

/// Whether the counting allocator is installed in this program.
pub fn is_counting() -> bool {
    let account = Account::open();
    drop(std::hint::black_box(Box::new(0_u64)));
    account.so_far().count > 0
}

/// What the present thread allocates from now on. Does not leave its thread; see [`metered`] for work that does.
#[derive(Debug)]
pub struct Account {
    before: Allocated,
    stays: std::marker::PhantomData<*const ()>,
}

impl Account {
    /// Opens an account.
    pub fn open() -> Self {
        Self { before: thread_total(), stays: std::marker::PhantomData }
    }

    /// What was allocated since.
    pub fn so_far(&self) -> Allocated {
        thread_total().since(self.before)
    }
}

/// Work with an account: answers what it allocated beside its result.
pub fn metered<F: Future>(work: F) -> Metered<F> {
    Metered { work: Box::pin(work), so_far: Allocated::default() }
}

/// The future of [`metered`].
pub struct Metered<F> {
    work: Pin<Box<F>>,
    so_far: Allocated,
}

impl<F> fmt::Debug for Metered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("so_far", &self.so_far).finish_non_exhaustive()
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = (F::Output, Allocated);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let account = Account::open();
        let answer = this.work.as_mut().poll(cx);
        this.so_far = this.so_far.plus(account.so_far());
        answer.map(|answer| (answer, this.so_far))
    }
}
