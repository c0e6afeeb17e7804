//! Finds the best [dials](super::dials) by trying all of them on a sample of the traffic.
//!
//! Every arm runs as a miniature: a cache of a few hundred entries (of a very large one, up to 2,048), scaled down like its share of
//! the keys. Which keys belong to the sample is decided by their hash, so each of them is seen every time. Only requests on
//! which two arms *differ* are counted, a paired comparison: the common noise of the traffic cancels. The arm in force is left when
//! another leads it by more than one standard error of that count and a little; old counts fade.
//!
//! A small cache needs a large share of its keys in the sample, and a request of the sample costs as much as a dozen others. So
//! after its first lesson the shadow *rests* between bursts, for so many insertions that the sample is a small share of all
//! requests again; the miniatures warm up, uncounted, at the head of each burst.
//!
//! Hits reach the shadow through a small ring (`store/samples.rs`) that readers write without waiting, and that may lose some
//! under load; inserts take a few out each, so no call pays for many.
//!
//! Source: C. Waldspurger et al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017; the
//! criterion is the sign test for matched pairs, with decay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::PolicyKind;
use super::curve::{self, Recorder};
use super::dials::{ARMS, Dials};
use super::mini::Mini;
use crate::curve::ShadowMode;

/// Entries of a miniature.
const MINI: f64 = 256.0;
/// A large cache is filled only a few times by all the traffic it sees, so its choice must not wait for a handful of requests: this
/// share of its keys is sampled as long as a miniature does not become larger than that.
const RATE_LEAST: f64 = 0.0025;
const MINI_MOST: f64 = 2_048.0;
/// The largest share of keys that is sampled, in caches of more than a few entries.
const RATE_MAX: f64 = 0.25;
/// A miniature has at least so many entries, as far as the cache has.
const MINI_LEAST: f64 = 64.0;
/// Sampled requests per entry of a miniature after which a count has lost half its weight.
const HALF_LIFE: f64 = 20.0;
/// Sampled requests between decisions.
const EPOCH: u32 = 16;
/// The share of requests that the miniatures may see on the whole, bursts and rests together.
const SHARE: f64 = 0.03;
/// The same where nothing follows the arms, and they only compete to be shown on the curve.
const SHARE_SHOWN: f64 = 0.004;
/// Sampled requests of the first lesson, per entry of a miniature, and those that even the smallest gets.
const LESSON: f64 = 60.0;
const LESSON_LEAST: u32 = 1_000;
/// Sampled requests of a later burst, per entry of a miniature; the least; and how many of them only warm the miniatures up.
const BURST: f64 = 10.0;
const BURST_LEAST: u32 = 64;
const WARM: f64 = 2.0;
/// A window of most of the cache flushes what took long to find, so it must lead by this many times more.
const CAUTION: f32 = 2.0;
/// The miniatures start over when the cache has become larger or smaller by more than this factor.
const DRIFT: u64 = 2;

const N: usize = ARMS.len();

/// The number of the arm in force, read by every shard when it needs a victim.
#[derive(Debug, Default)]
pub(crate) struct Arm(AtomicU8);

impl Arm {
    #[inline]
    pub(crate) fn number(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn dials(&self) -> Dials {
        ARMS[usize::from(self.number()) % N]
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
    /// Insertions until the next burst, while the threshold is zero.
    resting: AtomicU32,
    arm: Arc<Arm>,
    /// Whether the cache follows the arms. Changes under the lock of the contest.
    adaptive: AtomicBool,
    mode: ShadowMode,
    contest: Mutex<Option<Contest>>,
    /// `None` where nobody wants to know what other sizes would bring.
    curve: Option<Recorder>,
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
    pace: Pace,
}

/// When the shadow watches, and when it rests.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Share of the keys in the sample during a burst.
    rate: f64,
    /// The share of requests that may be seen on the whole.
    share: f64,
    /// Entries of a miniature.
    entries: f64,
    /// Sampled requests until the rest begins; `None` when the sample is small enough to watch always.
    left: Option<u32>,
    /// Of these, how many are not counted.
    warm: u32,
    /// Sampled requests of this burst that the arm in force missed.
    misses: u32,
}

impl Shadow {
    /// What a cache of this policy simulates beside itself.
    pub(crate) fn of(policy: PolicyKind, mode: ShadowMode) -> Self {
        let arm = Arc::<Arm>::default();
        let curve = (mode == ShadowMode::Full).then(|| Recorder::new(policy, Arc::clone(&arm)));
        Self {
            threshold: AtomicU32::new(0),
            resting: AtomicU32::new(0),
            arm,
            adaptive: AtomicBool::new(policy == PolicyKind::Adaptive),
            mode,
            contest: Mutex::new(None),
            curve,
        }
    }

    /// Follows a change of the cache's policy. The arm stays as it was: what was learned is a better beginning than nothing.
    pub(crate) fn follow(&self, policy: PolicyKind) {
        let mut contest = self.contest.lock();
        self.adaptive.store(policy == PolicyKind::Adaptive, Ordering::Relaxed);
        // The sample is another one, and the contest may have lost its reason.
        self.threshold.store(0, Ordering::Relaxed);
        self.resting.store(0, Ordering::Relaxed);
        *contest = None;
        if let Some(curve) = &self.curve {
            curve.follow(policy);
        }
    }

