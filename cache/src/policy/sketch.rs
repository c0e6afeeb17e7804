//! How often a key was asked for lately, in eight bytes for each entry of the cache.
//!
//! A count-min sketch with 4-bit counters: a key owns one counter in each of four rows, a use raises all of them, the
//! estimate is the lowest. The four counters of a key lie in one 64-byte block, which is one cache line.
//!
//! Counters are halved after so many uses, all at the same moment, or a tie between residents and candidates of a loop would
//! break now here, now there, and the loop would flush the cache. The moment is only noted: a block catches up
//! when it is next touched, so there is no pause.
//!
//! Source: G. Cormode and S. Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch", J. Algorithms 2005;
//! G. Einziger, R. Friedman and B. Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM Transactions on Storage, 2017 (ageing,
//! small counters); the blocked layout follows F. Putze et al., "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.
//! Departures: ageing by stamps; no conservative update, which separates the keys of a loop and so churns it.

use crate::store::prefetch;

/// Counters of one block: eight words of sixteen 4-bit counters.
type Block = [u64; 8];

/// Entries of the cache for one block.
const ENTRIES_PER_BLOCK: usize = 8;

/// The highest count.
pub(crate) const COUNT_MAX: u8 = 15;

const LOW_BITS: u64 = 0x7777_7777_7777_7777;

/// Frequencies of the keys of one shard.
#[derive(Debug)]
pub(crate) struct Sketch {
    blocks: Vec<Block>,
    /// The age up to which each block has been halved.
    stamps: Vec<u8>,
    age: u8,
    added: u64,
    entries: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { blocks: vec![[0; 8]], stamps: vec![0], age: 0, added: 0, entries: 16 }
    }
}

impl Sketch {
    /// Grows until it suits a cache of `entries`, though not beyond what `expected` need. It never shrinks.
    #[inline]
    pub(crate) fn ensure(&mut self, entries: usize, expected: usize) {
        self.entries = self.entries.max(entries as u64);
        if self.blocks.len() * ENTRIES_PER_BLOCK < entries {
            self.grow(entries, expected);
        }
    }

    #[cold]
    fn grow(&mut self, entries: usize, expected: usize) {
        if let Some(blocks) = grown(&self.blocks, ENTRIES_PER_BLOCK, entries, expected) {
            self.stamps = grown(&self.stamps, ENTRIES_PER_BLOCK, entries, expected).unwrap_or_default();
            self.blocks = blocks;
        }
    }

    /// Becomes as small as suits `entries`, if that halves it at least. A count is then the highest of those that fell
    /// together: too high rather than forgotten.
    pub(crate) fn fold(&mut self, entries: usize) {
        let (from, len) = (self.blocks.len(), entries.div_ceil(ENTRIES_PER_BLOCK).max(1));
        self.entries = (entries as u64).max(16);
        if len * 2 > from {
            return;
        }
        let aged = |index: usize, word: u64| {
            let late = self.age.wrapping_sub(self.stamps[index]).min(4);
            (0..late).fold(word, |word, _| (word >> 1) & LOW_BITS)
        };
        let fold = |index: usize, word: usize| {
            folded(len, from, index).map(|index| aged(index, self.blocks[index][word])).fold(0, highest)
        };
        let blocks = (0..len).map(|index| std::array::from_fn(|word| fold(index, word))).collect();
        self.stamps = vec![self.age; len];
        self.blocks = blocks;
    }

    /// Counts some uses. All counts are halved once every `history` uses per entry of the cache.
    #[inline]
    pub(crate) fn add(&mut self, hash: u32, uses: u8, history: u8) {
        let index = reduce(hash, self.blocks.len());
        let block = &mut self.blocks[index];
        if self.stamps[index] != self.age {
            catch_up(block, self.age.wrapping_sub(self.stamps[index]));
            self.stamps[index] = self.age;
        }
        let choices = choices(hash);
        for row in 0..4 {
            let (word, shift) = counter(choices, row);
            let room = COUNT_MAX - (block[word] >> shift & 0xF) as u8;
            block[word] += u64::from(uses.min(room)) << shift;
        }
        self.added += u64::from(uses);
        if self.added >= u64::from(history) * self.entries {
            self.added = 0;
            self.age = self.age.wrapping_add(1);
        }
    }

    /// How often the key was counted lately, at most [`COUNT_MAX`]; may be too high.
    #[inline]
    pub(crate) fn estimate(&self, hash: u32) -> u8 {
        let index = reduce(hash, self.blocks.len());
        let block = &self.blocks[index];
        let late = self.age.wrapping_sub(self.stamps[index]).min(7);
        let choices = choices(hash);
        let count = |row| {
            let (word, shift) = counter(choices, row);
            (block[word] >> shift & 0xF) as u8
        };
        count(0).min(count(1)).min(count(2)).min(count(3)) >> late
    }

    /// Has the memory fetched that a key's counters lie in.
    #[inline]
    pub(crate) fn look_ahead(&self, hash: u32) {
        prefetch(&raw const self.blocks[reduce(hash, self.blocks.len())]);
    }
}

