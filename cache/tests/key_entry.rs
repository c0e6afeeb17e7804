//! The entry API: atomic per key, whoever panics, is cancelled, re-enters or interferes.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::Notify;
use trimtab_cache::{Cache, Computed, Op};

#[test]
fn no_update_is_lost_between_threads() {
    let cache = Cache::new(100);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    cache.entry(n % 7).and_modify(|count| *count += 1).or_insert(1);
                }
            });
        }
    });
    let sum: u32 = (0..7).map(|key| cache.get(&key).unwrap()).sum();
    assert_eq!(sum, 8_000);
    cache.validate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_between_tasks() {
    let cache = Cache::new(100);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    let add = |old: Option<u32>| async move {
                        tokio::task::yield_now().await;
                        old.unwrap_or(0) + 1
                    };
                    cache.entry("key").and_upsert_async(add).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(cache.get("key"), Some(1_000));
    assert_eq!(cache.stats().loads, 0, "an update is no load");
}

#[test]
fn or_insert_stores_once_and_counts_as_a_lookup() {
    let cache = Cache::new(10);
    assert_eq!(cache.entry("k").or_insert(1), 1);
    assert_eq!(cache.entry("k").or_insert(2), 1);
    assert_eq!(cache.entry("d").or_default(), 0);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.inserts, stats.updates), (1, 2, 2, 0));
}

#[test]
fn an_own_time_to_live_and_tags_are_kept() {
    let cache = Cache::new(10);
    cache.entry("k").ttl(Duration::from_secs(60)).tags(["t"]).or_insert_with(|| 1);
    assert!(cache.info("k").unwrap().ttl_left.unwrap() <= Duration::from_secs(60));
    assert_eq!(cache.invalidate_tag("t"), 1);
}

#[test]
fn a_failed_computation_changes_nothing() {
    let cache = Cache::new(10);
    cache.insert("k", 1);
    let failed = cache.entry("k").and_try_compute_with(|old| if old == Some(1) { Err("no") } else { Ok(Op::Remove) });
    assert_eq!(failed, Err("no"));
    assert_eq!(cache.get("k"), Some(1));
    assert_eq!(cache.entry("k").and_try_compute_with(|_| Ok::<_, ()>(Op::Leave)), Ok(Computed::Unchanged(Some(1))));
}

#[test]
fn a_panic_changes_nothing_and_lets_the_next_in() {
    let cache = Cache::new(10);
    cache.insert("k", 1);
    let upsert = || cache.entry("k").and_upsert_with(|_| panic!("upsert"));
    assert!(catch_unwind(AssertUnwindSafe(upsert)).is_err());
    assert_eq!(cache.entry("k").and_upsert_with(|old| old.unwrap() + 1), 2);
    cache.validate();
}

#[test]
fn coming_back_to_the_own_key_is_told_and_other_keys_are_free() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let nested = || cache.entry(1).and_upsert_with(|_| cache.entry(1).and_upsert_with(|_| 2));
    let message = catch_unwind(AssertUnwindSafe(nested)).unwrap_err();
    assert!(message.downcast_ref::<String>().unwrap().contains("itself loading"));
    let both = cache.entry(1).and_upsert_with(|_| cache.entry(2).or_insert_with(|| cache.entry(3).or_insert(4)));
    assert_eq!((both, cache.len()), (4, 3));
    cache.validate();
}

#[tokio::test]
async fn a_plain_insertion_or_removal_meanwhile_wins() {
    let (cache, open) = (Cache::new(10), Arc::new(Notify::new()));
    cache.insert(1, "old");
    cache.insert(2, "old");
    let upsert = |key: u8| {
        let (cache, open) = (cache.clone(), open.clone());
        tokio::spawn(async move {
            let compute = |_| async move {
                open.notified().await;
                "computed"
            };
            cache.entry(key).and_upsert_async(compute).await
        })
    };
    let tasks = [upsert(1), upsert(2), upsert(3)];
    tokio::task::yield_now().await;
    assert_eq!(cache.get(&1), Some("old"), "reads are not kept waiting");
    cache.insert(1, "newer");
    cache.remove(&2);
    open.notify_waiters();
    for task in tasks {
        assert_eq!(task.await.unwrap(), "computed");
    }
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some("newer"), None, Some("computed")));
    cache.validate();
}

