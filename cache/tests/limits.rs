//! Limits: what a cache may hold, what it refuses, and how it reacts when the limits move.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use trimtab_cache::{BuildError, Cache, LoadError, PolicyKind, RejectedReason, weigher};
use trimtab_config::ByteSize;

type Bytes = Cache<u64, Vec<u8>>;

fn bytes(kib: u64, shards: usize) -> Bytes {
    Cache::builder().max_bytes(ByteSize::kib(kib)).weigher(weigher::heap).shards(shards).build().unwrap()
}

#[test]
fn one_entry_may_use_the_whole_budget_whatever_its_shard() {
    let cache = bytes(64, 8);
    let whole = 64 * 1024 - Bytes::entry_overhead() as usize;
    for key in 0..300 {
        cache.insert(key, vec![0; 100]);
    }
    for key in 1000..1020 {
        cache.insert(key, vec![0; whole]);
        assert_eq!((cache.len(), cache.weight()), (1, 64 * 1024));
        assert!(cache.contains(&key));
        cache.validate();
        cache.insert(key + 5000, vec![0; 10]);
        assert!(cache.contains(&(key + 5000)));
        cache.validate();
    }
}

#[test]
fn an_entry_heavier_than_the_cache_is_given_back_and_the_old_value_is_gone() {
    let cache = bytes(1, 1);
    cache.insert(1, vec![1]);
    let rejected = cache.try_insert(1, vec![0; 4096]).unwrap_err();
    assert_eq!(rejected.value.len(), 4096);
    assert!(matches!(rejected.reason, RejectedReason::TooHeavy { limit: 1024, .. }));
    assert!(rejected.to_string().contains("raise max_bytes"), "{rejected}");
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.stats().rejected, 1);
    cache.validate();
}

#[test]
fn weights_at_the_edge_of_the_number_range_do_not_overflow() {
    let cache = Cache::builder().max_entries(10).weigher(|_, ()| u64::MAX).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, ()));
    assert!(cache.weight() >= 10 << 30);
    cache.validate();
    let cache = Cache::builder()
        .max_bytes(ByteSize::gib(1 << 20))
        .weigher(|key: &u64, (): &()| if *key == 0 { u64::MAX } else { 1 << 48 })
        .build()
        .unwrap();
    assert!(cache.try_insert(0, ()).is_err());
    (1..100).for_each(|key| cache.insert(key, ()));
    assert_eq!(cache.len(), 3);
    cache.validate();
}

#[test]
fn a_panicking_weigher_changes_nothing() {
    let cache = Cache::builder()
        .max_entries(10)
        .weigher(|key, ()| if *key == 7 { panic!("seven") } else { 1 })
        .build()
        .unwrap();
    cache.insert(1, ());
    for _ in 0..3 {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(7, ()))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(7, || ()))).is_err());
    }
    assert_eq!((cache.len(), cache.get(&1)), (1, Some(())));
    cache.validate();
}

#[test]
fn a_panicking_clone_leaves_the_cache_usable() {
    #[derive(Debug)]
    struct Fragile(bool);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0, "fragile");
            Self(self.0)
        }
    }
    let cache = Cache::new(10);
    cache.insert(1, Fragile(true));
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get(&1))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(2, || Fragile(true)))).is_err());
    assert!(!cache.get_or_insert_with(2, || Fragile(false)).0);
    cache.insert(1, Fragile(false));
    assert!(cache.get(&1).is_some());
    cache.validate();
}

#[test]
fn lowering_a_limit_evicts_at_once_and_raising_it_makes_room() {
    for policy in PolicyKind::ALL {
        let cache = Cache::builder().max_entries(10_000).weigher(|_, ()| 100).policy(policy).shards(8).build().unwrap();
        (0..20_000_u64).for_each(|key| cache.insert(key, ()));
        assert_eq!(cache.len(), 10_000);
        cache.set_max_entries(Some(100)).unwrap();
        assert_eq!(cache.len(), 100);
        cache.validate();
        cache.set_max_entries(Some(500)).unwrap();
        (0..20_000_u64).for_each(|key| cache.insert(key, ()));
        assert_eq!(cache.len(), 500);
        cache.set_max_bytes(Some(ByteSize::b(10 * (100 + Cache::<u64, ()>::entry_overhead())))).unwrap();
        assert_eq!(cache.len(), 10);
        cache.set_max_entries(None).unwrap();
        assert!(matches!(cache.set_max_bytes(None), Err(BuildError::Unbounded { .. })));
        assert!(matches!(cache.set_max_entries(Some(0)), Err(BuildError::Zero { .. })));
        assert_eq!(cache.stats().max_entries, None);
        cache.validate();
    }
}

#[test]
fn impossible_descriptions_are_refused_with_the_way_out() {
    let fails = |builder: trimtab_cache::CacheBuilder<u64, u64>, part: &str| {
        let message = builder.build().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let base = || Cache::<u64, u64>::builder();
    fails(base(), "set max_entries, max_bytes or both");
    fails(base().max_entries(0), "set max_entries to at least 1");
    fails(base().max_entries(u64::MAX), "lower max_entries");
    fails(base().max_bytes(ByteSize::mib(1)), "weigher");
    fails(base().max_bytes(ByteSize::b(1)).weigher(|_, _| 0), "raise max_bytes");
    fails(base().max_bytes(ByteSize::b(u64::MAX)).weigher(|_, _| 0), "lower max_bytes");
    fails(base().max_entries(1).ttl(Duration::ZERO), "set ttl");
    fails(base().max_entries(1).shards(3), "powers of two");
    fails(base().max_entries(1).shards(0), "powers of two");
    fails(base().max_entries(1).name("../etc"), "'.' is in it");
}

#[test]
fn load_error_names_cache_and_keeps_its_cause() {
    let cache: Cache<u64, u64> = Cache::builder().name("users").max_entries(1).build().unwrap();
    let error = cache.try_get_or_insert_with(1, || "x".parse::<u64>()).unwrap_err();
    assert!(matches!(&error, LoadError::Failed { .. }) && error.to_string().contains("users"));
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("invalid digit"));
}

#[test]
fn a_page_position_from_elsewhere_is_harmless() {
    let cache = Cache::new(10);
    cache.insert(1, ());
    for position in [1, 7 << 32, u64::MAX] {
        let page = cache.keys(Some(position), 10);
        assert_eq!((page.items.len(), page.next), (0, None));
    }
    assert_eq!(cache.keys(Some(0), 0).next, Some(0));
}
