//! Limits inside of one process: never above the rate, in bounded memory, with figures that hold.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use proptest::prelude::*;
use trimtab_limit::{BuildError, KeyedLimit, Limit, LimitError, LimitSettings};

fn settings(rate: &str, keys_max: u32) -> LimitSettings {
    let mut settings = LimitSettings::of(rate.parse().unwrap());
    settings.keys_max = keys_max;
    settings
}

fn limit(rate: &str) -> (Limit<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limit::with_clock("test", settings(rate, 1), clock.clone()).unwrap(), clock)
}

#[test]
fn a_burst_passes_and_then_one_for_each_interval() {
    let (limit, clock) = limit("10/s burst 3");
    let left: Vec<_> = (0..3).map(|_| limit.check().unwrap().remaining()).collect();
    assert_eq!(left, [2, 1, 0]);
    let LimitError::Refused { refused, .. } = limit.check().unwrap_err() else { panic!("refused") };
    assert_eq!((refused.retry_after, refused.burst), (Duration::from_millis(100), 3));
    clock.advance(Duration::from_millis(99));
    assert!(limit.check().is_err());
    clock.advance(Duration::from_millis(1));
    let allowed = limit.check().unwrap();
    assert_eq!((allowed.burst(), allowed.remaining(), allowed.reset()), (3, 0, Duration::from_millis(300)));
    assert_eq!(limit.stats().refused, 2);
}

#[test]
fn a_weight_passes_whole_or_not_at_all() {
    let (limit, clock) = limit("10/s burst 5");
    let weigh = |n| limit.check_n(NonZeroU32::new(n).unwrap());
    assert_eq!(weigh(3).unwrap().remaining(), 2);
    assert!(matches!(weigh(3).unwrap_err(), LimitError::Refused { .. }));
    assert_eq!(weigh(2).unwrap().remaining(), 0, "a refusal costs nothing");
    let error = weigh(6).unwrap_err();
    assert!(matches!(error, LimitError::TooMuch { asked: 6, burst: 5, .. }), "{error}");
    clock.advance(Duration::from_millis(250));
    assert!(weigh(3).is_err());
    assert!(weigh(2).is_ok());
}

#[test]
fn a_flood_of_keys_stays_in_bounded_memory_and_washes_no_debt_away() {
    let clock = FakeRelativeClock::default();
    let limit: KeyedLimit<u64, _> =
        KeyedLimit::with_clock("test", settings("1/s burst 2", 1_000), clock.clone()).unwrap();
    // One that has used up its burst.
    limit.check(&0).unwrap();
    limit.check(&0).unwrap();
    let mut passed = 0;
    for key in 1..100_000 {
        passed += u64::from(limit.check(&key).is_ok());
    }
    let stats = limit.stats();
    assert!(stats.keys <= 1_000, "{stats:?}");
    assert!(stats.crowded > 90_000, "{stats:?}");
    // Newcomers without room get together, in each of the shards, what one key gets.
    assert!(passed <= 1_000 + 64 * 2, "{passed}");
    assert!(limit.check(&0).is_err(), "its debt is still known");
    // All bursts are whole again: the flood makes room for itself.
    clock.advance(Duration::from_secs(3));
    for key in 200_000..200_500 {
        limit.check(&key).unwrap();
    }
    assert!(limit.stats().keys <= 1_000);
    assert_eq!(limit.stats().crowded, stats.crowded);
}

#[test]
fn impossible_limits_are_refused_with_the_reason() {
    let error = Limit::new("Mails", "1/s".parse().unwrap()).unwrap_err();
    assert!(matches!(error, BuildError::Name(_)), "{error}");
    let error = Limit::new("mails", "4000000000/ns".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("limit.mails.rate") && error.contains("at most 1000000000/s"), "{error}");
}

