//! How often a key was asked for lately, in eight bytes per entry of the cache.
//!
//! A count-min sketch with 4-bit counters: a key owns one counter in each of four rows, a use raises the lowest of
//! them, the estimate is the lowest. After ten uses per entry of the cache all counters are halved, so that the past fades.
//! The four counters of a key lie in one 64-byte block, which is one cache line.
//!
//! Source: G. Cormode and S. Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch", J. Algorithms 2005;
//! G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage, 2017 (ageing,
//! small counters); the blocked layout follows F. Putze et al., "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.
//! Departure: the table doubles as the cache fills. Both halves then inherit the old counters, so no count is lost and
//! estimates are only ever too high.

/// Counters of one block: eight words of sixteen 4-bit counters.
type Block = [u64; 8];

/// Ageing happens after this many recorded uses per entry.
const SAMPLE_PER_ENTRY: u64 = 10;

/// The highest count.
pub(crate) const COUNT_MAX: u32 = 15;

const LOW_BITS: u64 = 0x7777_7777_7777_7777;
const ONES: u64 = 0x1111_1111_1111_1111;

/// Frequencies of the keys of one shard.
#[derive(Debug)]
pub(crate) struct Sketch {
    /// A power of two of blocks.
    blocks: Vec<Block>,
    entries: u64,
    recorded: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { blocks: vec![[0; 8]], entries: 8, recorded: 0 }
    }
}

impl Sketch {
    /// Grows the table until it suits a cache of so many entries. It never shrinks.
    pub(crate) fn ensure(&mut self, entries: usize) {
        self.entries = self.entries.max(entries as u64);
        while (self.blocks.len() as u64) * 8 < entries as u64 {
            self.blocks.extend_from_within(..);
        }
    }

    /// Raises the estimate of a key by one, up to [`COUNT_MAX`].
    pub(crate) fn record(&mut self, hash: u32) {
        let (index, mut choice) = self.place(hash);
        let lowest = self.lowest(index, choice);
        if lowest < COUNT_MAX {
            // Conservative update: only counters at the minimum rise, which halves the error of collisions.
            let block = &mut self.blocks[index];
            for row in 0..4 {
                let (word, shift) = counter(row, choice);
                if (block[word] >> shift) & 0xF == u64::from(lowest) {
                    block[word] += 1 << shift;
                }
                choice >>= 8;
            }
        }
        self.recorded += 1;
        if self.recorded >= self.entries * SAMPLE_PER_ENTRY {
            self.age();
        }
    }

    /// How often the key was recorded lately, at most [`COUNT_MAX`]; may be too high, never too low.
    pub(crate) fn estimate(&self, hash: u32) -> u32 {
        let (index, choice) = self.place(hash);
        self.lowest(index, choice)
    }

    fn lowest(&self, index: usize, mut choice: u32) -> u32 {
        let block = &self.blocks[index];
        let mut lowest = COUNT_MAX;
        for row in 0..4 {
            let (word, shift) = counter(row, choice);
            lowest = lowest.min(((block[word] >> shift) & 0xF) as u32);
            choice >>= 8;
        }
        lowest
    }

    /// The block of a key, and 32 bits that choose its counters. Bits of the block do not depend on the table's size
    /// other than by the mask, or doubling would move keys away from their counts.
    fn place(&self, hash: u32) -> (usize, u32) {
        let mixed = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed as usize & (self.blocks.len() - 1), (mixed >> 32) as u32)
    }

    fn age(&mut self) {
        let mut odd = 0;
        for word in self.blocks.iter_mut().flatten() {
            odd += u64::from((*word & ONES).count_ones());
            *word = (*word >> 1) & LOW_BITS;
        }
        // Halving rounds down; four counters belong to one recorded use.
        self.recorded = (self.recorded - (odd / 4).min(self.recorded)) / 2;
    }
}

/// Word and shift of the counter that the low eight bits of `choice` select in a row. A row is two words wide.
fn counter(row: usize, choice: u32) -> (usize, u32) {
    (row * 2 + (choice & 1) as usize, ((choice >> 1) & 0xF) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_never_too_low_before_ageing() {
        let mut sketch = Sketch::default();
        sketch.ensure(1000);
        for key in 0..900_u32 {
            for _ in 0..=key % 8 {
                sketch.record(key);
            }
        }
        let exact = (0..900).filter(|key| {
            let estimate = sketch.estimate(*key);
            assert!(estimate > key % 8, "key {key}: {estimate}");
            estimate == key % 8 + 1
        });
        assert!(exact.count() > 800);
    }

    #[test]
    fn counts_stop_at_the_maximum() {
        let mut sketch = Sketch::default();
        (0..40).for_each(|_| sketch.record(5));
        assert_eq!(sketch.estimate(5), COUNT_MAX);
    }

    #[test]
    fn old_counts_fade() {
        let mut sketch = Sketch::default();
        sketch.ensure(64);
        (0..12).for_each(|_| sketch.record(1));
        let before = sketch.estimate(1);
        (0..64 * SAMPLE_PER_ENTRY as u32).for_each(|key| sketch.record(1000 + key % 50));
        assert!(sketch.estimate(1) <= before / 2 + 1, "{}", sketch.estimate(1));
    }

    #[test]
    fn growth_keeps_what_was_counted() {
        let mut sketch = Sketch::default();
        (0..7).for_each(|_| sketch.record(42));
        sketch.ensure(100_000);
        assert!(sketch.estimate(42) >= 7);
    }
}
