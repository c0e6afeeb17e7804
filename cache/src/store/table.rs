//! The index: from a hash to tokens, read without a lock.
//!
//! ```text
//! bucket, one cache line:  tag tag tag … (12 × 1 B)   passed (4 B)   token token … (12 × 4 B)
//! ```
//!
//! A key's home is a bucket; when that is full it goes to the next one that is not, and each bucket on the way counts one
//! more that has *passed* it. A search therefore stops at the first bucket that nobody has passed. Eight tags are compared at a
//! time by arithmetic on a word. Nothing is ever moved, so a reader cannot miss a key that stays: growth builds
//! another table. The table knows tokens and 32 bits of each hash, no keys: the caller compares.
//!
//! One writer at a time; any number of readers, who may see a token that was just removed (it stays valid for them, see
//! `arena`), one that has just come under an old tag (the caller's comparison tells), or none where one was. A way that
//! was emptied holds no token: whoever begins to read after that cannot get at it, however it came to look there.
//!
//! Source: the layout is that of F14 (N. Bronson and X. Shi, Facebook, 2019). Departure: readers need no lock.

use std::ptr;
use std::sync::atomic::Ordering;

use super::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, prefetch};

/// In a way that is free. No entry has this token.
const NONE: u32 = u32::MAX;
/// Tokens of one bucket.
const WAYS: usize = 12;
/// How full a table is meant to be at most, in hundredths: beyond, searches pass too many full buckets.
const FULL: usize = 76;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[repr(C, align(64))]
pub(crate) struct Bucket {
    tags: AtomicU64,
    more_tags: AtomicU32,
    /// How many keys live beyond that would have liked to live here or before.
    passed: AtomicU32,
    tokens: [AtomicU32; WAYS],
}

/// One size of an index.
pub(crate) struct Table {
    buckets: Box<[Bucket]>,
}

/// Where the buckets of a table are, as numbers that may be out of date: good for fetching memory ahead, for nothing else.
pub(crate) struct Ahead {
    start: AtomicPtr<Bucket>,
    len: AtomicUsize,
}

impl Ahead {
    pub(crate) fn new() -> Self {
        Self { start: AtomicPtr::new(ptr::null_mut()), len: AtomicUsize::new(0) }
    }

