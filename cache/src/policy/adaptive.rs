//! The adaptive structure: three FIFO queues and two small memories of the past, under [dials](super::dials).
//!
//! ```text
//! insert -> Window --used--> Main --unused--> Probation
//!              |                                 |  used: Main
//!              |unproven: Probation if there     |  unused: evicted
//!              |room, or evicted -> Ghost        v
//! ```
//!
//! A hit changes nothing here: it only raises a small counter of the entry, which readers do without a lock. Queues are
//! reordered when a victim is needed, and entries with a count are then put back. Every step back consumes a use,
//! so the cost of a victim is constant on the average, and bounded for each one.
//!
//! * **Ghost**: an entry that was evicted from the window and comes back soon goes to main at once.
//! * **Sketch**: how often keys were asked for; decides between candidate and victim where the dials say so.
//!
//! Which dials are in force is found out by the [shadow](super::shadow).
//!
//! Source: T. Johnson and D. Shasha, "2Q", VLDB 1994; J. Yang et al., "FIFO queues are all you need for cache eviction", SOSP
//! 2023; G. Einziger, R. Friedman and B. Manes, "TinyLFU", ACM Transactions on Storage, 2017. Departure: one structure for
//! all of them, by counters instead of moves on hits.

use std::sync::Arc;

use super::dials::{ARMS, Admit, Dials};
use super::ghost::Ghost;
use super::queues::Queues;
use super::shadow::Arm;
use super::sketch::{COUNT_MAX, Sketch};
use super::{Facts, Policy, SCAN_MAX, Standing, USES_MAX};

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const MAIN: usize = 2;

/// At most so many entries flow from the window to probation for one victim.
const FLOW_MAX: u32 = 16;
/// A window grows by this part of what was evicted, so that a short excursion flushes little. In [`ONE`]s.
const GROW: u64 = ONE * 3 / 10;
/// Shares are whole numbers of this, since a victim should not cost divisions.
const ONE: u64 = 1 << 20;
/// Warm candidates that lost by frequency get in once in 128 times, or crafted keys could freeze a cache.
const WARM: u8 = 6;
const CHANCE_BITS: u32 = 7;

/// The queues of one shard.
#[derive(Debug)]
pub(crate) struct Adaptive {
    /// What the shadow has chosen; `None` when the dials are fixed.
    arm: Option<Arc<Arm>>,
    /// The number of the arm whose dials these are.
    followed: u8,
    dials: Dials,
    queues: Queues<3>,
    /// Share of the capacity that the window may have, as the dial says, and that `Main` may have of what is not the window.
    goal: u64,
    protected: u64,
    /// Cost that the window may hold now; follows the goal. `None` before the first victim.
    window: Option<u64>,
    /// The capacity at the last victim.
    full: u64,
    /// What of a growing window is less than one, in [`ONE`]s.
    growth: u64,
    ghost: Ghost,
    sketch: Sketch,
    /// How many entries are expected in the end.
    expected: usize,
    random: u32,
}

impl Adaptive {
    /// A policy whose dials follow an arm.
    pub(crate) fn new(arm: Arc<Arm>, expected: usize) -> Self {
        Self { arm: Some(arm), ..Self::with_dials(ARMS[0], expected) }
    }

    /// A policy whose dials are fixed.
    pub(crate) fn with_dials(dials: Dials, expected: usize) -> Self {
        Self {
            arm: None,
            followed: 0,
            dials,
            queues: Queues::default(),
            goal: share(dials.window),
            protected: share(dials.protected),
            window: None,
            full: 0,
            growth: 0,
            ghost: Ghost::default(),
            sketch: Sketch::default(),
            expected,
            random: 0x2545_F491,
        }
    }

