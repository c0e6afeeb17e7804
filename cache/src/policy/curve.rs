//! Draws the miss-ratio curve of a cache: the same sampled keys run through miniatures of other sizes and policies.
//!
//! Which keys are sampled is decided by their hash, so each of them is seen every time. All miniatures hear of three things:
//! lookups that the cache answered, lookups that it did not, and values stored. A miniature that misses what the cache had
//! takes it in at once, as its user would; what the cache missed as well comes in when it is stored. So lookups of
//! keys that nobody stores, and stores without a lookup, distort nothing.
//!
//! Only misses are counted, against *all* lookups of the cache times the sampled share of keys: the hottest keys hardly
//! ever miss, so whether they are in the sample does not matter. Misses are counted in 16 groups of keys, whose
//! scatter is the error. Counts fade with the lookups, so the curve follows the traffic.
//!
//! Source: C. Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015 (spatial sampling, and the correction by
//! the expected number of requests) and "Cache Modeling and Optimization using Miniature Simulations", ATC 2017.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::mini::Mini;
use super::shadow::{Arm, Scale, near, sampled, threshold};
use super::{Engine, PolicyKind};
use crate::curve::{Counts, Curve, FACTORS, GROUPS};

/// Entries of the miniature of the cache's own size.
const MINI: f64 = 256.0;
/// The largest share of keys that is sampled, except in small caches: every sampled read pays for all miniatures.
const RATE_MAX: f64 = 1.0 / 16.0;
/// A miniature of the cache's own size has at least so many entries, as far as the cache has.
const MINI_LEAST: f64 = 64.0;
/// Lookups per entry of the cache after which a count has lost half its weight, and the fewest lookups for that.
const HALF_LIFE: f64 = 32.0;
const HALF_LIFE_LEAST: f64 = 20_000.0;
/// Sampled events between two looks at the cache's counters.
const EPOCH: u32 = 256;

/// A lookup or a change of a sampled key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Hit,
    Miss,
    Store,
}

/// The miniatures of a cache at other sizes, and what they counted.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// The cache's own policy. Changes under the lock of the state.
    policy: AtomicU8,
    /// What adaptive miniatures follow.
    arm: Arc<Arm>,
    /// Keys whose bits lie below are in the sample.
    threshold: AtomicU32,
    state: Mutex<Option<State>>,
    /// Events that came while another thread was at work.
    lost: AtomicU64,
}

#[derive(Debug)]
struct State {
    scale: Scale,
    rate: f64,
    /// One for each of [`FACTORS`], then the other policies at the cache's own size.
    minis: Vec<Mini<Engine>>,
    policies: Vec<PolicyKind>,
    /// Decayed misses, by miniature and group of keys.
    misses: Vec<[f64; GROUPS]>,
    /// Decayed lookups and misses of the cache itself.
    lookups: f64,
    real_misses: f64,
    /// Hits and misses of the cache that are counted already.
    known: (u64, u64),
    /// Decayed events seen, and lost.
    seen: f64,
    lost: f64,
    /// Events since the last look.
    fresh: u32,
}

impl Recorder {
    pub(crate) fn new(policy: PolicyKind, arm: Arc<Arm>) -> Self {
        Self {
            policy: AtomicU8::new(policy.place()),
            arm,
            threshold: AtomicU32::new(0),
            state: Mutex::new(None),
            lost: AtomicU64::new(0),
        }
    }

    /// Starts over for another policy.
    pub(crate) fn follow(&self, policy: PolicyKind) {
        let mut state = self.state.lock();
        self.policy.store(policy.place(), Ordering::Relaxed);
        self.threshold.store(0, Ordering::Relaxed);
        *state = None;
    }

    fn policy(&self) -> PolicyKind {
        PolicyKind::at(self.policy.load(Ordering::Relaxed))
    }

    /// Whether a key is in the sample: a part of the sample of the policy's miniatures.
    #[inline]
    pub(crate) fn samples(&self, hash: u64) -> bool {
        sampled(hash, &self.threshold)
    }

    /// Begins to sample, follows small changes of the cache's size, and starts over after great ones.
    pub(crate) fn fit(&self, scale: Scale, sums: (u64, u64)) {
        // Called from reads too, which do not wait: the next look at the counters tries again.
        let Some(mut state) = self.state.try_lock() else { return };
        match state.as_mut() {
            _ if scale.entries == 0 => {}
            Some(state) if state.scale == scale => {}
            Some(state) if near(state.scale.capacity, scale.capacity) && near(state.scale.entries, scale.entries) => {
                state.resize(scale);
            }
            _ => {
                let rate = rate(scale.entries);
                self.lost.store(0, Ordering::Relaxed);
                *state = Some(State::new(self.policy(), &self.arm, scale, rate, sums));
                self.threshold.store(threshold(rate), Ordering::Relaxed);
            }
        }
    }

