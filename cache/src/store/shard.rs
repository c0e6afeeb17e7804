//! One slice of a cache: entries, policy, deadlines and running loads.
//!
//! Everything that must agree about a key changes under the same lock, so a miss and the start of a load, or the end of a
//! load and an invalidation, cannot slip between each other. Reading an entry needs no lock, see [`arena`](super::arena).

use std::hash::Hash;

use super::arena::{Arena, Locked, Pair, Taken};
use super::budget::Budget;
use super::departed::Departed;
use crate::expiry::{Clock, Deadlines};
use crate::load::flight::Flights;
use crate::policy::{Engine, Policy};
use crate::stats::{Cause, Counters};
use crate::tags::{TagIndex, Tags};

/// A slice of a cache.
pub(crate) type Shard<K, V> = Arena<K, V, State<K, V>>;

/// A slice of a cache whose lock is held.
pub(crate) type Held<'a, K, V> = Locked<'a, K, V, State<K, V>>;

/// What the lock of a shard protects beside the entries.
pub(crate) struct State<K, V> {
    pub(crate) policy: Engine,
    pub(super) deadlines: Deadlines,
    pub(crate) tags: TagIndex,
    pub(crate) flights: Flights<K, V>,
    pub(crate) counters: Counters,
    /// Sum of the weights of this shard's entries.
    pub(crate) weight: u64,
}

impl<K, V> State<K, V> {
    /// The state of an empty shard, where a use can move deadlines, or not.
    pub(crate) fn new(policy: Engine, moving: bool) -> Self {
        Self {
            policy,
            deadlines: Deadlines::new(moving),
            tags: TagIndex::default(),
            flights: Flights::default(),
            counters: Counters::default(),
            weight: 0,
        }
    }
}

impl<'a, K, V> Held<'a, K, V> {
    /// Whether the time of a live entry is over. Reads the clock only if it can expire.
    pub(crate) fn is_over(&self, token: u32, clock: &Clock) -> bool {
        let entry = self.entry(token);
        entry.may_expire() && entry.deadline() <= clock.now()
    }

    /// Takes in an entry whose key is not in the index; the caller adds it to the budget.
    pub(crate) fn add(&mut self, pair: Pair<K, V>, tags: &Tags) -> u32 {
        let (weight, deadline) = (pair.weight, pair.deadline);
        let token = self.insert(pair);
        let (state, slab) = self.parts();
        state.policy.insert(token, slab);
        state.deadlines.set(token, deadline);
        state.tags.set(token, tags);
        state.weight += weight;
        state.counters.inserts += 1;
        token
    }

    /// Puts a new value in the place of an entry; answers its token.
    pub(crate) fn renew(
        &mut self,
        old: u32,
        pair: Pair<K, V>,
        tags: &Tags,
        budget: &Budget,
        departed: &mut Departed<'a, K, V>,
    ) -> u32 {
        let entry = self.entry(old);
        let (weight_before, deadline_before) = (entry.weight(), entry.deadline());
        let (weight, deadline) = (pair.weight, pair.deadline);
        let new = departed.replace(self, old, pair);
        let (state, slab) = self.parts();
        state.policy.renew(old, new, slab);
        state.deadlines.unset(old, deadline_before);
        state.deadlines.set(new, deadline);
        state.tags.unset(old);
        state.tags.set(new, tags);
        state.weight = state.weight - weight_before + weight;
        state.counters.updates += 1;
        state.counters.evictions.count(Cause::Replaced);
        budget.reweigh(weight_before, weight);
        new
    }

    /// Does all that belongs to an entry's leaving, before it is taken out of the arena; answers its weight.
    fn forget(&mut self, token: u32, cause: Cause) -> u64 {
        let entry = self.entry(token);
        let (weight, deadline) = (entry.weight(), entry.deadline());
        let (state, slab) = self.parts();
        state.policy.remove(token, slab);
        state.deadlines.unset(token, deadline);
        state.tags.unset(token);
        state.weight -= weight;
        state.counters.evictions.count(cause);
        weight
    }

    /// Takes an entry out of everything.
    pub(crate) fn discard(&mut self, token: u32, cause: Cause, budget: &Budget, departed: &mut Departed<'a, K, V>) {
        let weight = self.forget(token, cause);
        departed.remove(self, token, cause);
        budget.sub(weight);
    }

    /// Takes an entry out of everything, for its value.
    pub(crate) fn take_out(&mut self, token: u32, cause: Cause, budget: &Budget) -> Taken<'a, K, V> {
        let weight = self.forget(token, cause);
        budget.sub(weight);
        self.take(token)
    }

    /// Gives up the entry that the policy regrets least; answers its weight, which the caller takes off the budget.
    pub(crate) fn evict(
        &mut self,
        cause: Cause,
        newcomer: Option<u32>,
        departed: &mut Departed<'a, K, V>,
    ) -> Option<u64> {
        let (state, slab) = self.parts();
        let token = state.policy.victim(newcomer, slab)?;
        let (weight, deadline) = slab.weight_and_deadline(token);
        state.deadlines.unset(token, deadline);
        state.tags.unset(token);
        state.weight -= weight;
        state.counters.evictions.count(cause);
        departed.remove(self, token, cause);
        Some(weight)
    }

    /// Removes up to `most` entries that have expired; answers how many, and whether others are left.
    pub(crate) fn expire(
        &mut self,
        clock: &Clock,
        most: usize,
        budget: &Budget,
        departed: &mut Departed<'a, K, V>,
    ) -> (usize, bool) {
        if self.deadlines.is_empty() {
            return (0, false);
        }
        let now = clock.now();
        let mut removed = 0;
        for _ in 0..most {
            let Some(token) = self.deadlines.due(now) else { return (removed, false) };
            let deadline = self.entry(token).deadline();
            if deadline > now {
                // A use has moved it since it was noted.
                self.deadlines.renote(token, deadline);
            } else {
                self.discard(token, Cause::Expired, budget, departed);
                removed += 1;
            }
        }
        (removed, self.deadlines.due(now).is_some())
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self, budget: &Budget, departed: &mut Departed<'a, K, V>) {
        let tokens: Vec<u32> = self.tokens_from(0).collect();
        for token in tokens {
            self.discard(token, Cause::Explicit, budget, departed);
        }
        self.collect_all(departed.garbage());
        self.compact_if_empty();
    }

    /// Recomputes everything from the entries and compares; answers entries and weight.
    ///
    /// # Panics
    ///
    /// When anything differs.
    pub(crate) fn check(&mut self) -> (u64, u64)
    where
        K: Hash + Eq,
    {
        self.validate();
        let (mut entries, mut weight, mut expiring) = (0, 0, 0);
        for token in self.tokens_from(0) {
            let entry = self.entry(token);
            let key = entry.key();
            let found = self.find(entry.hash(), move |other| other == key);
            assert_eq!(found, Some(token), "the index finds each entry under its token");
            if entry.may_expire() {
                expiring += 1;
                assert!(self.deadlines.holds(token, entry.deadline()), "the deadline of token {token} is noted");
            }
            entries += 1;
            weight += entry.weight();
        }
        assert_eq!(self.deadlines.len(), expiring, "deadlines");
        for token in self.tags.validate() {
            assert!(self.is_live(token), "token {token} has tags, but is no entry");
        }
        assert_eq!(self.weight, weight, "weight of the shard");
        let (state, slab) = self.parts();
        assert_eq!(state.policy.validate(slab) as u64, entries, "tokens in the policy");
        (entries, weight)
    }
}
