//! Least recently used: one queue, a use makes the entry its newest, the oldest leaves.
//!
//! The baseline of the field. Every operation is O(1). A use is recorded at once when the shard's lock is free, which it
//! always is for one thread: the order is then exact. When it is not, the reader does not wait but leaves a mark
//! with the entry; a marked entry that has become the oldest is taken for just used.

use super::queues::Queues;
use super::{Facts, Policy, SCAN_MAX, Standing};

/// Recency order over one shard.
#[derive(Debug, Default)]
pub(crate) struct Lru(Queues<1>);

impl Lru {
    /// See [`Queues::validate`].
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        self.0.validate(facts)
    }
}

impl Policy for Lru {
    fn insert(&mut self, token: u32, facts: &impl Facts) {
        self.0.push(token, 0, facts);
    }

    fn touch(&mut self, token: u32, facts: &impl Facts) {
        // It may have left between the reader's look and the lock.
        if facts.link(token).is_queued() {
            self.0.shift(token, 0, facts);
        }
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.0.unlink(old, facts);
        facts.set_uses(new, 0);
        self.0.push(new, 0, facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.0.replace(old, new, facts);
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.0.unlink(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        for _ in 0..SCAN_MAX {
            let oldest = self.0.queue(0).oldest()?;
            if facts.uses(oldest) == 0 && (Some(oldest) != newcomer || self.0.len() == 1) {
                break;
            }
            facts.set_uses(oldest, 0);
            self.0.shift(oldest, 0, facts);
        }
        let victim = self.0.queue(0).oldest()?;
        self.0.unlink(victim, facts);
        Some(victim)
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        let mut order: Vec<_> = self.0.members(0, facts).collect();
        // A marked entry is taken for just used as soon as it is the oldest, so it outlives all that have no mark.
        order.sort_by_cached_key(|token| facts.uses(*token) == 0);
        order
    }

    fn standing(&self, _: u32, _: &impl Facts) -> Standing {
        Standing { segment: "recency", frequency: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::model::{Step, Table, steps};
    use super::*;

    proptest! {
        #[test]
        fn order_is_that_of_a_naive_queue(steps in steps()) {
            let (mut lru, mut model, facts) = (Lru::default(), VecDeque::new(), Table::new(64));
            for step in steps {
                match step {
                    Step::Use(token) => {
                        if let Some(at) = model.iter().position(|t| *t == token) {
                            model.remove(at);
                            lru.touch(token, &facts);
                        } else {
                            lru.insert(token, &facts);
                        }
                        model.push_front(token);
                    }
                    Step::Renew(old, new) => {
                        if let Some(at) = model.iter().position(|t| *t == old) && !model.contains(&new) {
                            model.remove(at);
                            lru.renew(old, new, &facts);
                            model.push_front(new);
                        }
                    }
                    Step::Remove(token) => {
                        if let Some(at) = model.iter().position(|t| *t == token) {
                            model.remove(at);
                            lru.remove(token, &facts);
                        }
                    }
                    Step::Evict => prop_assert_eq!(lru.victim(None, &facts), model.pop_back()),
                }
                prop_assert_eq!(lru.validate(&facts), model.len());
            }
        }
    }

    #[test]
    fn a_mark_saves_an_entry_once() {
        let (mut lru, facts) = (Lru::default(), Table::new(4));
        (0..3).for_each(|token| lru.insert(token, &facts));
        facts.set_uses(0, 1);
        let victims: Vec<_> = std::iter::from_fn(|| lru.victim(None, &facts)).collect();
        assert_eq!(victims, [1, 2, 0]);
    }

    #[test]
    fn a_newcomer_stays_as_long_as_others_can_leave() {
        let (mut lru, facts) = (Lru::default(), Table::new(4));
        (0..2).for_each(|token| lru.insert(token, &facts));
        assert_eq!(lru.victim(Some(0), &facts), Some(1));
        assert_eq!(lru.victim(Some(0), &facts), Some(0));
    }
}
