//! What advice rests on: plain numbers that anyone can fill in.
//!
//! The structs are open, so that `..Default::default()` works and tests stay short.

use std::time::Duration;

use serde::Serialize;

use crate::history::Summary;
use crate::pressure::{Pressure, PressureReport};

/// Everything known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// Each cache.
    pub caches: Vec<CacheEvidence>,
    /// Memory, when it is monitored.
    pub memory: Option<MemoryEvidence>,
}

/// A cache since it was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CacheEvidence {
    /// Its name; settings are named `cache.<name>.…`.
    pub name: String,
    /// The policy's name.
    pub policy: String,
    /// How long it exists.
    pub uptime: Duration,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// New entries.
    pub inserts: u64,
    /// Entries refused because they weigh more than the cache may hold.
    pub rejected: u64,
    /// Entries that had to leave for others.
    pub evicted_for_space: u64,
    /// Entries whose time was over.
    pub expired: u64,
    /// Entries now.
    pub entries: u64,
    /// The most it may hold, when limited.
    pub max_entries: Option<u64>,
    /// Bytes now.
    pub weight: u64,
    /// The most bytes it may hold, when limited.
    pub max_bytes: Option<u64>,
    /// Default time to live, when set.
    pub ttl: Option<Duration>,
    /// Whether large values are compressed.
    pub compressed: bool,
    /// The measured hit ratio that the two estimates below start from: of late, not since the beginning.
    pub measured: Option<f64>,
    /// What twice the size would do, when it is simulated.
    pub twice: Option<SizeEvidence>,
    /// What half the size would do, when it is simulated.
    pub half: Option<SizeEvidence>,
}

/// The hit ratio of a cache at another size, from a simulation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SizeEvidence {
    /// Share of reads that would find a value, from 0 to 1.
    pub hit_ratio: f64,
    /// Its standard error.
    pub error: f64,
}

impl SizeEvidence {
    /// Whether the difference to a measured ratio is more than chance: over two standard errors and a tenth of a point.
    pub fn differs(&self, measured: f64) -> bool {
        (self.hit_ratio - measured).abs() > (2.0 * self.error).max(0.001)
    }
}

impl CacheEvidence {
    /// Reads in all.
    pub fn requests(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }

    /// Reads that found a value, as a fraction; `None` without reads.
    pub fn hit_ratio(&self) -> Option<f64> {
        let requests = self.requests();
        (requests > 0).then(|| self.hits as f64 / requests as f64)
    }
}

/// Memory now, and how its use changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MemoryEvidence {
    /// Bytes that count against the limit.
    pub used: Option<u64>,
    /// Bytes that may be used.
    pub limit: Option<u64>,
    /// The level.
    pub pressure: Pressure,
    /// The level and its evidence, in one sentence.
    pub detail: String,
    /// Change of use in bytes per second; negative when it falls.
    pub slope: Option<f64>,
    /// How long the change was observed.
    pub observed: Duration,
    /// How many samples it rests on.
    pub points: usize,
}

impl MemoryEvidence {
    /// From a pressure report and a summary of the used memory.
    pub fn new(pressure: &PressureReport, used: Option<&Summary>) -> Self {
        Self {
            used: pressure.used,
            limit: pressure.limit,
            pressure: pressure.level,
            detail: pressure.explain(),
            slope: used.and_then(|used| used.slope),
            observed: used.map(|used| used.span).unwrap_or_default(),
            points: used.map(|used| used.count).unwrap_or_default(),
        }
    }

    /// Whether there is no memory to give away.
    pub fn is_short(&self) -> bool {
        self.pressure >= Pressure::High
    }
}
