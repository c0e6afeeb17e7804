//! First in, first out: one queue, and nobody looks at uses.
//!
//! The simplest order there is: the entry whose value came in first leaves first. A hit costs the policy nothing, not even a
//! lock, and it is easy to foretell. A renewed entry has a new value and so starts over as the newest. Every operation is O(1).

use super::queues::Queues;
use super::{Facts, Policy, Standing};

/// Order of arrival over one shard.
#[derive(Debug, Default)]
pub(crate) struct Fifo(Queues<1>);

impl Fifo {
    /// See [`Queues::validate`].
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        self.0.validate(facts)
    }
}

impl Policy for Fifo {
    fn insert(&mut self, token: u32, facts: &impl Facts) {
        self.0.push(token, 0, facts);
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.0.unlink(old, facts);
        self.0.push(new, 0, facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.0.replace(old, new, facts);
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.0.unlink(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        let oldest = self.0.queue(0).oldest()?;
        if Some(oldest) == newcomer {
            self.0.shift(oldest, 0, facts);
        }
        let victim = self.0.queue(0).oldest()?;
        self.0.unlink(victim, facts);
        Some(victim)
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        self.0.members(0, facts).collect()
    }

    fn standing(&self, _: u32, _: &impl Facts) -> Standing {
        Standing { segment: "arrival", frequency: None }
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
        fn order_is_that_of_arrival_whatever_is_used(steps in steps()) {
            let (mut fifo, mut model, facts) = (Fifo::default(), VecDeque::new(), Table::new(64));
            for step in steps {
                match step {
                    Step::Use(token) => if model.contains(&token) {
                        fifo.touch(token, &facts);
                    } else {
                        fifo.insert(token, &facts);
                        model.push_front(token);
                    },
                    Step::Renew(old, new) => {
                        if let Some(at) = model.iter().position(|t| *t == old) && !model.contains(&new) {
                            model.remove(at);
                            fifo.renew(old, new, &facts);
                            model.push_front(new);
                        }
                    }
                    Step::Remove(token) => {
                        if let Some(at) = model.iter().position(|t| *t == token) {
                            model.remove(at);
                            fifo.remove(token, &facts);
                        }
                    }
                    Step::Evict => {
                        let newcomer = model.front().copied();
                        prop_assert_eq!(fifo.victim(newcomer, &facts), model.pop_back());
                    }
                }
                prop_assert_eq!(fifo.validate(&facts), model.len());
                prop_assert_eq!(fifo.order(&facts), Vec::from(model.clone()));
            }
        }
    }

    #[test]
    fn a_newcomer_stays_as_long_as_others_can_leave() {
        let (mut fifo, facts) = (Fifo::default(), Table::new(4));
        (0..2).for_each(|token| fifo.insert(token, &facts));
        assert_eq!(fifo.victim(Some(0), &facts), Some(1));
        assert_eq!(fifo.victim(Some(0), &facts), Some(0));
    }
}
