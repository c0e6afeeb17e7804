//! The handle: a cheap clone of a shared, thread-safe map that forgets what is worth least.
//!
//! Keys are looked up by any borrowed form, as in the standard maps. Reading takes no lock, so the closures of
//! [`Cache::view`] and [`Cache::for_each`] and the value's `Clone` may use the same cache; only the key's `Eq`, which writers
//! run under a lock, must not. While a read lasts, memory that is replaced or removed meanwhile waits to be reused.
//! Destructors run outside of any lock: at once if nobody reads, or else with a later write or `expire`.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use trimtab_config::ByteSize;

use crate::builder::CacheBuilder;
use crate::curve::Curve;
use crate::error::{BuildError, Rejected};
use crate::policy::PolicyKind;
use crate::stats::CacheStats;
use crate::store::Store;
use crate::store::arena::Entry;
use crate::terms::Terms;
use crate::weigher;

/// The hasher that a cache uses unless told otherwise: fast, and seeded anew for each cache.
pub type DefaultHasher = foldhash::fast::RandomState;

/// A concurrent cache from `K` to `V`.
///
/// Clones share the entries. Values are handed out as clones: wrap large ones in an [`Arc`].
///
/// Use it for values that are cheaper to keep than to make again. Do not use it for what must not be forgotten: an entry
/// may be evicted at any time.
///
/// ```
/// use trimtab_cache::Cache;
///
/// let cache: Cache<String, u64> = Cache::new(1000);
/// cache.insert("a".to_string(), 1);
/// assert_eq!(cache.get("a"), Some(1));
/// assert_eq!(cache.remove("a"), Some(1));
/// assert!(cache.is_empty());
/// ```
pub struct Cache<K, V, S = DefaultHasher> {
    pub(crate) store: Arc<Store<K, V, S>>,
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store) }
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.store.name)
            .field("policy", &self.store.policy())
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// What is known about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// Bytes that the entry counts, overhead included.
    pub weight_bytes: u64,
    /// Time until it expires; `None` if it does not.
    pub ttl_left: Option<Duration>,
}

/// A part of a cache's keys, from [`Cache::keys`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The keys, in no particular order.
    pub items: Vec<T>,
    /// Where to go on; `None` after the last page.
    pub next: Option<u64>,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq,
{
    /// A cache of at most `max_entries` entries, with all else by default. Zero is taken as one.
    pub fn new(max_entries: u64) -> Self {
        Self::builder()
            .max_entries(max_entries.clamp(1, crate::builder::MAX_ENTRIES))
            .build()
            .expect("a number of entries within the limits describes a cache")
    }
}

