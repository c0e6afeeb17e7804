//! One memory budget over all caches: bytes move from the cache that loses least to the one that gains most.
//!
//! Every cache that is limited by bytes takes part, between bounds of its own. What a size is worth to it comes from its live
//! [curve](crate::Curve), its lookups a second, and what a miss costs: the mean time of its loads of late, or a weight that
//! somebody gave. Each decision moves one bounded step; the donor evicts before the receiver grows, so the
//! limits never add up to more than the budget. A cache that got does not give for a while, and the reverse. How it is decided stands
//! in `arbiter/decide.rs`.

mod decide;
mod record;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use trimtab_config::ByteSize;

use crate::caches::AnyCache;
use crate::curve::Curve;
use crate::error::BudgetError;
use crate::metrics;
use decide::Standing;
pub use record::{BudgetState, Decision, MemberState};
pub use settings::{BudgetSettings, ShareSettings};

/// Decisions that are kept to be shown.
const KEPT: usize = 64;
/// Decisions for which a cache that got does not give, and the reverse.
const REST: u64 = 3;
/// Lookups that a cache must have had since its last change, for each entry that it holds, and at least.
const FRESH_PER_ENTRY: f64 = 0.5;
const FRESH_LEAST: u64 = 1_000;
/// Weight of the newest interval in the means of load times and rates.
const NEWEST: f64 = 0.3;
/// Share of the budget that moves at once.
const STEP: f64 = 0.02;
/// The cost of a miss of which nothing is known, in seconds, when nothing is known of others either.
const MISS_SECONDS: f64 = 0.001;

/// Between which limits a cache may be, and what a miss in it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds {
    /// The fewest bytes. Default: a quarter of the limit that the cache came with.
    pub min: Option<ByteSize>,
    /// The most bytes. Default: the whole budget.
    pub max: Option<ByteSize>,
    /// What a miss costs, relative to others; seconds if others are measured. Default: the mean time of its loads of late.
    pub weight: Option<f64>,
}

/// A budget of bytes over several caches.
///
/// ```
/// use std::time::Duration;
/// use trimtab_cache::{CacheSettings, Caches, MemoryBudget};
/// use trimtab_config::{ByteSize, Profile};
///
/// let caches = Caches::new();
/// for name in ["pages", "users"] {
///     caches.create(name, CacheSettings::for_bytes(Profile::Balanced))?; // 64 MiB each
/// }
/// let budget = MemoryBudget::new(ByteSize::mib(96));
/// budget.tick(&caches.list(), Duration::ZERO);
/// let limits: Vec<_> = caches.list().iter().filter_map(|cache| cache.stats().max_bytes).collect();
/// assert_eq!(limits, [48 << 20, 48 << 20]);
/// # Ok::<(), trimtab_cache::CachesError>(())
/// ```
#[derive(Debug)]
pub struct MemoryBudget {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    total: u64,
    every: Duration,
    due: Duration,
    bounds: BTreeMap<String, Bounds>,
    members: BTreeMap<String, Member>,
    /// Caches that do not take part, and why.
    left_out: BTreeMap<String, String>,
    decisions: VecDeque<Decision>,
    /// How many decisions were due so far.
    round: u64,
}

#[derive(Debug, Clone, Default)]
struct Member {
    limit: u64,
    /// The limit that it came with or that somebody gave it.
    wished: u64,
    lookups: u64,
    loads: (u64, f64),
    weight: u64,
    /// Lookups a second, and seconds of a load, over the last intervals.
    rate: Option<f64>,
    load: Option<f64>,
    seen_at: Duration,
    /// Lookups at the last change of the limit.
    changed_at: u64,
    gave: Option<u64>,
    got: Option<u64>,
}

/// What the budget asks of a cache.
trait Account {
    fn name(&self) -> &str;
    fn limit(&self) -> Option<u64>;
    fn set_limit(&self, bytes: u64) -> Result<(), String>;
    fn weight(&self) -> u64;
    fn entries(&self) -> u64;
    fn lookups(&self) -> u64;
    fn loads(&self) -> (u64, f64);
    fn curve(&self) -> Option<Curve>;
}

