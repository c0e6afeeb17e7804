//! The index: from a hash to tokens, read without a lock.
//!
//! ```text
//! bucket, one cache line:  tag tag tag … (12 × 1 B)   passed (4 B)   token token … (12 × 4 B)
//! ```
//!
//! A key's home is a bucket; when that is full it goes to the next one that is not, and each bucket on the way counts one
//! more that has *passed* it. A search therefore stops at the first bucket that nobody has passed. All tags of a
//! bucket are compared at once: a search that asked one part after the other would branch on where the key happens to lie, and
//! each wrong guess would wait for memory. Nothing is ever moved, so a reader cannot miss a key that stays: growth builds
//! another table. The table knows tokens and 32 bits of each hash, no keys: the caller compares.
//!
//! One writer at a time; any number of readers, who may see a token that was just removed (it stays valid for them, see
//! `arena`), one that has just come under an old tag (the caller's comparison tells), or none where one was. A way that
//! was emptied holds no token: whoever begins to read after that cannot get at it, however it came to look there.
//!
//! Source: the layout is that of F14 (N. Bronson and X. Shi, Facebook, 2019). Departure: readers need no lock.

use std::sync::atomic::Ordering;

use super::compare::equal_bytes;
use super::sync::{AtomicU32, AtomicU64};

/// In a way that is free. No entry has this token.
const NONE: u32 = u32::MAX;
/// Tokens of one bucket.
const WAYS: usize = 12;
/// How full a table is meant to be at most, in hundredths: beyond, searches pass too many full buckets.
const FULL: usize = 70;

/// The bits of a comparison that belong to ways.
const ALL_WAYS: u32 = (1 << WAYS) - 1;
/// Where the count of those who passed begins in the second word of a bucket.
const PASSED: u32 = 32;

#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// Twelve tags, one byte each, and above them how many keys live beyond that would have liked to live here or before.
    tags: [AtomicU64; 2],
    tokens: [AtomicU32; WAYS],
}

/// One size of an index.
pub(crate) struct Table {
    buckets: Box<[Bucket]>,
    room: usize,
}

/// The bucket that a hash would like.
#[inline]
fn home(hash: u32, buckets: usize) -> usize {
    ((u64::from(hash) * buckets as u64) >> 32) as usize
}

/// Eight bits of the hash, never zero, which means "free". The home takes its bits from the other end.
#[inline]
const fn tag_of(hash: u32) -> u8 {
    let tag = hash as u8;
    tag + (tag == 0) as u8
}

impl Bucket {
    fn new() -> Self {
        Self { tags: [AtomicU64::new(0), AtomicU64::new(0)], tokens: std::array::from_fn(|_| AtomicU32::new(NONE)) }
    }

    /// What `pick` makes of the first token under a tag of which it makes something, and the token's way; or else whether
    /// keys have passed this bucket.
    #[inline]
    fn find<T>(&self, tag: u8, pick: impl Fn(u32) -> Option<T>) -> Result<(usize, T), bool> {
        let words = [self.tags[0].load(Ordering::Acquire), self.tags[1].load(Ordering::Acquire)];
        let mut matches = equal_bytes(words, tag) & ALL_WAYS;
        while matches != 0 {
            let way = matches.trailing_zeros() as usize;
            // The bound is known, but not to the compiler.
            if let Some(token) = self.tokens.get(way)
                && let Some(picked) = pick(token.load(Ordering::Acquire))
            {
                return Ok((way, picked));
            }
            matches &= matches - 1;
        }
        Err(words[1] >> PASSED != 0)
    }

    fn free_way(&self) -> Option<usize> {
        let words = [self.tags[0].load(Ordering::Relaxed), self.tags[1].load(Ordering::Relaxed)];
        let free = equal_bytes(words, 0) & ALL_WAYS;
        (free != 0).then(|| free.trailing_zeros() as usize)
    }

    fn set_tag(&self, way: usize, tag: u8) {
        let (word, shift) = (&self.tags[way / 8], way % 8 * 8);
        let others = word.load(Ordering::Relaxed) & !(0xFF << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }

    fn passed(&self) -> u64 {
        self.tags[1].load(Ordering::Relaxed) >> PASSED
    }

    /// One more has passed, or one fewer.
    fn pass(&self, more: bool) {
        let word = self.tags[1].load(Ordering::Relaxed);
        let one = 1 << PASSED;
        self.tags[1].store(if more { word + one } else { word - one }, Ordering::Release);
    }
}

impl Table {
    /// A table that holds `entries` without being too full.
    pub(crate) fn new(entries: usize) -> Self {
        let buckets = (entries * 100).div_ceil(FULL * WAYS).max(1);
        Self { buckets: (0..buckets).map(|_| Bucket::new()).collect(), room: buckets * WAYS * FULL / 100 }
    }