impl<K, V> Cache<K, V> {
    /// Describes a cache; at least one limit has to be set.
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }

    /// Bytes that every entry counts before what its key and value own: key and value themselves, and bookkeeping.
    ///
    /// The same for every hasher.
    pub const fn entry_overhead() -> u64 {
        weigher::overhead::<K, V>()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// A clone of the value of a key, if there is one that has not expired. Counts a hit or a miss.
    ///
    /// # Complexity
    ///
    /// O(1). A hit allocates nothing and reads no clock unless this entry can expire.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.store.read(key, V::clone)
    }

    /// Reads the value of a key in place, without a clone. Counts a hit or a miss.
    ///
    /// `read` runs without a lock and may use this cache. While it runs, memory of replaced and removed entries is kept, in
    /// all caches of the program: keep it short, or take a clone.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// cache.insert("list", vec![1, 2, 3]);
    /// assert_eq!(cache.view("list", Vec::len), Some(3));
    /// ```
    pub fn view<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let answer = self.store.read(key, read);
        self.store.after_long_read(key);
        answer
    }

    /// Whether a key has a value that has not expired. Counts nothing and does not keep the entry alive.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.store.peek(key, |_| ()).is_some()
    }

    /// Like [`get`](Self::get), but counts nothing and does not keep the entry alive.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.store.peek(key, |entry| entry.value().clone())
    }

    /// Weight and remaining time of an entry. Counts nothing.
    pub fn info<Q>(&self, key: &Q) -> Option<EntryInfo>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.store.peek(key, |entry| self.info_of(entry))
    }

    /// Stores a value with the cache's default time to live, in place of an older one.
    ///
    /// A value that the cache cannot hold is dropped, and so is the older one, which the caller has just declared out of
    /// date; [`try_insert`](Self::try_insert) tells.
    pub fn insert(&self, key: K, value: V) {
        let _ = self.try_insert(key, value);
    }

    /// Stores a value that expires after `ttl`, whatever the cache's default.
    ///
    /// `Duration::MAX`, or anything beyond 584 years, means never. With a `ttl` of zero nothing is stored, and an older
    /// value is removed.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) {
        let _ = self.try_insert_with_ttl(key, value, ttl);
    }

    /// Stores a value, or gives it back.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with the value and the reason when the entry alone is heavier than the whole cache. An older value
    /// of the key is removed then, so that nobody reads what was to be replaced.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the weigher; the cache is unchanged then.
    pub fn try_insert(&self, key: K, value: V) -> Result<(), Rejected<V>> {
        self.store_or_reject(key, value, &Terms::default())
    }

    /// Stores a value that expires after `ttl`, or gives it back.
    ///
    /// # Errors
    ///
    /// As [`try_insert`](Self::try_insert), and when `ttl` is zero.
    pub fn try_insert_with_ttl(&self, key: K, value: V, ttl: Duration) -> Result<(), Rejected<V>> {
        self.store_or_reject(key, value, &Terms { ttl: Some(ttl), ..Terms::default() })
    }

    pub(crate) fn store_or_reject(&self, key: K, value: V, terms: &Terms) -> Result<(), Rejected<V>> {
        self.store.insert(key, value, terms).map_err(|(value, reason)| Rejected {
            value,
            reason,
            cache: self.store.name.clone(),
        })
    }

    /// Takes a value out, if there is one that has not expired. A load of the key that is under way will not be stored.
    ///
    /// Answers the value itself if nobody is reading at that moment, or else a clone of it.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.store.remove(key)
    }

    /// Drops the value of a key, if there is one, and answers whether there was. A load of the key that is under way will
    /// not be stored.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.store.invalidate(key)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Name of the cache, as in metrics and messages.
    pub fn name(&self) -> &str {
        &self.store.name
    }

    /// The policy in force.
    pub fn policy(&self) -> PolicyKind {
        self.store.policy()
    }

    /// Changes the policy; all entries stay, and are queued under the new policy in the order of the old one. What both can
    /// count, uses of late, is taken along. Does nothing if the policy is in force already.
    ///
    /// # Complexity
    ///
    /// O(n log n), one shard after the other. Writers to a shard wait while it is changed; readers and other shards go on.
    ///
    /// ```
    /// use trimtab_cache::{Cache, PolicyKind};
    ///
    /// let cache = Cache::new(2);
    /// cache.insert_many([("a", 1), ("b", 2)]);
    /// cache.set_policy(PolicyKind::Fifo);
    /// cache.get("a");
    /// cache.insert("c", 3);
    /// assert_eq!((cache.policy(), cache.peek("a"), cache.peek("b")), (PolicyKind::Fifo, None, Some(2)));
    /// ```
    pub fn set_policy(&self, policy: PolicyKind) {
        self.store.set_policy(policy);
    }

    /// How many entries are held, those included that have expired but were not removed yet.
    pub fn len(&self) -> u64 {
        self.store.budget.entries()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held: for each entry its overhead and what the weigher said. Without a weigher, the overhead alone.
    pub fn weight(&self) -> u64 {
        self.store.budget.weight()
    }

    /// The statistics since the cache was built.
    pub fn stats(&self) -> CacheStats {
        self.store.stats()
    }

    /// What other sizes and policies would bring, from the traffic of late; `None` before 1,000 lookups, or if the cache
    /// was built with less than [`ShadowMode::Full`](crate::ShadowMode::Full).
    ///
    /// # Complexity
    ///
    /// Sums of a few hundred counters, under a lock of its own.
    ///
    /// ```
    /// # fn example(cache: &trimtab_cache::Cache<u64, u64>) -> Option<()> {
    /// let curve = cache.curve()?;
    /// let twice = curve.at(2.0)?;
    /// println!("{:.1} % now, {:.1} % with twice the memory", curve.measured() * 100.0, twice.value * 100.0);
    /// println!("that is {:+.1} points", curve.gain(2.0)?.value);
    /// # Some(())
    /// # }
    /// # assert_eq!(example(&trimtab_cache::Cache::new(10)), None);
    /// ```
    pub fn curve(&self) -> Option<Curve> {
        self.store.curve()
    }

    /// What the adaptive policy has chosen for the traffic of late, in words; `None` under a fixed policy.
    ///
    /// ```
    /// let cache: trimtab_cache::Cache<u64, u64> = trimtab_cache::Cache::new(10);
    /// assert_eq!(cache.choice(), Some("proven entries first, like 2Q and S3-FIFO"));
    /// ```
    pub fn choice(&self) -> Option<&'static str> {
        self.store.choice()
    }

    /// Drops all entries. Loads that are under way will not be stored.
    ///
    /// # Complexity
    ///
    /// O(n), one shard after the other; other shards stay usable.
    pub fn clear(&self) {
        self.store.clear();
    }

    /// Removes entries whose time is over, and answers how many.
    ///
    /// Expired entries are never returned and make room when they are met, so this only gives memory back early, as it
    /// does for values that could not be dropped because of a read. Call it from a periodic task.
    ///
    /// # Complexity
    ///
    /// Removes at most 4,096 entries of each shard a call, 256 under one hold of a lock. Nothing else is looked at.
    pub fn expire(&self) -> usize {
        self.store.expire()
    }

    /// The time an entry may go unused, if there is a limit.
    pub fn time_to_idle(&self) -> Option<Duration> {
        self.store.rule.idle()
    }

    /// The default time to live, if there is one.
    pub fn ttl(&self) -> Option<Duration> {
        self.store.ttl()
    }

    /// Changes the default time to live, for values stored from now on.
    ///
    /// # Errors
    ///
    /// [`BuildError::Zero`] for a time of zero.
    pub fn set_ttl(&self, ttl: Option<Duration>) -> Result<(), BuildError> {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(BuildError::Zero { name: self.store.name.to_string(), field: "ttl" });
        }
        self.store.set_ttl(ttl);
        Ok(())
    }

    /// Changes the limit on entries; what is then too much is evicted before this returns.
    ///
    /// # Errors
    ///
    /// The same as when building with this limit; nothing is changed then.
    pub fn set_max_entries(&self, max_entries: Option<u64>) -> Result<(), BuildError> {
        let max_bytes = crate::builder::limit(self.store.budget.max_bytes());
        crate::builder::check_limits::<K, V>(&self.store.name, max_entries, max_bytes, self.store.weigher.is_some())?;
        self.store.budget.set_max_entries(max_entries.unwrap_or(crate::store::budget::UNLIMITED));
        self.store.balance(None, &mut self.store.departed());
        self.store.fit_shadow();
        Ok(())
    }

    /// Changes the limit on bytes; what is then too much is evicted before this returns.
    ///
    /// # Errors
    ///
    /// The same as when building with this limit; nothing is changed then.
    pub fn set_max_bytes(&self, max_bytes: Option<ByteSize>) -> Result<(), BuildError> {
        let max_entries = crate::builder::limit(self.store.budget.max_entries());
        let max_bytes = max_bytes.map(ByteSize::as_u64);
        crate::builder::check_limits::<K, V>(&self.store.name, max_entries, max_bytes, self.store.weigher.is_some())?;
        self.store.budget.set_max_bytes(max_bytes.unwrap_or(crate::store::budget::UNLIMITED));
        self.store.balance(None, &mut self.store.departed());
        self.store.fit_shadow();
        Ok(())
    }

    /// Calls `visit` with each live entry, in no particular order. Counts nothing.
    ///
    /// Takes no lock while `visit` runs. An entry that is stored or replaced meanwhile may be left out or visited twice.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) {
        const STEP: usize = 256;
        for shard in self.store.shards() {
            let mut from = Some(0);
            while let Some(token) = from {
                from = shard.visit(token, STEP, |entry| {
                    if self.store.is_live(&entry) {
                        visit(entry.key(), entry.value());
                    }
                });
            }
            shard.after_long_read();
        }
    }

    /// Up to `most` keys of live entries, from the beginning or from where an earlier page ended.
    ///
    /// An entry that stays as it is throughout is on exactly one page; one that comes, goes or gets a new value meanwhile
    /// may be on none or on two.
    ///
    /// ```
    /// let cache = trimtab_cache::Cache::new(10);
    /// (0..5).for_each(|key| cache.insert(key, ()));
    /// let first = cache.keys(None, 3);
    /// let second = cache.keys(first.next, 3);
    /// assert_eq!((first.items.len(), second.items.len(), second.next), (3, 2, None));
    /// ```
    pub fn keys(&self, from: Option<u64>, most: usize) -> Page<K>
    where
        K: Clone,
    {
        self.pages(from, most, |entry| entry.key().clone())
    }

    /// Like [`keys`](Self::keys), with what is known about each entry.
    pub fn keys_with_info(&self, from: Option<u64>, most: usize) -> Page<(K, EntryInfo)>
    where
        K: Clone,
    {
        self.pages(from, most, |entry| (entry.key().clone(), self.info_of(entry)))
    }

    fn info_of(&self, entry: &Entry<'_, K, V>) -> EntryInfo {
        let left = || Duration::from_nanos(entry.deadline().saturating_sub(self.store.clock.now()));
        EntryInfo { weight_bytes: entry.weight(), ttl_left: entry.may_expire().then(left) }
    }

    /// A position is the shard in the high half and the token in the low half.
    fn pages<T>(&self, from: Option<u64>, most: usize, item: impl Fn(&Entry<'_, K, V>) -> T) -> Page<T> {
        let from = from.unwrap_or(0);
        let (first, token) = ((from >> 32) as usize, from as u32);
        let mut items = Vec::new();
        for (index, shard) in self.store.shards().iter().enumerate().skip(first) {
            let mut position = Some(if index == first { token } else { 0 });
            while let Some(token) = position {
                position = shard.visit(token, most - items.len(), |entry| {
                    if self.store.is_live(&entry) {
                        items.push(item(&entry));
                    }
                });
                if let Some(token) = position
                    && items.len() >= most
                {
                    return Page { items, next: Some((index as u64) << 32 | u64::from(token)) };
                }
            }
        }
        Page { items, next: None }
    }

    /// Publishes the statistics through the `metrics` facade; see [`metrics`](mod@crate::metrics) for the names.
    ///
    /// Does nothing when metrics are off for this cache.
    pub fn publish_metrics(&self) {
        if let Some(handles) = self.store.metrics() {
            handles.publish(&self.stats());
            if let Some(curve) = self.curve() {
                crate::metrics::publish_curve(self.name(), &curve);
            }
        }
    }

    /// Recomputes every sum and link from the entries, for tests.
    ///
    /// # Panics
    ///
    /// When anything differs. Meaningful only while nobody else uses the cache.
    #[doc(hidden)]
    pub fn validate(&self)
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        self.store.validate();
    }
}
