//! Shrinking: who leaves, what is left, and that nobody beside it notices more than that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use trimtab_cache::{Cache, ManualClock, PolicyKind};
use trimtab_config::{ByteSize, Share};

#[test]
fn the_most_recent_stay_under_lru() {
    let cache = Cache::builder().max_entries(1000).policy(PolicyKind::Lru).shards(1).build().unwrap();
    (0..1000).for_each(|key| cache.insert(key, key));
    let freed = cache.shrink_to(Share::percent(25));
    cache.validate();
    assert_eq!((freed.entries, cache.len()), (750, 250));
    assert!((0..1000).all(|key| cache.contains(&key) == (key >= 750)));
    assert_eq!(freed.bytes, 750 * Cache::<i32, i32>::entry_overhead());
}

#[test]
fn a_share_of_everything_evicts_nothing_and_of_nothing_everything() {
    let cache = Cache::builder().max_entries(5000).build().unwrap();
    (0..5000).for_each(|key| cache.insert(key, key.to_string()));
    assert_eq!(cache.shrink_to(Share::ALL).entries, 0);
    assert_eq!(cache.len(), 5000);
    assert_eq!(cache.shrink_to(Share::NONE).entries, 5000);
    cache.validate();
    assert!(cache.is_empty());
    cache.insert(1, String::new());
    assert!(cache.contains(&1));
    assert_eq!(cache.shrink_to(Share::NONE).entries, 1, "and again");
    assert_eq!(cache.shrink_to(Share::NONE).entries, 0, "an empty cache has nothing to give");
}

#[test]
fn shards_end_alike_and_a_small_cache_keeps_its_share() {
    let cache = Cache::builder().max_entries(64_000).shards(16).build().unwrap();
    (0..64_000).for_each(|key| cache.insert(key, ()));
    cache.shrink_to(Share::percent(10));
    cache.validate();
    assert_eq!(cache.len(), 6400);
    let small = Cache::builder().max_entries(16).shards(16).build().unwrap();
    (0..16).for_each(|key| small.insert(key, ()));
    small.shrink_to(Share::percent(50));
    assert_eq!(small.len(), 8, "no shard gives its last because of its own half");
}

