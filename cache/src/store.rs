//! The engine behind a cache: shards, and the budget that they share.
//!
//! A key's hash, computed once, chooses its shard. A writer adds to its own shard, then makes room: first there, then in
//! the other shards in rotation. It never holds two locks, and drops what it evicted after the last one.

pub(crate) mod budget;
mod inspect;
mod leave;
pub(crate) mod shard;
pub(crate) mod slab;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::entry::Entry;
use crate::error::RejectedReason;
use crate::expiry::rule::Rule;
use crate::expiry::{self, Clock, NEVER};
use crate::listener::Listener;
use crate::metrics::Handles;
use crate::policy::{Engine, Policy, PolicyKind};
use crate::stats::{CacheStats, Cause, Counters};
use crate::tags;
use crate::terms::{Appraisal, Terms};
use crate::weigher::Weigher;
use budget::{Budget, UNLIMITED};
use shard::{Garbage, Shard, State};

/// An insertion removes at most so many expired entries of its shard, so its time stays bounded.
const EXPIRE_PER_INSERT: usize = 2;
/// `expire` removes at most so many entries of a shard under one hold of its lock.
const EXPIRE_PER_LOCK: usize = 256;
/// `expire` removes at most so many entries of a shard in one call.
pub(crate) const EXPIRE_PER_SHARD: usize = 4096;
/// The heaviest entry of a cache without a byte limit, for which weights are only reported. Keeps all sums in range.
const WEIGHT_MAX: u64 = 1 << 32;

