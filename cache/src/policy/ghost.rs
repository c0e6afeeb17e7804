//! Who was evicted lately: fingerprints, 2.3 bytes for each entry of the cache.
//!
//! Buckets of seven 16-bit fingerprints, each bucket a ring: a new one takes the place of the oldest. One in some ten thousand
//! strangers is taken for somebody known, which only lets it skip the queue.
//!
//! Source: ghost lists as in T. Johnson and D. Shasha, "2Q", VLDB 1994; fingerprints in small rings instead of lists as in
//! J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.

use super::sketch::{folded, grown, reduce};
use crate::store::prefetch;

/// Fingerprints of one bucket; the eighth number says where the next goes.
const RING: usize = 7;

/// The evicted of one shard.
#[derive(Debug)]
pub(crate) struct Ghost {
    buckets: Vec<[u16; RING + 1]>,
}

impl Default for Ghost {
    fn default() -> Self {
        Self { buckets: vec![[0; RING + 1]] }
    }
}

impl Ghost {
    /// Grows until it suits a cache of `entries`, though not beyond what `expected` need. It never shrinks.
    #[inline]
    pub(crate) fn ensure(&mut self, entries: usize, expected: usize) {
        if self.buckets.len() * RING < entries {
            self.grow(entries, expected);
        }
    }

    #[cold]
    fn grow(&mut self, entries: usize, expected: usize) {
        if let Some(buckets) = grown(&self.buckets, RING, entries, expected) {
            self.buckets = buckets;
        }
    }

    /// Becomes as small as suits `entries`, if that halves it at least, and remembers the latest of those that fall together.
    pub(crate) fn fold(&mut self, entries: usize) {
        let (from, len) = (self.buckets.len(), entries.div_ceil(RING).max(1));
        if len * 2 > from {
            return;
        }
        let fold = |index: usize| {
            let (mut ring, mut at) = ([0; RING + 1], RING);
            for age in 0..RING {
                for old in folded(len, from, index).map(|index| &self.buckets[index]) {
                    let print = old[(usize::from(old[RING]) % RING + RING - 1 - age) % RING];
                    if print != 0 && at > 0 {
                        at -= 1;
                        ring[at] = print;
                    }
                }
            }
            // The oldest, or a free place, is the next to be taken.
            ring
        };
        self.buckets = (0..len).map(fold).collect();
    }

    /// Remembers a key.
    pub(crate) fn put(&mut self, hash: u32) {
        let (bucket, print) = self.place(hash);
        let ring = &mut self.buckets[bucket];
        let at = usize::from(ring[RING]).min(RING - 1);
        ring[at] = print;
        ring[RING] = if at + 1 == RING { 0 } else { at as u16 + 1 };
    }

    /// Whether a key is remembered; it is forgotten with that.
    #[inline]
    pub(crate) fn take(&mut self, hash: u32) -> bool {
        let (bucket, print) = self.place(hash);
        let ring = &mut self.buckets[bucket];
        // Most keys are strangers: seven comparisons without a branch, and a search for the few others.
        let known: u16 = ring[..RING].iter().map(|other| u16::from(*other == print)).sum();
        if known == 0 {
            return false;
        }
        if let Some(place) = ring[..RING].iter_mut().find(|other| **other == print) {
            *place = 0;
        }
        true
    }

    /// Has the memory fetched that a key's fingerprint would lie in.
    #[inline]
    pub(crate) fn look_ahead(&self, hash: u32) {
        prefetch(&raw const self.buckets[reduce(hash, self.buckets.len())]);
    }

    /// Bucket and fingerprint, which is never zero.
    fn place(&self, hash: u32) -> (usize, u16) {
        (reduce(hash, self.buckets.len()), ((hash.wrapping_mul(0x9E37_79B1) >> 16) as u16).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_ghost_remembers_the_latest() {
        let mut ghost = Ghost::default();
        ghost.ensure(8_000, 8_000);
        let hash = |key: u32| key.wrapping_mul(0x9E37_79B1).rotate_left(11).wrapping_mul(0x85EB_CA6B);
        (0..8_000).for_each(|key| ghost.put(hash(key)));
        ghost.fold(1_000);
        assert_eq!(ghost.buckets.len(), 143);
        let late = (7_800..8_000).filter(|key| ghost.take(hash(*key))).count();
        let early = (0..4_000).filter(|key| ghost.take(hash(*key))).count();
        assert!(late > 100 && early < 400, "{late} late, {early} early");
    }

    #[test]
    fn remembers_about_as_many_as_the_cache_holds() {
        let mut ghost = Ghost::default();
        ghost.ensure(1_000, 1_000);
        let hash = |key: u32| key.wrapping_mul(0x9E37_79B1).rotate_left(11).wrapping_mul(0x85EB_CA6B);
        (0..10_000).for_each(|key| ghost.put(hash(key)));
        let late = (9_500..10_000).filter(|key| ghost.take(hash(*key))).count();
        let early = (0..8_000).filter(|key| ghost.take(hash(*key))).count();
        assert!(late > 480 && early < 100, "{late} late, {early} early");
        assert!(!ghost.take(hash(9_999)), "it was taken already");
    }
}