    /// Cost of all entries.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> u64 {
        self.queues.cost()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    /// See [`Queues::validate`].
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        self.queues.validate(facts)
    }

    fn main_cost(&self) -> u64 {
        self.queues.queue(PROBATION).cost + self.queues.queue(MAIN).cost
    }

    /// Uses held in an entry's counter flow into the sketch when the entry is passed.
    #[inline]
    fn note(&mut self, token: u32, uses: u8, facts: &impl Facts) {
        self.sketch.add(facts.hash(token), uses, self.dials.history);
    }

    /// Uses of late that are known of: those counted in the sketch, and those that still lie with the entry.
    fn frequency(&self, token: u32, facts: &impl Facts) -> u32 {
        let counted = self.sketch.estimate(facts.hash(token));
        u32::from((counted + facts.uses(token)).min(COUNT_MAX))
    }

    /// Takes the oldest entry of a queue out for good.
    fn evict(&mut self, queue: usize, facts: &impl Facts) -> Option<u32> {
        let token = self.queues.pop(queue, facts)?;
        if queue == WINDOW {
            self.ghost.put(facts.hash(token));
        }
        Some(token)
    }

    /// Puts the oldest entry of a queue back into main, one use poorer, if it was used; answers whether it was.
    fn spare(&mut self, oldest: u32, queue: usize, scanned: &mut u32, facts: &impl Facts) -> bool {
        let uses = facts.uses(oldest);
        if uses == 0 || *scanned >= SCAN_MAX {
            return false;
        }
        *scanned += 1;
        self.note(oldest, 1, facts);
        facts.set_uses(oldest, uses - 1);
        self.queues.pass_on(queue, MAIN, facts);
        true
    }

    /// Lets the next victim of probation and main be the oldest of probation, and answers it.
    fn main_victim(&mut self, scanned: &mut u32, facts: &impl Facts) -> Option<u32> {
        loop {
            let limit = scaled(self.main_cost(), self.protected);
            while let Some(oldest) = self.queues.queue(MAIN).oldest()
                && (self.queues.queue(MAIN).cost > limit || self.queues.queue(PROBATION).len == 0)
            {
                if !self.spare(oldest, MAIN, scanned, facts) {
                    self.queues.pass_on(MAIN, PROBATION, facts);
                }
            }
            let oldest = self.queues.queue(PROBATION).oldest()?;
            if !self.spare(oldest, PROBATION, scanned, facts) {
                return Some(oldest);
            }
        }
    }

    /// Evicts the next victim of probation and main.
    fn evict_main(&mut self, scanned: &mut u32, facts: &impl Facts) -> Option<u32> {
        self.main_victim(scanned, facts)?;
        self.evict(PROBATION, facts)
    }

    /// Whether a candidate deserves its place more than a victim.
    fn admits(&mut self, candidate: u32, victim: u32, facts: &impl Facts) -> bool {
        let candidate = self.sketch.estimate(facts.hash(candidate));
        let victim = self.sketch.estimate(facts.hash(victim));
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        candidate > victim || (candidate >= WARM && self.random >> (32 - CHANCE_BITS) == 0)
    }

    /// What the window may hold: its dial at once when that is less than before, slowly when it is more.
    fn window_target(&mut self, capacity: u64, incoming: u64) -> u64 {
        let goal = scaled(capacity, self.goal).max(1);
        let target = match self.window {
            // A window that had everything still has.
            Some(window) if window < goal && (self.goal < ONE || window < self.full) => {
                self.growth += incoming.min(1 << 40) * GROW;
                let grown = window + self.growth / ONE;
                self.growth %= ONE;
                grown.min(goal)
            }
            _ => goal,
        };
        (self.window, self.full) = (Some(target), capacity);
        target
    }

    /// Follows the shadow's choice.
    #[inline]
    fn follow(&mut self) {
        if let Some(arm) = &self.arm
            && arm.number() != self.followed
        {
            self.followed = arm.number();
            self.dials = arm.dials();
            (self.goal, self.protected) = (share(self.dials.window), share(self.dials.protected));
        }
    }

    fn choose(&mut self, facts: &impl Facts) -> Option<u32> {
        let dials = self.dials;
        // Victims are asked for when the cache is full, so what there is, is the capacity. The newcomer is taken to be like
        // the others.
        let capacity = self.queues.cost();
        let incoming = if facts.alike() { 1 } else { capacity / (self.queues.len() as u64).max(1) };
        let target = self.window_target(capacity, incoming);
        let (mut scanned, mut flowed) = (0, 0);
        loop {
            let main = self.main_cost();
            let window = self.queues.queue(WINDOW);
            let over = window.len > 0 && window.cost + incoming > target;
            let unproven_first = self.queues.queue(PROBATION).len > 0 && (!dials.fill || flowed >= FLOW_MAX);
            if main > 0 && (!over || unproven_first) {
                return self.evict_main(&mut scanned, facts);
            }
            let Some(oldest) = window.oldest() else {
                return self.evict_main(&mut scanned, facts);
            };
            let uses = facts.uses(oldest);
            let whole = target >= capacity;
            let room = main + target < capacity;
            if dials.promote > 0 && uses >= dials.promote && !whole {
                self.note(oldest, uses, facts);
                facts.set_uses(oldest, 0);
                self.queues.pass_on(WINDOW, MAIN, facts);
                flowed += 1;
                if room && flowed < FLOW_MAX {
                    continue;
                }
                return self.evict_main(&mut scanned, facts);
            }
            if dials.promote == 0 && uses > 0 && scanned < SCAN_MAX {
                scanned += 1;
                self.note(oldest, uses, facts);
                facts.set_uses(oldest, 0);
                self.queues.pass_on(WINDOW, WINDOW, facts);
                continue;
            }
            if whole {
                return self.evict(WINDOW, facts);
            }
            if dials.fill && room {
                flowed += 1;
                self.queues.pass_on(WINDOW, PROBATION, facts);
                continue;
            }
            if dials.admit == Admit::Ghost {
                return self.evict(WINDOW, facts);
            }
            let Some(victim) = self.main_victim(&mut scanned, facts) else {
                return self.evict(WINDOW, facts);
            };
            if self.admits(oldest, victim, facts) {
                facts.set_uses(oldest, 0);
                let victim = self.evict(PROBATION, facts);
                self.queues.pass_on(WINDOW, PROBATION, facts);
                return victim;
            }
            return self.evict(WINDOW, facts);
        }
    }
}