/// Everything that clones of a cache share.
pub(crate) struct Store<K, V, S> {
    pub(crate) name: Arc<str>,
    pub(crate) hasher: S,
    pub(crate) clock: Clock,
    pub(crate) policy: PolicyKind,
    shards: Box<[Shard<K, V>]>,
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
    pub(crate) shards: usize,
    pub(crate) max_entries: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) overhead: u64,
    pub(crate) ttl: Option<Duration>,
    pub(crate) metrics: bool,
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
    pub(crate) fn new(plan: Plan<K, V, S>) -> Self
    where
        S: BuildHasher,
    {
        let seed = plan.hasher.hash_one(plan.name.as_bytes());
        let by_weight = plan.max_bytes.is_some();
        let shards = Engine::for_shards(plan.policy, plan.shards, seed)
            .into_iter()
            .map(|engine| Shard { state: Mutex::new(State::new(engine, by_weight, plan.rule)) })
            .collect();
        let uniform = plan.weigher.is_none().then_some(plan.overhead);
        Self {
            name: plan.name,
            hasher: plan.hasher,
            clock: plan.clock,
            policy: plan.policy,
            shards,
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

    /// The shard of a hash. The index takes its bits from both ends of the hash, so the shard takes them from within.
    fn shard_of(&self, hash: u64) -> usize {
        (hash >> 36) as usize & (self.shards.len() - 1)
    }

    pub(crate) fn lock(&self, hash: u64) -> MutexGuard<'_, State<K, V>> {
        self.shards[self.shard_of(hash)].state.lock()
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
    pub(crate) fn garbage(&self) -> Garbage<'_, K, V> {
        Garbage::new(self.listener.as_ref())
    }

    /// How often the listener panicked.
    fn listener_panics(&self) -> u64 {
        self.listener.as_ref().map_or(0, Listener::panics)
    }

    /// Whether a shard holds at least its even part of what is scarce.
    fn is_fair(&self, state: &State<K, V>, cause: Cause, parts: u64) -> bool {
        let (own, all) = match cause {
            Cause::Size => (state.weight, self.budget.weight()),
            _ => (state.len() as u64, self.budget.entries()),
        };
        u128::from(own) * u128::from(parts) >= u128::from(all)
    }

    /// Makes room in the other shards until the budget is met. `own` is the shard of a newcomer that goes last.
    pub(crate) fn balance(&self, own: Option<usize>, garbage: &mut Garbage<'_, K, V>) {
        'search: while self.budget.over().is_some() {
            for turn in [Turn::Fair, Turn::Any, Turn::Last] {
                if self.make_room(own, turn, garbage) {
                    continue 'search;
                }
            }
            return;
        }
    }

    /// One round over all shards; answers whether anything left.
    fn make_room(&self, own: Option<usize>, turn: Turn, garbage: &mut Garbage<'_, K, V>) -> bool {
        let before = garbage.len();
        let parts = self.shards.len();
        for _ in 0..parts {
            let index = self.rotation.fetch_add(1, Ordering::Relaxed) & (parts - 1);
            let mut state = self.shards[index].state.lock();
            while let Some(cause) = self.budget.over() {
                let newcomer_alone = own == Some(index) && state.len() <= 1;
                let allowed = turn == Turn::Last
                    || (!newcomer_alone && (turn == Turn::Any || self.is_fair(&state, cause, parts as u64)));
                if !allowed {
                    break;
                }
                match state.evict(cause, &self.budget) {
                    Some(entry) => garbage.push(entry, cause),
                    None => break,
                }
                if turn == Turn::Any {
                    break;
                }
            }
        }
        garbage.len() > before
    }

    /// Removes expired entries, a bounded number a call; answers how many.
    pub(crate) fn expire(&self) -> usize {
        let mut removed = 0;
        for shard in &self.shards {
            for _ in 0..EXPIRE_PER_SHARD / EXPIRE_PER_LOCK {
                let mut garbage = self.garbage();
                let more = shard.state.lock().expire(&self.clock, EXPIRE_PER_LOCK, &self.budget, &mut garbage);
                removed += garbage.len();
                if !more {
                    break;
                }
            }
        }
        removed
    }

    /// Removes everything; loads in flight will not be stored.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let mut garbage = self.garbage();
            let mut state = shard.state.lock();
            let flights = state.flights.detach_all();
            let tokens: Vec<u32> = state.slab.iter_from(0).map(|(token, _)| token).collect();
            for token in tokens {
                garbage.push(state.take(token, Cause::Explicit, &self.budget), Cause::Explicit);
            }
            state.compact_if_empty();
            drop(state);
            drop(flights);
        }
    }

    /// Sums the counters of all shards.
    pub(crate) fn stats(&self) -> CacheStats {
        let mut sum = Counters::default();
        for shard in &self.shards {
            sum += shard.state.lock().counters;
        }
        let limit = |limit: u64| (limit != UNLIMITED).then_some(limit);
        CacheStats {
            hits: sum.hits,
            misses: sum.misses,
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
            listener_panics: self.listener_panics(),
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
            let state = shard.state.lock();
            let (shard_entries, shard_weight) = state.validate();
            entries += shard_entries;
            weight += shard_weight;
            for (_, entry) in state.slab.iter_from(0) {
                assert_eq!(self.hasher.hash_one(&entry.key), entry.hash, "kept hash");
                assert_eq!(self.shard_of(entry.hash), index, "shard of an entry");
            }
        }
        assert_eq!(self.budget.entries(), entries, "entries in the budget");
        assert_eq!(self.budget.weight(), weight, "weight in the budget");
        assert_eq!(self.budget.over(), None, "limits: {:?}", self.budget);
        let stats = self.stats();
        let left = stats.evictions.for_room() + stats.evictions.expired + stats.evictions.explicit;
        assert_eq!(stats.inserts, entries + left, "every entry that came in is held or was counted out: {stats:?}");
    }
}

