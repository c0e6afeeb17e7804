//! The running monitor, on a paused clock and with made-up samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::{Instant, advance, timeout};
use trimtab_config::{Duration as Span, Share};
use trimtab_monitor::{
    MemorySample, Monitor, MonitorError, MonitorSettings, Pressure, ReclaimError, Sample, State, series,
};

/// A source whose memory share is set by the test, and whose clock follows the paused one.
#[derive(Clone)]
struct Fake {
    share: Arc<Mutex<f64>>,
    calls: Arc<AtomicU64>,
}

impl Fake {
    fn new(share: f64) -> Self {
        Self { share: Arc::new(Mutex::new(share)), calls: Arc::default() }
    }

    fn set(&self, share: f64) {
        *self.share.lock() = share;
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn start(&self, settings: MonitorSettings) -> Monitor {
        let (fake, began, epoch) = (self.clone(), Instant::now(), SystemTime::now());
        let source = move || {
            fake.calls.fetch_add(1, Ordering::Relaxed);
            let mut sample = Sample::empty();
            sample.at = epoch + began.elapsed();
            sample.memory = MemorySample::of((*fake.share.lock() * 1e6) as u64, 1_000_000);
            sample
        };
        Monitor::builder().settings(settings).source(source).start().expect("good settings")
    }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn samples_are_taken_at_the_interval_from_the_start_on() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    assert_eq!(fake.calls(), 1);
    assert_eq!(monitor.sample().memory.share, Some(0.5));
    for expected in 2..6 {
        monitor.sampled().await;
        assert_eq!(fake.calls(), expected);
    }
    let points = monitor.history(series::MEMORY_SHARE, Duration::MAX).expect("kept");
    assert_eq!(points.len(), 5);
    let gaps: Vec<_> =
        points.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at).expect("in order").as_secs()).collect();
    assert_eq!(gaps, [1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn ticks_that_were_missed_are_left_out() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    monitor.sampled().await;
    advance(100 * second()).await;
    monitor.sampled().await;
    let calls = fake.calls();
    assert!(calls <= 4, "{calls}");
    monitor.sampled().await;
    assert_eq!(fake.calls(), calls + 1);
}

#[tokio::test(start_paused = true)]
async fn readers_are_woken_by_levels_and_find_the_newest_evidence() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    let mut changes = monitor.pressure_changes();
    fake.set(0.6);
    monitor.sampled().await;
    assert!(!changes.has_changed().expect("open"));
    assert_eq!(changes.borrow().share, Some(0.6));
    fake.set(0.9);
    changes.changed().await.expect("open");
    assert_eq!((monitor.level(), monitor.pressure().previous), (Pressure::High, Some(Pressure::Low)));
    // Falls only after the hold time, on the paused clock.
    fake.set(0.1);
    let fell = Instant::now();
    changes.changed().await.expect("open");
    assert_eq!(monitor.level(), Pressure::Low);
    let took = fell.elapsed().as_secs();
    assert!((10..=11).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn high_pressure_shows_in_health_without_spoiling_readiness() {
    let fake = Fake::new(0.97);
    let monitor = fake.start(MonitorSettings::default());
    let report = monitor.health().report();
    assert_eq!((report.components[0].name.as_str(), report.components[0].state), ("memory", State::Degraded));
    assert!(report.ready.ok && report.live.ok);
    let page = serde_json::to_value(monitor.memory_health()).expect("plain data");
    assert_eq!((page["status"].as_str(), page["memory_pressure"].as_str()), (Some("critical"), Some("critical")));
    fake.set(0.1);
    for _ in 0..12 {
        monitor.sampled().await;
    }
    assert_eq!(monitor.health().report().components[0].state, State::Up);
}

#[tokio::test(start_paused = true)]
async fn tracked_numbers_become_series_until_untracked() {
    let monitor = Fake::new(0.5).start(MonitorSettings::default());
    let value = Arc::new(AtomicU64::new(1));
    let read = Arc::clone(&value);
    monitor.track("queue.depth", move || read.load(Ordering::Relaxed) as f64).expect("a good name");
    for next in 2..=4 {
        monitor.sampled().await;
        value.store(next, Ordering::Relaxed);
    }
    let summary = monitor.summary("queue.depth", Duration::MAX).expect("sampled");
    assert_eq!((summary.count, summary.minimum, summary.maximum, summary.average), (3, 1.0, 3.0, 2.0));
    assert_eq!(monitor.summary("queue.depth", second()).map(|summary| summary.count), Some(2));
    // A new reader under the same name goes on.
    monitor.track("queue.depth", || 10.0).expect("replaced");
    monitor.sampled().await;
    assert_eq!(monitor.summary("queue.depth", Duration::MAX).map(|summary| summary.maximum), Some(10.0));
    assert!(monitor.untrack("queue.depth"));
    assert!(!monitor.untrack("queue.depth"));
    monitor.sampled().await;
    assert_eq!(monitor.summary("queue.depth", Duration::MAX), None);
}

#[tokio::test(start_paused = true)]
async fn names_and_numbers_of_series_are_bounded() {
    let monitor = Fake::new(0.5).start(MonitorSettings::default());
    for (name, words) in [
        (String::new(), "it is empty"),
        ("x".repeat(201), "it is 201 bytes long"),
        ("a\nb".into(), "control character"),
        (series::MEMORY_USED.to_owned(), "keeps a series of this name itself"),
    ] {
        let error = monitor.track(name, || 0.0).expect_err("refused").to_string();
        assert!(error.contains(words) && error.contains("use 1 to 200"), "{error}");
    }
    let mut taken = 0;
    let error = loop {
        match monitor.track(format!("series.{taken}"), || 0.0) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, MonitorError::TooManySeries { limit: 1_024, .. }), "{error}");
    monitor.sampled().await;
    assert_eq!(monitor.series().len(), 1_024);
    assert!(monitor.untrack("series.0"));
    monitor.track("another", || 0.0).expect("room again");
}

#[tokio::test(start_paused = true)]
async fn panics_of_callbacks_readers_and_source_go_no_further() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let source = {
        let calls = Arc::clone(&calls);
        move || {
            assert!(calls.load(Ordering::Relaxed) != 2, "the source, on purpose");
            Sample::empty()
        }
    };
    let monitor = Monitor::builder().source(source).start().expect("started");
    monitor.on_tick(|_| panic!("a callback, on purpose"));
    monitor.on_tick(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    monitor.track("bad", || panic!("a reader, on purpose")).expect("a good name");
    monitor.track("good", || 1.0).expect("a good name");
    monitor.sampled().await;
    monitor.sampled().await;
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    monitor.sampled().await; // the source panics: no tick
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(monitor.summary("bad", Duration::MAX), None);
    assert_eq!(monitor.summary("good", Duration::MAX).map(|summary| summary.count), Some(2));
    calls.store(10, Ordering::Relaxed);
    monitor.sampled().await;
    assert_eq!(calls.load(Ordering::Relaxed), 11);
}

#[tokio::test(start_paused = true)]
async fn callbacks_may_change_the_monitor_that_calls_them() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    let seen = Arc::new(AtomicU64::new(0));
    let (inner, counter) = (monitor.clone(), Arc::clone(&seen));
    let id = monitor.on_tick(move |tick| {
        assert!(!tick.pressure_changed);
        counter.fetch_add(1, Ordering::Relaxed);
        inner.track("late", || 2.0).expect("a good name");
        inner.on_tick(|_| ());
    });
    monitor.sampled().await;
    assert!(monitor.remove_callback(id));
    assert!(!monitor.remove_callback(id));
    monitor.sampled().await;
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    assert_eq!(monitor.summary("late", Duration::MAX).map(|summary| summary.last), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn new_settings_take_effect_at_once_and_bad_ones_not_at_all() {
    let fake = Fake::new(0.6);
    let monitor = fake.start(MonitorSettings::default());
    let mut settings =
        MonitorSettings { interval: Span::from_secs(30), history: Span::from_secs(60), ..MonitorSettings::default() };
    settings.pressure.moderate = Share::percent(55);
    monitor.apply(settings.clone()).expect("good settings");
    let start = Instant::now();
    monitor.sampled().await;
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(monitor.level(), Pressure::Moderate);
    for _ in 0..3 {
        monitor.sampled().await;
    }
    assert_eq!(monitor.history(series::MEMORY_SHARE, Duration::MAX).map(|points| points.len()), Some(2));
    let bad = MonitorSettings { interval: Span::from_millis(1), ..settings.clone() };
    let error = monitor.apply(bad).expect_err("refused").to_string();
    assert!(error.contains("interval = 1ms: must lie between"), "{error}");
    assert_eq!(monitor.settings(), settings);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_task_and_may_be_called_twice() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    let other = monitor.clone();
    tokio::join!(monitor.shutdown(), other.shutdown());
    monitor.shutdown().await;
    let calls = fake.calls();
    advance(10 * second()).await;
    assert_eq!(fake.calls(), calls);
    // Nobody waits for a tick that never comes; what was seen last can still be read.
    timeout(second(), monitor.sampled()).await.expect("returns at once");
    assert_eq!(monitor.sample().memory.share, Some(0.5));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_ends_the_task() {
    let fake = Fake::new(0.5);
    let monitor = fake.start(MonitorSettings::default());
    let mut samples = monitor.samples();
    let clone = monitor.clone();
    drop(monitor);
    samples.borrow_and_update();
    samples.changed().await.expect("a handle is left");
    drop(clone);
    samples.changed().await.expect_err("closed");
    let calls = fake.calls();
    advance(10 * second()).await;
    assert_eq!(fake.calls(), calls);
}

#[test]
fn outside_a_runtime_the_answer_is_an_error() {
    let error = Monitor::builder().start().expect_err("no runtime");
    assert!(matches!(error, MonitorError::NoRuntime));
    assert!(error.to_string().contains("there is no tokio runtime here"));
}

#[tokio::test]
async fn bad_settings_do_not_start() {
    let settings = MonitorSettings { interval: Span::from_millis(0), ..MonitorSettings::default() };
    let error = Monitor::builder().settings(settings).start().expect_err("refused").to_string();
    assert!(error.contains("interval = 0"), "{error}");
}

#[tokio::test]
async fn everyone_who_reclaims_through_a_monitor_shares_its_gap() {
    let monitor = Fake::new(0.5).start(MonitorSettings::default());
    let first = monitor.reclaim();
    assert!(!matches!(first, Err(ReclaimError::TooSoon { .. })), "{first:?}");
    let error = monitor.clone().reclaim().expect_err("too soon");
    assert!(matches!(error, ReclaimError::TooSoon { min_gap, .. } if min_gap.as_secs() == 30), "{error}");
    let settings = MonitorSettings { reclaim_gap: Span::from_millis(0), ..MonitorSettings::default() };
    monitor.apply(settings).expect("good settings");
    let again = monitor.reclaim();
    assert!(!matches!(again, Err(ReclaimError::TooSoon { .. })), "{again:?}");
}
