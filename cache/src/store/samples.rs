//! Hits of the shadow's sample, from readers that do not wait to insertions that pass them on.
//!
//! One ring for all threads, so that the shadow sees the hits of all in the order in which they happened: with a ring for each, a
//! cache of a few dozen entries chose otherwise under two threads than under one. What readers share here they touch for one hit in
//! thirty on the whole, since that is the shadow's share; for each of them in the bursts of a small cache.

use std::sync::atomic::{AtomicU32, Ordering};

/// Hits that wait at the most.
const RING: usize = 16;

/// In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Samples {
    put: AtomicU32,
    taken: AtomicU32,
    ring: [AtomicU32; RING],
}

impl Samples {
    /// Leaves a hash; the oldest is lost when there are too many.
    #[cold]
    pub(crate) fn put(&self, hash: u32) {
        let at = self.put.fetch_add(1, Ordering::Relaxed);
        self.ring[at as usize % RING].store(hash, Ordering::Relaxed);
    }

    /// Whether hashes wait.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.put.load(Ordering::Relaxed) != self.taken.load(Ordering::Relaxed)
    }

    /// Takes up to `most` hashes, oldest first. For one taker at a time. One that is being put may be read as what was in its
    /// place before.
    pub(crate) fn take(&self, most: u32) -> impl Iterator<Item = u32> {
        let put = self.put.load(Ordering::Relaxed);
        let waiting = put.wrapping_sub(self.taken.load(Ordering::Relaxed)).min(RING as u32);
        let from = put.wrapping_sub(waiting);
        let some = waiting.min(most);
        if some > 0 {
            self.taken.store(from.wrapping_add(some), Ordering::Relaxed);
        }
        (0..some).map(move |offset| self.ring[from.wrapping_add(offset) as usize % RING].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_taken_once_oldest_first_and_the_oldest_are_lost() {
        let samples = Samples::default();
        (1..=3).for_each(|hash| samples.put(hash));
        assert_eq!(samples.take(2).collect::<Vec<_>>(), [1, 2]);
        assert!(samples.has_some());
        assert_eq!(samples.take(9).collect::<Vec<_>>(), [3]);
        assert_eq!(samples.take(9).count(), 0);
        (0..20).for_each(|hash| samples.put(hash));
        assert_eq!(samples.take(99).collect::<Vec<_>>(), (4..20).collect::<Vec<_>>());
        assert!(!samples.has_some());
    }
}
