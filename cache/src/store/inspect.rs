//! Looking at single entries without a trace: their order of worth, and all that is known about them.

use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};

use super::Store;
use super::shard::{Held, Shard};
use crate::expiry::NEVER;
use crate::expiry::rule::Span;
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
    /// sorted by place, and at most `most` from the end asked for. Locks one shard at a time, though not while keys are cloned.
    pub(crate) fn ranked(&self, most: usize, hottest: bool) -> Vec<(f64, K)>
    where
        K: Clone,
    {
        let mut ranked = Vec::new();
        for shard in self.shards() {
            let length = Cell::new(0);
            let choose = |held: &Held<'_, K, V>| {
                let mut order = held.policy.order(held.facts());
                if !hottest {
                    order.reverse();
                }
                length.set(order.len());
                order
            };
            let (mut index, mut taken) = (0, 0);
            shard.visit_chosen(choose, |entry| {
                let place = (f64::from(index) + 0.5) / length.get() as f64;
                index += 1;
                if taken < most && self.is_live(&entry) {
                    ranked.push((if hottest { place } else { 1.0 - place }, entry.key().clone()));
                    taken += 1;
                }
            });
        }
        ranked.sort_by(|(a, _), (b, _)| if hottest { a.total_cmp(b) } else { b.total_cmp(a) });
        ranked.truncate(most);
        ranked
    }

    /// All about one live entry; `read` runs without a lock.
    pub(crate) fn portrait<Q, T>(&self, key: &Q, read: impl FnOnce(&V) -> T) -> Option<Portrait<T>>
    where
        K: Hash + Eq + Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        S: BuildHasher,
    {
        let hash = self.hash(key);
        let pin = Shard::<K, V>::pin();
        let held = self.lock(hash);
        let entry = self.shard(hash).find(&pin, hash as u32, move |other| other.borrow() == key)?;
        let now = if entry.may_expire() { self.clock.now() } else { 0 };
        if entry.deadline() <= now {
            return None;
        }
        let standing = held.policy.standing(entry.token(), held.facts());
        let tags = held.tags.of(entry.token());
        drop(held);
        let limit = match entry.span() {
            Some(span) if entry.may_expire() => Span::from_numbers(span).limit(),
            _ => entry.deadline(),
        };
        let from_now = |end: u64| if end == NEVER { NEVER } else { end.saturating_sub(now) };
        Some(Portrait {
            value: read(entry.value()),
            weight: entry.weight(),
            left: from_now(entry.deadline()),
            limit: from_now(limit),
            standing,
            tags,
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
        let held = self.lock(hash);
        let token = self.find_live(&held, hash, key)?;
        let order = held.policy.order(held.facts());
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
        let mut held = self.lock(hash);
        if let Some(token) = held.find(hash as u32, move |other| other == key) {
            let (state, facts) = held.parts();
            state.policy.recall(token, frequency, facts);
        }
    }
}
