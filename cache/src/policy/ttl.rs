//! Nearest deadline first: what would end soonest anyway makes room.
//!
//! Entries that can expire stand in an ordered set by deadline, those that cannot in a queue by age. The nearest deadline
//! leaves first, older before newer where deadlines are equal; when no entry with a deadline is left, the oldest of the others
//! does. Uses count only where they move deadlines. Readers move them without a lock, so the set may have an entry too
//! early; before it leaves, its deadline is looked at again and the entry noted anew. O(log n) an operation.

use std::collections::BTreeSet;

use super::queues::Queues;
use super::{Facts, Policy, SCAN_MAX, Standing};
use crate::expiry::NEVER;

/// An entry in the set: deadline, turn, token.
type Noted = (u64, u64, u32);

/// Deadlines of one shard, and the ages of what has none.
#[derive(Debug, Default)]
pub(crate) struct Ttl {
    dated: BTreeSet<Noted>,
    /// By token: under what deadline and turn an entry is in the set; [`NEVER`] if it is not.
    under: Vec<(u64, u64)>,
    undated: Queues<1>,
    turn: u64,
}

impl Ttl {
    /// Checks the set against what is kept by token, and the queue; answers the number of members.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        for (deadline, turn, token) in &self.dated {
            assert_eq!(self.noted(*token), Some((*deadline, *turn)), "token {token} is noted as it stands in the set");
            assert!(*deadline <= facts.deadline(*token), "token {token} is noted too late");
            assert!(!facts.link(*token).is_queued(), "token {token} has a deadline and an age");
        }
        let noted = self.under.iter().filter(|(deadline, _)| *deadline != NEVER).count();
        assert_eq!(noted, self.dated.len(), "tokens with a deadline");
        self.dated.len() + self.undated.validate(facts)
    }

    fn noted(&self, token: u32) -> Option<(u64, u64)> {
        self.under.get(token as usize).copied().filter(|(deadline, _)| *deadline != NEVER)
    }

    fn add(&mut self, token: u32, facts: &impl Facts) {
        let deadline = facts.deadline(token);
        if deadline == NEVER {
            return self.undated.push(token, 0, facts);
        }
        self.turn += 1;
        self.note(token, deadline, self.turn);
    }

    fn note(&mut self, token: u32, deadline: u64, turn: u64) {
        let index = token as usize;
        if self.under.len() <= index {
            self.under.resize(index + 1, (NEVER, 0));
        }
        self.under[index] = (deadline, turn);
        self.dated.insert((deadline, turn, token));
    }

    fn drop_out(&mut self, token: u32, facts: &impl Facts) {
        if let Some((deadline, turn)) = self.noted(token) {
            self.under[token as usize] = (NEVER, 0);
            self.dated.remove(&(deadline, turn, token));
        } else {
            self.undated.unlink(token, facts);
        }
    }

    /// Brings the entries whose noted deadlines are nearest up to date, a bounded number.
    fn catch_up(&mut self, facts: &impl Facts) {
        for _ in 0..SCAN_MAX {
            let Some(&(noted, _, token)) = self.dated.first() else { return };
            if facts.deadline(token) == noted {
                return;
            }
            self.drop_out(token, facts);
            self.add(token, facts);
        }
    }
}

