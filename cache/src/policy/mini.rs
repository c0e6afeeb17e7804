//! A miniature cache of the [shadow](super::shadow): hashes instead of keys, no values, any policy.
//!
//! What it counts itself (cost, length) it does not ask of the policy, so every [`Policy`] can run in one.

use std::cell::Cell;

use super::adaptive::Adaptive;
use super::dials::Dials;
use super::queues::Link;
use super::{Facts, Policy};

/// A place of the index that holds nothing.
const NONE: u32 = u32::MAX;

/// A scaled-down cache.
#[derive(Debug)]
pub(crate) struct Mini<P = Adaptive> {
    policy: P,
    capacity: u64,
    cost: u64,
    len: usize,
    notes: Notes,
    free: Vec<u32>,
    /// Hash and token, with linear probing; a power of two, at most three quarters full.
    index: Box<[(u32, u32)]>,
}

/// What the policy may know, by token.
#[derive(Debug)]
struct Notes {
    by_token: Vec<Note>,
    alike: bool,
}

#[derive(Debug)]
struct Note {
    hash: u32,
    cost: u32,
    uses: Cell<u8>,
    link: Cell<Link>,
}

impl Facts for Notes {
    #[inline]
    fn uses(&self, token: u32) -> u8 {
        self.by_token[token as usize].uses.get()
    }

    #[inline]
    fn set_uses(&self, token: u32, uses: u8) {
        self.by_token[token as usize].uses.set(uses);
    }

    #[inline]
    fn hash(&self, token: u32) -> u32 {
        self.by_token[token as usize].hash
    }

    #[inline]
    fn cost(&self, token: u32) -> u32 {
        if self.alike { 1 } else { self.by_token[token as usize].cost }
    }

    #[inline]
    fn link(&self, token: u32) -> Link {
        self.by_token[token as usize].link.get()
    }

    #[inline]
    fn set_link(&self, token: u32, link: Link) {
        self.by_token[token as usize].link.set(link);
    }

    #[inline]
    fn alike(&self) -> bool {
        self.alike
    }
}

impl Mini {
    /// One arm of the dials. With `alike`, every key costs 1.
    pub(crate) fn new(dials: Dials, capacity: u64, entries: usize, alike: bool) -> Self {
        Self::with_policy(Adaptive::with_dials(dials, entries), capacity, entries, alike)
    }
}

/// Places of an index for so many entries.
fn places(entries: usize) -> usize {
    (entries * 2).next_power_of_two().max(16)
}

impl<P: Policy> Mini<P> {
    /// Any policy. With `alike`, every key costs 1.
    pub(crate) fn with_policy(policy: P, capacity: u64, entries: usize, alike: bool) -> Self {
        Self {
            policy,
            capacity,
            cost: 0,
            len: 0,
            notes: Notes { by_token: Vec::new(), alike },
            free: Vec::new(),
            index: vec![(0, NONE); places(entries)].into(),
        }
    }

    /// Changes the capacity; what is then too much leaves when room is next made.
    pub(crate) fn resize(&mut self, capacity: u64, entries: usize) {
        self.capacity = capacity;
        if places(entries) > self.index.len() {
            let before = std::mem::replace(&mut self.index, vec![(0, NONE); places(entries)].into());
            for (hash, token) in before.into_iter().filter(|(_, token)| *token != NONE) {
                let place = self.find(hash).0;
                self.index[place] = (hash, token);
            }
        }
    }

    /// One request, which on a miss takes the key in; answers whether it was a hit.
    pub(crate) fn request(&mut self, hash: u32, cost: u32) -> bool {
        let hit = self.lookup(hash);
        if !hit {
            self.store(hash, cost);
        }
        hit
    }

    /// A lookup; answers whether it was a hit.
    #[inline]
    pub(crate) fn lookup(&mut self, hash: u32) -> bool {
        let Some(token) = self.find(hash).1 else { return false };
        self.policy.touch(token, &self.notes);
        true
    }

