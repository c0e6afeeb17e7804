//! Words that stay for ever, found without a lock.
//!
//! A word is its hash, its length and its text, one after the other in chunks that are never freed; a table of pointers
//! finds it. Readers load the table and walk it. Writers hold the lock of the shard; one that must grow fills a larger table
//! first and publishes it then. A smaller table is kept until the interner goes, since a reader may still walk it; all of
//! them together are as large as the present one.
//!
//! # What the unsafe code relies on
//!
//! - A word is written before its tag is stored (release) and never changed or freed after, so a pointer whose tag was
//!   loaded (acquire) can be read for ever: it points to a hash, a length in bytes, and that many bytes of UTF-8.
//! - Tables are freed only when the shard is dropped, which needs it exclusively.

#![allow(unsafe_code, reason = "text behind thin pointers that readers share with writers; see above")]

use std::fmt;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::Ordering;

use crate::sync::{AtomicPtr, AtomicU8, CHUNK, Mutex, SMALLEST};

/// Hash and length.
const HEAD: usize = 2;

/// A word that stays for ever.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(NonNull<u32>);

// SAFETY: what it points to is never changed.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

impl Word {
    #[inline]
    fn hash(self) -> u32 {
        // SAFETY: a word begins with its hash.
        unsafe { self.0.read() }
    }

    #[inline]
    pub(crate) fn text(&self) -> &'static str {
        // SAFETY: the length follows the hash, and then so many bytes of UTF-8, which stay as they are for ever.
        unsafe {
            let length = self.0.add(1).read() as usize;
            std::str::from_utf8_unchecked(slice::from_raw_parts(self.0.add(HEAD).as_ptr().cast(), length))
        }
    }

    #[inline]
    pub(crate) fn address(self) -> usize {
        self.0.as_ptr().addr()
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

/// Never 0.
#[inline]
fn tag(hash: u32) -> u8 {
    (hash >> 24) as u8 | 0x80
}

/// Pointers to words, at most four fifths full; a power of two of them.
struct Table {
    /// Seven bits of the hash of the word in a slot, and 0 of an empty one. They are small enough to stay in the nearest
    /// cache, so that a walk fetches no word but the right one.
    tags: Box<[AtomicU8]>,
    slots: Box<[AtomicPtr<u32>]>,
    /// The table before, which a reader may still walk; or null.
    before: *mut Table,
}

impl Table {
    fn new(size: usize, before: *mut Table) -> Self {
        let tags = (0..size).map(|_| AtomicU8::new(0)).collect();
        let slots = (0..size).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { tags, slots, before }
    }

    /// The word, or the index of the slot where it belongs.
    #[inline]
    fn find(&self, hash: u32, is: impl Fn(Word) -> bool) -> Result<Word, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let seen = self.tags[at].load(Ordering::Acquire);
            if seen == 0 {
                return Err(at);
            }
            // The pointer was stored before its tag.
            if seen == tag(hash)
                && let Some(word) = NonNull::new(self.slots[at].load(Ordering::Relaxed)).map(Word)
                && word.hash() == hash
                && is(word)
            {
                return Ok(word);
            }
            at = (at + 1) & mask;
        }
    }

    fn put(&self, at: usize, word: Word) {
        self.slots[at].store(word.0.as_ptr(), Ordering::Relaxed);
        self.tags[at].store(tag(word.hash()), Ordering::Release);
    }
}

#[derive(Debug)]
struct Writer {
    words: usize,
    bytes: usize,
    /// Free units at the end of the present chunk.
    free: *mut u32,
    left: usize,
}

// SAFETY: the free units belong to this writer alone.
unsafe impl Send for Writer {}

