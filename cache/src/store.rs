//! The engine behind a cache: shards, and the budget that they share.
//!
//! A key's hash, computed once, chooses its shard. Readers take no lock. A writer takes its shard's, makes room there, adds
//! its entry, and then makes room in the other shards in rotation if that was not enough. It never holds two locks, and
//! drops what it evicted after the last one.

pub(crate) mod arena;
pub(crate) mod budget;
mod change;
mod chunked;
mod compare;
mod departed;
mod epoch;
pub(crate) mod group;
mod inspect;
mod leave;
mod observe;
mod read;
mod samples;
pub(crate) mod shard;
mod shrink;
pub(crate) mod slots;
mod stripes;
pub(crate) mod sync;
mod table;
#[cfg(test)]
mod tests;
mod threads;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::curve::ShadowMode;
use crate::error::RejectedReason;
use crate::expiry::rule::Rule;
use crate::expiry::{self, Clock, NEVER};
use crate::listener::Listener;
use crate::metrics::Handles;
use crate::policy::curve::Event;
use crate::policy::in_force::InForce;
use crate::policy::shadow::{Scale, Shadow};
use crate::policy::{Engine, Policy, PolicyKind};
use crate::stats::{CacheStats, Cause, Counters};
use crate::tags;
use crate::terms::{Appraisal, Terms};
use crate::weigher::Weigher;
use arena::{Entry, Pair, TOKENS_MAX, Taken};
use budget::{Budget, UNLIMITED};
use departed::Departed;
use samples::Samples;
use shard::{Held, Shard, State};
use slots::Scales;
use stripes::Stripes;
pub(crate) use sync::prefetch;

/// An insertion removes at most so many expired entries of its shard, so its time stays bounded.
const EXPIRE_PER_INSERT: usize = 2;
/// `expire` removes at most so many entries of a shard under one hold of its lock.
const EXPIRE_PER_LOCK: usize = 256;
/// `expire` removes at most so many entries of a shard in one call.
pub(crate) const EXPIRE_PER_SHARD: usize = 4096;
/// The heaviest entry of a cache without a byte limit, for which weights are only reported. Keeps all sums in range.
const WEIGHT_MAX: u64 = 1 << 32;
/// An insertion passes on at most so many sampled requests to the shadow, its own among them.
const SAMPLES_PER_INSERT: u32 = 2;
/// A cache limited by bytes compares itself with its shadow's scale once in so many insertions of a shard.
const FIT_EVERY: u64 = 1024;

/// Everything that clones of a cache share.
pub(crate) struct Store<K, V, S> {
    pub(crate) name: Arc<str>,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    policy: InForce,
    shards: Box<[Shard<K, V>]>,
    stripes: Stripes,
    samples: Samples,
    /// At rest under policies that need no samples.
    shadow: Shadow,
    pub(crate) budget: Budget,
    pub(crate) weigher: Option<Weigher<K, V>>,
    overhead: u64,
    /// Nanoseconds, or [`NEVER`].
    ttl: AtomicU64,
    pub(crate) rule: Rule,
    lifetime: Option<Lifetime<K, V>>,
    listener: Option<Listener<K, V>>,
    /// Where the next search for room in other shards begins.
    rotation: AtomicUsize,
    /// `None` when metrics are off; resolved at the first publication.
    pub(crate) metrics: Option<OnceLock<Handles>>,
}

/// What the builder decided.
pub(crate) struct Plan<K, V, S> {
    pub(crate) name: Arc<str>,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    pub(crate) policy: PolicyKind,
    pub(crate) shadow: ShadowMode,
    pub(crate) shards: usize,
    pub(crate) max_entries: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) overhead: u64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) metrics: bool,
    pub(crate) statistics: bool,
    pub(crate) rule: Rule,
    pub(crate) lifetime: Option<Lifetime<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
}

/// A user's function from key and value to a time to live.
pub(crate) type Lifetime<K, V> = Arc<dyn Fn(&K, &V) -> Option<Duration> + Send + Sync>;

/// In which order other shards are asked to make room.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// Shards that hold at least their even part.
    Fair,
    /// Any shard, but not the newcomer.
    Any,
    /// Even the newcomer: a limit was lowered under it.
    Last,
}

