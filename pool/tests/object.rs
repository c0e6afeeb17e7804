//! The object pool as its callers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trimtab_config::Share;
use trimtab_pool::{BuildError, ObjectPool};

fn counted(made: &Arc<AtomicUsize>) -> impl Fn() -> Vec<u8> + Send + Sync + use<> {
    let made = made.clone();
    move || {
        made.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }
}

#[test]
fn an_object_is_cleaned_and_used_again() {
    let made = Arc::new(AtomicUsize::new(0));
    let pool = ObjectPool::builder("bytes", counted(&made)).reset(Vec::clear).build().unwrap();
    for _ in 0..100 {
        let mut bytes = pool.acquire();
        assert!(bytes.is_empty());
        bytes.extend_from_slice(b"dirty");
    }
    let stats = pool.stats();
    assert_eq!((made.load(Ordering::SeqCst), stats.acquired, stats.created, stats.in_use), (1, 100, 1, 0));
    assert!((stats.reuse_ratio() - 0.99).abs() < 1e-9);
}

#[test]
fn objects_worth_less_than_their_room_are_dropped() {
    let pool = ObjectPool::builder("bytes", Vec::<u8>::new).keep_if(|bytes| bytes.capacity() <= 1_000).build().unwrap();
    pool.acquire().reserve(2_000);
    pool.acquire().reserve(500);
    let stats = pool.stats();
    assert_eq!((stats.discarded, stats.created, stats.idle), (1, 2, 1));
}

#[test]
fn a_reset_that_panics_costs_its_object_only() {
    let pool = ObjectPool::builder("numbers", || 0_u32)
        .reset(|number| assert_ne!(*number, 13, "told to panic"))
        .max(2)
        .build()
        .unwrap();
    *pool.acquire() = 13;
    assert_eq!(*pool.acquire(), 0);
    assert_eq!((pool.stats().discarded, pool.stats().idle, pool.stats().in_use), (1, 1, 0));
}

#[test]
fn first_objects_are_made_at_once_and_growth_follows_the_factor() {
    let made = Arc::new(AtomicUsize::new(0));
    let pool = ObjectPool::builder("bytes", counted(&made)).initial(4).max(9).growth_factor(1.5).build().unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 4);
    let held: Vec<_> = (0..5).map(|_| pool.acquire()).collect();
    assert_eq!(made.load(Ordering::SeqCst), 6, "a half more, not one");
    drop(held);
    assert_eq!(pool.stats().idle, 6);
}

#[test]
fn what_exceeds_the_limit_is_dropped_when_it_comes_back() {
    let pool = ObjectPool::builder("bytes", Vec::<u8>::new).max(3).build().unwrap();
    let held: Vec<_> = (0..8).map(|_| pool.acquire_owned()).collect();
    assert_eq!((pool.stats().in_use, pool.stats().guests), (8, 5));
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.trimmed, stats.in_use), (3, 5, 0));
}

#[test]
fn an_object_can_be_taken_out_for_good_and_returned_elsewhere() {
    let pool = ObjectPool::builder("words", || "word".to_owned()).growth_factor(1.0).build().unwrap();
    let word: String = pool.acquire().take();
    assert_eq!((word.as_str(), pool.stats().taken, pool.stats().idle), ("word", 1, 0));
    let guard = pool.acquire_owned();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    // The other thread has ended; what it gave back is not lost with it.
    assert_eq!(pool.stats().idle, 1);
    drop(pool.acquire());
    assert_eq!(pool.stats().created, 2);
}

#[tokio::test(start_paused = true)]
async fn size_follows_demand_after_each_interval() {
    let pool = ObjectPool::builder("bytes", Vec::<u8>::new)
        .max(100)
        .growth_factor(1.0)
        .cleanup_interval(Duration::from_secs(300))
        .build()
        .unwrap();
    drop((0..50).map(|_| pool.acquire()).collect::<Vec<_>>());
    assert_eq!(pool.clean_up(), 0, "not due");
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(301)).await;
        drop((0..5).map(|_| pool.acquire()).collect::<Vec<_>>());
        pool.clean_up();
    }
    assert_eq!((pool.stats().wanted, pool.stats().idle), (5, 5));
    assert_eq!(pool.trim_idle(Share::percent(50)).objects, 3);
    assert_eq!(pool.trim_idle(Share::ALL).objects, 0, "the least is kept, which is 2");
}

#[test]
fn a_lower_limit_takes_effect_at_once_on_what_is_idle() {
    let pool = ObjectPool::builder("bytes", Vec::<u8>::new).max(10).build().unwrap();
    drop((0..10).map(|_| pool.acquire()).collect::<Vec<_>>());
    let mut settings = pool.settings();
    settings.max = Some(4);
    pool.apply(settings.clone()).unwrap();
    assert_eq!((pool.stats().idle, pool.settings().max), (4, Some(4)));
    settings.max = Some(0);
    assert!(matches!(pool.apply(settings), Err(BuildError::Settings { .. })));
    assert_eq!(pool.settings().max, Some(4));
}

#[test]
fn impossible_pools_are_refused_with_all_reasons() {
    let error = ObjectPool::builder("bytes", Vec::<u8>::new).max(0).growth_factor(f64::NAN).build().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("pool.bytes.max = 0") && text.contains("pool.bytes.growth_factor"), "{text}");
    assert!(matches!(ObjectPool::builder("A b", Vec::<u8>::new).build(), Err(BuildError::Name(_))));
}

#[test]
fn many_threads_share_few_objects_and_none_is_in_two_hands() {
    let pool = ObjectPool::builder("flags", || false).max(4).build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    let mut flag = pool.acquire();
                    assert!(!std::mem::replace(&mut *flag, true), "somebody else has it");
                    *flag = false;
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.in_use), (200_000, 0));
    assert!(stats.idle <= 4 && stats.created < 5_000, "{stats:?}");
}
