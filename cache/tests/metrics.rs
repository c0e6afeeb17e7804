//! What reaches a recorder: every name with its labels, and the numbers of the statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use trimtab_cache::{Cache, LoadingCache, ManualClock, WeakCache};

/// Keeps one number for each metric: the value of a counter or gauge, how many times a histogram was recorded.
#[derive(Default)]
struct Notebook(Mutex<BTreeMap<String, Arc<Cell>>>);

#[derive(Default)]
struct Cell(AtomicU64);

impl metrics::CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("gauges are set");
    }
    fn decrement(&self, _: f64) {
        panic!("gauges are set");
    }
    fn set(&self, value: f64) {
        self.0.store(value as u64, Ordering::Relaxed);
    }
}

impl HistogramFn for Cell {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Notebook {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        self.0.lock().entry(format!("{}{{{}}}", key.name(), labels.join(","))).or_default().clone()
    }

    fn value(&self, key: &str) -> u64 {
        let cells = self.0.lock();
        cells.get(key).unwrap_or_else(|| panic!("{key} is not among {:?}", cells.keys())).0.load(Ordering::Relaxed)
    }
}

impl Recorder for Notebook {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.cell(key).into()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cell(key).into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell(key).into()
    }
}

#[test]
fn published_numbers_are_those_of_the_statistics() {
    let notebook = Notebook::default();
    metrics::with_local_recorder(&notebook, || {
        let cache = Cache::builder().name("users").max_entries(2).build().unwrap();
        (0..5).for_each(|key| cache.insert(key, ()));
        cache.get(&4);
        cache.get_or_insert_with(9, || ());
        cache.publish_metrics();
        cache.publish_metrics();
    });
    for (key, value) in [
        ("trimtab_cache_hits_total{cache=users}", 1),
        ("trimtab_cache_misses_total{cache=users}", 1),
        ("trimtab_cache_inserts_total{cache=users}", 6),
        ("trimtab_cache_evictions_total{cache=users,cause=capacity}", 4),
        ("trimtab_cache_evictions_total{cache=users,cause=expired}", 0),
        ("trimtab_cache_loads_total{cache=users}", 1),
        ("trimtab_cache_load_seconds{cache=users}", 1),
        ("trimtab_cache_entries{cache=users}", 2),
        ("trimtab_cache_capacity_entries{cache=users}", 2),
        ("trimtab_cache_weight_bytes{cache=users}", 2 * Cache::<i32, ()>::entry_overhead()),
    ] {
        assert_eq!(notebook.value(key), value, "{key}");
    }
}

#[test]
fn loading_and_weak_caches_publish_what_they_count_besides() {
    let notebook = Notebook::default();
    metrics::with_local_recorder(&notebook, || {
        let clock = ManualClock::new();
        let builder = Cache::builder().name("prices").max_entries(10).clock(clock.clone());
        let fails = Arc::new(AtomicU64::new(0));
        let down = Arc::clone(&fails);
        let cache = LoadingCache::builder(builder, move |_: u8| {
            let answer = if down.load(Ordering::Relaxed) == 0 { Ok(1) } else { Err("down") };
            async move { answer }
        })
        .ttl(Duration::from_secs(2))
        .refresh_after(Duration::from_secs(1))
        .stale_for(Duration::from_secs(9))
        .build()
        .unwrap();
        let get = || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(cache.get(1)).unwrap();
        get();
        clock.advance(Duration::from_secs(1));
        get();
        fails.store(1, Ordering::Relaxed);
        clock.advance(Duration::from_secs(1));
        get();
        clock.advance(Duration::from_secs(1));
        get();
        cache.publish_metrics();
        let files = WeakCache::named("files").unwrap();
        let held = files.get_or_create(1, || 1);
        drop(files.get_or_create(2, || 2));
        files.sweep();
        files.publish_metrics();
        drop(held);
        let panics =
            Cache::builder().name("panics").max_entries(1).listener(|_: &u8, (): &(), _| panic!("no")).build().unwrap();
        panics.insert(1, ());
        panics.clear();
        panics.publish_metrics();
    });
    for (key, value) in [
        ("trimtab_cache_refreshes_total{cache=prices}", 2),
        ("trimtab_cache_refresh_failures_total{cache=prices}", 1),
        ("trimtab_cache_stale_total{cache=prices,reason=error}", 1),
        ("trimtab_cache_stale_total{cache=prices,reason=timeout}", 0),
        ("trimtab_cache_load_timeouts_total{cache=prices}", 0),
        ("trimtab_cache_loads_total{cache=prices}", 4),
        ("trimtab_cache_inserts_total{cache=files}", 2),
        ("trimtab_cache_vanished_total{cache=files}", 1),
        ("trimtab_cache_entries{cache=files}", 1),
        ("trimtab_cache_listener_panics_total{cache=panics}", 1),
    ] {
        assert_eq!(notebook.value(key), value, "{key}");
    }
}

#[test]
fn a_cache_without_metrics_publishes_nothing() {
    let notebook = Notebook::default();
    metrics::with_local_recorder(&notebook, || {
        let cache = Cache::builder().max_entries(2).metrics(false).build().unwrap();
        cache.get_or_insert_with(1, || ());
        cache.publish_metrics();
    });
    assert!(notebook.0.lock().is_empty());
}

#[test]
fn a_cache_without_statistics_counts_no_lookups_and_has_no_curve() {
    let cache = trimtab_cache::Cache::builder().max_entries(100).statistics(false).build().unwrap();
    cache.insert(1, 1);
    assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), None));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.inserts), (0, 0, 1));
    assert_eq!(cache.curve(), None);
}