    /// Whether the arms compete: to be chosen from, or to be shown on the curve.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.mode == ShadowMode::Full || (self.mode == ShadowMode::Policy && self.adaptive.load(Ordering::Relaxed))
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

    /// Whether a key is in the sample. Uses other bits than the choice of the shard and, as far as they decide, the index.
    #[inline]
    pub(crate) fn samples(&self, hash: u64) -> bool {
        sampled(hash, &self.threshold)
    }

    /// Whether nothing has to be done: the size of the cache is known, or the shadow rests. Asked at each insertion, which is
    /// the clock of a rest. Insertions at the same time may count as one.
    #[inline]
    pub(crate) fn is_fit(&self) -> bool {
        if self.threshold.load(Ordering::Relaxed) != 0 {
            return true;
        }
        let resting = self.resting.load(Ordering::Relaxed);
        self.resting.store(resting.saturating_sub(1), Ordering::Relaxed);
        resting > 0
    }

    /// Begins to sample, does so again after a rest, or starts over if the cache is no longer what it was. Does nothing while another thread is at it.
    pub(crate) fn fit(&self, scale: Scale) {
        let Some(mut contest) = self.contest.try_lock() else { return };
        let fits = contest.as_ref().is_some_and(|contest| {
            near(contest.scale.capacity, scale.capacity) && near(contest.scale.entries, scale.entries)
        });
        let rests = self.resting.load(Ordering::Relaxed) > 0;
        if scale.entries > 0 && self.is_running() && !(fits && rests) {
            if !fits {
                // Arms that are only shown take no larger sample than the curve does.
                let adaptive = self.adaptive.load(Ordering::Relaxed);
                let rate = if adaptive { rate(scale.entries) } else { curve::rate(scale.entries) };
                *contest = Some(Contest::new(scale, rate, if adaptive { SHARE } else { SHARE_SHOWN }));
            }
            let threshold = contest.as_ref().map_or(0, |contest| contest.pace.threshold());
            self.resting.store(0, Ordering::Relaxed);
            self.threshold.store(threshold, Ordering::Relaxed);
        }
    }

    /// Takes in sampled requests, hits and misses alike; false while another thread is at it, and they are to be kept for later:
    /// if they were lost, a cache would choose otherwise under many threads than under one.
    pub(crate) fn record<R: Iterator<Item = u32>>(&self, requests: impl FnOnce() -> R, cost: u32) -> bool {
        let Some(mut contest) = self.contest.try_lock() else { return false };
        let Some(contest) = contest.as_mut() else { return true };
        for hash in requests() {
            let current = usize::from(self.arm.0.load(Ordering::Relaxed)) % N;
            if let Some(better) = contest.record(hash, cost, current) {
                self.arm.choose(better);
            }
            if let Some(rest) = contest.pace.tick() {
                self.resting.store(rest, Ordering::Relaxed);
                self.threshold.store(0, Ordering::Relaxed);
            }
        }
        true
    }
}

/// Whether a key is in the sample below a threshold. Uses other bits than the choice of the shard and, as far as they
/// decide, the index.
#[inline]
pub(super) fn sampled(hash: u64, threshold: &AtomicU32) -> bool {
    ((hash << 10 >> 32) as u32) < threshold.load(Ordering::Relaxed)
}

/// The threshold for a share of the keys.
pub(super) fn threshold(rate: f64) -> u32 {
    ((rate * f64::from(u32::MAX)).ceil() as u32).max(1)
}

/// Whether the same miniatures can stand for both.
pub(super) fn near(one: u64, other: u64) -> bool {
    one <= other.saturating_mul(DRIFT) && other <= one.saturating_mul(DRIFT)
}

/// The share of keys that is sampled.
fn rate(entries: u64) -> f64 {
    let entries = entries as f64;
    let most = if entries <= MINI_LEAST { 1.0 } else { RATE_MAX.max(MINI_LEAST / entries) };
    let entries = entries.max(1.0);
    (MINI / entries).max(RATE_LEAST.min(MINI_MOST / entries)).min(most)
}

impl Pace {
    fn new(rate: f64, share: f64, entries: usize) -> Self {
        let entries = entries as f64;
        let left = (rate > share).then_some((LESSON * entries) as u32 + LESSON_LEAST);
        Self { rate, share, entries, left, warm: 0, misses: 0 }
    }

    /// The bits below which a key is in the sample.
    fn threshold(&self) -> u32 {
        threshold(self.rate)
    }

    /// Whether the request is not to be counted yet.
    fn warms_up(&mut self) -> bool {
        let warms = self.warm > 0;
        self.warm -= u32::from(warms);
        warms
    }