impl Policy for Ttl {
    fn insert(&mut self, token: u32, facts: &impl Facts) {
        self.add(token, facts);
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.drop_out(old, facts);
        self.add(new, facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        let Some((deadline, turn)) = self.noted(old) else { return self.undated.replace(old, new, facts) };
        self.dated.remove(&(deadline, turn, old));
        self.under[old as usize] = (NEVER, 0);
        self.note(new, deadline, turn);
    }

    fn trim(&mut self, tokens: usize) {
        self.under.truncate(tokens);
        self.under.shrink_to_fit();
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.drop_out(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        self.catch_up(facts);
        let nearest = self.dated.iter().map(|(_, _, token)| *token).find(|token| Some(*token) != newcomer);
        let victim = nearest.or_else(|| {
            let oldest = self.undated.queue(0).oldest()?;
            if Some(oldest) == newcomer {
                self.undated.shift(oldest, 0, facts);
            }
            self.undated.queue(0).oldest().filter(|oldest| Some(*oldest) != newcomer)
        });
        // The newcomer leaves when it is alone.
        let alone = || newcomer.filter(|token| self.noted(*token).is_some() || facts.link(*token).is_queued());
        let victim = victim.or_else(alone)?;
        self.drop_out(victim, facts);
        Some(victim)
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        let mut order: Vec<_> = self.undated.members(0, facts).collect();
        let mut dated: Vec<_> =
            self.dated.iter().map(|(_, turn, token)| (facts.deadline(*token), *turn, *token)).collect();
        dated.sort_unstable_by(|one, other| other.cmp(one));
        order.extend(dated.into_iter().map(|(_, _, token)| token));
        order
    }

    fn standing(&self, token: u32, _: &impl Facts) -> Standing {
        let segment = if self.noted(token).is_some() { "deadline" } else { "age" };
        Standing { segment, frequency: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    use proptest::prelude::*;

    use super::super::model::{Step, Table, steps};
    use super::*;

    /// Members with the moments at which they came in; the one that leaves first is found by looking at all.
    #[derive(Default)]
    struct Model(BTreeMap<u32, u64>);

    impl Model {
        fn victim(&self, facts: &Table, newcomer: Option<u32>) -> Option<u32> {
            let others = self.0.iter().filter(|(token, _)| self.0.len() == 1 || Some(**token) != newcomer);
            others.min_by_key(|(token, came)| (facts.deadline(**token), **came)).map(|(token, _)| *token)
        }
    }

    proptest! {
        /// Two of three tokens have deadlines, of which several are equal.
        #[test]
        fn the_nearest_deadline_leaves_and_then_the_oldest(steps in steps(), guarded in any::<bool>()) {
            let (mut ttl, mut model, facts) = (Ttl::default(), Model::default(), Table::new(64));
            for (moment, step) in steps.into_iter().enumerate() {
                let moment = moment as u64;
                match step {
                    Step::Use(token) => match model.0.entry(token) {
                        Entry::Occupied(_) => ttl.touch(token, &facts),
                        Entry::Vacant(place) => {
                            facts.set_deadline(token, if token % 3 == 0 { NEVER } else { u64::from(token) * 7 % 11 });
                            ttl.insert(token, &facts);
                            place.insert(moment);
                        }
                    },
                    Step::Renew(old, new) => if model.0.contains_key(&old) && !model.0.contains_key(&new) {
                        facts.set_deadline(new, if new % 2 == 0 { NEVER } else { 5 });
                        ttl.renew(old, new, &facts);
                        model.0.remove(&old);
                        model.0.insert(new, moment);
                    },
                    Step::Remove(token) => if model.0.remove(&token).is_some() {
                        ttl.remove(token, &facts);
                    },
                    Step::Evict => {
                        let latest = model.0.iter().max_by_key(|(_, came)| **came);
                        let newcomer = latest.map(|(token, _)| *token).filter(|_| guarded);
                        let expected = model.victim(&facts, newcomer);
                        prop_assert_eq!(ttl.victim(newcomer, &facts), expected);
                        if let Some(token) = expected {
                            model.0.remove(&token);
                        }
                    }
                }
                prop_assert_eq!(ttl.validate(&facts), model.0.len());
            }
            let order = ttl.order(&facts);
            let leaving: Vec<_> = std::iter::from_fn(|| ttl.victim(None, &facts)).collect();
            prop_assert_eq!(order.into_iter().rev().collect::<Vec<_>>(), leaving);
        }
    }

    #[test]
    fn a_deadline_that_a_use_has_moved_counts() {
        let (mut ttl, facts) = (Ttl::default(), Table::new(4));
        for (token, deadline) in [(0, 10), (1, 20), (2, NEVER)] {
            facts.set_deadline(token, deadline);
            ttl.insert(token, &facts);
        }
        facts.set_deadline(0, 30);
        assert_eq!(ttl.order(&facts), [2, 0, 1]);
        let victims: Vec<_> = std::iter::from_fn(|| ttl.victim(None, &facts)).collect();
        assert_eq!(victims, [1, 0, 2]);
    }
}
