//! Finds the best [dials](super::dials) by trying all of them on a sample of the traffic.
//!
//! Every arm runs as a miniature: a cache of a few hundred entries, scaled down like its share of the keys. Which keys
//! belong to the sample is decided by their hash, so each of them is seen every time. Only requests on which two arms
//! *differ* are counted, a paired comparison: the common noise of the traffic cancels. The arm in force is left when another
//! leads it by more than one standard error of that count and a little; old counts fade.
//!
//! Hits reach the shadow through small rings that readers write without waiting, and that may lose some under
//! load; inserts take a few out of their own thread's ring each, so no call pays for many.
//!
//! Source: C. Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017; the
//! criterion is the sign test for matched pairs, with decay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::PolicyKind;
use super::curve::{self, Recorder};
use super::dials::{ARMS, Dials};
use super::mini::Mini;
use crate::curve::ShadowMode;

/// Entries of a miniature.
const MINI: f64 = 256.0;
/// The largest share of keys that is sampled, in caches of more than a few entries.
const RATE_MAX: f64 = 0.25;
/// A miniature has at least so many entries, as far as the cache has.
const MINI_LEAST: f64 = 64.0;
/// Sampled requests per entry of a miniature after which a count has lost half its weight.
const HALF_LIFE: f64 = 20.0;
/// Sampled requests between decisions.
const EPOCH: u32 = 16;
/// A window of most of the cache flushes what took long to find, so it must lead by this many times more.
const CAUTION: f32 = 2.0;
/// Bits of the hash that decide about the sample.
pub(super) const SAMPLE_BITS: u32 = 22;
/// The miniatures start over when the cache has become larger or smaller by more than this factor.
const DRIFT: u64 = 2;

const N: usize = ARMS.len();

/// The number of the arm in force, read by every shard when it needs a victim.
#[derive(Debug, Default)]
pub(crate) struct Arm(AtomicU8);

impl Arm {
    pub(crate) fn dials(&self) -> Dials {
        ARMS[usize::from(self.0.load(Ordering::Relaxed)) % N]
    }

    pub(crate) fn choose(&self, number: usize) {
        self.0.store(number as u8, Ordering::Relaxed);
    }
}

/// The miniatures of a cache, and what they found.
#[derive(Debug)]
pub(crate) struct Shadow {
    /// Keys whose bits lie below are in the sample.
    threshold: AtomicU32,
    arm: Arc<Arm>,
    contest: Mutex<Option<Contest>>,
    /// `None` where nobody wants to know what other sizes would bring.
    curve: Option<Recorder>,
    /// Whether the arms only serve the curve, and take no larger sample than it does.
    frugal: bool,
}

/// What a cache is, scaled down for the miniatures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// Entries or bytes.
    pub(crate) capacity: u64,
    /// How many entries that is, about.
    pub(crate) entries: u64,
}

/// The miniatures and the score.
#[derive(Debug)]
struct Contest {
    scale: Scale,
    minis: Vec<Mini>,
    /// Decayed hits of one arm where the other missed, less the reverse.
    lead: [[f32; N]; N],
    /// Decayed requests on which the two differed.
    differed: [[f32; N]; N],
    decay: f32,
    least_lead: f32,
    seen: u32,
}

impl Shadow {
    /// What a cache of this policy simulates beside itself; `None` if that is nothing.
    pub(crate) fn of(policy: PolicyKind, mode: ShadowMode) -> Option<Self> {
        let arm = Arc::<Arm>::default();
        let curve = (mode == ShadowMode::Full).then(|| Recorder::new(policy, Arc::clone(&arm)));
        let wanted = curve.is_some() || (mode == ShadowMode::Policy && policy == PolicyKind::Adaptive);
        let frugal = policy != PolicyKind::Adaptive;
        wanted.then(|| Self { threshold: AtomicU32::new(0), arm, contest: Mutex::new(None), curve, frugal })
    }

