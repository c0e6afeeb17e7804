//! Every entry that leaves is told of once, with its cause, outside of locks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proptest::prelude::*;
use trimtab_cache::{Cache, Cause, ManualClock};

type Log = Arc<Mutex<Vec<(u32, u32, Cause)>>>;

fn logged(max: u64, shards: usize) -> (Cache<u32, u32>, ManualClock, Log) {
    let (clock, log) = (ManualClock::new(), Log::default());
    let note = Arc::clone(&log);
    let cache = Cache::builder()
        .max_entries(max)
        .shards(shards)
        .clock(clock.clone())
        .listener(move |key, value, cause| note.lock().push((*key, *value, cause)))
        .build()
        .unwrap();
    (cache, clock, log)
}

#[test]
fn each_way_out_has_its_cause() {
    let (cache, clock, log) = logged(2, 1);
    let take = || std::mem::take(&mut *log.lock());
    cache.insert(1, 10);
    cache.insert(1, 11);
    assert_eq!(take(), [(1, 10, Cause::Replaced)]);
    assert_eq!(cache.remove(&1), Some(11));
    assert_eq!(take(), [(1, 11, Cause::Explicit)]);
    cache.insert_with_ttl(2, 20, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get(&2), None);
    assert_eq!(take(), [(2, 20, Cause::Expired)]);
    cache.insert_with_ttl(3, 30, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    cache.expire();
    assert_eq!(take(), [(3, 30, Cause::Expired)]);
    (4..7).for_each(|key| cache.insert(key, 0));
    assert!(matches!(take()[..], [(_, 0, Cause::Capacity)]));
    cache.clear();
    assert_eq!(take().len(), 2);
    assert!(cache.try_insert_with_ttl(9, 0, Duration::ZERO).is_err());
    assert_eq!(take(), [], "what never came in does not leave");
}

#[test]
fn a_listener_may_use_the_cache() {
    let cache: Arc<std::sync::OnceLock<Cache<u32, u32>>> = Arc::default();
    let inner = Arc::downgrade(&cache);
    let built = Cache::builder()
        .max_entries(1000)
        .listener(move |key, value, _| {
            let cache = inner.upgrade().and_then(|cache| cache.get().cloned()).expect("set before use");
            if *key < 10 {
                cache.insert(key + 100, *value);
            }
        })
        .build()
        .unwrap();
    let cache = cache.get_or_init(|| built);
    cache.insert(1, 7);
    cache.invalidate(&1);
    assert_eq!(cache.get(&101), Some(7));
}

#[test]
fn a_panic_of_the_listener_is_contained_and_counted() {
    let cache = Cache::builder().max_entries(10).listener(|_: &u8, (): &(), _| panic!("listener")).build().unwrap();
    cache.insert(1, ());
    assert!(cache.invalidate(&1));
    assert_eq!(cache.stats().listener_panics, 1);
    cache.validate();
}

#[test]
fn what_is_still_being_read_is_told_at_once_and_dropped_after_the_read() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let cache = Cache::builder()
        .max_entries(10)
        .time_to_idle(Duration::from_secs(1))
        // A clock that stands still: on a busy machine a second is soon over, and what expires is told as well.
        .clock(ManualClock::new())
        .listener(move |key: &u32, value: &Arc<u32>, cause| note.lock().push((*key, **value, cause)))
        .build()
        .unwrap();
    let values: Vec<_> = (0..3).map(Arc::new).collect();
    cache.insert_many(values.iter().map(|value| (**value, Arc::clone(value))));
    let seen = cache.view(&0, |read| {
        assert!(cache.invalidate(&0));
        cache.insert(1, Arc::new(9));
        assert_eq!(cache.remove(&2).as_deref(), Some(&2));
        assert_eq!(*told.lock(), [(0, 0, Cause::Explicit), (1, 1, Cause::Replaced), (2, 2, Cause::Explicit)]);
        **read
    });
    assert_eq!(seen, Some(0));
    // Readers of other caches may delay it.
    let begun = Instant::now();
    while values.iter().any(|value| Arc::strong_count(value) > 1) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is kept beyond the read");
        cache.expire();
        std::thread::yield_now();
    }
    assert_eq!(told.lock().len(), 3, "nothing is told twice");
    cache.validate();
}

#[test]
fn readers_on_other_threads_change_nothing_about_what_is_told() {
    let told = Arc::new(Mutex::new(HashMap::new()));
    let note = Arc::clone(&told);
    let cache = Cache::builder()
        .max_entries(32)
        .time_to_idle(Duration::from_secs(3600))
        .listener(move |_: &u32, value: &Arc<u32>, _| *note.lock().entry(**value).or_insert(0) += 1)
        .build()
        .unwrap();
    let writes = 4_000_u32;
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let cache = cache.clone();
            scope.spawn(move || {
                for n in 0..writes {
                    let key = n.wrapping_mul(2_654_435_761).rotate_left(thread) % 64;
                    match (n + thread) % 8 {
                        0 => drop(cache.remove(&key)),
                        1 => {
                            cache.invalidate_if(|other, _| *other == key);
                        }
                        2..5 => drop(cache.get(&key)),
                        _ => cache.insert_with_tags(key, Arc::new(thread * writes + n), ["tag"]),
                    }
                }
            });
        }
    });
    cache.validate();
    let stats = cache.stats();
    cache.clear();
    assert!(told.lock().values().all(|times| *times == 1), "each value leaves once");
    assert_eq!(told.lock().len() as u64, stats.inserts + stats.updates);
    cache.validate();
}

proptest! {
    #[test]
    fn what_came_in_is_held_or_was_told(steps in proptest::collection::vec((0..6_u8, 0..40_u32), 1..300), max in 1..30_u64) {
        let (cache, clock, log) = logged(max, 2);
        let mut next = 0;
        let mut stored: HashMap<u32, u32> = HashMap::new();
        for (step, key) in steps {
            next += 1;
            match step {
                0 | 1 => { cache.insert(key, next); stored.insert(next, key); }
                2 => { cache.insert_with_ttl(key, next, Duration::from_secs(3)); stored.insert(next, key); }
                3 => drop(cache.remove(&key)),
                4 => clock.advance(Duration::from_secs(1)),
                _ => { cache.entry(key).and_upsert_with(|_| next); stored.insert(next, key); }
            }
        }
        let mut held = Vec::new();
        cache.expire();
        cache.for_each(|key, value| held.push((*key, *value)));
        for (key, value, _) in log.lock().iter() {
            held.push((*key, *value));
        }
        // Values are unique, so each must appear exactly once: as held, or as told.
        held.sort_unstable_by_key(|(_, value)| *value);
        let mut expected: Vec<_> = stored.into_iter().map(|(value, key)| (key, value)).collect();
        expected.sort_unstable_by_key(|(_, value)| *value);
        prop_assert_eq!(held, expected);
        let by_cause = |cause| log.lock().iter().filter(|(_, _, told)| *told == cause).count() as u64;
        for cause in Cause::ALL {
            prop_assert_eq!(by_cause(cause), cache.stats().evictions.by(cause));
        }
        cache.validate();
    }
}
