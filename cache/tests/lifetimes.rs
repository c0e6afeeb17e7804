//! Time to idle, computed and adaptive times to live, against a model on a clock that the tests move.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use trimtab_cache::{BuildError, Cache, Clock, ManualClock};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn only_uses_keep_an_idle_entry() {
    let clock = ManualClock::new();
    let cache = Cache::builder().max_entries(10).time_to_idle(4 * SECOND).clock(clock.clone()).build().unwrap();
    for key in ["get", "view", "entry", "load", "peek", "contains", "list"] {
        cache.insert(key, 1);
    }
    clock.advance(3 * SECOND);
    cache.get("get");
    cache.view("view", |_| ());
    cache.entry("entry").or_insert(2);
    cache.get_or_insert_with("load", || unreachable!("is cached"));
    cache.peek("peek");
    cache.contains("contains");
    cache.keys_with_info(None, 100);
    clock.advance(2 * SECOND);
    for key in ["get", "view", "entry", "load"] {
        assert!(cache.contains(key), "{key} is a use");
    }
    for key in ["peek", "contains", "list"] {
        assert!(!cache.contains(key), "{key} is no use");
    }
    while cache.expire() > 0 {}
    assert_eq!(cache.len(), 4);
    cache.validate();
    assert_eq!(cache.time_to_idle(), Some(4 * SECOND));
}

#[test]
fn computed_times_give_way_to_given_ones() {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_entries(10)
        .ttl(9 * SECOND)
        .expire_after(|_: &&str, seconds: &Option<u32>| seconds.map(|n| SECOND * n))
        .clock(clock)
        .build()
        .unwrap();
    cache.insert("default", None);
    cache.insert("computed", Some(5));
    cache.insert_with_ttl("given", Some(5), 2 * SECOND);
    let left = |key| cache.info(key).unwrap().ttl_left.unwrap();
    assert_eq!((left("default"), left("computed"), left("given")), (9 * SECOND, 5 * SECOND, 2 * SECOND));
    assert!(cache.try_insert("zero", Some(0)).is_err());
}

#[test]
fn a_panic_of_the_computed_expiry_leaves_the_cache_as_it_was() {
    let cache = Cache::builder().max_entries(10).expire_after(|_: &u8, _: &u8| panic!("expiry")).build().unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(1, 1))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(2, || 2))).is_err());
    assert!(cache.is_empty());
    cache.validate();
}

#[test]
fn nonsense_is_refused() {
    let builder = || Cache::<u8, u8>::builder().max_entries(1);
    assert!(matches!(
        builder().time_to_idle(Duration::ZERO).build(),
        Err(BuildError::Zero { field: "time_to_idle", .. })
    ));
    assert!(builder().adaptive_ttl(Duration::ZERO..=SECOND).build().is_err());
    let error = builder().adaptive_ttl(2 * SECOND..=SECOND).build().unwrap_err();
    assert_eq!(error.to_string(), "cache \"cache\": adaptive_ttl is 2s to 1s; the first must not exceed the second");
}

#[test]
fn an_unread_clock_stays_unread() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&reads);
    let clock = Clock::from_fn(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        Duration::ZERO
    });
    let cache = Cache::builder()
        .max_entries(10)
        .expire_after(|_: &u8, _: &u8| None)
        .listener(|_, _, _| ())
        .clock(clock)
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert_with_tags(2, 2, ["tag"]);
    (0..100).for_each(|_| assert!(cache.get(&1).is_some()));
    cache.entry(1).and_upsert_with(|_| 3);
    cache.invalidate_tag("tag");
    assert_eq!(reads.load(Ordering::Relaxed), 0);
}

/// What the model knows: when stored, when used last, and the time to live that was given.
#[derive(Debug, Clone, Copy)]
struct Known {
    stored: u64,
    used: u64,
    given: Option<u64>,
}

proptest! {
    #[test]
    fn deadlines_follow_the_rules(
        steps in proptest::collection::vec((0..5_u8, 0..8_u8, 1..2000_u64), 1..200),
        idle in proptest::option::of(500..20_000_u64),
        bounds in proptest::option::of((500..5_000_u64, 1..8_u64)),
        ttl in proptest::option::of(500..20_000_u64),
    ) {
        let clock = ManualClock::new();
        let bounds = bounds.map(|(min, times)| (min, min * times));
        let mut builder = Cache::builder().max_entries(1000).shards(2).clock(clock.clone());
        if let Some(idle) = idle { builder = builder.time_to_idle(Duration::from_millis(idle)); }
        if let Some(ttl) = ttl { builder = builder.ttl(Duration::from_millis(ttl)); }
        if let Some((min, max)) = bounds {
            builder = builder.adaptive_ttl(Duration::from_millis(min)..=Duration::from_millis(max));
        }
        let cache = builder.build().unwrap();
        let mut model: HashMap<u8, Known> = HashMap::new();
        let mut now = 0;
        let end = |known: &Known| {
            let mut end = u64::MAX;
            if let Some(ttl) = known.given.or(ttl) { end = end.min(known.stored + ttl); }
            if let (Some((min, max)), None) = (bounds, known.given) {
                end = end.min(known.stored + (2 * (known.used - known.stored)).clamp(min, max));
            }
            if let Some(idle) = idle { end = end.min(known.used + idle); }
            end
        };
        // An entry may end this much early.
        let slack = idle.unwrap_or(u64::MAX).min(bounds.map_or(u64::MAX, |(min, _)| min)) / 256 + 1;
        for (step, key, n) in steps {
            match step {
                0 => { cache.insert(key, ()); model.insert(key, Known { stored: now, used: now, given: None }); }
                1 => {
                    cache.insert_with_ttl(key, (), Duration::from_millis(n));
                    model.insert(key, Known { stored: now, used: now, given: Some(n) });
                }
                2 => { now += n; clock.advance(Duration::from_millis(n)); }
                3 => drop(cache.expire()),
                _ => {}
            }
            for (key, known) in &mut model {
                let end = end(known);
                if now >= end {
                    prop_assert!(!cache.contains(key), "{known:?} should have ended at {end}, it is {now}");
                } else if now < end.saturating_sub(slack) {
                    prop_assert!(cache.contains(key), "{known:?} should last until {end}, it is {now}");
                }
            }
            if step == 4 {
                let found = cache.get(&key).is_some();
                if let Some(known) = model.get_mut(&key).filter(|_| found) {
                    known.used = now;
                }
            }
            model.retain(|key, _| cache.contains(key));
            cache.validate();
        }
    }
}