    pub(crate) fn set(&self, table: Option<&Table>) {
        let buckets = table.map_or(&[][..], |table| &*table.buckets);
        self.start.store(buckets.as_ptr().cast_mut(), Ordering::Relaxed);
        self.len.store(buckets.len(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn fetch(&self, hash: u32) {
        let home = home(hash, self.len.load(Ordering::Relaxed));
        prefetch(self.start.load(Ordering::Relaxed).wrapping_add(home));
    }
}

/// The bucket that a hash would like.
#[inline]
fn home(hash: u32, buckets: usize) -> usize {
    ((u64::from(hash) * buckets as u64) >> 32) as usize
}

/// The high bit of each byte that is zero. Exact up to the lowest such byte, above it there may be false ones; this costs a
/// comparison of keys now and then, and saves an instruction always.
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

#[inline]
const fn zero_bytes_of_four(word: u32) -> u32 {
    word.wrapping_sub(LOW as u32) & !word & HIGH as u32
}

/// Eight bits of the hash, never zero, which means "free". The home takes its bits from the other end.
#[inline]
const fn tag_of(hash: u32) -> u64 {
    let tag = hash & 0xFF;
    (tag + (tag == 0) as u32) as u64
}

impl Bucket {
    fn new() -> Self {
        Self {
            tags: AtomicU64::new(0),
            more_tags: AtomicU32::new(0),
            passed: AtomicU32::new(0),
            tokens: std::array::from_fn(|_| AtomicU32::new(NONE)),
        }
    }

    /// The first way under a tag of whose token `is` says yes.
    #[inline]
    fn find(&self, tag: u64, mut is: impl FnMut(u32) -> bool) -> Option<(usize, u32)> {
        let mut matches = zero_bytes(self.tags.load(Ordering::Acquire) ^ (tag * LOW));
        while matches != 0 {
            let way = matches.trailing_zeros() as usize / 8;
            let token = self.tokens[way].load(Ordering::Acquire);
            if is(token) {
                return Some((way, token));
            }
            matches &= matches - 1;
        }
        let mut matches = zero_bytes_of_four(self.more_tags.load(Ordering::Acquire) ^ (tag * LOW) as u32);
        while matches != 0 {
            let way = 8 + matches.trailing_zeros() as usize / 8;
            // `& 15` cannot change anything, but tells the compiler the bound together with the array's length.
            let token = self.tokens.get(way)?.load(Ordering::Acquire);
            if is(token) {
                return Some((way, token));
            }
            matches &= matches - 1;
        }
        None
    }

    fn free_way(&self) -> Option<usize> {
        let free = zero_bytes(self.tags.load(Ordering::Relaxed));
        if free != 0 {
            return Some(free.trailing_zeros() as usize / 8);
        }
        let free = zero_bytes_of_four(self.more_tags.load(Ordering::Relaxed));
        (free != 0).then(|| 8 + free.trailing_zeros() as usize / 8)
    }

    fn set_tag(&self, way: usize, tag: u64) {
        if way < 8 {
            let shift = way * 8;
            let tags = self.tags.load(Ordering::Relaxed) & !(0xFF << shift);
            self.tags.store(tags | tag << shift, Ordering::Release);
        } else {
            let shift = (way - 8) * 8;
            let tags = self.more_tags.load(Ordering::Relaxed) & !(0xFF << shift);
            self.more_tags.store(tags | (tag as u32) << shift, Ordering::Release);
        }
    }

    fn pass(&self, by: u32) {
        self.passed.store(self.passed.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
    }
}

impl Table {
    /// A table that holds `entries` without being too full.
    pub(crate) fn new(entries: usize) -> Self {
        let buckets = (entries * 100).div_ceil(FULL * WAYS).max(1);
        Self { buckets: (0..buckets).map(|_| Bucket::new()).collect() }
    }

    /// How many entries it holds without being too full.
    pub(crate) fn room(&self) -> usize {
        self.buckets.len() * WAYS * FULL / 100
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        home(hash, self.buckets.len())
    }

    /// The way of a token of whose key `is` says yes, as its bucket and the place in it.
    #[inline]
    fn search(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<(usize, usize, u32)> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        // A table that was filled far beyond its room may have been passed everywhere.
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some((way, token)) = bucket.find(tag, &mut is) {
                return Some((at, way, token));
            }
            if bucket.passed.load(Ordering::Acquire) == 0 {
                return None;
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
        None
    }

    /// The token of whose key `is` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.search(hash, is).map(|(_, _, token)| token)
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
            bucket.pass(1);
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
        unreachable!("the writer makes a larger table before this one is full");
    }

    /// Takes a token out; answers whether it was there. For the one writer.
    pub(crate) fn remove(&self, hash: u32, token: u32) -> bool {
        let Some((at, way, _)) = self.search(hash, |other| other == token) else { return false };
        self.buckets[at].set_tag(way, 0);
        // The tag alone does not hide the token: the search for tags may be wrong, and a reader may have seen the old one.
        self.buckets[at].tokens[way].store(NONE, Ordering::Release);
        let mut passed = self.home(hash);
        while passed != at {
            self.buckets[passed].pass(u32::MAX);
            passed = if passed + 1 == self.buckets.len() { 0 } else { passed + 1 };
        }
        true
    }

    /// Puts another token in the place of one; answers whether that was there. For the one writer.
    pub(crate) fn replace(&self, hash: u32, old: u32, new: u32) -> bool {
        let Some((at, way, _)) = self.search(hash, |other| other == old) else { return false };
        self.buckets[at].tokens[way].store(new, Ordering::Release);
        true
    }

    /// How many have passed each bucket, summed. For the validator.
    pub(crate) fn passed(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.passed.load(Ordering::Relaxed))).sum()
    }

    /// How many tokens there are, counted. For the validator.
    pub(crate) fn count(&self) -> usize {
        let taken = |bucket: &Bucket| {
            let tags = bucket.tags.load(Ordering::Relaxed).to_le_bytes();
            let more = bucket.more_tags.load(Ordering::Relaxed).to_le_bytes();
            tags.into_iter().chain(more).filter(|tag| *tag != 0).count()
        };
        self.buckets.iter().map(taken).sum()
    }
}
