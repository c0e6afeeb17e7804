//! W-TinyLFU with a window that adapts: recency for newcomers, frequency for residents.
//!
//! ```text
//! insert -> window (LRU) --full--> candidate
//!                                     | more frequent than the victim?
//!                         yes: main   | no: the candidate leaves
//!           main = probation --used again--> protected --full--> probation
//! ```
//!
//! A newcomer always enters the window, so what was just inserted can be read. When room is needed, the window's
//! least recent entry competes with main's least recent one, and the [sketch](super::sketch) tells who was asked for
//! more often. A window of the whole cache is LRU, a tiny one is nearly LFU; the [tuner](super::tuner) finds the share.
//!
//! Two things are random: an equal candidate gets in now and then, so that a loop or an attacker who knows which keys
//! collide in the sketch cannot pin a bad resident for ever.
//!
//! Source: G. Einziger, R. Friedman and B. Manes, "TinyLFU", ACM Transactions on Storage, 2017; for the window's size, see the tuner.
//! Departure: entries move when room is needed, not in the background, so there is no buffer and no hit is lost.

use std::sync::Arc;

use super::list::{List, Nodes};
use super::sketch::Sketch;
use super::tuner::Tuner;
use super::{Policy, Standing};

const WINDOW: u8 = 0;
const PROBATION: u8 = 1;
const PROTECTED: u8 = 2;

/// Share of main that is protected.
const PROTECTED_SHARE: f32 = 0.8;
/// A warm candidate that lost by frequency gets in once in this many times.
const JITTER: u64 = 128;
/// Candidates below this frequency are never let in by chance.
const WARM: u32 = 6;
/// When the window's share has changed, at most so many entries change sides with each insertion.
const MOVES: usize = 16;

/// W-TinyLFU over one shard.
#[derive(Debug)]
pub(crate) struct Adaptive {
    nodes: Nodes,
    window: List,
    probation: List,
    protected: List,
    sketch: Sketch,
    /// `None` when the share is fixed.
    tuner: Option<Arc<Tuner>>,
    share: f32,
    /// Whether the window still has to follow a change of its share.
    moving: bool,
    random: u64,
}

impl Adaptive {
    /// A policy whose window follows a tuner.
    pub(crate) fn new(tuner: Arc<Tuner>, seed: u64) -> Self {
        Self { share: tuner.share(), tuner: Some(tuner), ..Self::with_fixed_window(0.0, seed) }
    }

    /// A policy whose window has a given share of the cache.
    pub(crate) fn with_fixed_window(share: f32, seed: u64) -> Self {
        Self {
            nodes: Nodes::default(),
            window: List::default(),
            probation: List::default(),
            protected: List::default(),
            sketch: Sketch::default(),
            tuner: None,
            share,
            moving: false,
            random: seed | 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.window.len() + self.probation.len() + self.protected.len()
    }

    fn cost(&self) -> u64 {
        self.window.cost() + self.probation.cost() + self.protected.cost()
    }

    pub(crate) fn cost_of(&self, token: u32) -> u32 {
        self.nodes.get(token).cost
    }

    pub(crate) fn hash_of(&self, token: u32) -> u32 {
        self.nodes.get(token).hash
    }

    /// Whether the window holds more than its share. Its most recent entry is always within.
    fn window_overflows(&self) -> bool {
        self.window.len() > 1 && self.window.cost() as f32 > self.cost() as f32 * self.share
    }

    fn list(&mut self, segment: u8) -> (&mut List, &mut Nodes) {
        let list = match segment {
            WINDOW => &mut self.window,
            PROBATION => &mut self.probation,
            _ => &mut self.protected,
        };
        (list, &mut self.nodes)
    }

    /// Moves a token to the most recent end of a segment.
    fn shift(&mut self, token: u32, segment: u8) {
        let from = self.nodes.get(token).segment;
        let (list, nodes) = self.list(from);
        list.unlink(nodes, token);
        nodes.get_mut(token).segment = segment;
        let (list, nodes) = self.list(segment);
        list.push_front(nodes, token);
    }

    fn demote_protected(&mut self) {
        let limit = ((self.probation.cost() + self.protected.cost()) as f32 * PROTECTED_SHARE) as u64;
        while self.protected.cost() > limit
            && let Some(token) = self.protected.back()
        {
            self.shift(token, PROBATION);
        }
    }

    /// Lets the window follow its share without judging anybody, a few entries at a time.
    fn follow(&mut self) {
        for _ in 0..MOVES {
            let token = if self.window_overflows() {
                let Some(token) = self.window.back() else { break };
                self.shift(token, PROBATION);
                continue;
            } else if let Some(token) = self.probation.back().or_else(|| self.protected.back())
                && (self.window.cost() + u64::from(self.nodes.get(token).cost)) as f32
                    <= self.cost() as f32 * self.share
            {
                token
            } else {
                self.moving = false;
                break;
            };
            // It was about to leave main, so it becomes the window's next candidate.
            let from = self.nodes.get(token).segment;
            let (list, nodes) = self.list(from);
            list.unlink(nodes, token);
            nodes.get_mut(token).segment = WINDOW;
            self.window.push_back(&mut self.nodes, token);
        }
    }

    /// Tells the tuner about a request, if its key is in the sample.
    fn report(&self, hash: u32, cost: u32, hit: bool) {
        if let Some(tuner) = &self.tuner
            && tuner.samples(hash)
        {
            tuner.report(hash, cost, hit, self.len(), self.cost());
        }
    }

    fn follow_tuner(&mut self) {
        if let Some(tuner) = &self.tuner {
            let share = tuner.share();
            self.moving |= share.to_bits() != self.share.to_bits();
            self.share = share;
        }
        if self.moving {
            self.follow();
        }
    }

    /// Whether the candidate deserves its place more than main's victim.
    fn admits(&mut self, candidate: u32, victim: u32) -> bool {
        let candidate = self.sketch.estimate(self.nodes.get(candidate).hash);
        let victim = self.sketch.estimate(self.nodes.get(victim).hash);
        // Seen once is no evidence: in a loop longer than the sketch's memory, every resident has faded to zero when the
        // next newcomer arrives with its one, and letting it in would replace the whole cache before anything returns.
        candidate > victim.max(1) || (candidate >= WARM && self.chance(JITTER))
    }

    /// True once in `n` times (xorshift64).
    fn chance(&mut self, n: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32).is_multiple_of(n)
    }

