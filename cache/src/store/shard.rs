//! One slice of a cache: index, entries, policy, deadlines and running loads, under one lock.
//!
//! Everything that must agree about a key lies behind the same lock, so a miss and the start of a load, or the end of a
//! load and an invalidation, cannot slip between each other.

use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashTable;
use parking_lot::Mutex;

use super::budget::Budget;
use super::slab::{Slab, TOKENS_MAX};
use crate::entry::Entry;
use crate::expiry::rule::Rule;
use crate::expiry::{Clock, Deadlines};
use crate::listener::Listener;
use crate::load::flight::Flights;
use crate::policy::{Engine, Policy};
use crate::stats::{Cause, Counters};
use crate::tags::TagIndex;
use crate::terms::Appraisal;

/// A shard in cache lines of its own.
#[repr(align(128))]
pub(crate) struct Shard<K, V> {
    pub(crate) state: Mutex<State<K, V>>,
}

/// What the lock of a shard protects.
pub(crate) struct State<K, V> {
    index: HashTable<u32>,
    pub(crate) slab: Slab<K, V>,
    pub(crate) policy: Engine,
    deadlines: Deadlines,
    pub(crate) tags: TagIndex,
    pub(crate) flights: Flights<K, V>,
    pub(crate) counters: Counters,
    /// Sum of the weights of this shard's entries.
    pub(crate) weight: u64,
    /// Whether the policy counts bytes; otherwise each entry costs it 1.
    by_weight: bool,
}

/// Entries on their way out, dropped after the lock: a destructor may take long or use the cache. The listener, if there
/// is one, hears of them then.
pub(crate) struct Garbage<'a, K, V> {
    listener: Option<&'a Listener<K, V>>,
    /// Most operations free one entry, which then costs no allocation.
    first: Option<(Entry<K, V>, Cause)>,
    rest: Vec<(Entry<K, V>, Cause)>,
    /// A value that was replaced, and the key that came with the new one.
    replaced: Option<(K, V)>,
}

impl<'a, K, V> Garbage<'a, K, V> {
    pub(crate) fn new(listener: Option<&'a Listener<K, V>>) -> Self {
        Self { listener, first: None, rest: Vec::new(), replaced: None }
    }

    pub(crate) fn push(&mut self, entry: Entry<K, V>, cause: Cause) {
        if self.first.is_none() {
            self.first = Some((entry, cause));
        } else {
            self.rest.push((entry, cause));
        }
    }

    pub(crate) fn push_replaced(&mut self, key: K, value: V) {
        self.replaced = Some((key, value));
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

impl<K, V> Drop for Garbage<'_, K, V> {
    fn drop(&mut self) {
        let Some(listener) = self.listener else { return };
        if let Some((key, value)) = &self.replaced {
            listener.tell(key, value, Cause::Replaced);
        }
        for (entry, cause) in self.first.iter().chain(&self.rest) {
            listener.tell(&entry.key, &entry.value, *cause);
        }
    }
}

impl<K, V> State<K, V> {
    pub(crate) fn new(policy: Engine, by_weight: bool, rule: Rule) -> Self {
        Self {
            index: HashTable::new(),
            slab: Slab::default(),
            policy,
            deadlines: Deadlines::new(rule),
            tags: TagIndex::default(),
            flights: Flights::default(),
            counters: Counters::default(),
            weight: 0,
            by_weight,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The token of a key, expired or not.
    pub(crate) fn find<Q>(&self, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.index
            .find(hash, |token| {
                let entry = self.slab.get(*token);
                entry.hash == hash && entry.key.borrow() == key
            })
            .copied()
    }

    /// The token of a key that has not expired. Reads the clock only if the entry can expire.
    pub(crate) fn find_live<Q>(&self, hash: u64, key: &Q, clock: &Clock) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.find(hash, key).filter(|token| {
            let entry = self.slab.get(*token);
            !entry.may_expire() || entry.deadline > clock.now()
        })
    }

    /// A lookup by a user: counts it, tells the policy, and removes the entry if it has expired.
    pub(crate) fn look_up<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        clock: &Clock,
        budget: &Budget,
        garbage: &mut Garbage<'_, K, V>,
    ) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(token) = self.find(hash, key) else {
            self.counters.misses += 1;
            return None;
        };
        let entry = self.slab.get_mut(token);
        if entry.may_expire() {
            let now = clock.now();
            if entry.deadline <= now {
                garbage.push(self.take(token, Cause::Expired, budget), Cause::Expired);
                self.counters.misses += 1;
                return None;
            }
            entry.deadline = self.deadlines.touched(token, entry.deadline, now);
        }
        self.policy.touch(token);
        self.counters.hits += 1;
        Some(token)
    }