    /// After each sampled request: for how many insertions to rest, if the burst is over.
    fn tick(&mut self) -> Option<u32> {
        let left = self.left.as_mut()?;
        *left = left.saturating_sub(1);
        if *left > 0 {
            return None;
        }
        // Each sampled request stands for 1/rate requests and shall be one of 1/share; what misses is inserted.
        let rest = f64::from(self.misses) * (1.0 / self.share - 1.0 / self.rate);
        self.left = Some((BURST * self.entries) as u32 + BURST_LEAST);
        self.warm = (WARM * self.entries) as u32;
        self.misses = 0;
        Some((rest as u32).max(1))
    }
}

impl Contest {
    fn new(scale: Scale, rate: f64, share: f64) -> Self {
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
            pace: Pace::new(rate, share, entries),
        }
    }

    /// Feeds one request to all miniatures; answers the arm to change to.
    fn record(&mut self, hash: u32, cost: u32, current: usize) -> Option<usize> {
        let mut hits = [false; N];
        for (hit, mini) in hits.iter_mut().zip(&mut self.minis) {
            *hit = mini.request(hash, cost);
        }
        self.pace.misses += u32::from(!hits[current]);
        if self.pace.warms_up() {
            return None;
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
        Shadow::of(PolicyKind::Adaptive, ShadowMode::Policy)
    }

    #[test]
    fn nothing_is_simulated_that_nobody_asked_for() {
        let has = |policy, mode| {
            let shadow = Shadow::of(policy, mode);
            (shadow.is_running(), shadow.curve().is_some())
        };
        assert_eq!(has(PolicyKind::Lru, ShadowMode::Policy), (false, false));
        assert_eq!(has(PolicyKind::Adaptive, ShadowMode::Off), (false, false));
        assert_eq!(has(PolicyKind::Adaptive, ShadowMode::Policy), (true, false));
        assert_eq!(has(PolicyKind::Adaptive, ShadowMode::Full), (true, true));
        assert_eq!(has(PolicyKind::Lru, ShadowMode::Full), (true, true));
    }

    fn play(shadow: &Shadow, keys: impl Iterator<Item = u32>) {
        assert!(
            shadow
                .record(|| keys.map(|key| key.wrapping_mul(0x9E37_79B1).rotate_left(13).wrapping_mul(0x85EB_CA6B)), 1)
        );
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
        assert!((rate(1_000) - 0.25).abs() < 1e-9 && (rate(50_000) - 256.0 / 50_000.0).abs() < 1e-9);
        assert!((rate(200_000) - 0.0025).abs() < 1e-9 && (rate(4_000_000) - 2_048.0 / 4e6).abs() < 1e-9);
        let shadow = shadow();
        assert!(!shadow.samples(0), "nothing is sampled before the size is known");
        shadow.fit(Scale { capacity: 1 << 22, entries: 1 << 22 });
        let sampled = (0..1_u64 << 20).filter(|key| shadow.samples(key << 34)).count();
        assert_eq!(sampled, 512);
    }

    #[test]
    fn an_ended_shadow_samples_nothing_and_begins_afresh() {
        let shadow = Shadow::of(PolicyKind::Lru, ShadowMode::Policy);
        let scale = Scale { capacity: 100, entries: 100 };
        shadow.fit(scale);
        assert!(!shadow.is_fit() && !shadow.samples(0));
        shadow.follow(PolicyKind::Adaptive);
        shadow.fit(scale);
        assert!(shadow.is_fit() && shadow.samples(0));
        shadow.follow(PolicyKind::Lru);
        shadow.fit(scale);
        assert!(!shadow.samples(0) && shadow.contest.lock().is_none());
    }

    #[test]
    fn a_small_cache_is_watched_in_bursts_and_a_large_one_always() {
        let shadow = shadow();
        shadow.fit(Scale { capacity: 100, entries: 100 });
        // Like a cache that misses always: each request is an insertion, and reaches the shadow if it is in the sample.
        let (mut watched, all) = (0, 400_000_u64);
        for at in 0..all {
            if !shadow.is_fit() {
                shadow.fit(Scale { capacity: 100, entries: 100 });
            }
            let hash = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            if shadow.samples(hash) {
                shadow.record(|| std::iter::once(hash as u32), 1);
                watched += 1;
            }
        }
        let share = f64::from(watched) / all as f64;
        assert!((0.02..0.05).contains(&share), "{share} of the requests");

        let large = Shadow::of(PolicyKind::Adaptive, ShadowMode::Policy);
        large.fit(Scale { capacity: 50_000, entries: 50_000 });
        play(&large, 0..100_000);
        assert!(large.contest.lock().as_ref().unwrap().pace.left.is_none());
        assert_ne!(large.threshold.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_cache_that_changes_its_size_while_its_shadow_rests_is_watched_anew() {
        let shadow = shadow();
        shadow.fit(Scale { capacity: 100, entries: 100 });
        play(&shadow, 0..100_000);
        assert!(shadow.resting.load(Ordering::Relaxed) > 0 && shadow.is_fit());
        shadow.fit(Scale { capacity: 100, entries: 100 });
        assert_eq!(shadow.threshold.load(Ordering::Relaxed), 0, "the rest is not over");
        shadow.fit(Scale { capacity: 1_000, entries: 1_000 });
        assert_ne!(shadow.threshold.load(Ordering::Relaxed), 0);
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
