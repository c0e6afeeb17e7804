//! How a cache is described. Setters only take notes; [`CacheBuilder::build`] checks everything.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use trimtab_config::{ByteSize, check_name};

use crate::cache::{Cache, DefaultHasher};
use crate::config::CacheSettings;
use crate::curve::ShadowMode;
use crate::error::BuildError;
use crate::expiry::Clock;
use crate::expiry::rule::Rule;
use crate::listener::Listener;
use crate::policy::PolicyKind;
use crate::stats::Cause;
use crate::store::budget::UNLIMITED;
use crate::store::{Lifetime, Plan, Store};
use crate::weigher::{self, Weigher};

/// The most entries of a cache.
pub(crate) const MAX_ENTRIES: u64 = (u32::MAX - 1) as u64;
/// The highest byte limit, 64 PiB; keeps all sums of weights in range.
pub(crate) const MAX_BYTES: u64 = 1 << 56;
/// The most shards.
pub const SHARDS_MAX: usize = 1024;
/// A shard of fewer entries judges by too few of them.
const ENTRIES_PER_SHARD: u64 = 1024;
/// What an entry is taken to weigh when only bytes limit the cache.
const BYTES_PER_ENTRY_GUESS: u64 = 512;

/// A description of a cache; see [`Cache::builder`].
///
/// ```
/// use std::time::Duration;
/// use trimtab_cache::{Cache, PolicyKind, weigher};
/// use trimtab_config::{ByteSize, check_name};
///
/// let pages: Cache<String, String> = Cache::builder()
///     .name("pages")
///     .max_bytes(ByteSize::mib(64))
///     .weigher(weigher::heap)
///     .ttl(Duration::from_secs(60))
///     .policy(PolicyKind::Adaptive)
///     .build()?;
/// assert_eq!(pages.stats().max_bytes, Some(64 << 20));
/// # Ok::<(), trimtab_cache::BuildError>(())
/// ```
#[must_use = "nothing is built before `build`"]
pub struct CacheBuilder<K, V, S = DefaultHasher> {
    name: String,
    max_entries: Option<u64>,
    max_bytes: Option<ByteSize>,
    weigher: Option<Weigher<K, V>>,
    ttl: Option<Duration>,
    policy: PolicyKind,
    shadow: ShadowMode,
    shards: Option<usize>,
    clock: Clock,
    metrics: bool,
    statistics: bool,
    hasher: S,
    extras: Extras<K, V>,
}

/// What concerns how entries leave.
struct Extras<K, V> {
    listener: Option<Listener<K, V>>,
    lifetime: Option<Lifetime<K, V>>,
    time_to_idle: Option<Duration>,
    adaptive_ttl: Option<(Duration, Duration)>,
}

impl<K, V> Default for Extras<K, V> {
    fn default() -> Self {
        Self { listener: None, lifetime: None, time_to_idle: None, adaptive_ttl: None }
    }
}

impl<K, V> Extras<K, V> {
    fn rule(&self, name: &str) -> Result<Rule, BuildError> {
        let zero = |field| BuildError::Zero { name: name.to_string(), field };
        if self.time_to_idle.is_some_and(|idle| idle.is_zero()) {
            return Err(zero("time_to_idle"));
        }
        match self.adaptive_ttl {
            Some((min, _)) if min.is_zero() => Err(zero("adaptive_ttl")),
            Some((min, max)) if min > max => Err(BuildError::AdaptiveTtl { name: name.to_string(), min, max }),
            adaptive => Ok(Rule::new(self.time_to_idle, adaptive)),
        }
    }
}

impl<K, V> CacheBuilder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            name: "cache".to_string(),
            max_entries: None,
            max_bytes: None,
            weigher: None,
            ttl: None,
            policy: PolicyKind::default(),
            shadow: ShadowMode::default(),
            shards: None,
            clock: Clock::system(),
            metrics: true,
            statistics: true,
            hasher: DefaultHasher::default(),
            extras: Extras::default(),
        }
    }
}

