//! One key in hand: insert if absent, change what is there, compute from what is there; atomic per key.
//!
//! While user code runs for a key, its caller holds the key's *flight*, the same right that a load holds, and no lock:
//!
//! - other calls of this API and loads of the same key wait for it, and go on with what it left;
//! - reads see the older value until the new one is stored;
//! - a plain insertion, removal or invalidation is never kept waiting. It wins, as if it had come right after: the result of the
//!   running closure is answered to its caller and not stored;
//! - a closure that panics, or a future that is dropped, leaves the key as it was, and the next in line goes on;
//! - a closure that comes back to its own key through this API or a load would wait for itself. It is detected and panics
//!   with a message that says so. Other keys may be used, but as with any locks in one order only: two closures of which
//!   each waits for the other's key wait for ever.
//!
//! The async calls belong in async code, the others on threads: a thread that waits for a future blocks.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, DefaultHasher};
use crate::error::LoadError;
use crate::load::flight::leading;
use crate::load::{Claim, Keep, Lead, unwrap_infallible};
use crate::store::Store;
use crate::tags;
use crate::terms::Terms;

/// One key of a cache, from [`Cache::entry`]; see [the module](self) for what is guaranteed.
#[must_use = "nothing happens before one of its methods is called"]
pub struct KeyEntry<'a, K, V, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
    key: K,
    terms: Terms,
}

/// What [`KeyEntry::and_compute_with`] is to do with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op<V> {
    /// Store this value.
    Put(V),
    /// Remove what is there.
    Remove,
    /// Change nothing.
    Leave,
}

/// What [`KeyEntry::and_compute_with`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Computed<V> {
    /// The key had no value, and has this one now.
    Inserted(V),
    /// The key had a value, and has a new one now.
    Replaced {
        /// What was there.
        old: V,
        /// What is there now.
        new: V,
    },
    /// The key had this value, and has none now.
    Removed(V),
    /// Nothing changed; this is what was and is there.
    Unchanged(Option<V>),
}

impl<V> Computed<V> {
    /// The value that the key has now.
    pub fn into_value(self) -> Option<V> {
        match self {
            Self::Inserted(new) | Self::Replaced { new, .. } => Some(new),
            Self::Removed(_) => None,
            Self::Unchanged(value) => value,
        }
    }
}

impl<K: fmt::Debug, V, S> fmt::Debug for KeyEntry<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry").field("key", &self.key).field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Takes one key in hand, to insert, change or compute its value atomically.
    ///
    /// ```
    /// let hits = trimtab_cache::Cache::new(100);
    /// for page in ["/", "/about", "/"] {
    ///     hits.entry(page).and_modify(|count| *count += 1).or_insert(1);
    /// }
    /// assert_eq!((hits.get("/"), hits.get("/about")), (Some(2), Some(1)));
    /// ```
    pub fn entry(&self, key: K) -> KeyEntry<'_, K, V, S> {
        KeyEntry { cache: self, key, terms: Terms::default() }
    }
}

impl<K, V, S> KeyEntry<'_, K, V, S> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Gives a value that is stored a time to live of its own.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms.ttl = Some(ttl);
        self
    }

    /// Gives a value that is stored tags; see [`tags`](mod@crate::tags).
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.terms.tags = tags::collect(tags);
        self
    }
}