impl<K, V, S> Store<K, V, S> {
    pub(crate) fn new(plan: Plan<K, V, S>) -> Self {
        sync::prepare_fences();
        let shadow = Shadow::of(plan.policy, plan.shadow);
        let uniform = plan.weigher.is_none().then_some(plan.overhead);
        let scales = Scales { uniform, by_weight: plan.max_bytes.is_some() };
        let expected = expected(plan.max_entries, plan.shards);
        let engine = || Engine::new(plan.policy, &shadow.arm(), expected);
        let shard = || Shard::new(expected, scales, State::new(engine(), plan.rule.moves()));
        let shards = (0..plan.shards).map(|_| shard()).collect();
        Self {
            name: plan.name,
            hasher: plan.hasher,
            clock: plan.clock,
            policy: InForce::new(plan.policy),
            shards,
            stripes: Stripes::new(plan.statistics),
            samples: Samples::default(),
            shadow,
            budget: Budget::new(plan.max_entries, plan.max_bytes, uniform),
            weigher: plan.weigher,
            overhead: plan.overhead,
            ttl: AtomicU64::new(plan.ttl.map_or(NEVER, expiry::nanos)),
            rule: plan.rule,
            lifetime: plan.lifetime,
            listener: plan.listener,
            rotation: AtomicUsize::new(0),
            metrics: plan.metrics.then(OnceLock::new),
        }
    }

    pub(crate) fn shards(&self) -> &[Shard<K, V>] {
        &self.shards
    }

    /// The shard of a hash: the highest ten bits. The index takes the low half, the sample what is between.
    #[inline]
    pub(crate) fn shard_of(&self, hash: u64) -> usize {
        (hash >> 54) as usize & (self.shards.len() - 1)
    }

    #[inline]
    pub(crate) fn shard(&self, hash: u64) -> &Shard<K, V> {
        &self.shards[self.shard_of(hash)]
    }

