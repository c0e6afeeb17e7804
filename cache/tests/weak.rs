//! Weak caches: one value per key while somebody holds it, nothing kept alive, nothing left behind for long.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;

use proptest::prelude::*;
use trimtab_cache::{LoadError, WeakCache};

#[test]
fn everybody_gets_the_same_value_made_once() {
    let (cache, made, barrier) = (WeakCache::new(), AtomicUsize::new(0), Barrier::new(4));
    let values: Vec<Arc<usize>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    cache.get_or_create("k", || made.fetch_add(1, Ordering::Relaxed))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
    assert_eq!(made.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&values[0]), 4, "the cache owns nothing, and neither does a flight");
}

#[test]
fn a_value_ends_with_its_last_owner() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (cache, dropped) = (WeakCache::named("files").unwrap(), Arc::new(AtomicUsize::new(0)));
    let first = cache.get_or_create(1, || Told(dropped.clone()));
    let second = cache.get(&1).unwrap();
    drop(first);
    assert_eq!((dropped.load(Ordering::Relaxed), cache.len()), (0, 1));
    drop(second);
    assert_eq!((dropped.load(Ordering::Relaxed), cache.len()), (1, 0));
    assert!(cache.get(&1).is_none());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.created, stats.dead), (1, 2, 1, 1));
    assert_eq!(cache.sweep(), 1);
    assert_eq!((cache.stats().vanished, cache.stats().dead), (1, 0));
    assert!(WeakCache::<u8, u8>::named("No Name").is_err());
}

#[test]
fn dead_slots_are_bounded_without_a_sweep() {
    let cache = WeakCache::new();
    let kept: Vec<_> = (0..500_u32).map(|key| cache.get_or_create(key, || key)).collect();
    for key in 500..200_000 {
        cache.get_or_create(key, || key);
        if key % 10_000 == 0 {
            let stats = cache.stats();
            assert_eq!(stats.alive, 500);
            assert!(stats.dead <= 500 + 16 * 64, "{stats:?}");
        }
    }
    assert!(kept.iter().all(|value| Arc::ptr_eq(value, &cache.get(&**value).unwrap())));
}

#[tokio::test]
async fn a_failure_is_shared_and_a_dropped_maker_hands_over() {
    let cache: WeakCache<u8, u32> = WeakCache::new();
    let failed = cache.try_get_or_create_with(1, || async { Err("no") }).await.unwrap_err();
    assert_eq!(failed.cause().map(|cause| **cause), Some("no"));
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(cache.get_or_create_with(1, std::future::pending));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let mut second = Box::pin(cache.get_or_create_with(1, || async { 2 }));
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(first);
    let Poll::Ready(value) = second.as_mut().poll(&mut context) else { panic!("takes over") };
    assert_eq!(*value, 2);
    let stats = cache.stats();
    assert_eq!((stats.failures, stats.aborts, stats.joins, stats.alive), (1, 1, 1, 1));
}

#[test]
fn an_insertion_or_removal_while_making_wins() {
    let cache = WeakCache::new();
    let newer = Arc::new(2);
    let made = cache.get_or_create(1, || {
        cache.insert(1, &newer);
        1
    });
    assert_eq!((*made, *cache.get(&1).unwrap()), (1, 2));
    let made = cache.get_or_create(3, || {
        assert!(cache.remove(&3).is_none());
        3
    });
    assert_eq!((*made, cache.get(&3)), (3, None));
    assert!(Arc::ptr_eq(&cache.remove(&1).unwrap(), &newer));
}

#[test]
fn asking_for_the_own_key_while_making_is_told() {
    let cache: WeakCache<u8, u8> = WeakCache::new();
    let nested = cache.try_get_or_create(1, || match cache.try_get_or_create(1, || Ok::<_, ()>(1)) {
        Err(LoadError::Recursive { .. }) => Err("told"),
        _ => Ok(0),
    });
    assert_eq!(nested.unwrap_err().cause().map(|cause| **cause), Some("told"));
}

proptest! {
    #[test]
    fn it_is_a_map_of_what_is_held(steps in proptest::collection::vec((0..6_u8, 0..300_u16), 1..400)) {
        let cache = WeakCache::new();
        let mut held: HashMap<u16, Arc<u32>> = HashMap::new();
        for (n, (step, key)) in (0..).zip(steps) {
            match step {
                0 | 1 => {
                    let value = cache.get_or_create(key, || n);
                    let known = held.entry(key).or_insert_with(|| value.clone());
                    prop_assert!(Arc::ptr_eq(known, &value));
                }
                2 => drop(held.remove(&key)),
                3 => {
                    let value = Arc::new(n);
                    cache.insert(key, &value);
                    held.insert(key, value);
                }
                4 => prop_assert_eq!(cache.remove(&key), held.remove(&key)),
                _ => drop(cache.sweep()),
            }
            prop_assert_eq!(cache.get(&key), held.get(&key).cloned());
            prop_assert_eq!(cache.len(), held.len());
        }
    }
}
