//! Moves the recency window by the measured hit ratio.
//!
//! Hill climbing: change the window's share of the cache, measure the hit ratio over a sample of requests, go on in the
//! same direction if it rose and turn round if it fell. Steps shrink while the ratio is steady, so the window comes to
//! rest; a change of at least [`RESTART`] says that the traffic is another one, and steps are large again.
//!
//! One climber serves all shards of a cache. A single shard sees too few requests to tell a trend from noise: the
//! standard error of a hit ratio over n requests is up to 0.5/√n, so sixteen shards together see four times as sharply.
//!
//! Source: G. Einziger, O. Eytan, R. Friedman and B. Manes, "Adaptive Software Cache Management", Middleware 2018.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Share of the window before anything was measured.
const SHARE_FIRST: f32 = 0.01;
/// A sample is this many requests per entry of the cache.
const SAMPLE_PER_ENTRY: u64 = 10;
/// First step, as a share of the cache.
const STEP_FIRST: f32 = 0.0625;
/// Each step is this much shorter than the one before.
const STEP_DECAY: f32 = 0.98;
/// A change of the hit ratio that starts the search anew.
const RESTART: f32 = 0.05;

/// The share of the window, and the search for a better one.
#[derive(Debug)]
pub(crate) struct Climber {
    /// Bits of an `f32` from 0 to 1; read by every shard on insertion.
    share: AtomicU32,
    shards: usize,
    search: Mutex<Search>,
}

#[derive(Debug)]
struct Search {
    hits: u64,
    requests: u64,
    ratio_before: Option<f32>,
    /// Signed: negative steps make the window smaller.
    step: f32,
}

impl Climber {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            share: AtomicU32::new(SHARE_FIRST.to_bits()),
            shards,
            search: Mutex::new(Search { hits: 0, requests: 0, ratio_before: None, step: STEP_FIRST }),
        }
    }

    /// The window's share of the cache, from 0 to 1.
    pub(crate) fn share(&self) -> f32 {
        f32::from_bits(self.share.load(Ordering::Relaxed))
    }

    /// Takes in what a shard of `entries` entries saw since its last report.
    pub(crate) fn report(&self, hits: u64, requests: u64, entries: usize) {
        let mut search = self.search.lock();
        search.hits += hits;
        search.requests += requests;
        let cache = (entries * self.shards) as u64;
        if search.requests >= cache * SAMPLE_PER_ENTRY {
            let share = search.climb(self.share());
            self.share.store(share.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Search {
    fn climb(&mut self, share: f32) -> f32 {
        let ratio = self.hits as f32 / self.requests as f32;
        (self.hits, self.requests) = (0, 0);
        let Some(before) = self.ratio_before.replace(ratio) else {
            return share;
        };
        let change = ratio - before;
        let step = if change >= 0.0 { self.step } else { -self.step };
        self.step = if change.abs() >= RESTART { STEP_FIRST.copysign(step) } else { step * STEP_DECAY };
        (share + step).clamp(0.0, 1.0)
    }
}
