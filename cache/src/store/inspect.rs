//! Looking at single entries without a trace: their order of worth, and all that is known about them.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::Store;
use crate::expiry::NEVER;
use crate::policy::{Policy, Standing};
use crate::tags::Tags;

/// All that is known about one live entry. Times are nanoseconds from now, or [`NEVER`].
pub(crate) struct Portrait<V> {
    #[cfg_attr(not(feature = "snapshot"), expect(dead_code, reason = "only snapshots need it"))]
    pub(crate) value: V,
    pub(crate) weight: u64,
    /// Time until it ends unless it is used.
    pub(crate) left: u64,
    /// Time until it ends however much it is used.
    #[cfg_attr(not(feature = "snapshot"), expect(dead_code, reason = "only snapshots need it"))]
    pub(crate) limit: u64,
    pub(crate) standing: Standing,
    pub(crate) tags: Tags,
}

impl<K, V, S> Store<K, V, S> {
    /// Keys from all shards with their places in the order of their shard, 0 for the most and 1 for the least worth keeping;
    /// sorted by place, and at most `most` from each end that `pick` chooses. Locks one shard at a time.
    pub(crate) fn ranked(&self, most: usize, hottest: bool) -> Vec<(f64, K)>
    where
        K: Clone,
    {
        let mut ranked = Vec::new();
        for shard in self.shards() {
            let state = shard.state.lock();
            let now = self.clock.now();
            let order = state.policy.order();
            let length = order.len() as f64;
            let live = order.into_iter().enumerate().filter_map(|(place, token)| {
                let entry = state.slab.get(token);
                (entry.deadline > now).then_some(((place as f64 + 0.5) / length, &entry.key))
            });
            if hottest {
                ranked.extend(live.take(most).map(|(place, key)| (place, key.clone())));
            } else {
                let live: Vec<_> = live.collect();
                ranked.extend(live.into_iter().rev().take(most).map(|(place, key)| (place, key.clone())));
            }
        }
        ranked.sort_by(|(a, _), (b, _)| if hottest { a.total_cmp(b) } else { b.total_cmp(a) });
        ranked.truncate(most);
        ranked
    }

    /// All about one live entry; `read` runs under the shard's lock.
    pub(crate) fn portrait<Q, T>(&self, key: &Q, read: impl FnOnce(&V) -> T) -> Option<Portrait<T>>
    where
        K: Hash + Eq + Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        S: BuildHasher,
    {
        let hash = self.hash(key);
        let state = self.lock(hash);
        let token = state.find_live(hash, key, &self.clock)?;
        let entry = state.slab.get(token);
        let now = if entry.may_expire() { self.clock.now() } else { 0 };
        let from_now = |end: u64| if end == NEVER { NEVER } else { end.saturating_sub(now) };
        Some(Portrait {
            value: read(&entry.value),
            weight: entry.weight,
            left: from_now(entry.deadline),
            limit: from_now(state.limit(token, entry.deadline)),
            standing: state.policy.standing(token),
            tags: state.tags.of(token),
        })
    }

    /// Place of a live entry in the order of its shard, from 0 for the most to 1 for the least worth keeping.
    pub(crate) fn place<Q>(&self, key: &Q) -> Option<f64>
    where
        K: Hash + Eq + Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        S: BuildHasher,
    {
        let hash = self.hash(key);
        let state = self.lock(hash);
        let token = state.find_live(hash, key, &self.clock)?;
        let order = state.policy.order();
        let place = order.iter().position(|other| *other == token)?;
        Some((place as f64 + 0.5) / order.len() as f64)
    }

    /// Tells the policy how often an entry had been asked for before it came in.
    #[cfg(feature = "snapshot")]
    pub(crate) fn recall(&self, key: &K, frequency: u32)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let hash = self.hash(key);
        let mut state = self.lock(hash);
        if let Some(token) = state.find(hash, key) {
            state.policy.recall(token, frequency);
        }
    }
}