impl<'a, K, V, S> KeyEntry<'a, K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// The value, or `value` stored in its place if there is none. Counts a hit or a miss, and no load.
    ///
    /// # Panics
    ///
    /// When called from within a load or computation of the same key.
    pub fn or_insert(self, value: V) -> V {
        if let Some(found) = self.cache.get(&self.key) {
            return found;
        }
        let insert = |old: Option<V>| if old.is_some() { Op::Leave } else { Op::Put(value) };
        self.and_compute_with(insert).into_value().expect("either found or put")
    }

    /// The value, or the type's default stored in its place if there is none.
    ///
    /// # Panics
    ///
    /// As [`or_insert`](Self::or_insert).
    pub fn or_default(self) -> V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value, or what `load` makes; as [`Cache::get_or_insert_with`], on the terms set here.
    ///
    /// # Panics
    ///
    /// When `load` asks for its own key.
    pub fn or_insert_with(self, load: impl FnOnce() -> V) -> V {
        unwrap_infallible(self.or_try_insert_with(|| Ok::<V, Infallible>(load())))
    }

    /// The value, or what `load` makes, which may fail; as [`Cache::try_get_or_insert_with`], on the terms set here.
    ///
    /// # Errors
    ///
    /// As [`Cache::try_get_with`].
    pub fn or_try_insert_with<E: Send + Sync + 'static>(
        self,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, LoadError<E>> {
        self.cache.load_blocking(self.key, &self.terms, load, |_| Keep::Yes)
    }

    /// The value, or what `load` answers; as [`Cache::get_with`], on the terms set here.
    ///
    /// # Panics
    ///
    /// When `load` asks for its own key.
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::get_with`].
    pub async fn or_load<F, Fut>(self, load: F) -> V
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = V>,
    {
        unwrap_infallible(self.or_try_load(|| async { Ok::<V, Infallible>(load().await) }).await)
    }

    /// The value, or what `load` answers, which may fail; as [`Cache::try_get_with`], on the terms set here.
    ///
    /// # Errors
    ///
    /// As [`Cache::try_get_with`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::try_get_with`].
    pub async fn or_try_load<F, Fut, E>(self, load: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Send + Sync + 'static,
    {
        self.cache.load_with(self.key, &self.terms, load, |_| Keep::Yes).await
    }

    /// Notes a change to make if there is a value. Nothing happens before [`Modify::or_insert`], [`Modify::or_insert_with`]
    /// or [`Modify::apply`], which do both in one step.
    ///
    /// The changed value is stored as a new one: its time to live begins anew.
    pub fn and_modify<F: FnOnce(&mut V)>(self, modify: F) -> Modify<'a, K, V, S, F> {
        Modify { entry: self, modify }
    }

    /// Stores what `upsert` makes of the present value, and answers it.
    ///
    /// # Panics
    ///
    /// When called from within a load or computation of the same key. A panic of `upsert` reaches the caller; nothing is changed
    /// then.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// let add = |item| move |old: Option<Vec<u32>>| [old.unwrap_or_default(), vec![item]].concat();
    /// assert_eq!(cache.entry("list").and_upsert_with(add(1)), [1]);
    /// assert_eq!(cache.entry("list").and_upsert_with(add(2)), [1, 2]);
    /// ```
    pub fn and_upsert_with(self, upsert: impl FnOnce(Option<V>) -> V) -> V {
        let computed = self.and_compute_with(|old| Op::Put(upsert(old)));
        computed.into_value().expect("a value was put")
    }

    /// Like [`and_upsert_with`](Self::and_upsert_with), where computing takes time.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; nothing is changed then, unless it was done.
    pub async fn and_upsert_async<F, Fut>(self, upsert: F) -> V
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = V>,
    {
        let computed = self.and_compute_async(|old| async { Op::Put(upsert(old).await) }).await;
        computed.into_value().expect("a value was put")
    }

    /// Stores, removes or leaves, as `compute` says of the present value.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// ```
    /// use trimtab_cache::{Cache, Computed, Op};
    ///
    /// let tickets = Cache::new(10);
    /// tickets.insert("ada", 2);
    /// let take = |left: Option<u32>| match left {
    ///     Some(1) => Op::Remove,
    ///     Some(left) => Op::Put(left - 1),
    ///     None => Op::Leave,
    /// };
    /// assert_eq!(tickets.entry("ada").and_compute_with(take), Computed::Replaced { old: 2, new: 1 });
    /// assert_eq!(tickets.entry("ada").and_compute_with(take), Computed::Removed(1));
    /// assert_eq!(tickets.entry("ada").and_compute_with(take), Computed::Unchanged(None));
    /// ```
    pub fn and_compute_with(self, compute: impl FnOnce(Option<V>) -> Op<V>) -> Computed<V> {
        match self.and_try_compute_with(|old| Ok::<_, Infallible>(compute(old))) {
            Ok(computed) => computed,
            Err(never) => match never {},
        }
    }

    /// Like [`and_compute_with`](Self::and_compute_with), where computing may fail.
    ///
    /// # Errors
    ///
    /// What `compute` says; nothing is changed then.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    pub fn and_try_compute_with<E>(
        self,
        compute: impl FnOnce(Option<V>) -> Result<Op<V>, E>,
    ) -> Result<Computed<V>, E> {
        let hash = self.cache.store.hash(&self.key);
        loop {
            match self.cache.claim(&*self.cache.store, hash, &self.key, &self.terms, false) {
                Claim::Wait(wait) => drop(wait.block()),
                Claim::Recursive => self.panic_recursive(),
                Claim::Lead(lead, old) => {
                    let flight = Arc::clone(&lead.flight);
                    let before = old.clone();
                    let op = leading(&flight, || compute(old))?;
                    return Ok(finish(lead, self.key, before, op));
                }
            }
        }
    }

    /// Like [`and_compute_with`](Self::and_compute_with), where computing takes time.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; nothing is changed then, unless it was done.
    pub async fn and_compute_async<F, Fut>(self, compute: F) -> Computed<V>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = Op<V>>,
    {
        match self.and_try_compute_async(|old| async { Ok::<_, Infallible>(compute(old).await) }).await {
            Ok(computed) => computed,
            Err(never) => match never {},
        }
    }

    /// Like [`and_compute_async`](Self::and_compute_async), where computing may fail.
    ///
    /// # Errors
    ///
    /// What `compute` says; nothing is changed then.
    ///
    /// # Panics
    ///
    /// As [`and_upsert_with`](Self::and_upsert_with).
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; nothing is changed then, unless it was done.
    pub async fn and_try_compute_async<F, Fut, E>(self, compute: F) -> Result<Computed<V>, E>
    where
        F: FnOnce(Option<V>) -> Fut,
        Fut: Future<Output = Result<Op<V>, E>>,
    {
        let hash = self.cache.store.hash(&self.key);
        loop {
            match self.cache.claim(&*self.cache.store, hash, &self.key, &self.terms, false) {
                Claim::Wait(wait) => drop(wait.await),
                Claim::Recursive => self.panic_recursive(),
                Claim::Lead(lead, old) => {
                    let flight = Arc::clone(&lead.flight);
                    let before = old.clone();
                    let mut computing = pin!(leading(&flight, || compute(old)));
                    let op = poll_fn(|context| leading(&flight, || computing.as_mut().poll(context))).await?;
                    return Ok(finish(lead, self.key, before, op));
                }
            }
        }
    }

    fn panic_recursive(&self) -> ! {
        panic!("{}", self.cache.recursive::<Infallible>())
    }
}

