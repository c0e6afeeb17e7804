//! Fewer entries and less memory: victims leave in bounded steps, then the shards are compacted.
//!
//! Victims are the policy's own. Shards give a bounded number at a time, in rotation, and only those that hold at least
//! their even part of what is still there, so that all end alike. What left is dropped between the steps, after the lock. No
//! lock is held for longer than such a step, but for the renewal of a shard's index, which takes as long as its growth did.

use super::shard::Shard;
use super::{Departed, Store};
use crate::policy::Policy;
use crate::shrink::Freed;
use crate::stats::Cause;

/// Victims of one hold of a lock.
const EVICT_STEP: usize = 256;
/// Entries that change their slots under one hold of a lock: readers who look for them meanwhile wait.
const CARRY_STEP: usize = 32;

impl<K, V, S> Store<K, V, S> {
    /// Evicts until a share of what is held now is left, compacts, and answers what was given up.
    pub(crate) fn shrink_to(&self, share: trimtab_config::Share) -> Freed {
        let (entries, weight) = (self.budget.entries(), self.budget.weight());
        let by_weight = self.weigher.is_some();
        let goal = share.of(if by_weight { weight } else { entries });
        let freed =
            if share < trimtab_config::Share::ALL { self.give_up(goal, by_weight, entries) } else { Freed::default() };
        self.shards().iter().for_each(|shard| self.compact(shard));
        self.fit_shadow();
        freed
    }

    /// Evicts down to a sum of weights or entries, though not more than `most`: others may insert as fast.
    fn give_up(&self, goal: u64, by_weight: bool, most: u64) -> Freed {
        let held_now = || if by_weight { self.budget.weight() } else { self.budget.entries() };
        let (mut freed, parts) = (Freed::default(), self.shards().len() as u64);
        for fair in [true, false].into_iter().cycle() {
            let before = freed.entries;
            for shard in self.shards() {
                let mut departed = self.departed();
                let mut held = shard.lock();
                for _ in 0..if fair { EVICT_STEP } else { 1 } {
                    let own = if by_weight { held.weight } else { held.len() as u64 };
                    let now = held_now();
                    let is_fair = u128::from(own) * u128::from(parts) >= u128::from(now);
                    if now <= goal || freed.entries >= most || (fair && !is_fair) {
                        break;
                    }
                    let Some(weight) = held.evict(Cause::Shrunk, None, &mut departed) else { break };
                    self.budget.sub(weight);
                    freed.entries += 1;
                    freed.bytes += weight;
                }
                held.collect(true, departed.garbage());
            }
            let done = held_now() <= goal || freed.entries >= most;
            // The unfair round is for the case that the sums were off while others wrote.
            if done || (!fair && freed.entries == before) {
                break;
            }
        }
        freed
    }

    /// Lets the entries of a shard lie close together and gives back the memory beyond.
    fn compact(&self, shard: &Shard<K, V>) {
        // Destructors run at the end, so that a panic in one leaves a shard in order.
        let mut departed = self.departed();
        let begun = shard.lock().begin_compaction();
        if let Some(mut step) = begun {
            while shard.lock().compact(&mut step, CARRY_STEP, |state, slab, old, new| {
                let deadline = slab.deadline_of(new);
                state.policy.rename(old, new, slab);
                state.deadlines.rename(old, new, deadline);
                state.tags.rename(old, new);
            }) {}
            while shard.lock().release(departed.garbage()) {}
            shard.lock().end_compaction();
        }
        let mut held = shard.lock();
        trim(&mut held, &mut departed);
    }
}

fn trim<'a, K, V>(held: &mut super::shard::Held<'a, K, V>, departed: &mut Departed<'a, K, V>) {
    let tokens = held.trim(departed.garbage()) as usize;
    held.policy.trim(tokens);
    held.deadlines.trim(tokens);
    held.tags.trim();
}