impl<K, V, S> CacheBuilder<K, V, S> {
    /// Names the cache in metrics and messages: `[a-z0-9_-]{1,64}`, starting with a letter or digit.
    /// Caches that publish metrics should have different names. Default: `cache`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Limits the number of entries, from 1 to 4,294,967,294.
    pub fn max_entries(mut self, max_entries: u64) -> Self {
        self.max_entries = Some(max_entries);
        self
    }

    /// Limits the memory of all entries, each with its [overhead](Cache::entry_overhead). Needs a
    /// [`weigher`](Self::weigher).
    pub fn max_bytes(mut self, max_bytes: ByteSize) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// Tells how many bytes a key and value own *outside* of themselves; zero is fine, since the overhead is added.
    ///
    /// Asked once for each value stored. [`weigher::heap`](fn@crate::weigher::heap) suits common types. A panic in it reaches the
    /// caller and leaves the cache as it was.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigher));
        self
    }

    /// Time after which a value is no longer returned, counted from its insertion. Default: none.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Who has to leave when there is no room. Default: [`PolicyKind::Adaptive`].
    pub fn policy(mut self, policy: PolicyKind) -> Self {
        self.policy = policy;
        self
    }

    /// What is simulated beside the cache: nothing, what the policy needs, or also what other sizes and policies would bring.
    /// Default: [`ShadowMode::Full`], which [`Cache::curve`] needs.
    pub fn shadow(mut self, shadow: ShadowMode) -> Self {
        self.shadow = shadow;
        self
    }

    /// Number of independently locked shards, a power of two up to 1,024.
    ///
    /// Default: eight for each core, fewer for small caches. One shard makes the policy exact and results repeatable.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The clock for time to live and load times. Default: the system's monotonic clock.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// Whether [`publish_metrics`](Cache::publish_metrics) and loads emit metrics. Default: yes.
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }

    /// Whether hits and misses are counted. Default: yes.
    ///
    /// Without, [`stats`](Cache::stats) shows neither, and there is no [`curve`](Cache::curve), which is measured against them.
    pub fn statistics(mut self, statistics: bool) -> Self {
        self.statistics = statistics;
        self
    }

    /// Hashes keys with another hasher. It should be seeded, or an attacker may choose keys that collide.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> CacheBuilder<K, V, T> {
        CacheBuilder {
            name: self.name,
            max_entries: self.max_entries,
            max_bytes: self.max_bytes,
            weigher: self.weigher,
            ttl: self.ttl,
            policy: self.policy,
            shadow: self.shadow,
            shards: self.shards,
            clock: self.clock,
            metrics: self.metrics,
            statistics: self.statistics,
            hasher,
            extras: self.extras,
        }
    }

    /// Takes limits, time to live, policy and metrics from settings. Compression concerns byte caches only.
    pub fn settings(mut self, settings: &CacheSettings) -> Self {
        self.max_entries = settings.max_entries;
        self.max_bytes = settings.max_bytes;
        self.ttl = settings.ttl.map(|ttl| *ttl);
        self.policy = settings.policy;
        self.shadow = settings.shadow;
        self.metrics = settings.metrics;
        self
    }

    /// Checks the description and builds the cache. Nothing is allocated for entries before they come.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when no limit is set, a number is zero or out of range, bytes are limited without a weigher, or the
    /// name is not allowed.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        check_name("cache", &self.name)?;
        let max_bytes = self.max_bytes.map(ByteSize::as_u64);
        check_limits::<K, V>(&self.name, self.max_entries, max_bytes, self.weigher.is_some())?;
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(BuildError::Zero { name: self.name, field: "ttl" });
        }
        let shards = self.shards.unwrap_or_else(|| shards_for(self.max_entries, max_bytes));
        if !shards.is_power_of_two() || shards > SHARDS_MAX {
            return Err(BuildError::Shards { name: self.name, shards, limit: SHARDS_MAX });
        }
        let rule = self.extras.rule(&self.name)?;
        let store = Store::new(Plan {
            name: self.name.into(),
            hasher: self.hasher,
            clock: self.clock,
            policy: self.policy,
            // A curve is measured against what was counted.
            shadow: if self.statistics { self.shadow } else { self.shadow.without_curve() },
            shards,
            max_entries: self.max_entries,
            max_bytes,
            weigher: self.weigher,
            overhead: weigher::overhead::<K, V>(),
            ttl: self.ttl,
            metrics: self.metrics,
            statistics: self.statistics,
            rule,
            lifetime: self.extras.lifetime,
            listener: self.extras.listener,
        });
        Ok(Cache { store: Arc::new(store) })
    }
}