    pub(crate) fn lock(&self, hash: u64) -> Held<'_, K, V> {
        self.shard(hash).lock()
    }

    /// The metric handles, resolved now if they were not; `None` when metrics are off.
    pub(crate) fn metrics(&self) -> Option<&Handles> {
        self.metrics.as_ref().map(|handles| handles.get_or_init(|| Handles::resolve(&self.name)))
    }

    pub(crate) fn ttl(&self) -> Option<Duration> {
        match self.ttl.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(crate) fn set_ttl(&self, ttl: Option<Duration>) {
        self.ttl.store(ttl.map_or(NEVER, expiry::nanos), Ordering::Relaxed);
    }

    /// Weight and deadline of an entry to be, or why there must be none. Runs the user's weigher and expiry, hence before
    /// any lock.
    pub(crate) fn appraise(&self, key: &K, value: &V, terms: &Terms) -> Result<Appraisal, RejectedReason> {
        let own_ttl = terms.ttl.or_else(|| self.lifetime.as_ref().and_then(|lifetime| lifetime(key, value)));
        if own_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(RejectedReason::ZeroTtl);
        }
        let tags = tags::weigh(&terms.tags)?;
        // Without a weigher every entry weighs the same, which the budget relies on.
        let own = self.weigher.as_ref().map_or(0, |weigher| weigher(key, value).saturating_add(tags));
        let mut weight = own.saturating_add(self.overhead);
        let limit = self.budget.max_bytes();
        if limit == UNLIMITED {
            weight = weight.min(WEIGHT_MAX);
        } else if weight > limit {
            return Err(RejectedReason::TooHeavy { weight, limit });
        }
        let (deadline, span) = self.rule.begin(&self.clock, own_ttl, self.ttl());
        Ok(Appraisal { weight, deadline, span, tags: terms.tags.clone() })
    }

    /// Collects what leaves, and tells the listener about it when it is dropped: declare it before taking a lock.
    #[inline]
    pub(crate) fn departed(&self) -> Departed<'_, K, V> {
        Departed::new(self.listener.as_ref(), &self.shards)
    }

    /// Whether an entry has not expired. Reads the clock only if it can.
    pub(crate) fn is_live(&self, entry: &Entry<'_, K, V>) -> bool {
        !entry.may_expire() || entry.deadline() > self.clock.now()
    }

    /// Whether a shard with so many entries holds at least its even part of what is scarce.
    fn is_fair(&self, held: &Held<'_, K, V>, len: usize, cause: Cause, parts: u64) -> bool {
        match cause {
            Cause::Size => u128::from(held.weight) * u128::from(parts) >= u128::from(self.budget.weight()),
            // Both fit: a shard has less than 2^32 entries, and there are at most some thousand parts.
            _ => len as u64 * parts >= self.budget.entries(),
        }
    }

    /// Makes room in the other shards until the budget is met. `own` is the shard of a newcomer that goes last.
    pub(crate) fn balance<'a>(&'a self, own: Option<usize>, departed: &mut Departed<'a, K, V>) {
        'search: while self.budget.over().is_some() {
            for turn in [Turn::Fair, Turn::Any, Turn::Last] {
                if self.make_room(own, turn, departed) {
                    continue 'search;
                }
            }
            return;
        }
    }

    /// One round over all shards; answers whether anything left.
    fn make_room<'a>(&'a self, own: Option<usize>, turn: Turn, departed: &mut Departed<'a, K, V>) -> bool {
        let mut left = false;
        let parts = self.shards.len();
        for _ in 0..parts {
            let index = self.rotation.fetch_add(1, Ordering::Relaxed) & (parts - 1);
            let mut held = self.shards[index].lock();
            while let Some(cause) = self.budget.over() {
                let newcomer_alone = own == Some(index) && held.len() <= 1;
                let allowed = turn == Turn::Last
                    || (!newcomer_alone && (turn == Turn::Any || self.is_fair(&held, held.len(), cause, parts as u64)));
                if !allowed {
                    break;
                }
                let Some(weight) = held.evict(cause, None, departed) else { break };
                self.budget.sub(weight);
                left = true;
                if turn == Turn::Any {
                    break;
                }
            }
            held.collect(false, departed.garbage());
        }
        left
    }

    /// Removes expired entries, a bounded number a call; answers how many. Drops what waited for readers.
    pub(crate) fn expire(&self) -> usize {
        let mut sum = 0;
        for shard in &self.shards {
            for _ in 0..EXPIRE_PER_SHARD / EXPIRE_PER_LOCK {
                let mut departed = self.departed();
                let mut held = shard.lock();
                let (removed, more) = held.expire(&self.clock, EXPIRE_PER_LOCK, &self.budget, &mut departed);
                if more {
                    held.collect(true, departed.garbage());
                } else {
                    held.collect_all(departed.garbage());
                }
                drop(held);
                sum += removed;
                if !more {
                    break;
                }
            }
        }
        sum
    }

    /// Removes everything; loads in flight will not be stored.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut departed = self.departed();
            let mut held = shard.lock();
            let flights = held.flights.detach_all();
            held.clear(&self.budget, &mut departed);
            drop(held);
            drop(flights);
        }
    }

    /// Tells the shadow what the cache is like.
    pub(crate) fn fit_shadow(&self) {
        let scale = if self.budget.max_bytes() == UNLIMITED {
            Scale { capacity: self.budget.max_entries(), entries: self.budget.max_entries() }
        } else {
            // What there will be when the cache is full, whichever limit it is that fills it.
            let each = u64::from(self.mean_cost());
            let entries = (self.budget.max_bytes() / each).clamp(1, self.budget.max_entries());
            Scale { capacity: entries.saturating_mul(each), entries }
        };
        self.shadow.fit(scale);
        if let Some(curve) = self.shadow.curve() {
            curve.fit(scale, self.stripes.sums());
        }
    }

    /// What an entry takes of the capacity on the average.
    pub(crate) fn mean_cost(&self) -> u32 {
        if self.budget.max_bytes() == UNLIMITED {
            return 1;
        }
        u32::try_from(self.budget.weight() / self.budget.entries().max(1)).unwrap_or(u32::MAX).max(1)
    }

    /// Sums the counters of all shards.
    pub(crate) fn stats(&self) -> CacheStats {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum += shard.lock().counters;
        }
        let (hits, misses) = self.stripes.sums();
        let limit = |limit: u64| (limit != UNLIMITED).then_some(limit);
        CacheStats {
            hits,
            misses,
            entries: self.budget.entries(),
            weight_bytes: self.budget.weight(),
            max_entries: limit(self.budget.max_entries()),
            max_bytes: limit(self.budget.max_bytes()),
            inserts: sum.inserts,
            updates: sum.updates,
            rejected: sum.rejected,
            evictions: sum.evictions,
            loads: sum.loads,
            load_failures: sum.load_failures,
            load_aborts: sum.load_aborts,
            load_joins: sum.load_joins,
            load_seconds: sum.load_nanos as f64 / 1e9,
            listener_panics: self.listener.as_ref().map_or(0, Listener::panics),
        }
    }

    /// Recomputes all sums from the entries.
    ///
    /// # Panics
    ///
    /// When anything differs. Meaningful only while nobody else uses the cache.
    pub(crate) fn validate(&self)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let (mut entries, mut weight) = (0, 0);
        for (index, shard) in self.shards.iter().enumerate() {
            let mut departed = self.departed();
            let mut held = shard.lock();
            // Values that waited for a reader have no reason to any more.
            held.collect_all(departed.garbage());
            let (shard_entries, shard_weight) = held.check();
            entries += shard_entries;
            weight += shard_weight;
            for token in held.tokens_from(0) {
                let entry = held.entry(token);
                let hash = self.hash(entry.key());
                assert_eq!(hash as u32, entry.hash(), "kept hash");
                assert_eq!(self.shard_of(hash), index, "shard of an entry");
            }
        }
        assert_eq!(self.budget.entries(), entries, "entries in the budget");
        assert_eq!(self.budget.weight(), weight, "weight in the budget");
        assert_eq!(self.budget.over(), None, "limits: {:?}", self.budget);
        let stats = self.stats();
        let evictions = &stats.evictions;
        let left = evictions.for_room() + evictions.expired + evictions.explicit + evictions.shrunk;
        assert_eq!(stats.inserts, entries + left, "every entry that came in is held or was counted out: {stats:?}");
    }
}

