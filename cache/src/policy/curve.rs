//! Draws the miss-ratio curve of a cache: the same sampled keys run through miniatures of other sizes and policies.
//!
//! Which keys are sampled is decided by their hash, so each of them is seen every time. All miniatures hear of three things:
//! lookups that the cache answered, lookups that it did not, and values stored. A miniature that misses what the cache had
//! takes it in at once, as its user would; what the cache missed as well comes in when it is stored. So lookups of
//! keys that nobody stores, and stores without a lookup, distort nothing.
//!
//! Only misses are counted, against *all* lookups of the cache times the sampled share of keys: the hottest keys hardly
//! ever miss, so whether they are in the sample does not matter. Misses are counted in 16 groups of keys, whose
//! scatter is the error. Counts fade with the lookups, so the curve follows the traffic. In small caches all this happens in
//! bursts ([`pace`]), and the lookups are those of the counted stretches.
//!
//! Source: C. Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015 (spatial sampling, and the correction by
//! the expected number of requests) and "Cache Modeling and Optimization using Miniature Simulations", ATC 2017.

mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use self::pace::{Pace, Turn};
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
/// While the recorder rests, one sampled key in so many tells it that time passes.
const THIN: u32 = 4;

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
    /// Events of the thinner sample until the rest ends; 0 while the recorder watches.
    resting: AtomicU32,
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
    pace: Pace,
    /// While the recorder rests: after how many lookups of the cache it need not any longer.
    rests_until: Option<u64>,
    /// Decayed lookups and misses of the cache itself, in the counted stretches.
    lookups: f64,
    real_misses: f64,
    /// Hits and misses of the cache that are counted already, or were before the stretch.
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
            resting: AtomicU32::new(0),
        }
    }

    /// Starts over for another policy.
    pub(crate) fn follow(&self, policy: PolicyKind) {
        let mut state = self.state.lock();
        self.policy.store(policy.place(), Ordering::Relaxed);
        self.threshold.store(0, Ordering::Relaxed);
        self.resting.store(0, Ordering::Relaxed);
        *state = None;
    }

    fn policy(&self) -> PolicyKind {
        PolicyKind::at(self.policy.load(Ordering::Relaxed))
    }

    /// Whether a key is in the sample, or in the thinner one during a rest.
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
                self.resting.store(0, Ordering::Relaxed);
                self.threshold.store(threshold(rate), Ordering::Relaxed);
            }
        }
    }

    /// Takes in an event of a sampled key, unless another thread is at it; answers whether the caller should [`fit`](Self::fit).
    pub(crate) fn record(&self, event: Event, hash: u64, cost: u32, sums: impl FnOnce() -> (u64, u64)) -> bool {
        let resting = self.resting.load(Ordering::Relaxed);
        if resting > 1 {
            // Events at the same time may count as one: the rest is then a little longer.
            self.resting.store(resting - 1, Ordering::Relaxed);
            return false;
        }
        let Some(mut state) = self.state.try_lock() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let Some(state) = state.as_mut() else { return true };
        if resting == 1 {
            self.wake(state, sums());
            return true;
        }
        match state.record(event, hash as u32, cost, is_thin(hash, state.rate)) {
            Turn::Count if state.fresh >= EPOCH => state.look(sums(), self.lost.swap(0, Ordering::Relaxed)),
            Turn::Count | Turn::Warm => return false,
            Turn::Warmed => {
                state.start(sums());
                self.lost.store(0, Ordering::Relaxed);
                return false;
            }
            Turn::Last => {
                let (hits, misses) = sums();
                state.look((hits, misses), self.lost.swap(0, Ordering::Relaxed));
                if let Some(rest) = state.pace.rest(hits + misses) {
                    state.rests_until = Some(rest.until);
                    self.resting.store(rest.events, Ordering::Relaxed);
                    self.threshold.store(threshold(state.rate) / THIN, Ordering::Relaxed);
                }
            }
        }
        true
    }

    /// Ends a rest.
    fn wake(&self, state: &mut State, (hits, misses): (u64, u64)) {
        state.rests_until = None;
        state.pace.begin(hits + misses, true);
        self.threshold.store(threshold(state.rate), Ordering::Relaxed);
        self.resting.store(0, Ordering::Relaxed);
    }

    /// The curve as it is now; `weight` is the mean weight of an entry in bytes.
    pub(crate) fn curve(&self, sums: (u64, u64), weight: f64) -> Option<Curve> {
        let mut state = self.state.lock();
        let state = state.as_mut()?;
        if state.is_counting() {
            state.look(sums, self.lost.swap(0, Ordering::Relaxed));
        } else if state.rests_until.is_some_and(|until| sums.0 + sums.1 >= until) {
            // Where the thinner sample has no key that is in use, only whoever asks can tell that time has passed.
            self.wake(state, sums);
        }
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

/// Whether the thinner sample has a key of the sample.
fn is_thin(hash: u64, rate: f64) -> bool {
    sampled(hash, &AtomicU32::new(threshold(rate) / THIN))
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
        let pace = Pace::new(scaled(scale, rate, 1.0).1, known.0 + known.1);
        let rests_until = None;
        Self { scale, rate, minis, policies, misses, pace, rests_until, lookups, real_misses, known, seen, lost, fresh }
    }

    fn resize(&mut self, scale: Scale) {
        self.scale = scale;
        let factors = FACTORS.iter().copied().chain(std::iter::repeat(1.0));
        for (mini, factor) in self.minis.iter_mut().zip(factors) {
            let (capacity, entries) = scaled(scale, self.rate, factor);
            mini.resize(capacity, entries);
        }
    }

    /// Whether lookups are held against misses now.
    fn is_counting(&self) -> bool {
        self.rests_until.is_none() && self.pace.counts()
    }

    /// Begins a counted stretch.
    fn start(&mut self, known: (u64, u64)) {
        self.known = known;
        self.fresh = 0;
    }

    fn record(&mut self, event: Event, hash: u32, cost: u32, thin: bool) -> Turn {
        let turn = self.pace.turn(thin);
        let counted = f64::from(u8::from(matches!(turn, Turn::Count | Turn::Last)));
        self.fresh += u32::from(counted > 0.0);
        // Other bits than those that the miniatures' indexes begin with.
        let group = (hash.wrapping_mul(0x85EB_CA6B) >> 28) as usize % GROUPS;
        for (mini, misses) in self.minis.iter_mut().zip(&mut self.misses) {
            let missed = event != Event::Store && !mini.lookup(hash);
            if missed {
                misses[group] += counted;
            }
            if event == Event::Store || (missed && event == Event::Hit) {
                mini.store(hash, cost);
            }
        }
        turn
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

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { capacity: 1_000, entries: 1_000 };

    fn recorder() -> Recorder {
        let recorder = Recorder::new(PolicyKind::Lru, Arc::default());
        recorder.fit(SCALE, (0, 0));
        recorder
    }

    /// Lookups of keys of which half are missing; answers how many reached the miniatures.
    fn play(recorder: &Recorder, from: u64, lookups: u64, keys: u64) -> u64 {
        let mut reached = 0;
        for at in from..from + lookups {
            let key = at.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 20;
            let hash = (key % keys).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            if recorder.samples(hash) {
                reached += u64::from(recorder.resting.load(Ordering::Relaxed) == 0);
                let event = if at % 2 == 0 { Event::Hit } else { Event::Miss };
                recorder.record(event, hash, 1, || (at / 2, at.div_ceil(2)));
            }
        }
        reached
    }

    #[test]
    fn a_small_cache_is_watched_in_bursts_that_count_their_own_lookups_only() {
        let recorder = recorder();
        play(&recorder, 0, 200_000, 3_000);
        let (mut watched, mut most) = (0, 0.0_f64);
        for round in 1..40 {
            watched += play(&recorder, round * 200_000, 200_000, 3_000);
            let state = recorder.state.lock();
            most = most.max(state.as_ref().unwrap().lookups);
        }
        let share = watched as f64 / (39.0 * 200_000.0);
        assert!((0.002..0.006).contains(&share), "{share} of the lookups");
        let curve = recorder.curve((4_000_000, 4_000_000), 1.0).expect("a curve");
        assert!((curve.measured() - 0.5).abs() < 0.02, "{curve:?}");
        assert!(most < HALF_LIFE * 1_000.0 * 1.5, "the lookups of rests are not counted: {most}");
    }

    #[test]
    fn who_asks_for_the_curve_ends_a_rest_that_no_event_ends() {
        let recorder = recorder();
        play(&recorder, 0, 200_000, 3_000);
        let mut at = 200_000;
        while recorder.resting.load(Ordering::Relaxed) == 0 {
            play(&recorder, at, 100, 3_000);
            at += 100;
        }
        let _ = recorder.curve((at / 2, at / 2), 1.0);
        assert_ne!(recorder.resting.load(Ordering::Relaxed), 0, "no time has passed");
        let _ = recorder.curve((4 * at, 4 * at), 1.0);
        assert_eq!(recorder.resting.load(Ordering::Relaxed), 0);
        assert_eq!(recorder.threshold.load(Ordering::Relaxed), threshold(rate(1_000)));
    }

    #[test]
    fn another_policy_or_size_ends_a_rest() {
        for change in 0..2 {
            let recorder = recorder();
            let mut at = 0;
            while recorder.resting.load(Ordering::Relaxed) == 0 {
                play(&recorder, at, 1_000, 3_000);
                at += 1_000;
            }
            let scale = Scale { capacity: 8_000, entries: 8_000 };
            if change == 0 {
                recorder.follow(PolicyKind::Lfu);
            }
            recorder.fit(scale, (at, 0));
            assert_eq!(recorder.resting.load(Ordering::Relaxed), 0);
            assert_eq!(recorder.threshold.load(Ordering::Relaxed), threshold(rate(8_000)));
        }
    }
}