    /// Takes in an entry whose key is not in the index.
    pub(crate) fn add(&mut self, entry: Entry<K, V>, terms: &Appraisal, budget: &Budget) {
        let (hash, weight, deadline) = (entry.hash, entry.weight, entry.deadline);
        let cost = self.cost(weight);
        let token = self.slab.insert(entry);
        let slab = &self.slab;
        self.index.insert_unique(hash, token, |token| slab.get(*token).hash);
        self.policy.insert(token, hash, cost);
        self.deadlines.set(token, deadline, terms.span);
        self.tags.set(token, &terms.tags);
        self.weight += weight;
        self.counters.inserts += 1;
        budget.add(weight);
    }

    /// Puts a new value under a token and answers the old one. The key stays the first one, as in the standard maps.
    pub(crate) fn replace(&mut self, token: u32, value: V, terms: &Appraisal, budget: &Budget) -> V {
        let (weight, deadline) = (terms.weight, terms.deadline);
        let cost = self.cost(weight);
        let entry = self.slab.get_mut(token);
        let old = std::mem::replace(&mut entry.value, value);
        let (weight_before, deadline_before) = (entry.weight, entry.deadline);
        (entry.weight, entry.deadline) = (weight, deadline);
        self.deadlines.unset(token, deadline_before);
        self.deadlines.set(token, deadline, terms.span);
        self.tags.set(token, &terms.tags);
        if weight != weight_before {
            self.weight = self.weight - weight_before + weight;
            self.policy.reweigh(token, cost);
            budget.reweigh(weight_before, weight);
        }
        self.policy.touch(token);
        self.counters.updates += 1;
        self.counters.evictions.count(Cause::Replaced);
        old
    }

    /// Takes an entry out of everything.
    pub(crate) fn take(&mut self, token: u32, cause: Cause, budget: &Budget) -> Entry<K, V> {
        let hash = self.slab.get(token).hash;
        match self.index.find_entry(hash, |other| *other == token) {
            Ok(slot) => drop(slot.remove()),
            Err(_) => unreachable!("an entry of the slab is in the index"),
        }
        self.policy.remove(token);
        let entry = self.slab.remove(token);
        self.deadlines.unset(token, entry.deadline);
        self.tags.unset(token);
        self.weight -= entry.weight;
        self.counters.evictions.count(cause);
        budget.sub(entry.weight);
        entry
    }

    /// Gives up the entry that the policy regrets least.
    pub(crate) fn evict(&mut self, cause: Cause, budget: &Budget) -> Option<Entry<K, V>> {
        let token = self.policy.victim()?;
        Some(self.take(token, cause, budget))
    }

    /// Removes up to `most` entries that have expired; answers whether others are left.
    pub(crate) fn expire(
        &mut self,
        clock: &Clock,
        most: usize,
        budget: &Budget,
        garbage: &mut Garbage<'_, K, V>,
    ) -> bool {
        if self.deadlines.is_empty() {
            return false;
        }
        let now = clock.now();
        for _ in 0..most {
            let Some(token) = self.deadlines.due(now) else { return false };
            let deadline = self.slab.get(token).deadline;
            if deadline > now {
                self.deadlines.renote(token, deadline);
            } else {
                garbage.push(self.take(token, Cause::Expired, budget), Cause::Expired);
            }
        }
        self.deadlines.due(now).is_some()
    }

    /// The end of an entry that no use can move.
    pub(crate) fn limit(&self, token: u32, deadline: u64) -> u64 {
        self.deadlines.limit(token, deadline)
    }

    /// Whether the slab has no token left.
    pub(crate) fn is_full(&self) -> bool {
        self.slab.len() >= TOKENS_MAX
    }

    /// Gives unused memory of the index back after it was emptied.
    pub(crate) fn compact_if_empty(&mut self) {
        if self.len() == 0 {
            self.index = HashTable::new();
            self.slab = Slab::default();
        }
    }

    fn cost(&self, weight: u64) -> u32 {
        if self.by_weight { u32::try_from(weight).unwrap_or(u32::MAX) } else { 1 }
    }

    /// Recomputes everything from the entries and compares; answers entries and weight.
    pub(crate) fn validate(&self) -> (u64, u64)
    where
        K: Hash + Eq,
    {
        let (mut entries, mut weight, mut expiring) = (0, 0, 0);
        for (token, entry) in self.slab.iter_from(0) {
            assert_eq!(self.find(entry.hash, &entry.key), Some(token), "the index finds each entry under its token");
            if entry.may_expire() {
                expiring += 1;
                assert!(self.deadlines.holds(token, entry.deadline), "the deadline of token {token} is noted");
            }
            entries += 1;
            weight += entry.weight;
        }
        assert_eq!(self.index.len() as u64, entries, "tokens in the index");
        assert_eq!(self.slab.len() as u64, entries, "entries in the slab");
        assert_eq!(self.policy.validate() as u64, entries, "tokens in the policy");
        assert_eq!(self.deadlines.len(), expiring, "deadlines");
        for token in self.tags.validate() {
            assert!(self.slab.contains(token), "token {token} has tags, but is no entry");
        }
        assert_eq!(self.weight, weight, "weight of the shard");
        (entries, weight)
    }
}