/// How entries end, and who hears of it.
impl<K, V, S> CacheBuilder<K, V, S> {
    /// Calls `listener` with every entry that leaves, and why.
    ///
    /// The call comes from the thread that made the entry leave, after all locks are released: the listener may use the
    /// cache, and delays only the operation that it hears of. Events of different threads may come in another order than
    /// they happened. A panic in it is contained and counted in
    /// [`listener_panics`](crate::CacheStats::listener_panics). Expired entries are told of when they are removed, which
    /// is when they are met, when room is made, or by [`Cache::expire`]. What is left when the last handle of the cache is
    /// dropped is not told.
    ///
    /// Set again, the last one holds.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use trimtab_cache::{Cache, Cause};
    ///
    /// let left = Arc::new(Mutex::new(Vec::new()));
    /// let note = Arc::clone(&left);
    /// let cache = Cache::builder()
    ///     .max_entries(10)
    ///     .listener(move |key: &&str, value: &u32, cause| note.lock().unwrap().push((*key, *value, cause)))
    ///     .build()?;
    /// cache.insert("a", 1);
    /// cache.insert("a", 2);
    /// cache.remove("a");
    /// assert_eq!(*left.lock().unwrap(), [("a", 1, Cause::Replaced), ("a", 2, Cause::Explicit)]);
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn listener(mut self, listener: impl Fn(&K, &V, Cause) + Send + Sync + 'static) -> Self {
        self.extras.listener = Some(Listener::new(listener));
        self
    }

    /// Time an entry may go unused before it is no longer returned. Default: any.
    ///
    /// A use is a `get`, `view`, `get_with` and their like, not `peek`, `contains` or a listing. With a time to live too,
    /// whatever ends first counts. Kept in steps of a 256th: an entry may end so much early, never late.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trimtab_cache::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let idle = Duration::from_secs(60);
    /// let sessions = Cache::builder().max_entries(10).time_to_idle(idle).clock(clock.clone()).build()?;
    /// sessions.insert("ada", 1);
    /// clock.advance(idle / 2);
    /// assert!(sessions.get("ada").is_some());
    /// clock.advance(idle / 2);
    /// assert!(sessions.get("ada").is_some(), "it was used meanwhile");
    /// clock.advance(idle);
    /// assert!(sessions.get("ada").is_none());
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.extras.time_to_idle = Some(idle);
        self
    }

    /// Computes the time to live of each value when it is stored; `None` leaves it to the cache's default.
    ///
    /// A time to live given with the value itself goes before it. `Duration::MAX` means never; a time of zero refuses the
    /// value, as for [`Cache::try_insert_with_ttl`]. Called outside of locks; a panic in it reaches the caller and leaves the cache
    /// as it was.
    ///
    /// With `Option` values this is negative caching:
    ///
    /// ```
    /// use std::time::Duration;
    /// use trimtab_cache::Cache;
    ///
    /// let users = Cache::builder()
    ///     .max_entries(10)
    ///     .ttl(Duration::from_secs(600))
    ///     .expire_after(|_: &u64, user: &Option<String>| user.is_none().then_some(Duration::from_secs(5)))
    ///     .build()?;
    /// users.insert(1, Some("Ada".to_string()));
    /// users.insert(2, None); // nobody has this number, for the next five seconds
    /// assert!(users.info(&2).unwrap().ttl_left.unwrap() <= Duration::from_secs(5));
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn expire_after(mut self, lifetime: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.extras.lifetime = Some(Arc::new(lifetime));
        self
    }

    /// Lets use decide how long a value stays, between a shortest and a longest life.
    ///
    /// A value stored at time 0 first ends at the shortest life. Used at age *a*, it ends at age 2*a* at the earliest: what is
    /// asked for steadily doubles its life up to the longest, what is not asked for goes soon. Nothing outlives the
    /// longest life, so it also bounds how stale a value can be. A time to live that was given or computed for a value
    /// replaces this rule for that value; with a default time to live too, whatever ends first counts.
    ///
    /// # Source
    ///
    /// After the update threshold of V. Cate, "Alex: a global file system", 1992.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trimtab_cache::{Cache, ManualClock};
    ///
    /// let (clock, second) = (ManualClock::new(), Duration::from_secs(1));
    /// let cache = Cache::builder().max_entries(10).adaptive_ttl(10 * second..=60 * second).clock(clock.clone()).build()?;
    /// cache.insert("used", 1);
    /// cache.insert("unused", 2);
    /// clock.advance(8 * second);
    /// assert!(cache.get("used").is_some());
    /// clock.advance(7 * second);
    /// assert_eq!((cache.peek("used"), cache.peek("unused")), (Some(1), None));
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn adaptive_ttl(mut self, bounds: RangeInclusive<Duration>) -> Self {
        self.extras.adaptive_ttl = Some(bounds.into_inner());
        self
    }
}

