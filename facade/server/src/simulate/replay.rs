//! One cell of the table: a trace replayed through a real cache of one policy and size.
//!
//! It is the cache that applications use, with as many shards as it would have here; each request is a `get`, followed by an
//! `insert` on a miss. The seed of its hasher decides which keys its shadow samples, and which dice the policies throw:
//! with the same seed and number of shards a run gives the same table again.

use foldhash::quality::FixedState;
use trimtab::cache::{Cache, PolicyKind};

use super::error::SimulateError;
use super::optimum::STEP;
use super::trace::Trace;

/// Hits of one replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hits {
    /// Requests served from the cache.
    pub(super) requests: u64,
    /// Bytes served from the cache, if the trace has sizes.
    pub(super) bytes: Option<u64>,
}

/// How the caches are built.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    /// Of the hasher.
    pub(super) seed: u64,
    /// A power of two; `None` for what the cache chooses by its size and the processors.
    pub(super) shards: Option<usize>,
}

/// Replays a trace; `progress` is told how many requests are done, in steps.
pub(super) fn replay(
    trace: &Trace,
    policy: PolicyKind,
    capacity: u32,
    build: Build,
    mut progress: impl FnMut(u64),
) -> Result<Hits, SimulateError> {
    let builder = Cache::builder()
        .max_entries(u64::from(capacity))
        .policy(policy)
        .metrics(false)
        .hasher(FixedState::with_seed(build.seed));
    let cache: Cache<u64, (), FixedState> = match build.shards {
        Some(shards) => builder.shards(shards),
        None => builder,
    }
    .build()
    .map_err(|reason| SimulateError::Cache { capacity, policy: policy.to_string(), reason })?;
    let (mut hits, mut bytes) = (0, 0_u64);
    for (index, key) in trace.requests.iter().enumerate() {
        let key = u64::from(*key);
        if cache.get(&key).is_some() {
            hits += 1;
            if let Some(sizes) = &trace.sizes {
                bytes = bytes.saturating_add(sizes[index]);
            }
        } else {
            cache.insert(key, ());
        }
        if index % STEP == STEP - 1 {
            progress(STEP as u64);
        }
    }
    progress((trace.requests.len() % STEP) as u64);
    let entries = cache.len();
    if entries > u64::from(capacity) {
        return Err(SimulateError::OverCapacity {
            policy: policy.to_string(),
            trace: trace.name.clone(),
            capacity,
            entries,
        });
    }
    Ok(Hits { requests: hits, bytes: trace.sizes.as_ref().map(|_| bytes) })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use proptest::prelude::*;

    use super::super::optimum::{hits_max, next_uses};
    use super::*;

    const BUILD: Build = Build { seed: 1, shards: None };

    fn trace(requests: Vec<u32>) -> Trace {
        let distinct = requests.iter().max().map_or(0, |key| key + 1);
        Trace { name: "t".into(), requests, distinct, ..Trace::default() }
    }

    /// LRU as everyone would write it first.
    fn naive_lru(requests: &[u32], capacity: usize) -> u64 {
        let mut order: VecDeque<u32> = VecDeque::new();
        let mut hits = 0;
        for key in requests {
            if let Some(at) = order.iter().position(|other| other == key) {
                order.remove(at);
                hits += 1;
            } else if order.len() == capacity {
                order.pop_front();
            }
            order.push_back(*key);
        }
        hits
    }

    proptest! {
        #[test]
        fn lru_has_the_hits_of_a_naive_lru(
            requests in prop::collection::vec(0_u32..60, 0..1500),
            capacity in 1_u32..50,
        ) {
            let expected = naive_lru(&requests, capacity as usize);
            prop_assert_eq!(replay(&trace(requests), PolicyKind::Lru, capacity, BUILD, |_| ()).unwrap().requests, expected);
        }

        #[test]
        fn no_policy_is_above_the_optimum(
            requests in prop::collection::vec(prop_oneof![0_u32..8, 0_u32..100], 1..2000),
            capacity in 1_u32..60,
        ) {
            let trace = trace(requests);
            let best = hits_max(&next_uses(&trace.requests, trace.distinct), capacity, |_| ());
            for policy in PolicyKind::ALL {
                let hits = replay(&trace, policy, capacity, BUILD, |_| ()).unwrap().requests;
                prop_assert!(hits <= best, "{policy}: {hits} above {best}");
            }
        }

        #[test]
        fn a_cache_for_all_keys_hits_every_repeat(requests in prop::collection::vec(0_u32..60, 1..500)) {
            let repeats = (requests.len() - requests.iter().collect::<BTreeSet<_>>().len()) as u64;
            for policy in PolicyKind::ALL {
                let hits = replay(&trace(requests.clone()), policy, 60, BUILD, |_| ()).unwrap().requests;
                prop_assert_eq!(hits, repeats, "{}", policy);
            }
        }
    }

    #[test]
    fn bytes_are_those_of_the_requests_that_hit() {
        let mut trace = trace(vec![0, 1, 0, 1, 2]);
        trace.sizes = Some(vec![5, 7, 5, 8, 9]);
        let mut told = 0;
        let hits = replay(&trace, PolicyKind::Lru, 2, BUILD, |done| told += done).unwrap();
        assert_eq!(hits, Hits { requests: 2, bytes: Some(13) });
        assert_eq!(told, 5);
    }
}
