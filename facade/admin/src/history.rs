//! The recent past of the system and of each cache, as the page's charts draw it.
//!
//! One ring for the system and one for each of the first 128 caches by name, a point per tick. Points hold rates
//! since the tick before, so that a chart needs no knowledge of counters, restarts or re-created caches. Numbers are
//! `f32`: seven digits are more than a chart shows, and halve the memory.

use std::collections::{BTreeMap, VecDeque};

use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};

/// Caches with a history; the others show live values only.
pub(crate) const CACHES_MAX: usize = 128;
/// Points that one snapshot holds over all caches: about 1 MiB of JSON.
const SNAPSHOT_POINTS: usize = 20_000;

/// `[at, used, limit, resident, cpu]`: milliseconds since 1970, bytes, cores. Unknown values are `null`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SystemPoint {
    pub(crate) at: u64,
    pub(crate) used: Option<f32>,
    pub(crate) limit: Option<f32>,
    pub(crate) resident: Option<f32>,
    pub(crate) cpu: Option<f32>,
}

/// `[at, hits/s, misses/s, entries, bytes, capacity/s, size/s, expired/s, explicit/s, replaced/s, shrunk/s]`.
pub(crate) type CachePoint = Point<10>;

/// Numbers at one moment, as a flat list that begins with the milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point<const N: usize> {
    pub(crate) at: u64,
    pub(crate) numbers: [f32; N],
}

/// A number of a chart: whole ones without a fraction, others with three digits, which keeps frames small.
pub(crate) struct Short(pub(crate) f32);

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64((f64::from(self.0) * 1000.0).round() / 1000.0)
        }
    }
}

impl Serialize for SystemPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(5)?;
        tuple.serialize_element(&self.at)?;
        for value in [self.used, self.limit, self.resident, self.cpu] {
            tuple.serialize_element(&value.map(Short))?;
        }
        tuple.end()
    }
}

impl<const N: usize> Serialize for Point<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(1 + N)?;
        tuple.serialize_element(&self.at)?;
        for number in self.numbers {
            tuple.serialize_element(&Short(number))?;
        }
        tuple.end()
    }
}

/// Counters of a cache at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// Hits, misses, and evictions by capacity, size, expired, explicit, replaced, shrunk.
    pub(crate) counters: [u64; 8],
}

#[derive(Debug)]
struct Series {
    last: (u64, Reading),
    points: VecDeque<CachePoint>,
}

/// The rings.
#[derive(Debug)]
pub(crate) struct History {
    capacity: usize,
    system: VecDeque<SystemPoint>,
    caches: BTreeMap<String, Series>,
    /// When each cache was first read, those without a history included.
    born: BTreeMap<String, u64>,
    #[cfg(feature = "scheduler")]
    lanes: crate::lanes::LaneHistory,
}

/// The part of the past that a new stream is told.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    points: usize,
    system: Vec<SystemPoint>,
    caches: BTreeMap<String, Vec<CachePoint>>,
    #[cfg(feature = "scheduler")]
    lanes: BTreeMap<&'static str, Vec<crate::lanes::LanePoint>>,
}