    /// See [`List::validate`].
    pub(crate) fn validate(&self) -> usize {
        self.window.validate(&self.nodes, WINDOW)
            + self.probation.validate(&self.nodes, PROBATION)
            + self.protected.validate(&self.nodes, PROTECTED)
    }
}

impl Policy for Adaptive {
    fn insert(&mut self, token: u32, hash: u64, cost: u32) {
        let hash = (hash ^ (hash >> 32)) as u32;
        self.report(hash, cost, false);
        self.sketch.ensure(self.len() + 1);
        self.sketch.record(hash);
        self.nodes.enter(token, hash, cost);
        self.nodes.get_mut(token).segment = WINDOW;
        self.window.push_front(&mut self.nodes, token);
    }

    fn order(&self) -> Vec<u32> {
        let nodes = &self.nodes;
        // The two parts that compete for room are judged by frequency; among equals the more recent stays.
        let mut contested: Vec<_> = self.window.iter(nodes).chain(self.probation.iter(nodes)).collect();
        contested.sort_by_key(|token| std::cmp::Reverse(self.sketch.estimate(nodes.get(*token).hash)));
        self.protected.iter(nodes).chain(contested).collect()
    }

    fn standing(&self, token: u32) -> Standing {
        let node = self.nodes.get(token);
        let segment = match node.segment {
            WINDOW => "window",
            PROBATION => "probation",
            _ => "protected",
        };
        Standing { segment, frequency: Some(self.sketch.estimate(node.hash)) }
    }

    fn recall(&mut self, token: u32, frequency: u32) {
        let hash = self.nodes.get(token).hash;
        // The counters stop at 15, and one was given when it came in.
        (1..frequency.min(15)).for_each(|_| self.sketch.record(hash));
    }

    fn touch(&mut self, token: u32) {
        let node = *self.nodes.get(token);
        self.report(node.hash, node.cost, true);
        self.sketch.record(node.hash);
        match node.segment {
            WINDOW => self.window.move_to_front(&mut self.nodes, token),
            PROTECTED => self.protected.move_to_front(&mut self.nodes, token),
            _ => {
                self.shift(token, PROTECTED);
                self.demote_protected();
            }
        }
    }

    fn reweigh(&mut self, token: u32, cost: u32) {
        let (list, nodes) = self.list(self.nodes.get(token).segment);
        list.reweigh(nodes, token, cost);
    }

    fn remove(&mut self, token: u32) {
        let (list, nodes) = self.list(self.nodes.get(token).segment);
        list.unlink(nodes, token);
    }

    fn victim(&mut self) -> Option<u32> {
        self.follow_tuner();
        let Some(victim) = self.probation.back().or_else(|| self.protected.back()) else {
            return self.window.back();
        };
        if self.window_overflows()
            && let Some(candidate) = self.window.back()
        {
            if !self.admits(candidate, victim) {
                return Some(candidate);
            }
            self.shift(candidate, PROBATION);
        }
        Some(victim)
    }