/// Does what was computed.
fn finish<K, V, S>(lead: Lead<&Store<K, V, S>, K, V, S>, key: K, before: Option<V>, op: Op<V>) -> Computed<V>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    match (op, before) {
        (Op::Put(new), None) => Computed::Inserted(lead.complete(key, new)),
        (Op::Put(new), Some(old)) => Computed::Replaced { old, new: lead.complete(key, new) },
        (Op::Remove, Some(old)) => {
            lead.remove(&key);
            Computed::Removed(old)
        }
        (Op::Remove | Op::Leave, before) => {
            lead.leave();
            Computed::Unchanged(before)
        }
    }
}

/// A change to make if there is a value, from [`KeyEntry::and_modify`].
#[must_use = "nothing is changed before `or_insert`, `or_insert_with` or `apply`"]
pub struct Modify<'a, K, V, S, F> {
    entry: KeyEntry<'a, K, V, S>,
    modify: F,
}

impl<K: fmt::Debug, V, S, F> fmt::Debug for Modify<'_, K, V, S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modify").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl<K, V, S, F> Modify<'_, K, V, S, F>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
    F: FnOnce(&mut V),
{
    /// Changes the value, or stores `value` if there is none; answers what is there now.
    ///
    /// # Panics
    ///
    /// As [`KeyEntry::and_upsert_with`].
    pub fn or_insert(self, value: V) -> V {
        self.or_insert_with(|| value)
    }

    /// Changes the value, or stores what `make` answers if there is none; answers what is there now.
    ///
    /// # Panics
    ///
    /// As [`KeyEntry::and_upsert_with`].
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> V {
        let modify = self.modify;
        self.entry.and_upsert_with(|old| match old {
            Some(mut value) => {
                modify(&mut value);
                value
            }
            None => make(),
        })
    }

    /// Changes the value if there is one; answers what is there now.
    ///
    /// # Panics
    ///
    /// As [`KeyEntry::and_upsert_with`].
    pub fn apply(self) -> Option<V> {
        let modify = self.modify;
        let computed = self.entry.and_compute_with(|old| match old {
            Some(mut value) => {
                modify(&mut value);
                Op::Put(value)
            }
            None => Op::Leave,
        });
        computed.into_value()
    }
}
