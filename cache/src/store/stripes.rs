//! Hits and misses, counted by each thread for itself, and a sample of the hits for the shadow.
//!
//! The first threads of a program have a stripe of their own, on which counting is a load and a store; later ones share
//! others by atomic additions. Stripes are summed on demand.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

/// Sampled hits that one stripe holds until an insert takes them out.
const RING: usize = 16;

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
    put: AtomicU32,
    taken: AtomicU32,
    ring: [AtomicU32; RING],
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

    /// Leaves a hash for the shadow; the oldest is lost when there are too many.
    #[cold]
    pub(crate) fn put(&self, thread: usize, hash: u32) {
        let (stripe, _) = self.of(thread);
        let at = stripe.put.fetch_add(1, Ordering::Relaxed);
        stripe.ring[at as usize % RING].store(hash, Ordering::Relaxed);
    }

    /// Whether this thread has left hashes.
    #[inline]
    pub(crate) fn has_some(&self, thread: usize) -> bool {
        let (stripe, _) = self.of(thread);
        stripe.put.load(Ordering::Relaxed) != stripe.taken.load(Ordering::Relaxed)
    }

    /// Takes up to `most` of the hashes that this thread has left, oldest first.
    pub(crate) fn take(&self, thread: usize, most: u32) -> impl Iterator<Item = u32> {
        let (stripe, _) = self.of(thread);
        let put = stripe.put.load(Ordering::Relaxed);
        let waiting = put.wrapping_sub(stripe.taken.load(Ordering::Relaxed)).min(RING as u32);
        let from = put.wrapping_sub(waiting);
        let some = waiting.min(most);
        if some > 0 {
            stripe.taken.store(from.wrapping_add(some), Ordering::Relaxed);
        }
        (0..some).map(move |offset| stripe.ring[from.wrapping_add(offset) as usize % RING].load(Ordering::Relaxed))
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

    #[test]
    fn what_was_left_is_taken_once_oldest_first_and_the_oldest_are_lost() {
        let stripes = Stripes::new(true);
        (1..=3).for_each(|hash| stripes.put(1, hash));
        assert_eq!(stripes.take(1, 2).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(stripes.take(1, 9).collect::<Vec<_>>(), [3]);
        assert_eq!(stripes.take(1, 9).count(), 0);
        (0..20).for_each(|hash| stripes.put(1, hash));
        assert_eq!(stripes.take(1, 99).collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
    }
}