impl<K, V, S> fmt::Debug for CacheBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("max_entries", &self.max_entries)
            .field("max_bytes", &self.max_bytes)
            .field("ttl", &self.ttl)
            .field("time_to_idle", &self.extras.time_to_idle)
            .field("adaptive_ttl", &self.extras.adaptive_ttl)
            .field("policy", &self.policy)
            .field("shadow", &self.shadow)
            .field("shards", &self.shards)
            .field("clock", &self.clock)
            .field("metrics", &self.metrics)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

/// A limit of the budget, where the highest number means none.
pub(crate) fn limit(limit: u64) -> Option<u64> {
    (limit != UNLIMITED).then_some(limit)
}

/// What every pair of limits has to fulfil, at the beginning and at run time.
pub(crate) fn check_limits<K, V>(
    name: &str,
    max_entries: Option<u64>,
    max_bytes: Option<u64>,
    weighed: bool,
) -> Result<(), BuildError> {
    let name = || name.to_string();
    if max_entries.is_none() && max_bytes.is_none() {
        return Err(BuildError::Unbounded { name: name() });
    }
    for (field, value, limit) in [("max_entries", max_entries, MAX_ENTRIES), ("max_bytes", max_bytes, MAX_BYTES)] {
        match value {
            Some(0) => return Err(BuildError::Zero { name: name(), field }),
            Some(value) if value > limit => return Err(BuildError::TooLarge { name: name(), field, value, limit }),
            _ => {}
        }
    }
    if let Some(max_bytes) = max_bytes {
        let overhead = weigher::overhead::<K, V>();
        if max_bytes < overhead {
            return Err(BuildError::SmallerThanOneEntry { name: name(), max_bytes, overhead });
        }
        if !weighed {
            return Err(BuildError::WeigherMissing { name: name() });
        }
    }
    Ok(())
}

/// Eight shards a core keep writers apart; small caches get fewer, so that each shard still judges by many entries.
fn shards_for(max_entries: Option<u64>, max_bytes: Option<u64>) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let by_cores = (cores * 8).next_power_of_two().min(SHARDS_MAX);
    let entries = max_entries.unwrap_or(u64::MAX).min(max_bytes.map_or(u64::MAX, |max| max / BYTES_PER_ENTRY_GUESS));
    let by_size = (entries / ENTRIES_PER_SHARD).max(1);
    // The power of two at or below.
    by_cores.min(1 << by_size.ilog2().min(30))
}
