//! One frame of live data: what the page shows now.
//!
//! [`record`] reads everything once a tick and adds to the history; [`now`] reads for a stream that has just opened.

use serde::Serialize;
use trimtab_cache::{AnyCache, CacheStats, Evictions};
use trimtab_monitor::{HealthReport, MachineSample, MemorySample, PressureReport, ProcessSample, Sample};

use crate::console::Console;
use crate::history::{CachePoint, History, Reading, SystemPoint};
use crate::stream::millis;

/// Everything that changes from tick to tick.
#[derive(Debug, Serialize)]
pub(crate) struct Frame {
    at: u64,
    uptime_seconds: f64,
    process: ProcessSample,
    machine: MachineSample,
    memory: MemorySample,
    pressure: PressureView,
    health: HealthReport,
    totals: Totals,
    system: SystemPoint,
    caches: Vec<CacheFrame>,
    #[cfg(feature = "scheduler")]
    lanes: Vec<crate::lanes::LaneFrame>,
}

#[derive(Debug, Serialize)]
struct PressureView {
    explanation: String,
    #[serde(flatten)]
    report: PressureReport,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    hits: u64,
    misses: u64,
    entries: u64,
    bytes: u64,
}

/// One cache in a frame.
#[derive(Debug, Serialize)]
struct CacheFrame {
    name: String,
    kind: &'static str,
    policy: &'static str,
    ttl_seconds: Option<f64>,
    #[serde(flatten)]
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    point: Option<CachePoint>,
}

#[derive(Debug, Serialize)]
struct Counts {
    hits: u64,
    misses: u64,
    entries: u64,
    bytes: u64,
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
    inserts: u64,
    updates: u64,
    rejected: u64,
    loads: u64,
    load_failures: u64,
    load_mean_seconds: Option<f64>,
    evictions: Evictions,
}

impl From<&CacheStats> for Counts {
    fn from(stats: &CacheStats) -> Self {
        Self {
            hits: stats.hits,
            misses: stats.misses,
            entries: stats.entries,
            bytes: stats.weight_bytes,
            max_entries: stats.max_entries,
            max_bytes: stats.max_bytes,
            inserts: stats.inserts,
            updates: stats.updates,
            rejected: stats.rejected,
            loads: stats.loads,
            load_failures: stats.load_failures,
            load_mean_seconds: stats.load_time_mean().map(|mean| mean.as_secs_f64()),
            evictions: stats.evictions,
        }
    }
}

/// `bytes` for caches that HTTP can read and write, `typed` for those of Rust values.
pub(crate) fn kind(cache: &dyn AnyCache) -> &'static str {
    if cache.as_bytes().is_some() { "bytes" } else { "typed" }
}

fn reading(stats: &CacheStats) -> Reading {
    let Evictions { capacity, size, expired, explicit, replaced, shrunk, .. } = stats.evictions;
    Reading {
        entries: stats.entries,
        bytes: stats.weight_bytes,
        counters: [stats.hits, stats.misses, capacity, size, expired, explicit, replaced, shrunk],
    }
}

/// Reads the system and adds to the history.
pub(crate) fn record(console: &Console, history: &mut History) -> Frame {
    #[cfg_attr(not(feature = "scheduler"), allow(unused_mut, reason = "for its lanes"))]
    let mut frame = build(console, |at, readings| {
        history.retain(|name| readings.binary_search_by(|(known, _)| known.as_str().cmp(name)).is_ok());
        readings.iter().map(|(name, reading)| history.push_cache(name, at, *reading)).collect()
    });
    history.push_system(frame.system);
    #[cfg(feature = "scheduler")]
    if let Some(scheduler) = console.scheduler() {
        frame.lanes = history.push_lanes(frame.at, &scheduler.stats());
    }
    frame
}

/// Reads the system for one stream; the points come with the next tick.
pub(crate) fn now(console: &Console) -> Frame {
    #[cfg_attr(not(feature = "scheduler"), allow(unused_mut, reason = "for its lanes"))]
    let mut frame = build(console, |_, readings| vec![None; readings.len()]);
    #[cfg(feature = "scheduler")]
    if let Some(scheduler) = console.scheduler() {
        frame.lanes = crate::lanes::now(&scheduler.stats());
    }
    frame
}

fn build(console: &Console, points: impl FnOnce(u64, &[(String, Reading)]) -> Vec<Option<CachePoint>>) -> Frame {
    let at = millis(std::time::SystemTime::now());
    let sample = console.monitor().sample();
    let pressure = console.monitor().pressure();
    // Ordered by name: the registry lists them so.
    let caches: Vec<_> = console.caches().list().into_iter().map(|cache| (cache.stats(), cache)).collect();
    let readings: Vec<_> = caches.iter().map(|(stats, cache)| (cache.name().to_owned(), reading(stats))).collect();
    let mut totals = Totals::default();
    for (stats, _) in &caches {
        totals.hits += stats.hits;
        totals.misses += stats.misses;
        totals.entries += stats.entries;
        totals.bytes += stats.weight_bytes;
    }
    let points = points(at, &readings);
    let caches = caches.iter().zip(points).map(|((stats, cache), point)| {
        let settings = cache.settings();
        CacheFrame {
            name: cache.name().to_owned(),
            kind: kind(&**cache),
            policy: settings.policy.as_str(),
            ttl_seconds: settings.ttl.map(|ttl| ttl.as_secs_f64()),
            counts: stats.into(),
            point,
        }
    });
    Frame {
        at,
        uptime_seconds: sample.uptime.as_secs_f64(),
        process: sample.process.clone(),
        machine: sample.machine.clone(),
        memory: sample.memory.clone(),
        pressure: PressureView { explanation: pressure.explain(), report: pressure },
        health: console.monitor().health().report(),
        totals,
        system: system_point(at, &sample),
        caches: caches.collect(),
        #[cfg(feature = "scheduler")]
        lanes: Vec::new(),
    }
}

fn system_point(at: u64, sample: &Sample) -> SystemPoint {
    let float = |value: Option<u64>| value.map(|value| value as f32);
    SystemPoint {
        at,
        used: float(sample.memory.used),
        limit: float(sample.memory.limit),
        resident: float(sample.process.rss),
        cpu: sample.process.cpu_share.map(|share| share as f32),
    }
}
