//! Least frequently used, with ageing: the entry that was asked for least often leaves, and old glory fades.
//!
//! Every use of an entry is counted, without a limit. An entry's *rank* is its count plus the age of the cache when it was last
//! used, and the age is the rank of the last victim: the lowest rank leaves, and among equals the one used longest
//! ago. Nothing is ever recomputed: what stays unused keeps its rank, while the age, and with it the rank of everything new, rises
//! past it. A count of 100 so lasts about as long as it takes newcomers to be evicted 100 ranks higher.
//!
//! Entries of one rank form a list through the links beside the entries, and the lists lie in a map by rank, so an operation
//! is O(log r) in the number of different ranks. A use that met a busy lock is a mark, counted when its entry would leave.
//!
//! Source: M. Arlitt, L. Cherkasova et al., "Evaluating Content Management Techniques for Web Proxy Caches", ACM SIGMETRICS
//! Performance Evaluation Review 27(4), 2000, "LFU with dynamic aging".

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::queues::Link;
use super::{Facts, Policy, SCAN_MAX, Standing};

/// No neighbour. Not the value by which a link says that its token is nowhere.
const END: u32 = u32::MAX - 1;

/// Entries of the same rank, from the one used last to the one used longest ago.
#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
}

/// Ranks of one shard.
#[derive(Debug, Default)]
pub(crate) struct Lfu {
    lists: BTreeMap<u64, List>,
    ranks: Vec<u64>,
    counts: Vec<u32>,
    /// The rank of the last victim.
    age: u64,
    len: usize,
}

impl Lfu {
    /// Walks all lists and compares links, ranks and the number of members, which it answers.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        let mut seen = 0;
        for (rank, list) in &self.lists {
            let (mut token, mut prev) = (list.newest, END);
            while token != END {
                let link = facts.link(token);
                assert_eq!(link.prev, prev, "back link of token {token}");
                assert_eq!(self.ranks[token as usize], *rank, "rank of token {token}");
                assert!(self.counts[token as usize] >= 1, "count of token {token}");
                seen += 1;
                assert!(seen <= self.len, "lists hold more than {} entries", self.len);
                (prev, token) = (token, link.next);
            }
            assert_eq!(list.oldest, prev, "end of the list of rank {rank}");
            assert!(list.newest != END, "a list without members is gone");
        }
        assert_eq!(seen, self.len, "entries in the lists");
        seen
    }

    /// Adds an entry with a count as the newest of its rank.
    fn link(&mut self, token: u32, count: u32, facts: &impl Facts) {
        let index = token as usize;
        if self.ranks.len() <= index {
            self.ranks.resize(index + 1, 0);
            self.counts.resize(index + 1, 0);
        }
        let rank = self.age + u64::from(count);
        (self.ranks[index], self.counts[index]) = (rank, count);
        let list = self.lists.entry(rank).or_insert(List { newest: END, oldest: token });
        facts.set_link(token, Link { prev: END, next: list.newest });
        if list.newest != END {
            let next = facts.link(list.newest).next;
            facts.set_link(list.newest, Link { prev: token, next });
        }
        list.newest = token;
        self.len += 1;
    }

    /// Takes an entry out; answers its count, or `None` if it is not in.
    fn unlink(&mut self, token: u32, facts: &impl Facts) -> Option<u32> {
        let link = facts.link(token);
        if !link.is_queued() {
            return None;
        }
        let rank = self.ranks[token as usize];
        let list = self.lists.get_mut(&rank)?;
        if link.prev == END {
            list.newest = link.next;
        } else {
            facts.set_link(link.prev, Link { next: link.next, ..facts.link(link.prev) });
        }
        if link.next == END {
            list.oldest = link.prev;
        } else {
            facts.set_link(link.next, Link { prev: link.prev, ..facts.link(link.next) });
        }
        if list.newest == END {
            self.lists.remove(&rank);
        }
        facts.set_link(token, Link::NONE);
        self.len -= 1;
        Some(self.counts[token as usize])
    }

    /// Counts uses of an entry.
    fn count(&mut self, token: u32, uses: u32, facts: &impl Facts) {
        if let Some(count) = self.unlink(token, facts) {
            self.link(token, count.saturating_add(uses), facts);
        }
    }

    /// The entry that leaves next, other than the newcomer; O(1) unless the newcomer is alone with its rank.
    fn lowest(&self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        self.lists.values().find_map(|list| match list.oldest {
            oldest if Some(oldest) != newcomer => Some(oldest),
            oldest => Some(facts.link(oldest).prev).filter(|token| *token != END),
        })
    }
}

