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
            let mut garbage = self.garbage();
            let mut state = shard.state.lock();
            let flights = state.flights.detach_tagged(tag);
            for token in state.tags.tokens(tag) {
                let expired = state.slab.get(token).may_expire() && state.slab.get(token).deadline <= self.clock.now();
                let cause = if expired { Cause::Expired } else { Cause::Explicit };
                garbage.push(state.take(token, cause, &self.budget), cause);
                removed += usize::from(!expired);
            }
            drop(state);
            drop(flights);
        }
        removed
    }

    /// Removes the live entries that `leaves` picks; no load in flight will be stored.
    pub(crate) fn invalidate_if(&self, mut leaves: impl FnMut(&K, &V) -> bool) -> usize {
        let (mut removed, mut now) = (0, None);
        for shard in self.shards() {
            let mut garbage = self.garbage();
            let mut state = shard.state.lock();
            let mut tokens = Vec::new();
            for (token, entry) in state.slab.iter_from(0) {
                let live = !entry.may_expire() || entry.deadline > *now.get_or_insert_with(|| self.clock.now());
                if live && leaves(&entry.key, &entry.value) {
                    tokens.push(token);
                }
            }
            let flights = state.flights.detach_all();
            removed += tokens.len();
            for token in tokens {
                garbage.push(state.take(token, Cause::Explicit, &self.budget), Cause::Explicit);
            }
            drop(state);
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
        let state = self.lock(hash);
        let token = state.find_live(hash, key, &self.clock)?;
        state.tags.of(token)
    }
}
