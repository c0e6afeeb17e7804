//! The evicted in the order in which they left: a list of hashes with what each had cost.
//!
//! Exact where [`ghost`](super::ghost) is small: a key can be taken out of the middle, and the oldest can be forgotten first, both in
//! O(1) on the average. A key that is taken out leaves its place in the queue behind, to be skipped or swept later. About 30 bytes a
//! key. Two keys with the same 32 bits of hash are taken for one.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

/// Places left behind that are not worth a sweep.
const LITTER: usize = 32;

/// Hashes, newest last.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Hash and turn; a place counts only while its turn is that of its hash.
    places: VecDeque<(u32, u32)>,
    /// Turn and cost by hash.
    known: HashMap<u32, (u32, u32), FixedState>,
    cost: u64,
    turn: u32,
}

impl Trail {
    /// Sum of the costs.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Remembers a key as the newest.
    pub(crate) fn push(&mut self, hash: u32, cost: u32) {
        self.turn = self.turn.wrapping_add(1);
        if let Some((_, before)) = self.known.insert(hash, (self.turn, cost)) {
            self.cost -= u64::from(before);
        }
        self.cost += u64::from(cost);
        if self.places.len() > self.known.len() * 2 + LITTER {
            let known = &self.known;
            self.places.retain(|(hash, turn)| known.get(hash).is_some_and(|(now, _)| now == turn));
        }
        self.places.push_back((hash, self.turn));
    }

    /// Forgets a key; answers what it had cost, if it was known.
    pub(crate) fn take(&mut self, hash: u32) -> Option<u32> {
        let (_, cost) = self.known.remove(&hash)?;
        self.cost -= u64::from(cost);
        Some(cost)
    }

    /// Forgets the oldest; answers whether there was one.
    pub(crate) fn pop(&mut self) -> bool {
        while let Some((hash, turn)) = self.places.pop_front() {
            if self.known.get(&hash).is_some_and(|(now, _)| *now == turn) {
                self.take(hash);
                return true;
            }
        }
        false
    }

    /// Gives back the memory of what was forgotten.
    pub(crate) fn trim(&mut self) {
        let known = &self.known;
        self.places.retain(|(hash, turn)| known.get(hash).is_some_and(|(now, _)| now == turn));
        self.places.shrink_to_fit();
        self.known.shrink_to_fit();
    }

    /// Compares the sums.
    ///
    /// # Panics
    ///
    /// When they differ.
    pub(crate) fn validate(&self) {
        assert_eq!(self.cost, self.known.values().map(|(_, cost)| u64::from(*cost)).sum::<u64>(), "cost of a trail");
        let held = self.places.iter().filter(|(hash, turn)| self.known.get(hash).is_some_and(|(now, _)| now == turn));
        assert_eq!(held.count(), self.known.len(), "each known key has one place");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_queue_with_a_way_out_of_the_middle(steps in proptest::collection::vec((0..3_u8, 0..60_u32), 0..600)) {
            let (mut trail, mut model) = (Trail::default(), Vec::<u32>::new());
            for (step, hash) in steps {
                let at = model.iter().position(|other| *other == hash);
                match step {
                    0 => {
                        at.map(|at| model.remove(at));
                        model.push(hash);
                        trail.push(hash, hash % 7);
                    }
                    1 => {
                        prop_assert_eq!(trail.take(hash), at.map(|at| model.remove(at) % 7));
                    }
                    _ => {
                        let oldest = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(trail.pop(), oldest.is_some());
                        prop_assert!(oldest.is_none_or(|hash| trail.take(hash).is_none()));
                    }
                }
                trail.validate();
                prop_assert_eq!(trail.len(), model.len());
                prop_assert!(trail.places.len() <= 2 * trail.len().max(60) + LITTER + 1);
            }
        }
    }
}