#[test]
fn what_was_given_up_is_told_with_its_cause_and_limits_stay() {
    let told = Arc::new(AtomicU64::new(0));
    let cache = Cache::builder()
        .max_bytes(ByteSize::mib(1))
        .weigher(|_: &u64, value: &Vec<u8>| value.len() as u64)
        .listener({
            let told = told.clone();
            move |_, _, cause| {
                if cause.as_str() == "shrunk" {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
        .build()
        .unwrap();
    (0..500).for_each(|key| cache.insert(key, vec![0; 64 << (key % 5)]));
    let (entries, weight) = (cache.len(), cache.weight());
    let freed = cache.shrink_to(Share::percent(30));
    cache.validate();
    assert_eq!((entries - freed.entries, weight - freed.bytes), (cache.len(), cache.weight()));
    assert!(cache.weight() <= weight * 3 / 10 && cache.weight() > weight / 5);
    let stats = cache.stats();
    assert_eq!((stats.evictions.shrunk, stats.max_bytes), (freed.entries, Some(1 << 20)));
    assert_eq!(told.load(Ordering::Relaxed), freed.entries);
}

/// Moved entries keep their deadlines, tags and values; under rules that move deadlines, what moves them too.
#[test]
fn everything_about_an_entry_moves_with_it() {
    for policy in PolicyKind::ALL {
        let clock = ManualClock::new();
        let cache = Cache::builder()
            .max_entries(4000)
            .policy(policy)
            .shards(1)
            .time_to_idle(Duration::from_secs(600))
            .clock(clock.clone())
            .build()
            .unwrap();
        for key in 0..4000_u64 {
            cache
                .try_insert_with_tags(
                    key,
                    key.to_string(),
                    Some(Duration::from_secs(100 + key)),
                    [format!("t{}", key % 7)],
                )
                .unwrap();
        }
        // Those that stay lie in the highest slots.
        (0..3500).for_each(|key| assert!(cache.invalidate(&key)));
        cache.shrink_to(Share::ALL);
        cache.validate();
        for key in 3500..4000 {
            assert_eq!(cache.peek(&key), Some(key.to_string()), "{policy}");
            assert_eq!(cache.tags(&key).len(), 1);
            assert!(cache.info(&key).unwrap().ttl_left.unwrap() <= Duration::from_secs(600));
        }
        assert!(cache.invalidate_tag("t3") > 50);
        cache.validate();
        clock.advance(Duration::from_secs(601));
        cache.expire();
        assert!(cache.is_empty(), "{policy}");
        cache.validate();
    }
}

#[test]
fn a_reader_that_stays_keeps_its_value_and_delays_only_memory() {
    let cache = Cache::builder().max_entries(2000).shards(1).build().unwrap();
    (0..2000_u64).for_each(|key| cache.insert(key, vec![key; 4]));
    (0..1500).for_each(|key| assert!(cache.invalidate(&key)));
    let seen = cache.view(&1999, |value| {
        assert_eq!(cache.shrink_to(Share::percent(50)).entries, 250);
        value.clone()
    });
    assert_eq!(seen, Some(vec![1999; 4]));
    cache.validate();
    cache.shrink_to(Share::ALL);
    cache.validate();
    assert_eq!(cache.len(), 250);
}

/// What is not evicted is found at every moment, by readers of values with destructors and of values without.
#[test]
fn entries_are_found_while_they_move() {
    fn play<V: Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static>(value: impl Fn(u64) -> V + Sync) {
        let cache = Cache::builder().max_entries(40_000).shards(2).build().unwrap();
        let done = AtomicBool::new(false);
        (0..20_000).for_each(|key| cache.insert(key, value(key)));
        std::thread::scope(|scope| {
            for offset in 0..2 {
                let (cache, done, value) = (&cache, &done, &value);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        for key in (18_000 + offset..20_000).step_by(2) {
                            assert_eq!(cache.get(&key), Some(value(key)), "nobody removed {key}");
                            assert_eq!(cache.get(&(key + 100_000)), None);
                        }
                    }
                });
            }
            scope.spawn(|| {
                // Others come and go meanwhile.
                for key in (200_000..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    cache.insert(key % 1000 + 200_000, value(key));
                    cache.invalidate(&((key + 500) % 1000 + 200_000));
                }
            });
            for round in 0..4 {
                (0..18_000).for_each(|key| assert!(cache.invalidate(&key)));
                cache.shrink_to(Share::ALL);
                if round < 3 {
                    (0..18_000).for_each(|key| cache.insert(key, value(key)));
                    // Those that are read go to the top again.
                    (18_000..20_000).for_each(|key| cache.insert(key, value(key)));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        cache.validate();
    }
    play(|key| key);
    play(Box::new);
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, u16),
    InsertTagged(u16, u8),
    InsertWithTtl(u16, u8),
    Get(u16),
    Remove(u16),
    Advance(u8),
    Policy(usize),
    Shrink(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..600_u16;
    let step = prop_oneof![
        20 => (key.clone(), any::<u16>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (key.clone(), 0..4_u8).prop_map(|(key, tag)| Step::InsertTagged(key, tag)),
        3 => (key.clone(), 1..20_u8).prop_map(|(key, ttl)| Step::InsertWithTtl(key, ttl)),
        10 => key.clone().prop_map(Step::Get),
        6 => key.prop_map(Step::Remove),
        1 => (0..6_u8).prop_map(Step::Advance),
        1 => (0..PolicyKind::ALL.len()).prop_map(Step::Policy),
        1 => (0..=100_u8).prop_map(Step::Shrink),
    ];
    proptest::collection::vec(step, 1..2500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_before_a_shrunk_cache_is_in_order_and_tells_the_truth(steps in steps(), shards in 0..3_u32) {
        let clock = ManualClock::new();
        let cache = Cache::builder()
            .max_entries(500)
            .max_bytes(ByteSize::kib(256))
            .weigher(|_, value: &String| value.len() as u64 * 50)
            .shards(1 << shards)
            .clock(clock.clone())
            .build()
            .unwrap();
        let mut model = HashMap::<u16, String>::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    cache.insert(key, value.to_string());
                    model.insert(key, value.to_string());
                }
                Step::InsertTagged(key, tag) => {
                    cache.insert_with_tags(key, tag.to_string(), [tag.to_string()]);
                    model.insert(key, tag.to_string());
                }
                Step::InsertWithTtl(key, ttl) => {
                    cache.insert_with_ttl(key, ttl.to_string(), Duration::from_secs(ttl.into()));
                    model.insert(key, ttl.to_string());
                }
                Step::Get(key) => if let Some(found) = cache.get(&key) {
                    prop_assert_eq!(Some(&found), model.get(&key));
                },
                Step::Remove(key) => {
                    cache.invalidate(&key);
                    model.remove(&key);
                }
                Step::Advance(by) => clock.advance(Duration::from_secs(by.into())),
                Step::Policy(at) => cache.set_policy(PolicyKind::ALL[at]),
                Step::Shrink(percent) => {
                    let (share, before, held) = (Share::percent(percent.into()), cache.weight(), cache.len());
                    let freed = cache.shrink_to(share);
                    prop_assert_eq!((cache.weight(), cache.len()), (before - freed.bytes, held - freed.entries));
                    prop_assert!(cache.weight() <= share.of(before));
                    cache.validate();
                }
            }
        }
        cache.shrink_to(Share::ALL);
        cache.validate();
        for key in 0..600 {
            if let Some(found) = cache.get(&key) {
                prop_assert_eq!(Some(&found), model.get(&key));
            }
        }
    }
}