impl Policy for Lfu {
    fn insert(&mut self, token: u32, facts: &impl Facts) {
        self.link(token, 1, facts);
    }

    fn touch(&mut self, token: u32, facts: &impl Facts) {
        self.count(token, 1, facts);
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        // The marks that were left with the old value, and one for this use.
        let uses = u32::from(facts.uses(old)) + 1;
        facts.set_uses(new, 0);
        let count = self.unlink(old, facts).unwrap_or(0);
        self.link(new, count.saturating_add(uses), facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        let (link, rank, count) = (facts.link(old), self.ranks[old as usize], self.counts[old as usize]);
        let index = new as usize;
        if self.ranks.len() <= index {
            self.ranks.resize(index + 1, 0);
            self.counts.resize(index + 1, 0);
        }
        (self.ranks[index], self.counts[index]) = (rank, count);
        facts.set_link(new, link);
        facts.set_link(old, Link::NONE);
        let Some(list) = self.lists.get_mut(&rank) else { return };
        if link.prev == END {
            list.newest = new;
        } else {
            facts.set_link(link.prev, Link { next: new, ..facts.link(link.prev) });
        }
        if link.next == END {
            list.oldest = new;
        } else {
            facts.set_link(link.next, Link { prev: new, ..facts.link(link.next) });
        }
    }

    fn trim(&mut self, tokens: usize) {
        self.ranks.truncate(tokens);
        self.ranks.shrink_to_fit();
        self.counts.truncate(tokens);
        self.counts.shrink_to_fit();
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.unlink(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        for _ in 0..SCAN_MAX {
            let Some(lowest) = self.lowest(newcomer, facts) else { break };
            let uses = facts.uses(lowest);
            if uses == 0 {
                break;
            }
            facts.set_uses(lowest, 0);
            self.count(lowest, u32::from(uses), facts);
        }
        let victim = self.lowest(newcomer, facts).or_else(|| self.lowest(None, facts))?;
        // The newcomer may rank lower than the victim; the age must not fall behind it, nor go back.
        self.age = self.age.max(self.ranks[victim as usize]);
        self.unlink(victim, facts);
        Some(victim)
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.len);
        for (rank, list) in self.lists.iter().rev() {
            let mut token = list.newest;
            while token != END {
                let marked = self.age + u64::from(self.counts[token as usize]) + u64::from(facts.uses(token));
                order.push((if facts.uses(token) == 0 { *rank } else { marked }, token));
                token = facts.link(token).next;
            }
        }
        order.sort_by_key(|(rank, _)| Reverse(*rank));
        order.into_iter().map(|(_, token)| token).collect()
    }

    fn standing(&self, token: u32, facts: &impl Facts) -> Standing {
        let count = self.counts.get(token as usize).copied().unwrap_or(0);
        Standing { segment: "frequency", frequency: Some(count.saturating_add(facts.uses(token).into())) }
    }

    fn recall(&mut self, token: u32, frequency: u32, facts: &impl Facts) {
        if frequency > 1 && self.unlink(token, facts).is_some() {
            self.link(token, frequency, facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::model::{Step, Table, steps};
    use super::*;

    /// Count, rank and moment of the last use, by token; the victim is found by looking at all.
    #[derive(Default)]
    struct Model {
        members: BTreeMap<u32, (u32, u64, u64)>,
        age: u64,
        moment: u64,
    }

    impl Model {
        fn note(&mut self, token: u32, count: u32) {
            self.moment += 1;
            self.members.insert(token, (count, self.age + u64::from(count), self.moment));
        }

        fn victim(&mut self, newcomer: Option<u32>) -> Option<u32> {
            let lone = self.members.len() == 1;
            let others = self.members.iter().filter(|(token, _)| lone || Some(**token) != newcomer);
            let (token, rank) =
                others.min_by_key(|(_, (_, rank, moment))| (*rank, *moment)).map(|(token, m)| (*token, m.1))?;
            self.age = self.age.max(rank);
            self.members.remove(&token);
            Some(token)
        }
    }

    proptest! {
        #[test]
        fn order_is_that_of_a_naive_count_with_ageing(steps in steps(), guarded in any::<bool>()) {
            let (mut lfu, mut model, facts) = (Lfu::default(), Model::default(), Table::new(64));
            for step in steps {
                match step {
                    Step::Use(token) => if let Some((count, ..)) = model.members.get(&token).copied() {
                        lfu.touch(token, &facts);
                        model.note(token, count + 1);
                    } else {
                        lfu.insert(token, &facts);
                        model.note(token, 1);
                    },
                    Step::Renew(old, new) => {
                        if !model.members.contains_key(&new) && let Some((count, ..)) = model.members.remove(&old) {
                            lfu.renew(old, new, &facts);
                            model.note(new, count + 1);
                        }
                    }
                    Step::Remove(token) => if model.members.remove(&token).is_some() {
                        lfu.remove(token, &facts);
                    },
                    Step::Evict => {
                        let newcomer = model.members.keys().next().copied().filter(|_| guarded);
                        prop_assert_eq!(lfu.victim(newcomer, &facts), model.victim(newcomer));
                    }
                }
                prop_assert_eq!(lfu.validate(&facts), model.members.len());
            }
            let order = lfu.order(&facts);
            let leaving: Vec<_> = std::iter::from_fn(|| lfu.victim(None, &facts)).collect();
            prop_assert_eq!(order.into_iter().rev().collect::<Vec<_>>(), leaving);
        }
    }

    #[test]
    fn old_glory_fades() {
        let (mut lfu, facts) = (Lfu::default(), Table::new(64));
        lfu.insert(0, &facts);
        (0..50).for_each(|_| lfu.touch(0, &facts));
        // Newcomers that are used twice each and then leave: the age rises with each of them.
        let mut left = 0;
        for token in (1..64).cycle().take(400) {
            lfu.insert(token, &facts);
            lfu.touch(token, &facts);
            let victim = lfu.victim(None, &facts).unwrap();
            if victim == 0 {
                break;
            }
            left += 1;
        }
        assert!((20..40).contains(&left), "51 uses outlasted {left} newcomers");
    }

    #[test]
    fn marks_count_when_their_entry_would_leave() {
        let (mut lfu, facts) = (Lfu::default(), Table::new(4));
        (0..3).for_each(|token| lfu.insert(token, &facts));
        facts.set_uses(0, 3);
        assert_eq!(lfu.standing(0, &facts).frequency, Some(4));
        assert_eq!(lfu.order(&facts), [0, 2, 1]);
        let victims: Vec<_> = std::iter::from_fn(|| lfu.victim(None, &facts)).collect();
        assert_eq!(victims, [1, 2, 0]);
        assert_eq!(lfu.validate(&facts), 0);
    }

    #[test]
    fn a_newcomer_stays_as_long_as_others_can_leave() {
        let (mut lfu, facts) = (Lfu::default(), Table::new(4));
        (0..2).for_each(|token| lfu.insert(token, &facts));
        lfu.touch(1, &facts);
        assert_eq!(lfu.victim(Some(0), &facts), Some(1));
        assert_eq!(lfu.victim(Some(0), &facts), Some(0));
    }
}