    /// How many entries it holds without being too full.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.room
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        home(hash, self.buckets.len())
    }

    /// What `pick` makes of the first token in the home of a hash of which it makes something; or else whether the search has
    /// to go on [beyond](Self::find_beyond).
    #[inline]
    pub(crate) fn find_at_home<T>(&self, hash: u32, pick: impl Fn(u32) -> Option<T>) -> Result<T, bool> {
        self.buckets[self.home(hash)].find(tag_of(hash), pick).map(|(_, picked)| picked)
    }

    /// What `pick` makes of the first token under a hash of which it makes something.
    #[inline]
    pub(crate) fn find<T>(&self, hash: u32, pick: impl Fn(u32) -> Option<T>) -> Option<T> {
        match self.find_at_home(hash, &pick) {
            Ok(picked) => Some(picked),
            Err(false) => None,
            Err(true) => self.find_beyond(hash, pick).map(|(_, _, picked)| picked),
        }
    }

    /// Goes on searching after the home; answers the bucket and the way as well.
    pub(crate) fn find_beyond<T>(&self, hash: u32, pick: impl Fn(u32) -> Option<T>) -> Option<(usize, usize, T)> {
        // A table that was filled far beyond its room may have been passed everywhere.
        let mut at = self.home(hash);
        for _ in 1..self.buckets.len() {
            at = self.after(at);
            match self.buckets[at].find(tag_of(hash), &pick) {
                Ok((way, picked)) => return Some((at, way, picked)),
                Err(false) => return None,
                Err(true) => {}
            }
        }
        None
    }

    /// The bucket and the way of a token.
    #[inline]
    fn place_of(&self, hash: u32, token: u32) -> Option<(usize, usize)> {
        let home = self.home(hash);
        let is = move |other: u32| (other == token).then_some(());
        match self.buckets[home].find(tag_of(hash), is) {
            Ok((way, ())) => Some((home, way)),
            Err(false) => None,
            Err(true) => self.find_beyond(hash, is).map(|(at, way, ())| (at, way)),
        }
    }

    /// The bucket where a search goes on.
    #[inline]
    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Adds a token that is not in the table. For the one writer.
    ///
    /// # Panics
    ///
    /// When every way is taken: the writer keeps to [`room`](Self::room).
    pub(crate) fn insert(&self, hash: u32, token: u32) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(way) = bucket.free_way() {
                // The token first: who sees the tag must find it.
                bucket.tokens[way].store(token, Ordering::Release);
                bucket.set_tag(way, tag_of(hash));
                return;
            }
            bucket.pass(true);
            at = self.after(at);
        }
        unreachable!("the writer makes a larger table before this one is full");
    }

    /// Takes a token out; answers whether it was there. For the one writer.
    pub(crate) fn remove(&self, hash: u32, token: u32) -> bool {
        let Some((at, way)) = self.place_of(hash, token) else { return false };
        self.buckets[at].set_tag(way, 0);
        // The tag alone does not hide the token: the search for tags may be wrong, and a reader may have seen the old one.
        self.buckets[at].tokens[way].store(NONE, Ordering::Release);
        let mut passed = self.home(hash);
        while passed != at {
            self.buckets[passed].pass(false);
            passed = self.after(passed);
        }
        true
    }

    /// Puts another token in the place of one; answers whether that was there. For the one writer.
    pub(crate) fn replace(&self, hash: u32, old: u32, new: u32) -> bool {
        let Some((at, way)) = self.place_of(hash, old) else { return false };
        self.buckets[at].tokens[way].store(new, Ordering::Release);
        true
    }

    /// How many have passed each bucket, summed. For the validator.
    pub(crate) fn passed(&self) -> u64 {
        self.buckets.iter().map(Bucket::passed).sum()
    }

    /// How many tokens there are, counted. For the validator.
    pub(crate) fn count(&self) -> usize {
        let taken = |bucket: &Bucket| {
            let words = [bucket.tags[0].load(Ordering::Relaxed), bucket.tags[1].load(Ordering::Relaxed)];
            WAYS - (equal_bytes(words, 0) & ALL_WAYS).count_ones() as usize
        };
        self.buckets.iter().map(taken).sum()
    }
}
