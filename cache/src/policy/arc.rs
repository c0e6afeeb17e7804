//! ARC, the adaptive replacement cache: what came once against what came again, balanced by what was missed.
//!
//! ```text
//!            insert -> T1 (asked for once) --used--> T2 (asked for again)
//!                       |                             |
//!                    B1 trail                      B2 trail      hashes of the evicted
//! a miss that is in B1: T1 was too small, its target p grows;  in B2: p shrinks;  either way into T2
//! victim: the oldest of T1 while T1 is above p, else the oldest of T2
//! ```
//!
//! With c the capacity, T1 and B1 together hold at most c, and all four 2c. Sizes are costs: entries in a cache limited by
//! entries, bytes in one limited by bytes; a step of p is then as large as the entry that was missed. Operations are O(1) on
//! the average. A use that met a busy lock is a mark; a marked entry moves to T2 when it would leave. The trails remember up
//! to as many keys again as the cache holds, some 30 bytes each.
//!
//! Source: N. Megiddo and D. Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache", FAST 2003. Departures: costs; c is what
//! the shard held when it last had to give something up; the trails are cut after an insertion instead of before.

use super::queues::Queues;
use super::trail::Trail;
use super::{Facts, Policy, SCAN_MAX, Standing};

const T1: usize = 0;
const T2: usize = 1;

/// Where a key was met on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Nowhere,
    B1,
    B2,
}

/// Lists and trails of one shard.
#[derive(Debug, Default)]
pub(crate) struct AdaptiveReplacement {
    queues: Queues<2>,
    /// Evicted from `T1` and from `T2`.
    b1: Trail,
    b2: Trail,
    /// The target p for the cost of `T1`.
    target: u64,
    /// The capacity c; 0 before the first victim.
    capacity: u64,
    /// Whether nothing came in since the last victim, so that the capacity is not what is held.
    giving: bool,
    /// Hash of the key that is about to come in, and where it was met.
    expected: Option<(u32, Met)>,
}

impl AdaptiveReplacement {
    /// Checks lists, trails and bounds; answers the number of members.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        self.b1.validate();
        self.b2.validate();
        self.queues.validate(facts)
    }

    /// Looks a key up in the trails, and learns from what it finds.
    fn meet(&mut self, hash: u32) -> Met {
        // Each trail as it is with the key in it.
        let (b1, b2) = (self.b1.cost(), self.b2.cost());
        let step = |cost: u32, other: u64, own: u64| {
            let scaled = u128::from(cost) * u128::from(other) / u128::from(own.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX).max(u64::from(cost))
        };
        if let Some(cost) = self.b1.take(hash) {
            self.target = self.target.saturating_add(step(cost, b2, b1)).min(self.capacity);
            Met::B1
        } else if let Some(cost) = self.b2.take(hash) {
            self.target = self.target.saturating_sub(step(cost, b1, b2));
            Met::B2
        } else {
            Met::Nowhere
        }
    }

    /// Forgets what the trails have too much.
    fn cut(&mut self) {
        while self.queues.queue(T1).cost + self.b1.cost() > self.capacity && self.b1.pop() {}
        while self.queues.cost() + self.b1.cost() + self.b2.cost() > 2 * self.capacity && self.b2.pop() {}
    }

    /// Which of the two lists gives up its oldest.
    fn list(&self, newcomer: Option<u32>) -> usize {
        let other = |list| {
            let queue = self.queues.queue(list);
            queue.len > 1 || queue.oldest().is_some_and(|oldest| Some(oldest) != newcomer)
        };
        let t1 = self.queues.queue(T1).cost;
        let returning = matches!(self.expected, Some((_, Met::B2)));
        if other(T1) && (t1 > self.target || (returning && t1 == self.target) || !other(T2)) { T1 } else { T2 }
    }
}

impl Policy for AdaptiveReplacement {
    fn expect(&mut self, hash: u32) {
        let met = self.meet(hash);
        self.expected = Some((hash, met));
    }

    fn insert(&mut self, token: u32, facts: &impl Facts) {
        let hash = facts.hash(token);
        let met = match self.expected.take() {
            Some((expected, met)) if expected == hash => met,
            _ => self.meet(hash),
        };
        self.queues.push(token, if met == Met::Nowhere { T1 } else { T2 }, facts);
        self.giving = false;
        self.cut();
    }

