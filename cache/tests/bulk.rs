//! Bulk loads: one call for all that is missing, one flight per key across overlapping calls.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::sync::Notify;
use trimtab_cache::{Cache, LoadError};

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[tokio::test]
async fn only_the_missing_are_asked_for_once() {
    let cache = Cache::new(100);
    cache.insert_many((0..3).map(|key| (key, key * 10)));
    let got = cache
        .get_many_with([5, 1, 5, 9, 0, 9], |missing| async move {
            assert_eq!(missing, [5, 9]);
            HashMap::from([(5, 50), (7, 70)])
        })
        .await;
    assert_eq!(got, [Some(50), Some(10), Some(50), None, Some(0), None]);
    assert!(!cache.contains(&7), "what was not asked for is not stored");
    assert!(!cache.contains(&9));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (2, 2, 1));
    assert_eq!(cache.invalidate_many([&0, &5, &9]), 2);
    cache.validate();
}

#[tokio::test]
async fn nothing_missing_means_no_load() {
    let cache = Cache::new(10);
    cache.insert(1, 1);
    let none = |_| async { unreachable!("all there") as Vec<(i32, i32)> };
    assert_eq!(cache.get_many_with([1, 1], none).await, [Some(1), Some(1)]);
    assert_eq!(cache.get_many_with([], none).await, []);
}

#[tokio::test]
async fn overlapping_bulk_loads_share_each_key() {
    let (cache, open, asked) = (Cache::new(100), Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
    let bulk = |keys: std::ops::Range<u32>| {
        let (cache, open, asked) = (cache.clone(), open.clone(), asked.clone());
        tokio::spawn(async move {
            let load = |missing: Vec<u32>| {
                asked.lock().extend(missing.clone());
                let open = open.clone();
                async move {
                    open.notified().await;
                    // Every third key does not exist.
                    missing.into_iter().filter(|key| key % 3 != 0).map(|key| (key, key + 100)).collect::<Vec<_>>()
                }
            };
            cache.get_many_with(keys, load).await
        })
    };
    let (first, second, third) = (bulk(0..20), bulk(10..30), bulk(5..25));
    let single = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_with(11, || async { unreachable!("the bulk load brings it") }).await }
    });
    settle().await;
    open.notify_waiters();
    let expected = |keys: std::ops::Range<u32>| keys.map(|key| (key % 3 != 0).then_some(key + 100)).collect::<Vec<_>>();
    assert_eq!(first.await.unwrap(), expected(0..20));
    assert_eq!(second.await.unwrap(), expected(10..30));
    assert_eq!(third.await.unwrap(), expected(5..25));
    assert_eq!(single.await.unwrap(), 111);
    let mut asked = asked.lock().clone();
    asked.sort_unstable();
    assert_eq!(asked, (0..30).collect::<Vec<_>>(), "each key was asked for exactly once");
    cache.validate();
}

#[tokio::test]
async fn a_cancelled_bulk_load_is_taken_over() {
    let (cache, loads) = (Cache::new(100), Arc::new(AtomicUsize::new(0)));
    let stuck = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_many_with(0..10, |_| std::future::pending::<Vec<(u32, u32)>>()).await }
    });
    settle().await;
    let waiter = tokio::spawn({
        let (cache, loads) = (cache.clone(), loads.clone());
        async move {
            let load = |missing: Vec<u32>| {
                loads.fetch_add(1, Ordering::Relaxed);
                async move { missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>() }
            };
            cache.get_many_with(5..15, load).await
        }
    });
    settle().await;
    stuck.abort();
    assert_eq!(waiter.await.unwrap(), (5..15).map(Some).collect::<Vec<_>>());
    assert_eq!(loads.load(Ordering::Relaxed), 2, "its own keys first, then those that were given up");
    assert_eq!(cache.stats().load_aborts, 1);
    cache.validate();
}

#[tokio::test]
async fn a_failure_is_shared_and_nothing_is_stored() {
    let (cache, open) = (Cache::<u32, u32>::new(100), Arc::new(Notify::new()));
    let leader = tokio::spawn({
        let (cache, open) = (cache.clone(), open.clone());
        async move {
            let load = |_| {
                let open = open.clone();
                async move {
                    open.notified().await;
                    Err::<Vec<_>, _>("down")
                }
            };
            cache.try_get_many_with([1, 2], load).await
        }
    });
    settle().await;
    let waiter = tokio::spawn({
        let cache = cache.clone();
        async move { cache.try_get_with(2, || async { Err::<u32, &str>("own") }).await }
    });
    settle().await;
    open.notify_waiters();
    let error = leader.await.unwrap().unwrap_err();
    assert_eq!(error.cause().map(|cause| **cause), Some("down"));
    assert_eq!(waiter.await.unwrap().unwrap_err().cause().map(|cause| **cause), Some("down"));
    assert!(cache.is_empty());
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (1, 1));
}

#[tokio::test]
async fn asking_for_an_own_key_is_an_error() {
    let cache = Cache::<u32, u32>::new(100);
    let load = |_| async {
        cache.try_get_many_with([2], |_| async { Ok::<_, ()>(vec![]) }).await.map(|_| Vec::new()).map_err(|error| {
            assert!(matches!(error, LoadError::Recursive { .. }));
        })
    };
    assert!(cache.try_get_many_with([1, 2], load).await.is_err());
    cache.validate();
}

proptest! {
    #[test]
    fn the_answer_is_in_the_order_asked(
        keys in proptest::collection::vec(0..20_u8, 0..60),
        there in proptest::collection::hash_set(0..20_u8, 0..10),
        max in prop_oneof![Just(100_u64), 1..5_u64],
    ) {
        let cache = Cache::new(max);
        cache.insert_many(there.iter().map(|key| (*key, u32::from(*key))));
        let load = |missing: Vec<u8>| async { missing.into_iter().map(|key| (key, u32::from(key))).collect::<Vec<_>>() };
        let got = block(cache.get_many_with(keys.clone(), load));
        prop_assert_eq!(got, keys.iter().map(|key| Some(u32::from(*key))).collect::<Vec<_>>());
        let held = cache.get_many(&keys);
        prop_assert!(held.iter().zip(&keys).all(|(held, key)| held.is_none_or(|held| held == u32::from(*key))));
        cache.validate();
    }
}
