//! Bélády's optimum: the most hits that any cache of a size can have on a trace, known only afterwards.
//!
//! MIN keeps the entries whose next use comes soonest. We let it refuse a newcomer (bypass), since a policy with
//! admission does the same: `get`, then `insert` on a miss, and the newcomer itself may be the victim. Without bypass
//! the figure would not be a bound for such policies.
//!
//! For bytes there is no cheap exact answer even when each entry counts one: we report a bound from above instead. A hit
//! needs its entry kept since the request before, so it costs one place for that long; all places together offer
//! `capacity × (requests − 1)`. Taking hits in order of bytes per cost until that is spent is the fractional knapsack,
//! which no real cache can beat.
//!
//! Sources: L. A. Bélády, "A study of replacement algorithms for a virtual-storage computer", IBM Systems Journal 5(2),
//! 1966; D. S. Berger, N. Beckmann, M. Harchol-Balter, "Practical bounds on optimal caching with variable object sizes",
//! SIGMETRICS 2018 (the relaxation over time, used there for variable weights).

use std::collections::BinaryHeap;

/// In a next-use table: the key is never asked for again.
pub(super) const NEVER: u32 = u32::MAX;

/// For every request the index of the next request for the same key, or [`NEVER`].
pub(super) fn next_uses(requests: &[u32], distinct: u32) -> Vec<u32> {
    let mut next = vec![NEVER; requests.len()];
    let mut latest = vec![NEVER; distinct as usize];
    for (index, key) in requests.iter().enumerate().rev() {
        next[index] = std::mem::replace(&mut latest[*key as usize], index as u32);
    }
    next
}

/// The most hits that a cache of `capacity` entries can have; `progress` is told how many requests are done, in steps.
///
/// # Complexity
/// O(n log c) time for n requests and c entries; n + O(c) bytes beside the table.
pub(super) fn hits_max(next: &[u32], capacity: u32, mut progress: impl FnMut(u64)) -> u64 {
    // An entry is known by the index of its next use: unique, and it names the moment of its hit. The heap yields the
    // furthest. Entries that were hit stay inside as stale ones: their index is in the past, below every live one, so
    // they cannot come up while a live one is there; the heap is rebuilt before they outnumber the live.
    let capacity = capacity as usize;
    let mut kept = vec![false; next.len()];
    let mut furthest: BinaryHeap<u32> = BinaryHeap::new();
    let (mut live, mut hits) = (0_usize, 0_u64);
    for (index, &again) in next.iter().enumerate() {
        if kept[index] {
            hits += 1;
            live -= 1;
        }
        if again != NEVER {
            kept[again as usize] = true;
            furthest.push(again);
            live += 1;
            if live > capacity
                && let Some(victim) = furthest.pop()
            {
                kept[victim as usize] = false;
                live -= 1;
            }
        }
        if furthest.len() > 2 * live + 1024 {
            furthest.retain(|use_at| *use_at as usize > index);
        }
        if index % STEP == STEP - 1 {
            progress(STEP as u64);
        }
    }
    progress((next.len() % STEP) as u64);
    hits
}

/// After how many requests progress is told.
pub(super) const STEP: usize = 1 << 14;

/// Upper bounds on the bytes served from a cache of so many entries.
#[derive(Debug)]
pub(super) struct ByteBound {
    /// For every possible hit, best first: how long it occupies a place, and the bytes it serves.
    candidates: Vec<(u32, u64)>,
    /// Steps for which a place exists.
    steps: u64,
}

impl ByteBound {
    /// Ranks the possible hits of a trace once, for all capacities.
    pub(super) fn new(next: &[u32], sizes: &[u64]) -> Self {
        let mut candidates: Vec<(u32, u64)> = next
            .iter()
            .enumerate()
            .filter(|(_, again)| **again != NEVER)
            .map(|(index, &again)| (again - index as u32, sizes[again as usize]))
            .collect();
        // Bytes per step, descending, compared without division.
        candidates.sort_unstable_by(|(cost_a, bytes_a), (cost_b, bytes_b)| {
            (u128::from(*bytes_b) * u128::from(*cost_a)).cmp(&(u128::from(*bytes_a) * u128::from(*cost_b)))
        });
        Self { candidates, steps: next.len().saturating_sub(1) as u64 }
    }