impl Account for Arc<dyn AnyCache> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn limit(&self) -> Option<u64> {
        self.settings().max_bytes.map(ByteSize::as_u64)
    }
    fn set_limit(&self, bytes: u64) -> Result<(), String> {
        self.set_max_bytes(Some(ByteSize::b(bytes))).map_err(|error| error.to_string())
    }
    fn weight(&self) -> u64 {
        (**self).weight()
    }
    fn entries(&self) -> u64 {
        self.len()
    }
    fn lookups(&self) -> u64 {
        let stats = self.stats();
        stats.hits + stats.misses
    }
    fn loads(&self) -> (u64, f64) {
        let stats = self.stats();
        (stats.loads, stats.load_seconds)
    }
    fn curve(&self) -> Option<Curve> {
        (**self).curve()
    }
}

impl MemoryBudget {
    /// A budget that decides every ten seconds.
    pub fn new(total: ByteSize) -> Self {
        let state = State {
            total: total.as_u64(),
            every: Duration::from_secs(10),
            due: Duration::ZERO,
            bounds: BTreeMap::new(),
            members: BTreeMap::new(),
            left_out: BTreeMap::new(),
            decisions: VecDeque::new(),
            round: 0,
        };
        Self { state: Mutex::new(state) }
    }

    /// Changes how often it decides, from one second.
    pub fn set_interval(&self, every: Duration) {
        self.state.lock().every = every.max(Duration::from_secs(1));
    }

    /// Changes the budget; caches that are then too large together are cut at the next [`tick`](Self::tick).
    pub fn set_total(&self, total: ByteSize) {
        self.state.lock().total = total.as_u64();
    }

    /// Sets the bounds and the weight of a cache by name, whether or not it is there.
    ///
    /// # Errors
    ///
    /// [`BudgetError`] when the least is more than the most, the least of all caches are more than the budget, or the weight is
    /// not a positive number. Nothing is changed then.
    pub fn set_bounds(&self, name: &str, bounds: Bounds) -> Result<(), BudgetError> {
        let mut state = self.state.lock();
        let (min, max) = (bounds.min.unwrap_or(ByteSize::b(0)), bounds.max.unwrap_or(ByteSize::b(u64::MAX)));
        if min > max {
            return Err(BudgetError::Bounds { name: name.to_string(), min, max });
        }
        if let Some(weight) = bounds.weight.filter(|weight| !weight.is_finite() || *weight <= 0.0) {
            return Err(BudgetError::Weight { name: name.to_string(), weight });
        }
        let others = state.bounds.iter().filter(|(other, _)| *other != name);
        let sum = others.filter_map(|(_, bounds)| bounds.min).map(ByteSize::as_u64).sum::<u64>() + min.as_u64();
        if sum > state.total {
            let (sum, total) = (ByteSize::b(sum), ByteSize::b(state.total));
            return Err(BudgetError::TooSmall { name: name.to_string(), sum, total });
        }
        state.bounds.insert(name.to_string(), bounds);
        Ok(())
    }

    /// Takes newcomers in, forgets caches that are gone, and, when that is due, moves bytes. `now` is the time since any
    /// fixed moment. Call it about once a second with all open caches; answers what was decided.
    ///
    /// Caches without a limit on bytes do not take part. While the limits together are more than the budget, as after a
    /// newcomer, all are cut in proportion to what they have above their least, before anything grows.
    pub fn tick(&self, caches: &[Arc<dyn AnyCache>], now: Duration) -> Option<Decision> {
        self.state.lock().tick(caches, now)
    }

    /// Limits, free bytes and the latest decisions.
    pub fn state(&self) -> BudgetState {
        self.state.lock().show()
    }
}

impl State {
    fn tick<A: Account>(&mut self, caches: &[A], now: Duration) -> Option<Decision> {
        self.level(caches);
        let decision = if now >= self.due {
            self.due = now + self.every;
            self.round += 1;
            self.decide(caches, now)
        } else {
            None
        };
        metrics::publish_budget(self.total, self.free());
        decision
    }

    fn free(&self) -> u64 {
        self.total.saturating_sub(self.members.values().map(|member| member.limit).sum())
    }

