//! A trace in memory: one small integer for each request, however long the keys were.
//!
//! Keys are numbered in the order of their first appearance, so that a request costs four bytes, the next-use table of
//! the optimum is a plain array, and every policy sees the same numbers. Text keys are remembered by a 128-bit
//! fingerprint instead of their text: among 10⁹ keys two would collide with a chance of about 10⁻²¹, and memory does
//! not depend on how long they are.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::ops::ControlFlow;

use foldhash::quality::FixedState;

/// The most requests a trace may have: indices fit in `u32` with room for "never again".
pub(super) const REQUESTS_MAX: u64 = 4_000_000_000;

/// Requests of one trace, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// Name for tables and output files.
    pub(super) name: String,
    /// How it was read, or generated.
    pub(super) origin: String,
    /// For every request its key, numbered from 0 in order of first appearance.
    pub(super) requests: Vec<u32>,
    /// How many different keys there are; numbers are below this.
    pub(super) distinct: u32,
    /// Bytes of each request's object, when sizes were asked for.
    pub(super) sizes: Option<Vec<u64>>,
    /// What a reader of the results must know: requests left out, lines skipped.
    pub(super) notes: Vec<String>,
}

impl Trace {
    /// Hits of a cache that never evicts: every request but each key's first.
    pub(super) fn repeats(&self) -> u64 {
        self.requests.len() as u64 - u64::from(self.distinct)
    }
}

/// Takes requests one by one and numbers their keys, up to a limit.
#[derive(Debug)]
pub(super) struct Recorder {
    numbers: HashMap<u64, u32, FixedState>,
    texts: HashMap<u128, u32, FixedState>,
    first: FixedState,
    second: FixedState,
    requests: Vec<u32>,
    sizes: Option<Vec<u64>>,
    limit: u64,
    limited: bool,
}

impl Recorder {
    /// A recorder that stops after `limit` requests and keeps sizes only if wanted.
    pub(super) fn new(limit: u64, with_sizes: bool) -> Self {
        Self {
            numbers: HashMap::default(),
            texts: HashMap::default(),
            first: FixedState::with_seed(0x7472_696d),
            second: FixedState::with_seed(0x7461_6273),
            requests: Vec::new(),
            sizes: with_sizes.then(Vec::new),
            limit,
            limited: false,
        }
    }

    /// Records a request for a numeric key. `Break` means that the limit is reached and this request was not taken.
    pub(super) fn number(&mut self, key: u64, size: u64) -> ControlFlow<()> {
        let fresh = (self.numbers.len() + self.texts.len()) as u32;
        self.full()?;
        let id = *self.numbers.entry(key).or_insert(fresh);
        self.take(id, size)
    }

    /// Records a request for a text key. `Break` means that the limit is reached and this request was not taken.
    pub(super) fn text(&mut self, key: &(impl Hash + ?Sized), size: u64) -> ControlFlow<()> {
        let fresh = (self.numbers.len() + self.texts.len()) as u32;
        self.full()?;
        let fingerprint = u128::from(self.first.hash_one(key)) << 64 | u128::from(self.second.hash_one(key));
        let id = *self.texts.entry(fingerprint).or_insert(fresh);
        self.take(id, size)
    }

    /// How many requests were taken so far.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether the source had more requests than the limit allowed.
    pub(super) fn limited(&self) -> bool {
        self.limited
    }

    /// Replaces the sizes by those of a companion file.
    pub(super) fn set_sizes(&mut self, sizes: Vec<u64>) {
        self.sizes = Some(sizes);
    }

    /// The finished trace.
    pub(super) fn finish(self, name: String, origin: String, mut notes: Vec<String>) -> Trace {
        if self.limited {
            notes.push(format!(
                "only the first {} requests were taken; raise --limit to use more",
                super::report::grouped(self.requests.len() as u64)
            ));
        }
        Trace {
            name,
            origin,
            distinct: (self.numbers.len() + self.texts.len()) as u32,
            requests: self.requests,
            sizes: self.sizes,
            notes,
        }
    }

    fn full(&mut self) -> ControlFlow<()> {
        if self.requests.len() as u64 >= self.limit {
            self.limited = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn take(&mut self, id: u32, size: u64) -> ControlFlow<()> {
        self.requests.push(id);
        if let Some(sizes) = &mut self.sizes {
            sizes.push(size);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_in_order_of_first_appearance() {
        let mut recorder = Recorder::new(100, false);
        for key in [70, 5, 70, 9, 5] {
            assert!(recorder.number(key, 0).is_continue());
        }
        let trace = recorder.finish("t".into(), String::new(), vec![]);
        assert_eq!(trace.requests, [0, 1, 0, 2, 1]);
        assert_eq!((trace.distinct, trace.repeats()), (3, 2));
        assert!(trace.notes.is_empty());
    }

    #[test]
    fn text_keys_differ_by_their_bytes_only() {
        let mut recorder = Recorder::new(100, true);
        for key in ["a", "b", "a", "ab", "a "] {
            assert!(recorder.text(key, key.len() as u64).is_continue());
        }
        let trace = recorder.finish("t".into(), String::new(), vec![]);
        assert_eq!(trace.requests, [0, 1, 0, 2, 3]);
        assert_eq!(trace.sizes.as_deref(), Some(&[1, 1, 1, 2, 2][..]));
    }

    #[test]
    fn requests_beyond_the_limit_are_left_out_and_noted() {
        let mut recorder = Recorder::new(2, false);
        assert!(recorder.number(1, 0).is_continue());
        assert!(recorder.number(2, 0).is_continue());
        assert!(!recorder.limited(), "exactly the limit is not too many");
        assert!(recorder.number(3, 0).is_break());
        let trace = recorder.finish("t".into(), String::new(), vec![]);
        assert_eq!((trace.requests.len(), trace.distinct), (2, 2));
        assert!(trace.notes[0].contains("--limit"), "{:?}", trace.notes);
    }
}
