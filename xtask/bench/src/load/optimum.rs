//! Bélády's optimum: how often a cache of a given size can hit at most, knowing the future.
//!
//! On a miss the key whose next use lies farthest away goes; that may be the newcomer itself, which then never enters
//! ("MIN with bypass"). Bypass matters: a cache that refuses newcomers may beat plain MIN, but nothing beats this.
//!
//! Source: L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal, 1966.

use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::FixedState;

const NEVER: u32 = u32::MAX;

/// The largest number of hits that a cache of `capacity` entries can have on `keys`.
///
/// # Complexity
///
/// O(n log n) time for n requests, O(n) memory.
pub fn hits(keys: &[u64], capacity: usize) -> u64 {
    let next = next_uses(keys);
    // Next use of each kept entry, farthest first. An entry that is hit gets a new pair; its old pair carries a
    // position already passed and never comes to the top before the live ones, so stale pairs are harmless: a pair is
    // live if and only if it lies in the future of the current request.
    let mut kept: HashMap<u64, u32, FixedState> = HashMap::default();
    let mut farthest: BinaryHeap<(u32, u64)> = BinaryHeap::new();
    let mut hits = 0;
    for (key, &next) in keys.iter().zip(&next) {
        if let Some(use_at) = kept.get_mut(key) {
            hits += 1;
            *use_at = next;
            farthest.push((next, *key));
            continue;
        }
        if next == NEVER {
            continue; // it would be dropped first anyway
        }
        if kept.len() >= capacity {
            let Some(&(victim_next, victim)) = farthest.peek() else {
                continue;
            };
            if victim_next <= next {
                continue; // the newcomer is the one used last
            }
            farthest.pop();
            kept.remove(&victim);
        }
        kept.insert(*key, next);
        farthest.push((next, *key));
    }
    hits
}

/// For each request, the position of the next request of the same key.
fn next_uses(keys: &[u64]) -> Vec<u32> {
    assert!(keys.len() < NEVER as usize, "a trace of {} requests is too long", keys.len());
    let mut next = vec![NEVER; keys.len()];
    let mut seen: HashMap<u64, u32, FixedState> = HashMap::default();
    for at in (0..keys.len()).rev() {
        if let Some(later) = seen.insert(keys[at], at as u32) {
            next[at] = later;
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The best over every possible choice, by trying all of them.
    fn brute(keys: &[u64], kept: &BTreeSet<u64>, capacity: usize) -> u64 {
        let Some((key, rest)) = keys.split_first() else {
            return 0;
        };
        if kept.contains(key) {
            return 1 + brute(rest, kept, capacity);
        }
        let mut best = brute(rest, kept, capacity); // bypass
        let mut with = kept.clone();
        with.insert(*key);
        if with.len() <= capacity {
            best = best.max(brute(rest, &with, capacity));
        } else {
            for victim in kept {
                let mut without = with.clone();
                without.remove(victim);
                best = best.max(brute(rest, &without, capacity));
            }
        }
        best
    }

    #[test]
    fn loop_one_larger_than_the_cache() {
        // LRU hits nothing here; the optimum keeps 3 of 4 and hits them in every later round.
        let keys: Vec<u64> = (0..40).map(|at| at % 4).collect();
        assert_eq!(hits(&keys, 3), 27);
        assert_eq!(hits(&keys, 4), 36);
    }

    #[test]
    fn keys_that_never_return_leave_the_kept_ones_alone() {
        let mut keys = vec![1, 2];
        keys.extend(100..200);
        keys.extend([1, 2]);
        assert_eq!(hits(&keys, 2), 2);
        assert_eq!(hits(&keys, 0), 0);
    }

    proptest! {
        #[test]
        fn nothing_beats_it_and_it_is_reached(keys in prop::collection::vec(0u64..5, 0..11), capacity in 1usize..4) {
            prop_assert_eq!(hits(&keys, capacity), brute(&keys, &BTreeSet::new(), capacity));
        }
    }
}