    /// Least and most bytes of a cache that wishes for so many.
    fn range(&self, name: &str, wished: u64) -> (u64, u64) {
        let bounds = self.bounds.get(name).copied().unwrap_or_default();
        let max = bounds.max.map_or(self.total, ByteSize::as_u64).min(self.total);
        let min = bounds.min.map_or(wished / 4, ByteSize::as_u64).min(max);
        (min, max)
    }

    /// Brings the members in line with the caches that there are, and the limits with the budget.
    fn level<A: Account>(&mut self, caches: &[A]) {
        self.left_out.clear();
        self.members.retain(|name, _| caches.iter().any(|cache| cache.name() == name));
        let mut wishes: Vec<(usize, u64, u64, u64)> = Vec::new();
        let mut least = 0_u64;
        for (index, cache) in caches.iter().enumerate() {
            let Some(limit) = cache.limit() else {
                self.members.remove(cache.name());
                self.left_out.insert(cache.name().to_string(), "it has no max_bytes".to_string());
                continue;
            };
            let known = self.members.get(cache.name());
            let wished = known.filter(|member| member.limit == limit).map_or(limit, |member| member.wished);
            let (min, max) = self.range(cache.name(), wished);
            if least.saturating_add(min) > self.total {
                self.members.remove(cache.name());
                let why = format!("its least of {} does not fit into what the budget has left", ByteSize::b(min));
                self.left_out.insert(cache.name().to_string(), why);
                continue;
            }
            least += min;
            self.members.entry(cache.name().to_string()).or_insert_with(|| Member {
                lookups: cache.lookups(),
                changed_at: cache.lookups(),
                loads: cache.loads(),
                ..Member::default()
            });
            if let Some(member) = self.members.get_mut(cache.name()) {
                member.wished = wished;
            }
            wishes.push((index, limit, min, limit.clamp(min, max)));
        }
        let above = wishes.iter().map(|(_, _, min, wish)| wish - min).fold(0_u64, u64::saturating_add);
        let room = self.total - least;
        let part = |above_least: u64| (u128::from(above_least) * u128::from(room) / u128::from(above.max(1))) as u64;
        let mut goals: Vec<_> = wishes
            .into_iter()
            .map(|(index, limit, min, wish)| (index, limit, if above > room { min + part(wish - min) } else { wish }))
            .collect();
        // Whoever shrinks goes first.
        goals.sort_by_key(|(_, limit, goal)| goal > limit);
        let mut short = 0;
        for (index, limit, goal) in goals {
            let cache = &caches[index];
            // A cache that could not be cut is paid for by those that were to grow.
            let goal = if goal > limit { goal.saturating_sub(short).max(limit) } else { goal };
            let set = if goal == limit { Ok(()) } else { cache.set_limit(goal) };
            let limit = match set {
                Ok(()) => goal,
                Err(error) => {
                    self.left_out.insert(
                        cache.name().to_string(),
                        format!("its limit stays at {}: {error}", ByteSize::b(limit)),
                    );
                    short += limit.saturating_sub(goal);
                    limit
                }
            };
            if let Some(member) = self.members.get_mut(cache.name()) {
                member.limit = limit;
            }
        }
    }