impl<K, V, S> Store<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The hash of a key, spread over all its bits once more: those of fast hashers and simple ones are not all alike good.
    #[inline]
    pub(crate) fn hash<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        let product = u128::from(self.hasher.hash_one(key)) * 0x9E37_79B9_7F4A_7C15_u128;
        (product >> 64) as u64 ^ product as u64
    }

    /// Stores a value, or gives it back and removes the old one.
    pub(crate) fn insert(&self, key: K, value: V, terms: &Terms) -> Result<(), (V, RejectedReason)> {
        let hash = self.hash(&key);
        let appraised = match self.appraise(&key, &value, terms) {
            Ok(appraised) => appraised,
            Err(reason) => {
                self.refuse(hash, &key);
                return Err((value, reason));
            }
        };
        let mut departed = self.departed();
        let mut held = self.lock(hash);
        let flight = held.flights.detach(hash, &key);
        self.put(&mut held, key, value, hash, &appraised, &mut departed);
        drop(held);
        drop(flight);
        self.settle(hash, &mut departed);
        Ok(())
    }

    /// Stores an entry in its shard, after making room there as far as that is fair. The caller then calls `settle`.
    pub(crate) fn put<'a>(
        &self,
        held: &mut Held<'a, K, V>,
        key: K,
        value: V,
        hash: u64,
        terms: &Appraisal,
        departed: &mut Departed<'a, K, V>,
    ) {
        let span = self.rule.moves().then(|| terms.span.to_numbers());
        let pair = Pair { key, value, hash: hash as u32, weight: terms.weight, deadline: terms.deadline, span };
        held.expire(&self.clock, EXPIRE_PER_INSERT, &self.budget, departed);
        let key = &pair.key;
        let mut known = held.find(pair.hash, move |other| other == key);
        if let Some(token) = known
            && held.is_over(token, &self.clock)
        {
            held.discard(token, Cause::Expired, &self.budget, departed);
            known = None;
        }
        let parts = self.shards.len() as u64;
        let token = if let Some(token) = known {
            held.renew(token, pair, &terms.tags, &self.budget, departed)
        } else {
            let weight = pair.weight;
            held.policy.expect(pair.hash);
            let (mut left, mut freed) = (0, 0);
            while let Some(cause) = self.budget.over_with(weight, left, freed).or_else(|| no_token_left(held)) {
                // A shard with less than half of its even part keeps what it has; the others make room.
                if held.len() == 0 || !self.is_fair(held, held.len() + 1, cause, parts * 2) {
                    break;
                }
                let Some(weight) = held.evict(cause, None, departed) else { break };
                (left, freed) = (left + 1, freed + weight);
            }
            let token = held.add(pair, &terms.tags);
            self.budget.exchange(weight, left, freed);
            if left > 0 && held.counters.inserts.is_multiple_of(FIT_EVERY) {
                self.fit_shadow();
            }
            token
        };
        while let Some(cause) = self.budget.over() {
            if held.len() <= 1 || !self.is_fair(held, held.len(), cause, parts * 2) {
                break;
            }
            let Some(weight) = held.evict(cause, Some(token), departed) else { break };
            self.budget.sub(weight);
        }
        held.collect(false, departed.garbage());
    }

    /// Makes room elsewhere after `put` and after the lock is released, and passes samples on.
    #[inline]
    pub(crate) fn settle<'a>(&'a self, hash: u64, departed: &mut Departed<'a, K, V>) {
        if self.budget.over().is_some() {
            self.balance(Some(self.shard_of(hash)), departed);
        }
        if !self.shadow.is_running() {
            return;
        }
        if !self.shadow.is_fit() {
            self.fit_shadow();
        }
        let sampled = self.shadow.samples(hash);
        if sampled || self.samples.has_some() {
            self.show(sampled.then_some(hash as u32));
        }
        self.observe(Event::Store, hash);
    }

    /// Shows sampled requests to the shadow.
    #[cold]
    fn show(&self, request: Option<u32>) {
        let left = SAMPLES_PER_INSERT - u32::from(request.is_some());
        let shown = self.shadow.record(|| self.samples.take(left).chain(request), self.mean_cost());
        if !shown && let Some(request) = request {
            self.samples.put(request);
        }
    }

    /// Counts a refusal, and removes the value that the refused one was to replace.
    pub(crate) fn refuse(&self, hash: u64, key: &K) {
        let mut departed = self.departed();
        let mut held = self.lock(hash);
        held.counters.rejected += 1;
        let flight = held.flights.detach(hash, key);
        self.discard_key(&mut held, hash, key, &mut departed);
        drop(held);
        drop(flight);
    }

    /// The token of a key that has not expired. Reads the clock only if the entry can expire.
    pub(crate) fn find_live<Q>(&self, held: &Held<'_, K, V>, hash: u64, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let token = held.find(hash as u32, move |other| other.borrow() == key)?;
        (!held.is_over(token, &self.clock)).then_some(token)
    }

    /// Removes the entry of a key, if there is one; answers whether it was live.
    pub(crate) fn discard_key<'a, Q>(
        &self,
        held: &mut Held<'a, K, V>,
        hash: u64,
        key: &Q,
        departed: &mut Departed<'a, K, V>,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(token) = held.find(hash as u32, move |other| other.borrow() == key) else { return false };
        let live = !held.is_over(token, &self.clock);
        held.discard(token, if live { Cause::Explicit } else { Cause::Expired }, &self.budget, departed);
        held.collect(true, departed.garbage());
        live
    }

    /// Removes a live entry; answers whether there was one.
    pub(crate) fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let mut departed = self.departed();
        let mut held = self.lock(hash);
        let flight = held.flights.detach(hash, key);
        let live = self.discard_key(&mut held, hash, key, &mut departed);
        drop(held);
        drop(flight);
        live
    }

    /// Takes a live value out: itself if nobody is reading, or else a clone of it.
    pub(crate) fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        let mut departed = self.departed();
        let mut held = self.lock(hash);
        let flight = held.flights.detach(hash, key);
        let mut taken = None;
        if let Some(token) = held.find(hash as u32, move |other| other.borrow() == key) {
            if held.is_over(token, &self.clock) {
                held.discard(token, Cause::Expired, &self.budget, &mut departed);
            } else {
                taken = Some(held.take_out(token, Cause::Explicit, &self.budget));
            }
            held.collect(taken.is_none(), departed.garbage());
        }
        drop(held);
        drop((flight, departed));
        let taken = taken?;
        if let Some(listener) = &self.listener {
            let (key, value) = taken.pair();
            listener.tell(key, value, Cause::Explicit);
        }
        match taken {
            Taken::Moved(key, value) => {
                drop(key);
                Some(value)
            }
            Taken::Shared(shared) => {
                let value = shared.pair().1.clone();
                drop(shared);
                self.shard(hash).after_long_read();
                Some(value)
            }
        }
    }
}

/// How many entries a shard will have in the end.
fn expected(max_entries: Option<u64>, shards: usize) -> usize {
    let mean = max_entries.map_or(usize::MAX, |max| usize::try_from(max).unwrap_or(usize::MAX) / shards);
    // Hashes spread entries unevenly; some more than the mean fit without growth.
    if shards == 1 { mean } else { mean.saturating_add(mean / 64).saturating_add(64) }
}

/// A shard may run out of tokens before the cache is full.
fn no_token_left<K, V>(held: &Held<'_, K, V>) -> Option<Cause> {
    (held.len() >= TOKENS_MAX).then_some(Cause::Capacity)
}