#[test]
fn numbers_are_published_under_their_names() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let limit: KeyedLimit<u8> = KeyedLimit::new("published", "1/h burst 1".parse().unwrap()).unwrap();
    limit.check(&1).unwrap();
    limit.check(&1).unwrap_err();
    metrics::with_local_recorder(&recorder, || limit.publish_metrics());
    let found: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, .., value)| (key.key().name().to_owned(), key.key().labels().count(), value))
        .collect();
    let value = |name: &str| {
        found.iter().find(|(found, labels, _)| found == name && *labels == 1).map(|(.., value)| match value {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(gauge) => gauge.into_inner(),
            DebugValue::Histogram(_) => f64::NAN,
        })
    };
    assert_eq!(value(trimtab_limit::metrics::REFUSED), Some(1.0));
    assert_eq!(value(trimtab_limit::metrics::KEYS), Some(1.0));
    assert_eq!(value(trimtab_limit::metrics::AWAY), Some(0.0));
}

proptest! {
    /// Against a bucket that fills by the nanosecond, for a few keys in a table that is too small for them.
    #[test]
    fn no_key_ever_gets_more_than_rate_and_burst(
        permits in 1_u32..20, burst in 1_u32..6,
        calls in proptest::collection::vec((0_u8..6, 1_u32..4, 0_u64..400), 1..200),
    ) {
        let clock = FakeRelativeClock::default();
        let rate = format!("{permits}/s burst {burst}");
        let limit: KeyedLimit<u8, _> = KeyedLimit::with_clock("test", settings(&rate, 3), clock.clone()).unwrap();
        let interval = 1_000_000_000_u64.div_ceil(u64::from(permits));
        let whole = interval * u64::from(burst);
        // Nanoseconds' worth of permits left, and when that was.
        let mut buckets = [(whole, 0_u64); 6];
        let mut now = 0;
        for (key, weight, pause) in calls {
            let pause = Duration::from_millis(pause);
            clock.advance(pause);
            now += pause.as_nanos() as u64;
            let (left, then) = &mut buckets[key as usize];
            *left = (*left + (now - *then)).min(whole);
            *then = now;
            let cost = interval * u64::from(weight);
            match limit.check_n(&key, NonZeroU32::new(weight).unwrap()) {
                Ok(allowed) => {
                    prop_assert!(cost <= *left, "{key} got {weight} with {left} left");
                    *left -= cost;
                    prop_assert!(u64::from(allowed.remaining()) * interval <= *left);
                }
                // A table of three keys for six: newcomers may share one bucket, but what has a place is judged exactly.
                Err(LimitError::Refused { refused, .. }) => prop_assert!(refused.retry_after > Duration::ZERO),
                Err(LimitError::TooMuch { .. }) => prop_assert!(weight > burst),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
        prop_assert!(limit.stats().keys <= 3);
    }

    /// With room for all keys the decision is exactly the bucket's.
    #[test]
    fn with_room_for_all_every_decision_is_exact(
        permits in 1_u32..20, burst in 1_u32..6,
        calls in proptest::collection::vec((0_u8..3, 1_u32..4, 0_u64..400), 1..200),
    ) {
        let clock = FakeRelativeClock::default();
        let rate = format!("{permits}/s burst {burst}");
        let limit: KeyedLimit<u8, _> = KeyedLimit::with_clock("test", settings(&rate, 64), clock.clone()).unwrap();
        let interval = 1_000_000_000_u64.div_ceil(u64::from(permits));
        let whole = interval * u64::from(burst);
        let mut buckets = [(whole, 0_u64); 3];
        let mut now = 0;
        for (key, weight, pause) in calls {
            let pause = Duration::from_millis(pause);
            clock.advance(pause);
            now += pause.as_nanos() as u64;
            let (left, then) = &mut buckets[key as usize];
            *left = (*left + (now - *then)).min(whole);
            *then = now;
            let cost = interval * u64::from(weight);
            let passes = limit.check_n(&key, NonZeroU32::new(weight).unwrap()).is_ok();
            prop_assert_eq!(passes, cost <= *left);
            if passes {
                *left -= cost;
            }
        }
    }
}

#[test]
fn a_rate_that_is_raised_helps_at_once_and_one_that_is_lowered_binds_at_once() {
    let (limit, clock) = limit("1/h burst 5");
    let five = NonZeroU32::new(5).unwrap();
    limit.check_n(five).unwrap();
    assert!(limit.check().unwrap_err().retry_after().unwrap() > Duration::from_secs(3000));
    limit.set_rate("10/s burst 3".parse().unwrap()).unwrap();
    assert_eq!(limit.rate().to_string(), "10/s burst 3".parse::<trimtab_limit::Rate>().unwrap().to_string());
    // Five hours of debt are a burst that is used up.
    assert_eq!(limit.check().unwrap_err().retry_after(), Some(Duration::from_millis(100)));
    clock.advance(Duration::from_millis(100));
    assert_eq!(limit.check().unwrap().remaining(), 0);
    assert!(matches!(limit.check_n(five), Err(LimitError::TooMuch { burst: 3, .. })));
    clock.advance(Duration::from_secs(1));
    limit.set_rate("1/h burst 1".parse().unwrap()).unwrap();
    assert!(limit.check().is_ok() && limit.check().is_err());
    let error = limit.set_rate("4000000000/ns".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("limit.test.rate"), "{error}");
    assert!(limit.check().is_err(), "nothing has changed");
}

#[test]
fn the_busiest_keys_are_told_with_what_they_used() {
    let clock = FakeRelativeClock::default();
    let limit: KeyedLimit<u8, _> = KeyedLimit::with_clock("test", settings("1/s burst 10", 256), clock).unwrap();
    for (key, calls) in [(1, 3), (2, 14), (3, 7)] {
        for _ in 0..calls {
            let _ = limit.check(&key);
        }
    }
    limit.check_n(&4, NonZeroU32::new(9).unwrap()).unwrap();
    let usage: Vec<_> = limit.usage(3).into_iter().map(|used| (used.key, used.permits, used.refused)).collect();
    assert_eq!(usage, [(2, 10, 4), (4, 9, 0), (3, 7, 0)]);
    assert!(limit.usage(0).is_empty());
    assert_eq!(limit.usage(100).len(), 4);
}

proptest! {
    /// The rule is governor's.
    #[test]
    fn every_decision_is_governors(
        permits in 1_u32..20, burst in 1_u32..6,
        calls in proptest::collection::vec((1_u32..7, 0_u64..400), 1..200),
    ) {
        let rate = format!("{permits}/s burst {burst}");
        let (limit, clock) = limit(&rate);
        let interval = Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(permits)));
        let quota = governor::Quota::with_period(interval).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
        let other = governor::RateLimiter::direct_with_clock(quota, clock.clone());
        for (weight, pause) in calls {
            clock.advance(Duration::from_millis(pause));
            let weight = NonZeroU32::new(weight).unwrap();
            let passes = other.check_n(weight).is_ok_and(|decision| decision.is_ok());
            prop_assert_eq!(limit.check_n(weight).is_ok(), passes);
        }
    }

    /// Whatever an operator does to the rate, a stretch without a change sees at most its rate and one burst.
    #[test]
    fn a_changed_rate_is_never_exceeded(
        rates in proptest::collection::vec((1_u32..50, 1_u32..6), 1..6),
        pauses in proptest::collection::vec(0_u64..60, 10..80),
    ) {
        let (limit, clock) = limit("7/s burst 3");
        for (permits, burst) in rates {
            limit.set_rate(format!("{permits}/s burst {burst}").parse().unwrap()).unwrap();
            let (mut passed, mut gone) = (0_u64, 0_u64);
            for pause in &pauses {
                clock.advance(Duration::from_millis(*pause));
                gone += pause;
                passed += u64::from(limit.check().is_ok());
                prop_assert!(passed <= u64::from(burst) + gone * u64::from(permits) / 1000, "{passed} in {gone} ms");
            }
        }
    }
}