impl<K, V, S> Store<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    pub(crate) fn hash<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.hasher.hash_one(key)
    }

    /// A counted lookup; `read` runs under the shard's lock.
    pub(crate) fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&Entry<K, V>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let mut garbage = self.garbage();
        let mut state = self.lock(hash);
        let found = state.look_up(hash, key, &self.clock, &self.budget, &mut garbage);
        let answer = found.map(|token| read(state.slab.get(token)));
        drop(state);
        answer
    }

    /// A lookup that leaves no trace; `read` runs under the shard's lock.
    pub(crate) fn peek<Q, R>(&self, key: &Q, read: impl FnOnce(&Entry<K, V>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let state = self.lock(hash);
        let token = state.find_live(hash, key, &self.clock)?;
        Some(read(state.slab.get(token)))
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
        let mut garbage = self.garbage();
        let mut state = self.lock(hash);
        let flight = state.flights.detach(hash, &key);
        self.put(&mut state, key, value, hash, &appraised, &mut garbage);
        drop(state);
        drop(flight);
        self.balance(Some(self.shard_of(hash)), &mut garbage);
        Ok(())
    }

    /// Stores an entry in its shard, and makes room there as far as that is fair. The caller then calls `settle`.
    pub(crate) fn put(
        &self,
        state: &mut State<K, V>,
        key: K,
        value: V,
        hash: u64,
        terms: &Appraisal,
        garbage: &mut Garbage<'_, K, V>,
    ) {
        state.expire(&self.clock, EXPIRE_PER_INSERT, &self.budget, garbage);
        let entry = Entry { key, value, hash, weight: terms.weight, deadline: terms.deadline };
        if let Some(token) = state.find(entry.hash, &entry.key) {
            let old = state.slab.get(token);
            if old.may_expire() && old.deadline <= self.clock.now() {
                garbage.push(state.take(token, Cause::Expired, &self.budget), Cause::Expired);
                state.add(entry, terms, &self.budget);
            } else {
                let Entry { key, value, .. } = entry;
                let old = state.replace(token, value, terms, &self.budget);
                garbage.push_replaced(key, old);
            }
        } else {
            if state.is_full() {
                let victim = state.evict(Cause::Capacity, &self.budget).expect("a full shard has a victim");
                garbage.push(victim, Cause::Capacity);
            }
            state.add(entry, terms, &self.budget);
        }
        let parts = self.shards.len() as u64;
        let mut evicted = false;
        while let Some(cause) = self.budget.over() {
            // A shard with less than half of its even part keeps what it has; the others make room.
            if state.len() <= 1 || !self.is_fair(state, cause, parts * 2) {
                break;
            }
            let Some(victim) = state.evict(cause, &self.budget) else { break };
            garbage.push(victim, cause);
            evicted = true;
        }
        if !evicted {
            state.policy.settle();
        }
    }

    /// Makes room elsewhere after `put` and after the lock is released.
    pub(crate) fn settle(&self, hash: u64, garbage: &mut Garbage<'_, K, V>) {
        self.balance(Some(self.shard_of(hash)), garbage);
    }

    /// Counts a refusal, and removes the value that the refused one was to replace.
    pub(crate) fn refuse(&self, hash: u64, key: &K) {
        let mut garbage = self.garbage();
        let mut state = self.lock(hash);
        state.counters.rejected += 1;
        let flight = state.flights.detach(hash, key);
        if let Some(token) = state.find(hash, key) {
            garbage.push(state.take(token, Cause::Explicit, &self.budget), Cause::Explicit);
        }
        drop(state);
        drop(flight);
    }

    /// Takes a live entry out.
    pub(crate) fn remove<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let mut state = self.lock(hash);
        let flight = state.flights.detach(hash, key);
        let removed = state.find(hash, key).map(|token| {
            let entry = state.slab.get(token);
            let expired = entry.may_expire() && entry.deadline <= self.clock.now();
            let cause = if expired { Cause::Expired } else { Cause::Explicit };
            (state.take(token, cause, &self.budget), cause)
        });
        drop(state);
        drop(flight);
        if let (Some(listener), Some((entry, cause))) = (&self.listener, &removed) {
            listener.tell(&entry.key, &entry.value, *cause);
        }
        removed.filter(|(_, cause)| *cause != Cause::Expired).map(|(entry, _)| (entry.key, entry.value))
    }
}