#[tokio::test]
async fn a_dropped_computation_hands_over_at_every_await() {
    let cache = Cache::new(10);
    let mut context = Context::from_waker(Waker::noop());
    for polls in 0..4 {
        let steps = |_| async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            Op::Put(1)
        };
        let mut first = Box::pin(cache.entry("k").and_compute_async(steps));
        for _ in 0..polls {
            assert!(first.as_mut().poll(&mut context).is_pending());
        }
        let mut second = pin!(cache.entry("k").and_upsert_async(|old| async move { old.unwrap_or(10) + 1 }));
        let before = cache.get("k").unwrap_or(10);
        if polls > 0 {
            assert!(second.as_mut().poll(&mut context).is_pending(), "the key is held");
        }
        drop(first);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(before + 1));
        cache.validate();
    }
}

#[tokio::test]
async fn loads_and_updates_of_a_key_wait_for_each_other() {
    let (cache, open) = (Cache::new(10), Arc::new(Notify::new()));
    let update = tokio::spawn({
        let (cache, open) = (cache.clone(), open.clone());
        async move {
            let compute = |old: Option<u32>| async move {
                open.notified().await;
                old.unwrap_or(0) + 1
            };
            cache.entry("k").and_upsert_async(compute).await
        }
    });
    tokio::task::yield_now().await;
    let load = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_with("k", || async { unreachable!("the update brings the value") }).await }
    });
    tokio::task::yield_now().await;
    open.notify_waiters();
    assert_eq!((update.await.unwrap(), load.await.unwrap()), (1, 1));
}

proptest! {
    #[test]
    fn it_is_the_entry_api_of_a_map(steps in proptest::collection::vec((0..7_u8, 0..8_u8, any::<u8>()), 1..200)) {
        let (cache, mut model) = (Cache::new(100), HashMap::new());
        for (step, key, n) in steps {
            let before = model.get(&key).copied();
            match step {
                0 => prop_assert_eq!(cache.entry(key).or_insert(n), *model.entry(key).or_insert(n)),
                1 => prop_assert_eq!(cache.entry(key).or_insert_with(|| n), *model.entry(key).or_insert(n)),
                2 => {
                    let modified = cache.entry(key).and_modify(|v: &mut u8| *v = v.wrapping_add(n)).or_insert(n);
                    prop_assert_eq!(modified, *model.entry(key).and_modify(|v| *v = v.wrapping_add(n)).or_insert(n));
                }
                3 => {
                    let applied = cache.entry(key).and_modify(|v| *v ^= n).apply();
                    prop_assert_eq!(applied, model.get_mut(&key).map(|v| { *v ^= n; *v }));
                }
                4 => {
                    let upserted = cache.entry(key).and_upsert_with(|old| old.map_or(n, |old| old / 2));
                    model.insert(key, before.map_or(n, |old| old / 2));
                    prop_assert_eq!(upserted, model[&key]);
                }
                5 => {
                    let computed = cache.entry(key).and_compute_with(|old| match old {
                        Some(old) if old % 2 == 0 => Op::Remove,
                        Some(old) => Op::Put(old - 1),
                        None => Op::Leave,
                    });
                    let expected = match before {
                        Some(old) if old % 2 == 0 => { model.remove(&key); Computed::Removed(old) }
                        Some(old) => { model.insert(key, old - 1); Computed::Replaced { old, new: old - 1 } }
                        None => Computed::Unchanged(None),
                    };
                    prop_assert_eq!(computed, expected);
                }
                _ => prop_assert_eq!(cache.remove(&key), model.remove(&key)),
            }
            prop_assert_eq!(cache.peek(&key), model.get(&key).copied());
            cache.validate();
        }
    }
}