    fn settle(&mut self) {
        while self.window_overflows()
            && let Some(token) = self.window.back()
        {
            self.shift(token, PROBATION);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Use(u32),
        Remove(u32),
        Reweigh(u32, u32),
        Evict,
        Settle,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..40_u32).prop_map(Step::Use),
            1 => (0..40_u32).prop_map(Step::Remove),
            1 => (0..40_u32, 0..500_u32).prop_map(|(token, cost)| Step::Reweigh(token, cost)),
            3 => Just(Step::Evict),
            2 => Just(Step::Settle),
        ];
        proptest::collection::vec(step, 0..400)
    }

    /// Plays the steps beside a queue, most recent first; `check` sees each victim.
    fn play(policy: &mut Adaptive, steps: Vec<Step>, check: impl Fn(u32, &VecDeque<u32>)) {
        let mut model: VecDeque<u32> = VecDeque::new();
        for step in steps {
            match step {
                Step::Use(token) => {
                    if let Some(at) = model.iter().position(|t| *t == token) {
                        model.remove(at);
                        policy.touch(token);
                    } else {
                        policy.insert(token, u64::from(token) * 0x9E37_79B9, 1 + token % 3);
                    }
                    model.push_front(token);
                }
                Step::Remove(token) => {
                    if let Some(at) = model.iter().position(|t| *t == token) {
                        model.remove(at);
                        policy.remove(token);
                    }
                }
                Step::Reweigh(token, cost) => {
                    if model.contains(&token) {
                        policy.reweigh(token, cost);
                    }
                }
                Step::Evict => {
                    let victim = policy.victim();
                    assert_eq!(victim.is_none(), model.is_empty());
                    if let Some(victim) = victim {
                        check(victim, &model);
                        model.retain(|t| *t != victim);
                        policy.remove(victim);
                    }
                }
                Step::Settle => policy.settle(),
            }
            assert_eq!(policy.validate(), model.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn a_window_of_the_whole_cache_is_lru(steps in steps()) {
            play(&mut Adaptive::with_fixed_window(1.0, 1), steps, |victim, model| {
                assert_eq!(Some(&victim), model.back());
            });
        }

        #[test]
        fn victims_are_members_whatever_the_window(steps in steps(), share in 0.0..=1.0_f32, seed in any::<u64>()) {
            play(&mut Adaptive::with_fixed_window(share, seed), steps, |victim, model| {
                assert!(model.contains(&victim));
            });
        }

        #[test]
        fn nothing_is_lost_while_the_window_moves(steps in steps(), seed in any::<u64>()) {
            let tuner = Arc::new(Tuner::new(1, seed));
            play(&mut Adaptive::new(tuner, seed), steps, |victim, model| assert!(model.contains(&victim)));
        }
    }

    /// Plays keys through a policy of a given capacity; answers the hits of the second half.
    fn replay(policy: &mut Adaptive, capacity: usize, keys: &[u64]) -> usize {
        let (mut tokens, mut held, mut free) = (std::collections::HashMap::new(), Vec::new(), Vec::new());
        let mut hits = 0;
        for (at, key) in keys.iter().enumerate() {
            if let Some(token) = tokens.get(key) {
                policy.touch(*token);
                hits += usize::from(at >= keys.len() / 2);
                continue;
            }
            let token = free.pop().unwrap_or_else(|| {
                held.push(0);
                held.len() as u32 - 1
            });
            held[token as usize] = *key;
            tokens.insert(*key, token);
            policy.insert(token, key.wrapping_mul(0x9E37_79B9_7F4A_7C15), 1);
            if tokens.len() > capacity {
                let victim = policy.victim().unwrap();
                policy.remove(victim);
                tokens.remove(&held[victim as usize]);
                free.push(victim);
            } else {
                policy.settle();
            }
        }
        hits
    }

    #[test]
    fn the_window_grows_for_recency_and_shrinks_for_frequency() {
        // A hot set that moves on again and again, against a hot set that stays under a stream of strangers.
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let moving: Vec<u64> = (0..100_000).map(|at| at / 4_000 * 800 + random(800)).collect();
        let tuner = Arc::new(Tuner::new(1, 3));
        let adaptive = replay(&mut Adaptive::new(tuner.clone(), 3), 1_000, &moving);
        let fixed = replay(&mut Adaptive::with_fixed_window(0.01, 3), 1_000, &moving);
        assert!(tuner.share() > 0.3 && adaptive > fixed, "share {}, {adaptive} against {fixed}", tuner.share());

        let staying: Vec<u64> = (0..100_000).map(|at| if at % 2 == 0 { random(900) } else { 1_000_000 + at }).collect();
        let lru = replay(&mut Adaptive::with_fixed_window(1.0, 3), 1_000, &staying);
        let adaptive = replay(&mut Adaptive::new(tuner.clone(), 3), 1_000, &staying);
        assert!(tuner.share() < 0.3 && adaptive > lru, "share {}, {adaptive} against {lru}", tuner.share());
    }
}
