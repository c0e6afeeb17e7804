//! Tags and predicates against a model, with loads that run meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::Notify;
use trimtab_cache::{Cache, ManualClock, RejectedReason, tags};

#[test]
fn a_newer_value_brings_its_own_tags() {
    let cache = Cache::new(10);
    cache.insert_with_tags(1, 'a', ["x", "y"]);
    assert_eq!(cache.tags(&1).iter().map(|tag| &**tag).collect::<Vec<_>>(), ["x", "y"]);
    cache.insert_with_tags(1, 'b', ["y", "z"]);
    assert_eq!((cache.invalidate_tag("x"), cache.invalidate_tag("z")), (0, 1));
    cache.insert_with_tags(1, 'c', ["x"]);
    cache.insert(1, 'd');
    assert_eq!((cache.invalidate_tag("x"), cache.get(&1)), (0, Some('d')));
    cache.validate();
}

#[test]
fn too_many_or_too_long_tags_are_refused() {
    let cache = Cache::new(10);
    cache.insert(1, ());
    let many: Vec<String> = (0..=tags::TAGS_MAX).map(|n| n.to_string()).collect();
    let rejected = cache.try_insert_with_tags(1, (), None, &many).unwrap_err();
    assert_eq!(rejected.reason, RejectedReason::TooManyTags { count: 65, limit: 64 });
    assert!(!cache.contains(&1), "what was to be replaced is out of date");
    let rejected = cache.try_insert_with_tags(1, (), None, ["x".repeat(257)]).unwrap_err();
    assert!(rejected.to_string().contains("257 B, at most 256 B"), "{rejected}");
}

#[test]
fn tags_count_into_the_weight() {
    let cache =
        Cache::builder().max_bytes(trimtab_config::ByteSize::kib(64)).weigher(|_: &u8, (): &()| 0).build().unwrap();
    cache.insert(1, ());
    let plain = cache.weight();
    cache.insert_with_tags(1, (), ["group"]);
    assert!(cache.weight() > plain + 5);
    cache.validate();
}

#[tokio::test]
async fn a_tag_invalidated_during_a_load_wins() {
    let (cache, open) = (Cache::new(10), Arc::new(Notify::new()));
    let load = |key: u8, tag: &'static str| {
        let (cache, open) = (cache.clone(), open.clone());
        tokio::spawn(async move {
            let load = || async move {
                open.notified().await;
                key
            };
            cache.entry(key).tags([tag]).or_load(load).await
        })
    };
    let (hit, missed) = (load(1, "x"), load(2, "y"));
    tokio::task::yield_now().await;
    assert_eq!(cache.invalidate_tag("x"), 0);
    open.notify_waiters();
    assert_eq!((hit.await.unwrap(), missed.await.unwrap()), (1, 2));
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(2)));
    assert_eq!(cache.invalidate_tag("y"), 1);
    cache.validate();
}

#[tokio::test]
async fn a_predicate_during_a_load_wins_too() {
    let (cache, open) = (Cache::new(10), Arc::new(Notify::new()));
    let loading = tokio::spawn({
        let (cache, open) = (cache.clone(), open.clone());
        async move {
            let load = || async move { open.notified().await };
            cache.get_with(1, load).await;
        }
    });
    tokio::task::yield_now().await;
    assert_eq!(cache.invalidate_if(|_, ()| true), 0);
    open.notify_waiters();
    loading.await.unwrap();
    assert!(cache.is_empty());
}

#[test]
fn a_panic_of_a_predicate_leaves_the_cache_sound() {
    let cache = Cache::builder().max_entries(100).shards(1).build().unwrap();
    (0..50).for_each(|key| cache.insert(key, ()));
    let leaves = |key: &i32, (): &()| if *key == 30 { panic!("no") } else { true };
    assert!(catch_unwind(AssertUnwindSafe(|| cache.invalidate_if(leaves))).is_err());
    assert_eq!(cache.len(), 50);
    cache.validate();
}

const TAGS: [&str; 5] = ["a", "b", "c", "d", "e"];

proptest! {
    #[test]
    fn tags_name_exactly_the_entries_that_have_them(
        steps in proptest::collection::vec((0..7_u8, 0..20_u8, 0..32_u8), 1..200),
        max in prop_oneof![Just(1000_u64), 1..20_u64],
    ) {
        let clock = ManualClock::new();
        let cache = Cache::builder().max_entries(max).shards(4).clock(clock.clone()).build().unwrap();
        let mut model: HashMap<u8, BTreeSet<&str>> = HashMap::new();
        for (step, key, bits) in steps {
            let tags: BTreeSet<_> = (0..5).filter(|bit| bits & (1 << bit) != 0).map(|bit| TAGS[bit]).collect();
            match step {
                0 | 1 => { cache.insert_with_tags(key, (), &tags); model.insert(key, tags); }
                2 => {
                    cache.try_insert_with_tags(key, (), Some(Duration::from_secs(1)), &tags).unwrap();
                    model.insert(key, tags);
                }
                3 => { cache.insert(key, ()); model.insert(key, BTreeSet::new()); }
                4 => { cache.invalidate(&key); }
                5 => clock.advance(Duration::from_millis(500)),
                _ => {
                    let tag = TAGS[usize::from(key) % 5];
                    let tagged = model.iter().filter(|(key, tags)| tags.contains(tag) && cache.contains(*key)).count();
                    prop_assert_eq!(cache.invalidate_tag(tag), tagged);
                }
            }
            model.retain(|key, _| cache.contains(key));
            for (key, tags) in &model {
                prop_assert!(cache.tags(key).iter().map(|tag| &**tag).eq(tags.iter().copied()));
            }
            cache.validate();
        }
        cache.clear();
        prop_assert!(TAGS.iter().all(|tag| cache.invalidate_tag(tag) == 0));
        cache.validate();
    }
}