/// A share from 0 to 1 in [`ONE`]s.
fn share(share: f32) -> u64 {
    (f64::from(share) * ONE as f64) as u64
}

/// A part of a cost. Costs of a shard stay below 2^56.
fn scaled(cost: u64, share: u64) -> u64 {
    if cost < 1 << 43 { cost * share / ONE } else { cost / ONE * share }
}

impl Policy for Adaptive {
    #[inline]
    fn expect(&mut self, hash: u32) {
        self.sketch.look_ahead(hash);
        self.ghost.look_ahead(hash);
    }

    fn insert(&mut self, token: u32, facts: &impl Facts) {
        let hash = facts.hash(token);
        let entries = self.queues.len() + 1;
        self.sketch.ensure(entries, self.expected);
        self.ghost.ensure(entries, self.expected);
        self.sketch.add(hash, 1, self.dials.history);
        let known = self.ghost.take(hash) && self.dials.admit == Admit::Ghost;
        self.queues.push(token, if known { MAIN } else { WINDOW }, facts);
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.queues.replace(old, new, facts);
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        self.queues.replace(old, new, facts);
    }

    fn trim(&mut self, _tokens: usize) {
        self.sketch.fold(self.queues.len());
        self.ghost.fold(self.queues.len());
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        self.queues.unlink(token, facts);
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        self.follow();
        let Some(newcomer) = newcomer.filter(|token| self.queues.len() > 1 && facts.link(*token).is_queued()) else {
            return self.choose(facts);
        };
        // What was just inserted stays: it steps aside while the others are judged.
        self.queues.unlink(newcomer, facts);
        let victim = self.choose(facts);
        self.queues.push(newcomer, WINDOW, facts);
        victim
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        // Main keeps what has proved itself. The two others compete for room, by how often their entries were asked for;
        // among equals the more recent stays.
        let by_frequency = |token: &u32| std::cmp::Reverse(self.frequency(*token, facts));
        let mut main: Vec<_> = self.queues.members(MAIN, facts).collect();
        main.sort_by_cached_key(|token| facts.uses(*token) == 0);
        let contested = self.queues.members(WINDOW, facts).chain(self.queues.members(PROBATION, facts));
        let mut contested: Vec<_> = contested.collect();
        contested.sort_by_cached_key(by_frequency);
        main.append(&mut contested);
        main
    }