    fn decide<A: Account>(&mut self, caches: &[A], now: Duration) -> Option<Decision> {
        let caches: Vec<&A> = caches.iter().filter(|cache| self.members.contains_key(cache.name())).collect();
        let mut idle = Vec::new();
        for cache in &caches {
            let Some(member) = self.members.get_mut(cache.name()) else { continue };
            idle.push(member.observe(*cache, now));
        }
        let known: Vec<f64> = caches.iter().filter_map(|cache| self.cost(cache.name())).collect();
        let usual = if known.is_empty() { MISS_SECONDS } else { known.iter().sum::<f64>() / known.len() as f64 };
        let round = self.round;
        let standings: Vec<_> = caches
            .iter()
            .zip(idle)
            .filter_map(|(cache, grew)| {
                let member = self.members.get(cache.name())?;
                let (min, max) = self.range(cache.name(), member.wished);
                let fresh = member.lookups.saturating_sub(member.changed_at);
                let enough = (cache.entries() as f64 * FRESH_PER_ENTRY) as u64;
                let fresh = fresh >= enough.max(FRESH_LEAST);
                let rested = |last: Option<u64>| last.is_none_or(|last| round > last + REST);
                let rate = member.rate.unwrap_or(0.0);
                let spare = if grew { 0 } else { member.limit.saturating_sub(member.weight + member.weight / 2) };
                Some(Standing {
                    limit: member.limit,
                    min,
                    max,
                    stake: rate * self.cost(cache.name()).unwrap_or(usual),
                    curve: cache.curve(),
                    spare,
                    may_give: rested(member.got) && (fresh || rate == 0.0 || spare > 0),
                    may_get: rested(member.gave) && fresh,
                })
            })
            .collect();
        let step = ((self.total as f64 * STEP) as u64).max(1);
        let proposal = decide::propose(&standings, self.free(), step)?;
        self.carry_out(&caches, &proposal, now)
    }

    /// What a miss costs: as given, or as measured.
    fn cost(&self, name: &str) -> Option<f64> {
        self.bounds.get(name).and_then(|bounds| bounds.weight).or_else(|| self.members.get(name)?.load)
    }

    /// Moves the bytes: first the donor, then the receiver.
    fn carry_out<A: Account>(&mut self, caches: &[&A], step: &decide::Proposal, now: Duration) -> Option<Decision> {
        let receiver = caches[step.to];
        let mut bytes = step.bytes;
        if let Some(from) = step.from {
            let donor = caches[from];
            let member = self.members.get_mut(donor.name())?;
            let less = member.limit - bytes;
            donor.set_limit(less).ok()?;
            member.limit = less;
            (member.gave, member.changed_at) = (Some(self.round), member.lookups);
        }
        bytes = bytes.min(self.free());
        let member = self.members.get_mut(receiver.name())?;
        let more = member.limit + bytes;
        // What the donor gave stays free if the receiver refuses; the next decision finds it.
        receiver.set_limit(more).ok()?;
        member.limit = more;
        (member.got, member.changed_at) = (Some(self.round), member.lookups);
        let decision = Decision::new(
            now,
            step.from.map(|from| caches[from].name().to_string()),
            receiver.name().to_string(),
            bytes,
            step,
        );
        metrics::count_move(&decision);
        self.decisions.push_back(decision.clone());
        if self.decisions.len() > KEPT {
            self.decisions.pop_front();
        }
        Some(decision)
    }

    fn show(&self) -> BudgetState {
        let members = self.members.iter().map(|(name, member)| {
            let (min, max) = self.range(name, member.wished);
            MemberState {
                name: name.clone(),
                limit_bytes: member.limit,
                min_bytes: min,
                max_bytes: max,
                lookups_per_second: member.rate,
                miss_cost: self.cost(name),
            }
        });
        BudgetState {
            total_bytes: self.total,
            free_bytes: self.free(),
            interval_seconds: self.every.as_secs_f64(),
            members: members.collect(),
            left_out: self.left_out.clone(),
            decisions: self.decisions.iter().rev().cloned().collect(),
        }
    }
}

impl Member {
    /// Takes in what happened since the last decision; answers whether the cache has become heavier.
    fn observe(&mut self, cache: &impl Account, now: Duration) -> bool {
        let (lookups, loads, weight) = (cache.lookups(), cache.loads(), cache.weight());
        let seconds = now.saturating_sub(self.seen_at).as_secs_f64();
        let mean = |known: Option<f64>, new: f64| Some(known.map_or(new, |known| known + (new - known) * NEWEST));
        if seconds > 0.0 {
            self.rate = mean(self.rate, lookups.saturating_sub(self.lookups) as f64 / seconds);
        }
        let count = loads.0.saturating_sub(self.loads.0);
        if count > 0 {
            self.load = mean(self.load, (loads.1 - self.loads.1).max(0.0) / count as f64);
        }
        let grew = weight > self.weight;
        (self.lookups, self.loads, self.weight, self.seen_at) = (lookups, loads, weight, now);
        grew
    }
}