/// Halves the counts of a block that was not touched for so many ages.
#[cold]
fn catch_up(block: &mut Block, ages: u8) {
    for word in block.iter_mut() {
        (0..ages.min(4)).for_each(|_| *word = (*word >> 1) & LOW_BITS);
    }
}

/// The items of a larger table whose hashes an item of a smaller one has, the reverse of [`grown`].
pub(crate) fn folded(len: usize, from: usize, index: usize) -> std::ops::Range<usize> {
    index * from / len..((index + 1) * from).div_ceil(len)
}

/// Spreads a hash evenly over `len` places, neighbours staying neighbours whatever `len` is.
#[inline]
pub(crate) fn reduce(hash: u32, len: usize) -> usize {
    ((u64::from(hash) * len as u64) >> 32) as usize
}

/// A larger copy of a table that has one item for `each` entries, if it is too small for `entries`: doubled, but not
/// beyond what `expected` entries need. The new items begin as copies of those that had their hashes before.
pub(crate) fn grown<T: Clone>(items: &[T], each: usize, entries: usize, expected: usize) -> Option<Vec<T>> {
    if items.len() * each >= entries {
        return None;
    }
    let wanted = expected.max(entries).div_ceil(each);
    let len = entries.div_ceil(each).max(items.len() * 2).min(wanted);
    Some((0..len).map(|index| items[index * items.len() / len].clone()).collect())
}

/// Five well-mixed bits of a hash for each row, the first row's lowest.
#[inline]
fn choices(hash: u32) -> u32 {
    (u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44) as u32
}

/// The higher of each two of sixteen counters.
fn highest(one: u64, other: u64) -> u64 {
    (0..16).map(|at| 0xF_u64 << (at * 4)).fold(0, |sum, mask| sum | (one & mask).max(other & mask))
}

/// Word and shift of a key's counter in a row. A row is two words wide.
#[inline]
fn counter(choices: u32, row: usize) -> (usize, u32) {
    let choice = choices >> (5 * row);
    (row * 2 + (choice >> 4 & 1) as usize, (choice & 15) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: u32) -> u32 {
        key.wrapping_mul(0x9E37_79B1).rotate_left(15).wrapping_mul(0x85EB_CA6B)
    }

    #[test]
    fn estimates_are_never_too_low_before_ageing_and_mostly_exact() {
        let mut sketch = Sketch::default();
        sketch.ensure(1000, usize::MAX);
        for key in 0..500_u32 {
            (0..=key % 8).for_each(|_| sketch.add(hash(key), 1, 15));
        }
        let exact = (0..500_u32).filter(|key| {
            let estimate = u32::from(sketch.estimate(hash(*key)));
            assert!(estimate > key % 8, "key {key}: {estimate}");
            estimate == key % 8 + 1
        });
        assert!(exact.count() > 400);
    }

    #[test]
    fn counts_stop_at_the_maximum() {
        let mut sketch = Sketch::default();
        (0..40).for_each(|_| sketch.add(5, 1, 15));
        assert_eq!(sketch.estimate(5), COUNT_MAX);
    }

    #[test]
    fn old_counts_fade_whether_touched_or_not() {
        let mut sketch = Sketch::default();
        sketch.ensure(64, 64);
        (0..12).for_each(|_| sketch.add(hash(1), 1, 5));
        let before = sketch.estimate(hash(1));
        (0..64 * 5).for_each(|_| sketch.add(hash(2), 1, 5));
        assert!(sketch.estimate(hash(1)) <= before / 2 + 1, "{}", sketch.estimate(hash(1)));
        (0..64 * 5 * 10).for_each(|_| sketch.add(hash(2), 1, 5));
        assert_eq!(sketch.estimate(hash(1)), 0);
    }

    #[test]
    fn a_folded_sketch_forgets_nothing_and_is_small() {
        let mut sketch = Sketch::default();
        sketch.ensure(80_000, usize::MAX);
        (0..50_000).for_each(|key| (0..=key % 6).for_each(|_| sketch.add(hash(key), 1, 15)));
        let before: Vec<_> = (0..50_000).map(|key| sketch.estimate(hash(key))).collect();
        sketch.fold(1_000);
        assert_eq!((sketch.blocks.len(), sketch.stamps.len()), (125, 125));
        assert!((0..50_000).all(|key| sketch.estimate(hash(key)) >= before[key as usize]));
        sketch.ensure(2_000, usize::MAX);
        assert!(sketch.blocks.len() >= 250, "it grows again");
    }

    #[test]
    fn growth_keeps_what_was_counted_and_stops_at_what_is_expected() {
        let mut sketch = Sketch::default();
        (0..7).for_each(|_| sketch.add(hash(42), 1, 15));
        (1..100).for_each(|entries| sketch.ensure(entries * 1_000, 90_000));
        assert!(sketch.estimate(hash(42)) >= 7);
        assert_eq!(sketch.blocks.len(), 99_000 / ENTRIES_PER_BLOCK);
        assert_eq!(sketch.blocks.len(), sketch.stamps.len());
    }
}
