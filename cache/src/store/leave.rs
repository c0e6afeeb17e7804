//! Leaving in groups: by tag, by predicate.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::Store;
use crate::stats::Cause;
use crate::tags::Tags;

impl<K, V, S> Store<K, V, S> {
    /// Removes the entries of a tag; loads in flight that were started with it will not be stored.
    pub(crate) fn invalidate_tag(&self, tag: &str) -> usize {
        let mut removed = 0;
        for shard in self.shards() {
            let mut departed = self.departed();
            let mut held = shard.lock();
            let flights = held.flights.detach_tagged(tag);
            for token in held.tags.tokens(tag) {
                let expired = held.is_over(token, &self.clock);
                let cause = if expired { Cause::Expired } else { Cause::Explicit };
                held.discard(token, cause, &self.budget, &mut departed);
                removed += usize::from(!expired);
            }
            held.collect(true, departed.garbage());
            drop(held);
            drop(flights);
        }
        removed
    }

    /// Removes the live entries that `leaves` picks; no load in flight will be stored.
    pub(crate) fn invalidate_if(&self, mut leaves: impl FnMut(&K, &V) -> bool) -> usize {
        let (mut removed, mut now) = (0, None);
        for shard in self.shards() {
            let mut departed = self.departed();
            let mut held = shard.lock();
            let mut tokens = Vec::new();
            for token in held.tokens_from(0) {
                let entry = held.entry(token);
                let live = !entry.may_expire() || entry.deadline() > *now.get_or_insert_with(|| self.clock.now());
                if live && leaves(entry.key(), entry.value()) {
                    tokens.push(token);
                }
            }
            let flights = held.flights.detach_all();
            removed += tokens.len();
            for token in tokens {
                held.discard(token, Cause::Explicit, &self.budget, &mut departed);
            }
            held.collect(true, departed.garbage());
            drop(held);
            drop(flights);
        }
        removed
    }

    /// The tags of a live entry.
    pub(crate) fn tags<Q>(&self, key: &Q) -> Tags
    where
        K: Hash + Eq + Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        S: BuildHasher,
    {
        let hash = self.hash(key);
        let held = self.lock(hash);
        let token = self.find_live(&held, hash, key)?;
        held.tags.of(token)
    }
}