    fn standing(&self, token: u32, facts: &impl Facts) -> Standing {
        let segment = match facts.link(token).queue() {
            Some(MAIN) => "main",
            Some(PROBATION) => "probation",
            _ => "window",
        };
        Standing { segment, frequency: Some(self.frequency(token, facts)) }
    }

    fn recall(&mut self, token: u32, frequency: u32, facts: &impl Facts) {
        // One was counted when it came in. As many as fit are given back as uses, which spare it once it is the oldest.
        let more = frequency.min(u32::from(COUNT_MAX)).saturating_sub(1);
        let uses = more.min(u32::from(USES_MAX));
        facts.set_uses(token, uses as u8);
        let hash = facts.hash(token);
        self.sketch.add(hash, (more - uses) as u8, self.dials.history);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::model::{Step, Table, steps};
    use super::*;

    /// Plays the steps beside a set of members.
    fn play(policy: &mut Adaptive, facts: &Table, steps: Vec<Step>) {
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Use(token) if model.contains(&token) => facts.bump(token),
                Step::Use(token) => {
                    facts.set_uses(token, 0);
                    policy.insert(token, facts);
                    model.insert(token);
                }
                Step::Renew(old, new) => {
                    if model.contains(&old) && !model.contains(&new) {
                        policy.renew(old, new, facts);
                        model.remove(&old);
                        model.insert(new);
                    }
                }
                Step::Remove(token) => {
                    if model.remove(&token) {
                        policy.remove(token, facts);
                    }
                }
                Step::Evict => {
                    let newcomer = model.first().copied().filter(|_| model.len() % 2 == 0);
                    let victim = policy.victim(newcomer, facts);
                    assert_eq!(victim.is_none(), model.is_empty());
                    if let Some(victim) = victim {
                        assert!(model.remove(&victim), "the victim {victim} is a member");
                        assert!(Some(victim) != newcomer || model.is_empty(), "the newcomer stays");
                    }
                }
            }
            assert_eq!(policy.validate(facts), model.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_lost_under_any_arm(steps in steps(), arm in 0..ARMS.len()) {
            play(&mut Adaptive::with_dials(ARMS[arm], 32), &Table::new(64), steps);
        }

        #[test]
        fn nothing_is_lost_while_the_dials_turn(parts in proptest::collection::vec((steps(), 0..ARMS.len()), 1..4)) {
            let arm = Arc::new(Arm::default());
            let (mut policy, facts) = (Adaptive::new(arm.clone(), 32), Table::new(64));
            for (steps, number) in parts {
                arm.choose(number);
                play(&mut policy, &facts, steps);
                while policy.victim(None, &facts).is_some() {}
                prop_assert_eq!(policy.len(), 0);
            }
        }

        /// A window of everything is CLOCK, and CLOCK has a model of five lines.
        #[test]
        fn a_window_of_the_whole_cache_is_clock(keys in proptest::collection::vec(0..40_u32, 1..400), capacity in 1..20_usize) {
            let (mut policy, facts) = (Adaptive::with_dials(ARMS[2], capacity), Table::new(64));
            let mut model: Vec<(u32, bool)> = Vec::new();
            for key in keys {
                if let Some(entry) = model.iter_mut().find(|(k, _)| *k == key) {
                    entry.1 = true;
                    facts.bump(key);
                    continue;
                }
                if model.len() == capacity {
                    while model[0].1 {
                        let used = model.remove(0).0;
                        model.push((used, false));
                    }
                    prop_assert_eq!(policy.victim(None, &facts), Some(model.remove(0).0));
                }
                facts.set_uses(key, 0);
                policy.insert(key, &facts);
                model.push((key, false));
            }
        }
    }

    #[test]
    fn an_evicted_newcomer_that_comes_back_soon_is_proven() {
        let (mut policy, facts) = (Adaptive::with_dials(ARMS[3], 10), Table::new(64));
        (0..10).for_each(|token| policy.insert(token, &facts));
        let victim = policy.victim(None, &facts).unwrap();
        policy.insert(victim, &facts);
        for token in 20..29 {
            policy.victim(None, &facts).unwrap();
            policy.insert(token, &facts);
        }
        assert!(facts.link(victim).is_queued(), "it went to main");
    }
}
