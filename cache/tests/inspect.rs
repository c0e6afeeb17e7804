//! The order of eviction as shown is the order in which entries leave.

use proptest::prelude::*;
use trimtab_cache::{Cache, PolicyKind};

proptest! {
    #[test]
    fn lru_shows_the_order_in_which_it_evicts(uses in proptest::collection::vec(0..40_u32, 1..300), most in 0..50_usize) {
        let cache = Cache::builder().max_entries(20).policy(PolicyKind::Lru).shards(1).build().unwrap();
        let mut model: Vec<u32> = Vec::new();
        for key in uses {
            if cache.get(&key).is_none() { cache.insert(key, ()); }
            model.retain(|other| *other != key);
            model.insert(0, key);
            model.truncate(20);
        }
        let keys = |entries: Vec<(u32, _)>| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        prop_assert_eq!(keys(cache.hottest(most)), model.iter().copied().take(most).collect::<Vec<_>>());
        prop_assert_eq!(keys(cache.coldest(most)), model.iter().rev().copied().take(most).collect::<Vec<_>>());
        let mut visited = Vec::new();
        cache.for_each_hottest(|key, ()| { visited.push(*key); visited.len() < 5 });
        prop_assert_eq!(&visited[..], &model[..model.len().min(5)]);
    }

    #[test]
    fn every_entry_is_shown_once(keys in proptest::collection::hash_set(any::<u16>(), 0..200), uses in proptest::collection::vec(any::<u16>(), 0..200)) {
        let cache = Cache::builder().max_entries(1000).shards(4).build().unwrap();
        cache.insert_many(keys.iter().map(|key| (*key, ())));
        let hits = uses.iter().filter(|key| cache.get(*key).is_some()).count() as u64;
        let stats = cache.stats();
        prop_assert_eq!(stats.hits, hits);
        for shown in [cache.hottest(usize::MAX), cache.coldest(usize::MAX)] {
            let mut shown: Vec<_> = shown.into_iter().map(|(key, _)| key).collect();
            shown.sort_unstable();
            let mut keys: Vec<_> = keys.iter().copied().collect();
            keys.sort_unstable();
            prop_assert_eq!(shown, keys);
        }
        for key in &keys {
            let explanation = cache.explain(key).unwrap();
            prop_assert!((0.0..=1.0).contains(&explanation.safer_than));
        }
        prop_assert_eq!(cache.stats(), stats, "looking is no use");
        cache.validate();
    }
}

#[test]
fn the_adaptive_policy_puts_the_frequent_before_the_rest() {
    // The same hashes in every run: by chance a sketch counts what another key did.
    let hasher = foldhash::fast::FixedState::with_seed(2);
    let cache = Cache::builder().max_entries(1000).shards(1).hasher(hasher).build().unwrap();
    (0..500).for_each(|key| cache.insert(key, ()));
    (0..10).for_each(|_| (100..110).for_each(|key| assert!(cache.get(&key).is_some())));
    let mut hottest: Vec<i32> = cache.hottest(10).into_iter().map(|(key, _)| key).collect();
    hottest.sort_unstable();
    assert_eq!(hottest, (100..110).collect::<Vec<_>>());
    // One for coming in, and as many as are counted beside an entry that the policy has not looked at since.
    assert_eq!(cache.explain(&100).unwrap().frequency, Some(4));
    assert!(cache.explain(&100).unwrap().safer_than > 0.9);
}
