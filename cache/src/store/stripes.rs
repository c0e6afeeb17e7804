//! Hits and misses, counted by each thread for itself.
//!
//! The first threads of a program have a stripe of their own, on which counting is a load and a store; later ones share
//! others by atomic additions. Stripes are summed on demand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The counters of a cache.
#[derive(Debug)]
pub(crate) struct Stripes {
    /// As many that have one owner, then as many that are shared. A power of two each.
    stripes: Box<[Stripe]>,
    /// Whether hits and misses are counted.
    counting: bool,
}

/// In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Stripes {
    /// Stripes for this machine.
    pub(crate) fn new(counting: bool) -> Self {
        let owned = thread::available_parallelism().map_or(1, usize::from).next_power_of_two().clamp(4, 32) * 2;
        Self { stripes: (0..owned * 2).map(|_| Stripe::default()).collect(), counting }
    }

    /// The stripe of a thread, and whether it is the only one there.
    #[inline]
    fn of(&self, thread: usize) -> (&Stripe, bool) {
        let owned = self.stripes.len() / 2;
        let own = thread < owned;
        let index = if own { thread } else { owned + (thread & (owned - 1)) };
        (&self.stripes[index], own)
    }

    #[inline]
    pub(crate) fn hit(&self, thread: usize) {
        if self.counting {
            let (stripe, own) = self.of(thread);
            count(&stripe.hits, own);
        }
    }

    #[inline]
    pub(crate) fn miss(&self, thread: usize) {
        if self.counting {
            let (stripe, own) = self.of(thread);
            count(&stripe.misses, own);
        }
    }

    /// Hits and misses of all threads.
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.stripes.iter().fold((0, 0), |(hits, misses), stripe| {
            (hits + stripe.hits.load(Ordering::Relaxed), misses + stripe.misses.load(Ordering::Relaxed))
        })
    }
}

#[inline]
fn count(counter: &AtomicU64, own: bool) {
    if own {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    } else {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_sharers_are_summed() {
        let stripes = Stripes::new(true);
        for thread in 0..stripes.stripes.len() * 2 {
            stripes.hit(thread);
            (0..2).for_each(|_| stripes.miss(thread));
        }
        let threads = stripes.stripes.len() as u64 * 2;
        assert_eq!(stripes.sums(), (threads, threads * 2));
    }
}