    /// Takes a key in that is not there yet.
    pub(crate) fn store(&mut self, hash: u32, cost: u32) {
        let cost = if self.notes.alike { 1 } else { cost };
        let (mut place, None) = self.find(hash) else { return };
        if u64::from(cost) > self.capacity {
            // Heavier than the whole miniature: no evidence.
            return;
        }
        self.policy.expect(hash);
        let mut evicted = false;
        while self.cost + u64::from(cost) > self.capacity || self.len * 4 >= self.index.len() * 3 {
            let Some(victim) = self.policy.victim(None, &self.notes) else { return };
            self.forget(self.notes.hash(victim));
            self.cost -= u64::from(self.notes.cost(victim));
            self.len -= 1;
            self.free.push(victim);
            evicted = true;
        }
        let note = Note { hash, cost, uses: Cell::new(0), link: Cell::new(Link::NONE) };
        let token = self.free.pop().unwrap_or(self.notes.by_token.len() as u32);
        if token as usize == self.notes.by_token.len() {
            self.notes.by_token.push(note);
        } else {
            self.notes.by_token[token as usize] = note;
        }
        self.policy.insert(token, &self.notes);
        self.cost += u64::from(cost);
        self.len += 1;
        if evicted {
            place = self.find(hash).0;
        }
        self.index[place] = (hash, token);
    }

    fn home(&self, hash: u32) -> usize {
        (hash.wrapping_mul(0x9E37_79B1) >> 8) as usize & (self.index.len() - 1)
    }

    /// Where a hash is, or would be.
    fn find(&self, hash: u32) -> (usize, Option<u32>) {
        let mut at = self.home(hash);
        loop {
            let (other, token) = self.index[at];
            if token == NONE {
                return (at, None);
            }
            if other == hash {
                return (at, Some(token));
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    /// Takes a hash out, and moves those back that had to go past it.
    fn forget(&mut self, hash: u32) {
        let (mut hole, Some(_)) = self.find(hash) else { return };
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let (other, token) = self.index[at];
            if token == NONE {
                break;
            }
            if at.wrapping_sub(self.home(other)) & mask >= at.wrapping_sub(hole) & mask {
                self.index[hole] = (other, token);
                hole = at;
            }
        }
        self.index[hole].1 = NONE;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::dials::ARMS;
    use super::super::{Engine, PolicyKind};
    use super::*;

    proptest! {
        #[test]
        fn index_and_policy_agree_and_the_capacity_holds(
            requests in proptest::collection::vec((0..60_u32, 1..9_u32), 1..600),
            capacity in 1..60_u64,
            arm in 0..ARMS.len(),
        ) {
            let mut mini = Mini::new(ARMS[arm], capacity, 12, false);
            for (key, cost) in requests {
                let hash = key * 7;
                let known = mini.find(hash).1.is_some();
                prop_assert_eq!(mini.request(hash, cost), known);
                prop_assert!(mini.cost <= capacity);
                prop_assert_eq!((mini.policy.cost(), mini.policy.len()), (mini.cost, mini.len));
                prop_assert_eq!(mini.policy.validate(&mini.notes), mini.policy.len());
                let indexed = mini.index.iter().filter(|(_, token)| *token != NONE);
                prop_assert!(indexed.clone().all(|(hash, token)| mini.find(*hash).1 == Some(*token)));
                prop_assert_eq!(indexed.count(), mini.policy.len());
                prop_assert!(known || u64::from(cost) > capacity || mini.find(hash).1.is_some());
            }
        }

        #[test]
        fn a_miniature_that_grows_keeps_what_it_holds(first in 1..80_usize, second in 1..200_usize) {
            let engine = Engine::new(PolicyKind::Lru, &std::sync::Arc::default(), first);
            let mut mini = Mini::with_policy(engine, first as u64, first, true);
            (0..first as u32).for_each(|key| { mini.request(key * 7, 1); });
            mini.resize(second as u64, second);
            let held = (0..first as u32).filter(|key| mini.find(key * 7).1.is_some()).count();
            prop_assert_eq!(held, first, "nothing leaves before something comes");
            mini.store(u32::MAX, 1);
            prop_assert!(mini.cost <= second as u64 && mini.lookup(u32::MAX));
            prop_assert_eq!(mini.policy.validate(&mini.notes), mini.len);
        }
    }
}