    pub(crate) fn curve(&self) -> Option<&Recorder> {
        self.curve.as_ref()
    }

    /// The dials in force.
    pub(crate) fn dials(&self) -> Dials {
        self.arm.dials()
    }

    pub(crate) fn arm(&self) -> Arc<Arm> {
        Arc::clone(&self.arm)
    }

    /// Whether a key is in the sample. Uses other bits than the choice of the shard and the index.
    #[inline]
    pub(crate) fn samples(&self, hash: u64) -> bool {
        ((hash >> 32) as u32 & ((1 << SAMPLE_BITS) - 1)) < self.threshold.load(Ordering::Relaxed)
    }

    /// Whether the size of the cache is known.
    pub(crate) fn is_fit(&self) -> bool {
        self.threshold.load(Ordering::Relaxed) != 0
    }

    /// Begins to sample, or starts over if the cache is no longer what it was. Does nothing while another thread is at it.
    pub(crate) fn fit(&self, scale: Scale) {
        let Some(mut contest) = self.contest.try_lock() else { return };
        let fits = contest.as_ref().is_some_and(|contest| {
            near(contest.scale.capacity, scale.capacity) && near(contest.scale.entries, scale.entries)
        });
        if !fits && scale.entries > 0 {
            let rate = if self.frugal { curve::rate(scale.entries) } else { rate(scale.entries) };
            *contest = Some(Contest::new(scale, rate));
            let threshold = (rate * f64::from(1_u32 << SAMPLE_BITS)) as u32;
            self.threshold.store(threshold.max(1), Ordering::Relaxed);
        }
    }

    /// Takes in sampled requests, hits and misses alike; does nothing while another thread is at it.
    pub(crate) fn record(&self, requests: impl Iterator<Item = u32>, cost: u32) {
        let Some(mut contest) = self.contest.try_lock() else { return };
        let Some(contest) = contest.as_mut() else { return };
        for hash in requests {
            let current = usize::from(self.arm.0.load(Ordering::Relaxed)) % N;
            if let Some(better) = contest.record(hash, cost, current) {
                self.arm.choose(better);
            }
        }
    }
}

/// Whether the same miniatures can stand for both.
pub(super) fn near(one: u64, other: u64) -> bool {
    one <= other.saturating_mul(DRIFT) && other <= one.saturating_mul(DRIFT)
}

/// The share of keys that is sampled.
fn rate(entries: u64) -> f64 {
    let entries = entries as f64;
    let most = if entries <= MINI_LEAST { 1.0 } else { RATE_MAX.max(MINI_LEAST / entries) };
    (MINI / entries.max(1.0)).min(most)
}

impl Contest {
    fn new(scale: Scale, rate: f64) -> Self {
        let capacity = ((scale.capacity as f64 * rate).round() as u64).max(1);
        let entries = ((scale.entries as f64 * rate).round() as usize).max(1);
        Self {
            scale,
            minis: ARMS
                .iter()
                .map(|dials| Mini::new(*dials, capacity, entries, scale.capacity == scale.entries))
                .collect(),
            lead: [[0.0; N]; N],
            differed: [[0.0; N]; N],
            decay: 0.5_f64.powf(f64::from(EPOCH) / (HALF_LIFE * entries as f64)) as f32,
            // The first handful of requests says nothing about a big cache.
            least_lead: 1.0 + entries as f32 / 128.0,
            seen: 0,
        }
    }

    /// Feeds one request to all miniatures; answers the arm to change to.
    fn record(&mut self, hash: u32, cost: u32, current: usize) -> Option<usize> {
        let mut hits = [false; N];
        for (hit, mini) in hits.iter_mut().zip(&mut self.minis) {
            *hit = mini.request(hash, cost);
        }
        if hits.contains(&true) && hits.contains(&false) {
            for (one, hit) in hits.into_iter().enumerate() {
                for (other, other_hit) in hits.into_iter().enumerate() {
                    if hit != other_hit {
                        self.lead[one][other] += if hit { 1.0 } else { -1.0 };
                        self.differed[one][other] += 1.0;
                    }
                }
            }
        }
        self.seen += 1;
        if self.seen < EPOCH {
            return None;
        }
        self.seen = 0;
        let best = self.best_against(current);
        for score in self.lead.iter_mut().chain(&mut self.differed).flatten() {
            *score *= self.decay;
        }
        best
    }