    fn touch(&mut self, token: u32, facts: &impl Facts) {
        // It may have left between the reader's look and the lock.
        if facts.link(token).is_queued() {
            self.queues.shift(token, T2, facts);
        }
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.queues.unlink(old, facts);
        facts.set_uses(new, 0);
        self.queues.push(new, T2, facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.queues.replace(old, new, facts);
    }

    fn trim(&mut self, _tokens: usize) {
        // The victims of a shrink are in the trails, more of them than the rest of the cache can use.
        self.capacity = self.queues.cost();
        self.target = self.target.min(self.capacity);
        self.cut();
        self.b1.trim();
        self.b2.trim();
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.queues.unlink(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        let newcomer = newcomer.filter(|token| self.queues.len() > 1 && facts.link(*token).is_queued());
        if !self.giving {
            let coming = newcomer.map_or(0, |token| u64::from(facts.cost(token)));
            self.capacity = self.queues.cost() - coming;
            self.target = self.target.min(self.capacity);
            self.giving = true;
        }
        let mut scanned = 0;
        let (victim, list) = loop {
            let list = self.list(newcomer);
            let oldest = self.queues.queue(list).oldest()?;
            if Some(oldest) == newcomer {
                // It has others beside it in this list, or the other list would be the one.
                self.queues.shift(oldest, list, facts);
            } else if facts.uses(oldest) > 0 && scanned < SCAN_MAX {
                scanned += 1;
                facts.set_uses(oldest, 0);
                self.queues.shift(oldest, T2, facts);
            } else {
                break (oldest, list);
            }
        };
        let trail = if list == T1 { &mut self.b1 } else { &mut self.b2 };
        trail.push(facts.hash(victim), facts.cost(victim));
        self.queues.unlink(victim, facts);
        Some(victim)
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        // What of T1 is above its target leaves first, then T2, then the rest of T1.
        let mut above = self.queues.queue(T1).cost;
        let mut t1: Vec<_> = self.queues.members(T1, facts).collect();
        let leaving = t1.iter().rev().take_while(|token| {
            let leaves = above > self.target;
            above -= u64::from(facts.cost(**token));
            leaves
        });
        let first = t1.len() - leaving.count();
        let mut over = t1.split_off(first);
        t1.extend(self.queues.members(T2, facts));
        t1.append(&mut over);
        t1.sort_by_cached_key(|token| facts.uses(*token) == 0);
        t1
    }

    fn standing(&self, token: u32, facts: &impl Facts) -> Standing {
        let segment = if facts.link(token).queue() == Some(T2) { "frequent" } else { "recent" };
        Standing { segment, frequency: None }
    }

    fn recall(&mut self, token: u32, frequency: u32, facts: &impl Facts) {
        if frequency > 1 {
            self.touch(token, facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::model::{Step, Table, steps};
    use super::*;

    /// The algorithm as it stands in the paper, with lists that are searched; newest first.
    #[derive(Default)]
    struct Paper {
        t1: Vec<u32>,
        t2: Vec<u32>,
        b1: Vec<u32>,
        b2: Vec<u32>,
        p: usize,
        c: usize,
    }

    fn cut(list: &mut Vec<u32>, key: u32) -> bool {
        let at = list.iter().position(|other| *other == key);
        at.map(|at| list.remove(at)).is_some()
    }

    impl Paper {
        fn replace(&mut self, in_b2: bool) {
            if !self.t1.is_empty() && (self.t1.len() > self.p || (in_b2 && self.t1.len() == self.p)) {
                self.b1.insert(0, self.t1.pop().unwrap());
            } else if let Some(key) = self.t2.pop() {
                self.b2.insert(0, key);
            } else if let Some(key) = self.t1.pop() {
                self.b1.insert(0, key);
            }
        }

        /// Answers whether it was a hit.
        fn request(&mut self, key: u32) -> bool {
            let (b1, b2) = (self.b1.len(), self.b2.len());
            if cut(&mut self.t1, key) || cut(&mut self.t2, key) {
                self.t2.insert(0, key);
                return true;
            }
            let full = self.t1.len() + self.t2.len() == self.c;
            if self.b1.contains(&key) {
                self.p = (self.p + (b2 / b1).max(1)).min(self.c);
                self.replace(false);
                cut(&mut self.b1, key);
                self.t2.insert(0, key);
            } else if self.b2.contains(&key) {
                self.p = self.p.saturating_sub((b1 / b2).max(1));
                self.replace(true);
                cut(&mut self.b2, key);
                self.t2.insert(0, key);
            } else {
                if self.t1.len() + b1 == self.c {
                    if self.t1.len() < self.c {
                        self.b1.pop();
                        self.replace(false);
                    } else {
                        self.t1.pop();
                    }
                } else if full {
                    if self.t1.len() + self.t2.len() + b1 + b2 == 2 * self.c {
                        self.b2.pop();
                    }
                    self.replace(false);
                }
                self.t1.insert(0, key);
            }
            false
        }
    }

    proptest! {
        #[test]
        fn it_decides_as_the_paper_does(keys in proptest::collection::vec(prop_oneof![0..12_u32, 0..60_u32], 1..600), c in 1..20_usize) {
            let (mut arc, mut paper) = (AdaptiveReplacement::default(), Paper { c, ..Paper::default() });
            let facts = Table::alike(64);
            let mut held = BTreeSet::new();
            for key in keys {
                let hit = held.contains(&key);
                if hit {
                    arc.touch(key, &facts);
                } else {
                    arc.expect(facts.hash(key));
                    if held.len() == c {
                        held.remove(&arc.victim(None, &facts).unwrap());
                    }
                    arc.insert(key, &facts);
                    held.insert(key);
                }
                prop_assert_eq!(paper.request(key), hit);
                prop_assert_eq!(arc.queues.members(T1, &facts).collect::<Vec<_>>(), paper.t1.clone());
                prop_assert_eq!(arc.queues.members(T2, &facts).collect::<Vec<_>>(), paper.t2.clone());
                prop_assert_eq!((arc.b1.len(), arc.b2.len(), arc.target), (paper.b1.len(), paper.b2.len(), paper.p as u64));
                prop_assert_eq!(arc.validate(&facts), held.len());
            }
        }

        /// With costs of several sizes, newcomers, renewals and marks.
        #[test]
        fn nothing_is_lost_and_the_trails_stay_bounded(steps in steps(), guarded in any::<bool>(), marks in any::<bool>()) {
            let (mut arc, facts, mut model) = (AdaptiveReplacement::default(), Table::new(64), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Use(token) if model.contains(&token) && marks => facts.bump(token),
                    Step::Use(token) if model.contains(&token) => arc.touch(token, &facts),
                    Step::Use(token) => {
                        facts.set_uses(token, 0);
                        arc.insert(token, &facts);
                        model.insert(token);
                        prop_assert!(arc.b1.cost() + arc.b2.cost() <= 2 * arc.capacity);
                    }
                    Step::Renew(old, new) => if model.contains(&old) && !model.contains(&new) {
                        arc.renew(old, new, &facts);
                        model.remove(&old);
                        model.insert(new);
                    },
                    Step::Remove(token) => if model.remove(&token) {
                        arc.remove(token, &facts);
                    },
                    Step::Evict => {
                        let newcomer = model.first().copied().filter(|_| guarded);
                        let victim = arc.victim(newcomer, &facts);
                        prop_assert_eq!(victim.is_none(), model.is_empty());
                        if let Some(victim) = victim {
                            prop_assert!(model.remove(&victim));
                            prop_assert!(Some(victim) != newcomer || model.is_empty(), "the newcomer stays");
                        }
                    }
                }
                prop_assert_eq!(arc.validate(&facts), model.len());
                prop_assert!(arc.target <= arc.capacity);
            }
            // Without marks, entries leave in the order that was told.
            (0..64).for_each(|token| facts.set_uses(token, 0));
            let order = arc.order(&facts);
            let leaving: Vec<_> = std::iter::from_fn(|| arc.victim(None, &facts)).collect();
            prop_assert_eq!(order.into_iter().rev().collect::<Vec<_>>(), leaving);
        }
    }

    #[test]
    fn a_scan_leaves_what_was_asked_for_twice_and_a_mark_counts_as_a_use() {
        let (mut arc, facts) = (AdaptiveReplacement::default(), Table::alike(64));
        (0..4).for_each(|token| arc.insert(token, &facts));
        arc.touch(0, &facts);
        facts.set_uses(1, 1);
        for token in 4..30 {
            let victim = arc.victim(None, &facts).unwrap();
            assert!(victim > 1, "{victim} left");
            arc.insert(token, &facts);
        }
        assert_eq!((arc.standing(1, &facts).segment, arc.standing(29, &facts).segment), ("frequent", "recent"));
    }
}
