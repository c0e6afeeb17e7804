//! Words that go again: weakly held ones, and a bounded number that is kept although nobody uses them.
//!
//! The table holds weak handles, so a word lives as long as somebody uses it, and two equal words are one at any time. A
//! bounded interner also holds the last words strongly, in a queue with a second chance: a word that was asked for since it
//! was queued goes round once more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashTable;
use parking_lot::Mutex;

/// A word that lives as long as it is used.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) text: Box<str>,
    /// Whether the queue holds it.
    kept: AtomicBool,
    /// Whether it was asked for since it was queued.
    used: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    table: HashTable<(u64, Weak<Word>)>,
    queue: VecDeque<Arc<Word>>,
    clean_at: usize,
}

/// A part of the words.
#[derive(Debug)]
pub(crate) struct Shard {
    inner: Mutex<Inner>,
    /// How many unused words stay.
    keep: usize,
}

/// A shard smaller than this is not worth cleaning.
const CLEAN_FROM: usize = 64;

impl Shard {
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            inner: Mutex::new(Inner { table: HashTable::new(), queue: VecDeque::new(), clean_at: CLEAN_FROM }),
            keep,
        }
    }

    /// The word with this text, and whether it is new.
    pub(crate) fn intern(&self, hash: u64, text: &str) -> (Arc<Word>, bool) {
        let mut inner = self.inner.lock();
        let mut found = None;
        // Only one living word can be equal; dead ones are passed over.
        inner.table.find(hash, |(other, word)| {
            *other == hash
                && word.upgrade().is_some_and(|word| {
                    let equal = *word.text == *text;
                    if equal {
                        found = Some(word);
                    }
                    equal
                })
        });
        let gone;
        let answer = if let Some(word) = found {
            word.used.store(true, Ordering::Relaxed);
            gone = inner.keep(&word, self.keep);
            (word, false)
        } else {
            if inner.table.len() >= inner.clean_at {
                inner.clean();
            }
            let (kept, used) = (AtomicBool::new(false), AtomicBool::new(false));
            let word = Arc::new(Word { text: text.into(), kept, used });
            inner.table.insert_unique(hash, (hash, Arc::downgrade(&word)), |(hash, _)| *hash);
            gone = inner.keep(&word, self.keep);
            (word, true)
        };
        drop(inner);
        // Its text is freed outside of the lock.
        drop(gone);
        answer
    }

    /// Lets go of a share of the words that nobody uses; answers how many, and the bytes of their text.
    pub(crate) fn trim(&self, share: f64) -> (usize, usize) {
        let mut inner = self.inner.lock();
        let most = (inner.queue.len() as f64 * share).ceil() as usize;
        let (mut words, mut bytes) = (0, 0);
        let mut gone = Vec::new();
        for _ in 0..most {
            let Some(word) = inner.queue.pop_front() else { break };
            word.kept.store(false, Ordering::Relaxed);
            if Arc::strong_count(&word) == 1 {
                words += 1;
                bytes += word.text.len();
            }
            gone.push(word);
        }
        drop(gone);
        inner.clean();
        (words, bytes)
    }

    /// Living words, and bytes of their text.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        inner
            .table
            .iter()
            .filter_map(|(_, word)| word.upgrade())
            .fold((0, 0), |(words, bytes), word| (words + 1, bytes + word.text.len()))
    }
}

impl Inner {
    /// Keeps a word although nobody may use it, and answers the one that goes instead.
    fn keep(&mut self, word: &Arc<Word>, most: usize) -> Option<Arc<Word>> {
        if most == 0 || word.kept.swap(true, Ordering::Relaxed) {
            return None;
        }
        let mut gone = None;
        if self.queue.len() >= most {
            // After one round everybody's second chance is spent.
            for _ in 0..=self.queue.len() {
                let Some(oldest) = self.queue.pop_front() else { break };
                if oldest.used.swap(false, Ordering::Relaxed) {
                    self.queue.push_back(oldest);
                } else {
                    oldest.kept.store(false, Ordering::Relaxed);
                    gone = Some(oldest);
                    break;
                }
            }
        }
        self.queue.push_back(word.clone());
        gone
    }

    fn clean(&mut self) {
        self.table.retain(|(_, word)| word.strong_count() > 0);
        self.clean_at = (self.table.len() * 2).max(CLEAN_FROM);
        if self.table.capacity() > self.clean_at * 4 {
            self.table.shrink_to(self.clean_at, |(hash, _)| *hash);
        }
    }
}

impl Word {
    pub(crate) fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }
}
