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
//! more often. A window of the whole cache is LRU, a tiny one is nearly LFU; the [climber](super::climber) finds the share.
//!
//! Two things are random: an equal candidate gets in now and then, so that a loop or an attacker who knows which keys
//! collide in the sketch cannot pin a bad resident for ever.
//!
//! Source: G. Einziger, R. Friedman and B. Manes, "TinyLFU", ACM ToS 2017; for the window's size, see the climber.
//! Departure: entries move when room is needed, not in the background, so there is no buffer and no hit is lost.

use std::sync::Arc;

use super::Policy;
use super::climber::Climber;
use super::list::{List, Nodes};
use super::sketch::Sketch;

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
/// A shard reports to the climber after this many requests per entry.
const REPORT_PER_ENTRY: u64 = 1;

/// W-TinyLFU over one shard.
#[derive(Debug)]
pub(crate) struct Adaptive {
    nodes: Nodes,
    window: List,
    probation: List,
    protected: List,
    sketch: Sketch,
    climber: Arc<Climber>,
    share: f32,
    /// Whether the window still has to follow a change of its share.
    moving: bool,
    hits: u64,
    requests: u64,
    random: u64,
}

impl Adaptive {
    pub(crate) fn new(climber: Arc<Climber>, seed: u64) -> Self {
        Self {
            nodes: Nodes::default(),
            window: List::default(),
            probation: List::default(),
            protected: List::default(),
            sketch: Sketch::default(),
            share: climber.share(),
            climber,
            moving: false,
            hits: 0,
            requests: 0,
            random: seed | 1,
        }
    }

    fn len(&self) -> usize {
        self.window.len() + self.probation.len() + self.protected.len()
    }

    fn cost(&self) -> u64 {
        self.window.cost() + self.probation.cost() + self.protected.cost()
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

    fn report(&mut self) {
        if self.requests >= self.len() as u64 * REPORT_PER_ENTRY {
            self.climber.report(self.hits, self.requests, self.len());
            (self.hits, self.requests) = (0, 0);
            let share = self.climber.share();
            self.moving |= share.to_bits() != self.share.to_bits();
            self.share = share;
        }
    }

    /// Whether the candidate deserves its place more than main's victim.
    fn admits(&mut self, candidate: u32, victim: u32) -> bool {
        let candidate = self.sketch.estimate(self.nodes.get(candidate).hash);
        let victim = self.sketch.estimate(self.nodes.get(victim).hash);
        candidate > victim || (candidate >= WARM && self.chance(JITTER))
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
        self.requests += 1;
        self.sketch.ensure(self.len() + 1);
        self.sketch.record(hash);
        self.nodes.enter(token, hash, cost);
        self.nodes.get_mut(token).segment = WINDOW;
        self.window.push_front(&mut self.nodes, token);
    }

    fn touch(&mut self, token: u32) {
        self.hits += 1;
        self.requests += 1;
        let node = *self.nodes.get(token);
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
        self.report();
        if self.moving {
            self.follow();
        }
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