    /// No cache of `capacity` entries serves more bytes than this.
    pub(super) fn bytes_max(&self, capacity: u32) -> u64 {
        let mut places = u64::from(capacity) * self.steps;
        let mut served = 0_u64;
        for &(cost, bytes) in &self.candidates {
            if u64::from(cost) > places {
                let part = (u128::from(bytes) * u128::from(places)).div_ceil(u128::from(cost));
                return served.saturating_add(part as u64);
            }
            places -= u64::from(cost);
            served = served.saturating_add(bytes);
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    /// Tries every decision of a cache that fills on demand: for each state, the most value from here to the end.
    fn exhaustive(requests: &[u32], values: &[u64], capacity: usize) -> u64 {
        fn best(
            at: usize,
            held: &BTreeSet<u32>,
            trace: (&[u32], &[u64], usize),
            known: &mut HashMap<(usize, BTreeSet<u32>), u64>,
        ) -> u64 {
            let (requests, values, capacity) = trace;
            let Some(key) = requests.get(at) else {
                return 0;
            };
            if let Some(value) = known.get(&(at, held.clone())) {
                return *value;
            }
            let value = if held.contains(key) {
                values[at] + best(at + 1, held, trace, known)
            } else {
                let mut value = best(at + 1, held, trace, known);
                let mut filled = held.clone();
                filled.insert(*key);
                if filled.len() <= capacity {
                    value = value.max(best(at + 1, &filled, trace, known));
                } else {
                    for victim in held {
                        let mut filled = filled.clone();
                        filled.remove(victim);
                        value = value.max(best(at + 1, &filled, trace, known));
                    }
                }
                value
            };
            known.insert((at, held.clone()), value);
            value
        }
        best(0, &BTreeSet::new(), (requests, values, capacity), &mut HashMap::new())
    }

    proptest! {
        #[test]
        fn optimum_equals_the_best_of_all_decisions(
            requests in prop::collection::vec(0_u32..6, 0..18),
            capacity in 1_u32..5,
        ) {
            let next = next_uses(&requests, 6);
            let ones = vec![1; requests.len()];
            prop_assert_eq!(hits_max(&next, capacity, |_| ()), exhaustive(&requests, &ones, capacity as usize));
        }

        #[test]
        fn byte_bound_is_never_below_the_best_of_all_decisions(
            trace in prop::collection::vec((0_u32..6, 0_u64..100), 0..14),
            capacity in 1_u32..5,
        ) {
            let (requests, sizes): (Vec<u32>, Vec<u64>) = trace.into_iter().unzip();
            let bound = ByteBound::new(&next_uses(&requests, 6), &sizes).bytes_max(capacity);
            prop_assert!(bound >= exhaustive(&requests, &sizes, capacity as usize));
        }

        #[test]
        fn a_cache_for_all_keys_hits_every_repeat(requests in prop::collection::vec(0_u32..40, 0..400)) {
            let distinct = requests.iter().collect::<BTreeSet<_>>().len();
            let next = next_uses(&requests, 40);
            prop_assert_eq!(hits_max(&next, 40, |_| ()), (requests.len() - distinct) as u64);
            let sizes = vec![3; requests.len()];
            prop_assert_eq!(ByteBound::new(&next, &sizes).bytes_max(40), 3 * (requests.len() - distinct) as u64);
        }
    }

    #[test]
    fn a_loop_keeps_all_but_one_turn_of_what_fits() {
        // 10 keys in a cycle, 4 places: MIN with bypass keeps 4 keys for good and hits them from the second turn on.
        let requests: Vec<u32> = (0..1000).map(|n| n % 10).collect();
        let mut told = 0;
        assert_eq!(hits_max(&next_uses(&requests, 10), 4, |done| told += done), 4 * 99);
        assert_eq!(told, 1000);
    }

    #[test]
    fn stale_entries_are_forgotten_on_long_traces() {
        let requests: Vec<u32> = (0..200_000).map(|n| n % 2).collect();
        assert_eq!(hits_max(&next_uses(&requests, 2), 2, |_| ()), 199_998);
        assert_eq!(hits_max(&next_uses(&requests, 2), 1, |_| ()), 99_999);
    }
}