impl History {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(2),
            system: VecDeque::new(),
            caches: BTreeMap::new(),
            born: BTreeMap::new(),
            #[cfg(feature = "scheduler")]
            lanes: crate::lanes::LaneHistory::default(),
        }
    }

    /// Notes a reading of all lanes.
    #[cfg(feature = "scheduler")]
    pub(crate) fn push_lanes(
        &mut self,
        at: u64,
        stats: &trimtab_scheduler::SchedulerStats,
    ) -> Vec<crate::lanes::LaneFrame> {
        self.lanes.record(at, stats, self.capacity)
    }

    pub(crate) fn push_system(&mut self, point: SystemPoint) {
        push(&mut self.system, point, self.capacity);
    }

    /// Forgets caches that are gone; call it before the readings of a tick.
    pub(crate) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.caches.retain(|name, _| exists(name));
        self.born.retain(|name, _| exists(name));
    }

    /// When the cache was first read, in milliseconds since 1970.
    pub(crate) fn born(&self, name: &str) -> Option<u64> {
        self.born.get(name).copied()
    }

    /// Notes a reading; answers the point it makes, or `None` for the first reading of a cache and beyond the bound.
    pub(crate) fn push_cache(&mut self, name: &str, at: u64, reading: Reading) -> Option<CachePoint> {
        if !self.born.contains_key(name) {
            self.born.insert(name.to_owned(), at);
        }
        let Some(series) = self.caches.get_mut(name) else {
            if self.caches.len() < CACHES_MAX {
                self.caches.insert(name.to_owned(), Series { last: (at, reading), points: VecDeque::new() });
            }
            return None;
        };
        let (before_at, before) = std::mem::replace(&mut series.last, (at, reading));
        if reading.counters.iter().zip(&before.counters).any(|(now, before)| now < before) {
            self.born.insert(name.to_owned(), at);
        }
        let seconds = at.saturating_sub(before_at).max(1) as f32 / 1000.0;
        let mut numbers = [0.0; 10];
        // A counter that fell belongs to a cache that was removed and created again: its rate is unknown, take 0.
        let rate = |counter: usize| reading.counters[counter].saturating_sub(before.counters[counter]) as f32 / seconds;
        numbers[0] = rate(0);
        numbers[1] = rate(1);
        numbers[2] = reading.entries as f32;
        numbers[3] = reading.bytes as f32;
        for (at, number) in numbers[4..].iter_mut().enumerate() {
            *number = rate(at + 2);
        }
        let point = CachePoint { at, numbers };
        push(&mut series.points, point, self.capacity);
        Some(point)
    }

    /// The rings, cut to the latest points when many caches have one.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let each = (SNAPSHOT_POINTS / self.caches.len().max(1)).min(self.capacity);
        let cut =
            |points: &VecDeque<CachePoint>| points.iter().skip(points.len().saturating_sub(each)).copied().collect();
        Snapshot {
            points: self.capacity,
            system: self.system.iter().copied().collect(),
            caches: self.caches.iter().map(|(name, series)| (name.clone(), cut(&series.points))).collect(),
            #[cfg(feature = "scheduler")]
            lanes: self.lanes.snapshot(),
        }
    }
}

pub(crate) fn push<T>(ring: &mut VecDeque<T>, point: T, capacity: usize) {
    if ring.len() >= capacity {
        ring.pop_front();
    }
    ring.push_back(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(hits: u64) -> Reading {
        Reading { entries: 3, bytes: 400, counters: [hits, 0, 0, 0, 0, 0, 0, 0] }
    }

    #[test]
    fn points_are_rates_and_rings_are_bounded() {
        let mut history = History::new(2);
        assert_eq!(history.push_cache("a", 1000, reading(10)), None);
        let point = history.push_cache("a", 3000, reading(30)).expect("the second reading makes a point");
        assert_eq!(point.numbers[..4], [10.0, 0.0, 3.0, 400.0]);
        let recreated = history.push_cache("a", 4000, reading(0)).expect("a point");
        assert_eq!(recreated.numbers[0].to_bits(), 0.0_f32.to_bits());
        assert_eq!(history.born("a"), Some(4000), "counters that fell are those of a new cache");
        history.push_cache("a", 5000, reading(1));
        assert_eq!(history.snapshot().caches["a"].len(), 2);
        history.retain(|_| false);
        assert!(history.snapshot().caches.is_empty());
    }

    #[test]
    fn only_so_many_caches_have_a_history() {
        let mut history = History::new(600);
        for n in 0..CACHES_MAX + 5 {
            history.push_cache(&format!("c{n}"), 0, reading(0));
            for at in 1..600 {
                history.push_cache(&format!("c{n}"), at * 1000, reading(at));
            }
        }
        let snapshot = history.snapshot();
        assert_eq!(snapshot.caches.len(), CACHES_MAX);
        assert!(snapshot.caches.values().map(Vec::len).sum::<usize>() <= SNAPSHOT_POINTS);
    }

    #[test]
    fn points_are_short_json() {
        let point = CachePoint { at: 7, numbers: [0.0, 0.123_456, 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] };
        assert_eq!(serde_json::to_string(&point).expect("plain"), "[7,0,0.123,1000000,0,0,0,0,0,0,0]");
        let point = SystemPoint { at: 1, used: Some(2.0), limit: None, resident: None, cpu: Some(0.5) };
        assert_eq!(serde_json::to_string(&point).expect("plain"), "[1,2,null,null,0.5]");
    }
}
