//! Least recently used: one list, a use moves the entry to its front, the back leaves.
//!
//! The baseline of the field. Every operation is O(1).

use super::list::{List, Nodes};
use super::{Policy, Standing};

/// Recency order over one shard.
#[derive(Debug, Default)]
pub(crate) struct Lru {
    nodes: Nodes,
    list: List,
}

impl Lru {
    /// See [`List::validate`].
    pub(crate) fn validate(&self) -> usize {
        self.list.validate(&self.nodes, 0)
    }
}

impl Policy for Lru {
    fn insert(&mut self, token: u32, hash: u64, cost: u32) {
        self.nodes.enter(token, hash as u32, cost);
        self.list.push_front(&mut self.nodes, token);
    }

    fn touch(&mut self, token: u32) {
        self.list.move_to_front(&mut self.nodes, token);
    }

    fn reweigh(&mut self, token: u32, cost: u32) {
        self.list.reweigh(&mut self.nodes, token, cost);
    }

    fn remove(&mut self, token: u32) {
        self.list.unlink(&mut self.nodes, token);
    }

    fn victim(&mut self) -> Option<u32> {
        self.list.back()
    }

    fn order(&self) -> Vec<u32> {
        self.list.iter(&self.nodes).collect()
    }

    fn standing(&self, _: u32) -> Standing {
        Standing { segment: "recency", frequency: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Use(u32),
        Remove(u32),
        Evict,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..24_u32).prop_map(Step::Use),
            1 => (0..24_u32).prop_map(Step::Remove),
            2 => Just(Step::Evict),
        ];
        proptest::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn order_is_that_of_a_naive_queue(steps in steps()) {
            let (mut lru, mut model) = (Lru::default(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Use(token) => {
                        if let Some(at) = model.iter().position(|t| *t == token) {
                            model.remove(at);
                            lru.touch(token);
                        } else {
                            lru.insert(token, u64::from(token), token + 1);
                        }
                        model.push_front(token);
                    }
                    Step::Remove(token) => {
                        if let Some(at) = model.iter().position(|t| *t == token) {
                            model.remove(at);
                            lru.remove(token);
                        }
                    }
                    Step::Evict => {
                        prop_assert_eq!(lru.victim(), model.back().copied());
                        if let Some(token) = model.pop_back() {
                            lru.remove(token);
                        }
                    }
                }
                prop_assert_eq!(lru.validate(), model.len());
                prop_assert_eq!(lru.list.cost(), model.iter().map(|t| u64::from(t + 1)).sum::<u64>());
            }
        }
    }
}
