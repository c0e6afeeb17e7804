//! What reaches a recorder: every name with its labels, and the numbers of the statistics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use trimtab_cache::Cache;

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
fn a_cache_without_metrics_publishes_nothing() {
    let notebook = Notebook::default();
    metrics::with_local_recorder(&notebook, || {
        let cache = Cache::builder().max_entries(2).metrics(false).build().unwrap();
        cache.get_or_insert_with(1, || ());
        cache.publish_metrics();
    });
    assert!(notebook.0.lock().is_empty());
}