/// A part of the words.
pub(crate) struct Shard {
    table: AtomicPtr<Table>,
    writer: Mutex<Writer>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        let writer = Writer { words: 0, bytes: 0, free: ptr::null_mut(), left: 0 };
        let table = Box::into_raw(Box::new(Table::new(SMALLEST, ptr::null_mut())));
        Self { table: AtomicPtr::new(table), writer: Mutex::new(writer) }
    }

    #[inline]
    fn table(&self) -> &Table {
        // SAFETY: never null, and freed only when the shard is dropped, which our borrow forbids.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// The word with this text, if it was seen before.
    #[inline]
    pub(crate) fn get(&self, hash: u32, text: &str) -> Option<Word> {
        self.table().find(hash, |word| word.text() == text).ok()
    }

    /// The word with this text, and whether it is new.
    pub(crate) fn insert(&self, hash: u32, text: &str) -> (Word, bool) {
        let mut writer = self.writer.lock();
        let mut table = self.table();
        let mut at = match table.find(hash, |word| word.text() == text) {
            Ok(word) => return (word, false),
            Err(at) => at,
        };
        if (writer.words + 1) * 5 > table.slots.len() * 4 {
            self.grow();
            table = self.table();
            at = table.find(hash, |_| false).map_or_else(|at| at, |_| unreachable!("no word is equal to nothing"));
        }
        let word = writer.write(hash, text);
        writer.words += 1;
        writer.bytes += text.len();
        table.put(at, word);
        (word, true)
    }

    /// Under the writer's lock.
    fn grow(&self) {
        let old = self.table();
        let new = Table::new(old.slots.len() * 2, self.table.load(Ordering::Relaxed));
        for pointer in old.slots.iter().filter_map(|slot| NonNull::new(slot.load(Ordering::Relaxed))) {
            if let Err(at) = new.find(Word(pointer).hash(), |_| false) {
                new.put(at, Word(pointer));
            }
        }
        self.table.store(Box::into_raw(Box::new(new)), Ordering::Release);
    }

    /// Words, and bytes of their text.
    pub(crate) fn size(&self) -> (usize, usize) {
        let writer = self.writer.lock();
        (writer.words, writer.bytes)
    }
}

impl Writer {
    fn write(&mut self, hash: u32, text: &str) -> Word {
        let length = u32::try_from(text.len()).expect("a word of 4 GiB was refused before");
        let units = HEAD + text.len().div_ceil(4);
        if units > CHUNK / 4 {
            // A long word gets memory of its own, and the chunk goes on.
            // SAFETY: fresh memory of exactly so many units.
            return unsafe { fill(fresh(units), hash, length, text) };
        }
        if units > self.left {
            (self.free, self.left) = (fresh(CHUNK), CHUNK);
        }
        let at = self.free;
        self.left -= units;
        // SAFETY: there were at least `units` free units at `at`, all in one chunk.
        unsafe {
            self.free = at.add(units);
            fill(at, hash, length, text)
        }
    }
}

/// Memory that is never freed.
fn fresh(units: usize) -> *mut u32 {
    Box::leak(vec![0_u32; units].into_boxed_slice()).as_mut_ptr()
}

/// Writes a word.
///
/// # Safety
///
/// `at` must point to room for head and text that nobody else knows and that is never freed.
unsafe fn fill(at: *mut u32, hash: u32, length: u32, text: &str) -> Word {
    // SAFETY: the caller's promise.
    unsafe {
        at.write(hash);
        at.add(1).write(length);
        ptr::copy_nonoverlapping(text.as_ptr(), at.add(HEAD).cast(), text.len());
        Word(NonNull::new_unchecked(at))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let mut table = self.table.load(Ordering::Relaxed);
        while !table.is_null() {
            // SAFETY: from `Box::into_raw`, each table is the one before of one other, and nobody borrows the shard any more.
            // The words stay.
            table = unsafe { Box::from_raw(table) }.before;
        }
    }
}

// SAFETY: the pointers between tables are followed only by `drop`.
unsafe impl Send for Shard {}
// SAFETY: as above; all else in a shard is atomic or behind its lock.
unsafe impl Sync for Shard {}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("size", &self.size()).finish()
    }
}
