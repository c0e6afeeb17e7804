//! A counter that many threads add to: each in a line of its own, as long as there are lines enough.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::pad::Padded;

/// How many lines a counter has. More threads share them.
const STRIPES: usize = 8;

/// A counter in stripes: adding is cheap, reading sums up.
#[derive(Debug, Default)]
pub(crate) struct Striped([Padded<AtomicU64>; STRIPES]);

impl Striped {
    /// One more.
    #[inline]
    pub(crate) fn add(&self) {
        self.0[stripe()].fetch_add(1, Relaxed);
    }

    /// The sum.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.load(Relaxed)).sum()
    }
}

/// The stripe of this thread.
#[inline]
fn stripe() -> usize {
    thread_local! {
        // One more than the stripe; zero is none yet.
        static STRIPE: Cell<usize> = const { Cell::new(0) };
    }
    // While the thread's locals are taken down any stripe will do.
    STRIPE.try_with(|stripe| if stripe.get() == 0 { choose(stripe) } else { stripe.get() - 1 }).unwrap_or(0)
}

#[cold]
fn choose(stripe: &Cell<usize>) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let chosen = NEXT.fetch_add(1, Relaxed) % STRIPES;
    stripe.set(chosen + 1);
    chosen
}
