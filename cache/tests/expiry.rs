//! Expiry on a clock that the tests move, and on tokio's paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trimtab_cache::{Cache, Clock, ManualClock, RejectedReason};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_entry_is_never_returned_from_its_deadline_on() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(10).ttl(10 * SECOND).clock(clock.clone()).build().unwrap();
    cache.insert("default", 1);
    cache.insert_with_ttl("short", 2, SECOND);
    cache.insert_with_ttl("never", 3, Duration::MAX);
    assert_eq!(cache.info("short").unwrap().ttl_left, Some(SECOND));
    clock.advance(SECOND);
    assert_eq!((cache.get("short"), cache.get("default"), cache.peek("never")), (None, Some(1), Some(3)));
    clock.advance(9 * SECOND);
    assert!(!cache.contains("default"));
    assert_eq!(cache.remove("default"), None);
    clock.advance(Duration::MAX);
    assert_eq!(cache.get("never"), Some(3));
    assert_eq!(cache.stats().evictions.expired, 2);
    cache.validate();
}

#[test]
fn expire_removes_what_is_due_and_nothing_else() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(50_000).shards(4).clock(clock.clone()).build().unwrap();
    for key in 0..40_000_u64 {
        cache.insert_with_ttl(key, (), SECOND * if key % 2 == 0 { 1 } else { 5 });
    }
    assert_eq!(cache.expire(), 0);
    clock.advance(SECOND);
    let first = cache.expire();
    assert!((1..=4 * 4096).contains(&first), "a call is bounded: {first}");
    while cache.expire() > 0 {}
    assert_eq!(cache.len(), 20_000);
    assert!((0..40_000).all(|key| cache.contains(&key) == (key % 2 == 1)));
    cache.validate();
}

#[test]
fn expired_entries_make_room_before_live_ones_leave() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(100).shards(1).clock(clock.clone()).build().unwrap();
    (0..50).for_each(|key| cache.insert(key, ()));
    (50..100).for_each(|key| cache.insert_with_ttl(key, (), SECOND));
    clock.advance(SECOND);
    (100..150).for_each(|key| cache.insert(key, ()));
    assert!((0..50).chain(100..150).all(|key| cache.contains(&key)));
    assert_eq!(cache.stats().evictions.for_room(), 0);
}

#[test]
fn a_newer_value_brings_its_own_deadline() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(10).clock(clock.clone()).build().unwrap();
    cache.insert_with_ttl(1, 'a', SECOND);
    cache.insert(1, 'b');
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Some('b'));
    cache.insert_with_ttl(1, 'c', SECOND);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
    cache.validate();
}

#[test]
fn a_time_to_live_of_zero_is_refused_and_removes_the_old_value() {
    let cache = Cache::new(10);
    cache.insert(1, 'a');
    let rejected = cache.try_insert_with_ttl(1, 'b', Duration::ZERO).unwrap_err();
    assert_eq!((rejected.value, rejected.reason), ('b', RejectedReason::ZeroTtl));
    assert_eq!(cache.get(&1), None);
    assert!(cache.set_ttl(Some(Duration::ZERO)).is_err());
}

#[test]
fn a_changed_default_holds_for_later_values() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(10).clock(clock.clone()).build().unwrap();
    cache.insert(1, ());
    cache.set_ttl(Some(SECOND)).unwrap();
    cache.insert(2, ());
    clock.advance(SECOND);
    assert!(cache.contains(&1) && !cache.contains(&2));
    cache.set_ttl(None).unwrap();
    assert_eq!(cache.ttl(), None);
}

#[test]
fn no_clock_is_read_by_hits_on_entries_that_cannot_expire() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&reads);
    let clock = Clock::from_fn(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        Duration::ZERO
    });
    let cache = Cache::builder().max_entries(10).clock(clock).build().unwrap();
    cache.insert(1, ());
    cache.insert_with_ttl(2, (), SECOND);
    let before = reads.load(Ordering::Relaxed);
    (0..100).for_each(|_| assert!(cache.get(&1).is_some()));
    (0..100).for_each(|_| assert!(cache.get(&3).is_none()));
    assert_eq!(reads.load(Ordering::Relaxed), before);
    cache.get(&2);
    assert_eq!(reads.load(Ordering::Relaxed), before + 1);
}

#[tokio::test(start_paused = true)]
async fn tokio_paused_time_drives_expiry() {
    let start = tokio::time::Instant::now();
    let cache = Cache::builder()
        .max_entries(10)
        .ttl(60 * SECOND)
        .clock(Clock::from_fn(move || start.elapsed()))
        .build()
        .unwrap();
    let loads = AtomicUsize::new(0);
    let load = || async { loads.fetch_add(1, Ordering::Relaxed) };
    assert_eq!(cache.get_with("k", load).await, 0);
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(cache.get_with("k", load).await, 0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(cache.get_with("k", load).await, 1, "an expired entry is reloaded once");
    assert_eq!(cache.get_with("k", load).await, 1);
}