    /// Takes in an event of a sampled key, unless another thread is at it; answers whether the caller should [`fit`](Self::fit).
    pub(crate) fn record(&self, event: Event, hash: u32, cost: u32, sums: impl FnOnce() -> (u64, u64)) -> bool {
        let Some(mut state) = self.state.try_lock() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let Some(state) = state.as_mut() else { return true };
        state.record(event, hash, cost);
        if state.fresh < EPOCH {
            return false;
        }
        state.look(sums(), self.lost.swap(0, Ordering::Relaxed));
        true
    }

    /// The curve as it is now; `weight` is the mean weight of an entry in bytes.
    pub(crate) fn curve(&self, sums: (u64, u64), weight: f64) -> Option<Curve> {
        let mut state = self.state.lock();
        let state = state.as_mut()?;
        state.look(sums, self.lost.swap(0, Ordering::Relaxed));
        let counts = Counts {
            rate: state.rate,
            lookups: state.lookups,
            misses: state.real_misses,
            lost: state.lost / (state.seen + state.lost).max(1.0),
            entries: state.scale.entries,
            weight,
            sizes: state.misses[..FACTORS.len()].to_vec(),
            policies: state.policies.iter().copied().zip(state.misses[FACTORS.len()..].iter().copied()).collect(),
            policy: self.policy(),
        };
        Curve::new(&counts)
    }
}

/// The share of keys that is sampled.
pub(crate) fn rate(entries: u64) -> f64 {
    let entries = (entries as f64).max(1.0);
    (MINI / entries).min(RATE_MAX.max(MINI_LEAST / entries)).min(1.0)
}

/// Capacity and entries of a miniature.
fn scaled(scale: Scale, rate: f64, factor: f64) -> (u64, usize) {
    let part = |whole: u64| (whole as f64 * rate * factor).round().max(1.0);
    (part(scale.capacity) as u64, part(scale.entries) as usize)
}

impl State {
    fn new(policy: PolicyKind, arm: &Arc<Arm>, scale: Scale, rate: f64, known: (u64, u64)) -> Self {
        let alike = scale.capacity == scale.entries;
        let mini = |kind, factor| {
            let (capacity, entries) = scaled(scale, rate, factor);
            Mini::with_policy(Engine::new(kind, arm, entries), capacity, entries, alike)
        };
        let policies: Vec<_> = PolicyKind::ALL.into_iter().filter(|kind| *kind != policy).collect();
        let own = FACTORS.iter().map(|factor| mini(policy, *factor));
        let minis: Vec<_> = own.chain(policies.iter().map(|kind| mini(*kind, 1.0))).collect();
        let misses = vec![[0.0; GROUPS]; minis.len()];
        let (lookups, real_misses, seen, lost, fresh) = (0.0, 0.0, 0.0, 0.0, 0);
        Self { scale, rate, minis, policies, misses, lookups, real_misses, known, seen, lost, fresh }
    }

    fn resize(&mut self, scale: Scale) {
        self.scale = scale;
        let factors = FACTORS.iter().copied().chain(std::iter::repeat(1.0));
        for (mini, factor) in self.minis.iter_mut().zip(factors) {
            let (capacity, entries) = scaled(scale, self.rate, factor);
            mini.resize(capacity, entries);
        }
    }

    fn record(&mut self, event: Event, hash: u32, cost: u32) {
        self.fresh += 1;
        // Other bits than those that the miniatures' indexes begin with.
        let group = (hash.wrapping_mul(0x85EB_CA6B) >> 28) as usize % GROUPS;
        for (mini, misses) in self.minis.iter_mut().zip(&mut self.misses) {
            let missed = event != Event::Store && !mini.lookup(hash);
            if missed {
                misses[group] += 1.0;
            }
            if event == Event::Store || (missed && event == Event::Hit) {
                mini.store(hash, cost);
            }
        }
    }

    /// Lets old counts fade by the lookups that came since the last time.
    fn look(&mut self, (hits, misses): (u64, u64), lost: u64) {
        let new_misses = misses.saturating_sub(self.known.1) as f64;
        let new = hits.saturating_sub(self.known.0) as f64 + new_misses;
        let half_life = (HALF_LIFE * self.scale.entries as f64).max(HALF_LIFE_LEAST);
        let decay = 0.5_f64.powf(new / half_life);
        self.lookups = (self.lookups + new) * decay;
        self.real_misses = (self.real_misses + new_misses) * decay;
        self.misses.iter_mut().flatten().for_each(|misses| *misses *= decay);
        self.seen = (self.seen + f64::from(self.fresh)) * decay;
        self.lost = (self.lost + lost as f64) * decay;
        self.known = (hits, misses);
        self.fresh = 0;
    }
}
