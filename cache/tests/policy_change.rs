//! Another policy for a running cache: nothing is lost, and readers and writers go on meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use trimtab_cache::{Cache, CacheSettings, Caches, ManualClock, PolicyKind, weigher};
use trimtab_config::ByteSize;

fn policy() -> impl Strategy<Value = PolicyKind> {
    prop::sample::select(&PolicyKind::ALL[..])
}

/// All that a cache holds, with tags and remaining times.
fn contents(cache: &Cache<u32, String>) -> BTreeMap<u32, (String, Option<Duration>, Vec<String>)> {
    let mut contents = BTreeMap::new();
    cache.for_each(|key, value| {
        let told = cache.explain(key).expect("it is held");
        let tags = told.tags.iter().map(ToString::to_string).collect();
        contents.insert(*key, (value.clone(), told.ttl_left, tags));
    });
    contents
}

fn filled(policy: PolicyKind, shards: usize, clock: &ManualClock) -> Cache<u32, String> {
    let cache = Cache::builder()
        .max_entries(300)
        .max_bytes(ByteSize::kib(64))
        .weigher(weigher::heap)
        .policy(policy)
        .shards(shards)
        .time_to_idle(Duration::from_secs(500))
        .clock(clock.clone())
        .build()
        .unwrap();
    for key in 0..500_u32 {
        let value = "v".repeat(key as usize % 90);
        match key % 3 {
            0 => cache.insert(key, value),
            1 => cache.insert_with_ttl(key, value, Duration::from_secs(u64::from(key % 50) + 10)),
            _ => cache.insert_with_tags(key, value, [format!("tag {}", key % 4)]),
        }
        cache.get(&(key / 2));
        cache.get(&(key % 7));
    }
    cache
}

#[test]
fn contents_are_the_same_before_and_after_for_every_pair() {
    for from in PolicyKind::ALL {
        for to in PolicyKind::ALL {
            for shards in [1, 8] {
                let clock = ManualClock::new();
                let cache = filled(from, shards, &clock);
                clock.advance(Duration::from_secs(20));
                let (before, stats) = (contents(&cache), cache.stats());
                assert!(before.len() > 50, "{} entries under {from}", before.len());
                cache.set_policy(to);
                assert_eq!((cache.policy(), contents(&cache)), (to, before), "{from} to {to}");
                assert_eq!(cache.stats().evictions, stats.evictions, "{from} to {to}");
                cache.validate();
                // It goes on as a cache of the new policy.
                (500..1500).for_each(|key| cache.insert(key, String::new()));
                assert!(cache.contains(&1499) && cache.len() <= 300);
                cache.validate();
                cache.set_max_entries(Some(10)).unwrap();
                cache.validate();
                assert_eq!(cache.len(), 10);
            }
        }
    }
}

#[test]
fn the_order_of_the_old_policy_is_the_order_in_which_entries_leave() {
    for from in PolicyKind::ALL {
        let cache = Cache::builder().max_entries(50).policy(from).shards(1).build().unwrap();
        for key in 0..200_u32 {
            cache.insert(key, ());
            cache.get(&(key % 20));
        }
        let coldest: Vec<u32> = cache.coldest(50).into_iter().map(|(key, _)| key).collect();
        cache.set_policy(PolicyKind::Fifo);
        for (key, leaves) in (1_000..).zip(coldest) {
            assert!(cache.contains(&leaves), "{leaves} left too early, from {from}");
            cache.insert(key, ());
            assert!(!cache.contains(&leaves), "{leaves} is next, from {from}");
        }
    }
}

#[test]
fn counts_of_use_go_along_where_both_policies_have_them() {
    // Frequencies may be told too high where keys fall together, once in some hundred seeds.
    let hasher = foldhash::fast::FixedState::with_seed(1);
    let cache = Cache::builder().max_entries(10).policy(PolicyKind::Lfu).shards(1).hasher(hasher).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, ()));
    (0..7).for_each(|_| assert!(cache.get(&3).is_some()));
    assert_eq!(cache.explain(&3).unwrap().frequency, Some(8));
    cache.set_policy(PolicyKind::Adaptive);
    assert_eq!(cache.explain(&3).unwrap().frequency, Some(8));
    cache.set_policy(PolicyKind::Lfu);
    (10..30).for_each(|key| cache.insert(key, ()));
    assert!(cache.contains(&3), "what was popular stays so");
}

#[test]
fn an_entry_whose_deadline_use_has_moved_is_ranked_by_the_new_one() {
    let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    let cache = Cache::builder()
        .max_entries(2)
        .policy(PolicyKind::Ttl)
        .time_to_idle(100 * second)
        .clock(clock.clone())
        .shards(1)
        .build()
        .unwrap();
    cache.insert("a", 1);
    clock.advance(10 * second);
    cache.insert("b", 2);
    clock.advance(10 * second);
    assert_eq!(cache.get("a"), Some(1));
    cache.insert("c", 3);
    assert_eq!((cache.peek("a"), cache.peek("b"), cache.peek("c")), (Some(1), None, Some(3)));
    cache.validate();
}

/// Readers check every value, writers keep the cache full, and the policy changes all the time.
#[test]
fn readers_and_writers_go_on_while_the_policy_changes() {
    const KEYS: u64 = 3_000;
    let cache: Cache<u64, String> = Cache::builder().max_entries(1_000).shards(8).build().unwrap();
    // A kept set that nothing pushes out: hits on it must not be missed at any moment.
    let calm: Cache<u64, String> = Cache::builder().max_entries(1_000).shards(4).build().unwrap();
    (0..500).for_each(|key| calm.insert(key, key.to_string()));
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 0..2_u64 {
            let (cache, calm, done, reads) = (&cache, &calm, &done, &reads);
            scope.spawn(move || {
                let mut at = seed;
                while !done.load(Ordering::Relaxed) {
                    at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let key = (at >> 33) % KEYS;
                    match cache.get(&key) {
                        Some(value) => assert_eq!(value, key.to_string()),
                        None if seed == 0 => cache.insert(key, key.to_string()),
                        None => drop(cache.remove(&(key / 2))),
                    }
                    assert_eq!(calm.get(&(key % 500)), Some((key % 500).to_string()), "a change loses no entry");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..60 {
            for cache in [&cache, &calm] {
                cache.set_policy(PolicyKind::ALL[(round * 5 + 1) % PolicyKind::ALL.len()]);
            }
            let before = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) < before + 500 {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    for cache in [&cache, &calm] {
        cache.validate();
    }
    assert_eq!(calm.stats().misses, 0);
    assert_eq!(calm.stats().hits, reads.load(Ordering::Relaxed));
}

#[test]
fn the_registry_tells_and_changes_the_policy() {
    let caches = Caches::new();
    caches.create("pages", CacheSettings::default()).unwrap();
    let cache = caches.get("pages").unwrap();
    cache.set_policy(PolicyKind::Arc);
    assert_eq!(cache.settings().policy, PolicyKind::Arc);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_keeps_every_entry(kinds in prop::collection::vec(policy(), 1..12), keys in prop::collection::vec(0..200_u32, 1..300)) {
        let clock = ManualClock::new();
        let cache = filled(kinds[0], 2, &clock);
        for (kind, part) in kinds.iter().zip(keys.chunks(30).cycle()) {
            for key in part {
                drop(cache.get(key));
            }
            let before = contents(&cache);
            cache.set_policy(*kind);
            prop_assert_eq!(contents(&cache), before);
            cache.validate();
            for key in part {
                cache.insert(*key, "w".repeat(*key as usize % 60));
            }
            cache.validate();
        }
    }
}