    /// The arm that leads another the most, among those that lead it clearly.
    fn best_against(&self, current: usize) -> Option<usize> {
        let clear = (0..N).filter(|arm| {
            let caution = if ARMS[*arm].window > 0.5 { CAUTION } else { 1.0 };
            self.lead[*arm][current] > caution * (self.differed[*arm][current].sqrt() + self.least_lead)
        });
        clear.max_by(|one, other| self.lead[*one][current].total_cmp(&self.lead[*other][current]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow() -> Shadow {
        Shadow::of(PolicyKind::Adaptive, ShadowMode::Policy).expect("an adaptive cache has one")
    }

    #[test]
    fn nothing_is_simulated_that_nobody_asked_for() {
        let has = |policy, mode| Shadow::of(policy, mode).map(|shadow| shadow.curve().is_some());
        assert_eq!(has(PolicyKind::Adaptive, ShadowMode::Off), None);
        assert_eq!(has(PolicyKind::Adaptive, ShadowMode::Policy), Some(false));
        assert_eq!(has(PolicyKind::Lru, ShadowMode::Policy), None);
        assert_eq!(has(PolicyKind::Lru, ShadowMode::Full), Some(true));
    }

    fn play(shadow: &Shadow, keys: impl Iterator<Item = u32>) {
        shadow.record(keys.map(|key| key.wrapping_mul(0x9E37_79B1).rotate_left(13).wrapping_mul(0x85EB_CA6B)), 1);
    }

    #[test]
    fn a_loop_is_met_by_an_arm_that_keeps_what_came_first_and_a_moving_set_by_one_that_does_not() {
        let shadow = shadow();
        shadow.fit(Scale { capacity: 200, entries: 200 });
        // A loop over more than there is room for: recency has nothing.
        play(&shadow, (0..30_000).map(|at| at % 300));
        let dials = shadow.arm.dials();
        assert!(dials.window < 0.5 && dials.fill, "{dials:?}");
        // A hot set that moves on again and again: what came first is worth nothing.
        let mut state = 1_u32;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let before = shadow.arm.dials();
        play(&shadow, (0..60_000).map(|at| 1_000 + at / 300 * 20 + random(100)));
        assert_ne!(shadow.arm.dials(), before);
    }

    #[test]
    fn sample_is_the_larger_the_smaller_the_cache() {
        assert!((rate(10) - 1.0).abs() < 1e-9 && (rate(100) - 0.64).abs() < 1e-9);
        assert!((rate(1_000) - 0.25).abs() < 1e-9 && (rate(1_000_000) - 256e-6).abs() < 1e-9);
        let shadow = shadow();
        assert!(!shadow.samples(0), "nothing is sampled before the size is known");
        shadow.fit(Scale { capacity: 1 << 22, entries: 1 << 22 });
        let sampled = (0..1_u64 << 20).filter(|key| shadow.samples(key << 34)).count();
        assert_eq!(sampled, 64);
    }

    #[test]
    fn a_changed_capacity_starts_over() {
        let shadow = shadow();
        shadow.fit(Scale { capacity: 100, entries: 100 });
        play(&shadow, 0..50);
        shadow.fit(Scale { capacity: 100, entries: 110 });
        assert_eq!(shadow.contest.lock().as_ref().unwrap().scale.entries, 100);
        shadow.fit(Scale { capacity: 300, entries: 300 });
        assert_eq!(shadow.contest.lock().as_ref().unwrap().scale.entries, 300);
    }
}
