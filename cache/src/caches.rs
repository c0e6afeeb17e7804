//! The registry of named caches: settings by name, one cache per name, and a view of all for dashboards.
//!
//! A name is *declared* with settings and then *opened* with types, at any place and any number of times: the same handle
//! comes back. A cache for an HTTP API is created at once, as a [`ByteCache`].

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use trimtab_config::{ByteSize, Share, check_name};

use crate::builder::CacheBuilder;
use crate::bytes::ByteCache;
use crate::cache::Cache;
use crate::config::{CacheSettings, Compression};
use crate::curve::Curve;
use crate::error::{BuildError, CachesError};
use crate::policy::PolicyKind;
use crate::shrink::Freed;
use crate::stats::CacheStats;

/// How many caches a registry holds unless told otherwise.
pub const CACHES_MAX: usize = 256;

/// What is the same for caches of all types.
pub trait AnyCache: fmt::Debug + Send + Sync {
    /// The name.
    fn name(&self) -> &str;
    /// The settings in force: those it was made with, and later changes of limits, time to live and policy.
    fn settings(&self) -> CacheSettings;
    /// The statistics.
    fn stats(&self) -> CacheStats;
    /// What other sizes and policies would bring; see [`Cache::curve`].
    fn curve(&self) -> Option<Curve>;
    /// What the adaptive policy has chosen; see [`Cache::choice`].
    fn choice(&self) -> Option<&'static str>;
    /// How many entries are held.
    fn len(&self) -> u64;
    /// Whether nothing is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes held.
    fn weight(&self) -> u64;
    /// Drops all entries.
    fn clear(&self);
    /// Removes expired entries, a bounded number; answers how many.
    fn expire(&self) -> usize;
    /// Gives up all but a share, and memory back; see [`Cache::shrink_to`].
    fn shrink_to(&self, share: Share) -> Freed;
    /// Publishes the statistics as metrics.
    fn publish_metrics(&self);
    /// Changes the limit on entries; see [`Cache::set_max_entries`].
    ///
    /// # Errors
    ///
    /// As [`Cache::set_max_entries`].
    fn set_max_entries(&self, max_entries: Option<u64>) -> Result<(), BuildError>;
    /// Changes the limit on bytes; see [`Cache::set_max_bytes`].
    ///
    /// # Errors
    ///
    /// As [`Cache::set_max_bytes`].
    fn set_max_bytes(&self, max_bytes: Option<ByteSize>) -> Result<(), BuildError>;
    /// Changes the default time to live; see [`Cache::set_ttl`].
    ///
    /// # Errors
    ///
    /// As [`Cache::set_ttl`].
    fn set_ttl(&self, ttl: Option<Duration>) -> Result<(), BuildError>;
    /// Changes the policy, and keeps all entries; see [`Cache::set_policy`].
    fn set_policy(&self, policy: PolicyKind);
    /// Name of the key type.
    fn key_type(&self) -> &'static str;
    /// Name of the value type.
    fn value_type(&self) -> &'static str;
    /// The byte cache, if it is one.
    fn as_bytes(&self) -> Option<&ByteCache>;
    /// The concrete cache, to be downcast to `Cache<K, V>`.
    fn as_any(&self) -> &dyn Any;
}

/// A cache in the registry, with the settings that it does not know itself.
struct Named<C> {
    cache: C,
    made_with: CacheSettings,
}

impl<C: fmt::Debug> fmt::Debug for Named<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cache.fmt(f)
    }
}

/// The settings now in force.
fn settings_now<K, V, S>(cache: &Cache<K, V, S>, made_with: &CacheSettings) -> CacheSettings {
    CacheSettings {
        max_entries: crate::builder::limit(cache.store.budget.max_entries()),
        max_bytes: crate::builder::limit(cache.store.budget.max_bytes()).map(ByteSize::b),
        ttl: cache.ttl().map(Into::into),
        policy: cache.policy(),
        ..made_with.clone()
    }
}

/// Everything of [`AnyCache`] that a `Cache` answers itself, reached through `$cache`.
macro_rules! forward {
    ($($cache:tt)+) => {
        fn name(&self) -> &str {
            self$($cache)+.name()
        }
        fn settings(&self) -> CacheSettings {
            settings_now(&self$($cache)+, &self.made_with)
        }
        fn stats(&self) -> CacheStats {
            self$($cache)+.stats()
        }
        fn curve(&self) -> Option<Curve> {
            self$($cache)+.curve()
        }
        fn choice(&self) -> Option<&'static str> {
            self$($cache)+.choice()
        }
        fn len(&self) -> u64 {
            self$($cache)+.len()
        }
        fn weight(&self) -> u64 {
            self$($cache)+.weight()
        }
        fn clear(&self) {
            self$($cache)+.clear();
        }
        fn expire(&self) -> usize {
            self$($cache)+.expire()
        }
        fn shrink_to(&self, share: Share) -> Freed {
            self$($cache)+.shrink_to(share)
        }
        fn publish_metrics(&self) {
            self$($cache)+.publish_metrics();
        }
        fn set_max_entries(&self, max_entries: Option<u64>) -> Result<(), BuildError> {
            self$($cache)+.set_max_entries(max_entries)
        }
        fn set_max_bytes(&self, max_bytes: Option<ByteSize>) -> Result<(), BuildError> {
            self$($cache)+.set_max_bytes(max_bytes)
        }
        fn set_ttl(&self, ttl: Option<Duration>) -> Result<(), BuildError> {
            self$($cache)+.set_ttl(ttl)
        }
        fn set_policy(&self, policy: PolicyKind) {
            self$($cache)+.set_policy(policy);
        }
        fn as_any(&self) -> &dyn Any {
            &self.cache
        }
    };
}

impl<K, V, S> AnyCache for Named<Cache<K, V, S>>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    forward!(.cache);

    fn key_type(&self) -> &'static str {
        type_name::<K>()
    }

    fn value_type(&self) -> &'static str {
        type_name::<V>()
    }

    fn as_bytes(&self) -> Option<&ByteCache> {
        None
    }
}

impl AnyCache for Named<ByteCache> {
    forward!(.cache.cache);

    fn key_type(&self) -> &'static str {
        "str"
    }

    fn value_type(&self) -> &'static str {
        "bytes"
    }

    fn as_bytes(&self) -> Option<&ByteCache> {
        Some(&self.cache)
    }
}

/// A registry of named caches. Clones share it.
///
/// ```
/// use trimtab_cache::{Caches, CacheSettings};
///
/// let caches = Caches::new();
/// caches.declare("users", CacheSettings::default())?;
/// let users = caches.open::<u64, String>("users")?;
/// users.insert(1, "Ada".into());
/// assert_eq!(caches.open::<u64, String>("users")?.get(&1).as_deref(), Some("Ada"));
///
/// let error = caches.open::<u64, u64>("users").unwrap_err();
/// assert!(error.to_string().contains("is open as"));
/// let error = caches.open::<u64, u64>("user").unwrap_err();
/// assert!(error.to_string().contains("did you mean \"users\"?"));
/// # Ok::<(), trimtab_cache::CachesError>(())
/// ```
#[derive(Clone)]
pub struct Caches {
    inner: Arc<Inner>,
}

struct Inner {
    limit: usize,
    slots: RwLock<BTreeMap<Arc<str>, Slot>>,
}

/// A name of the registry.
struct Slot {
    settings: CacheSettings,
    open: Option<Arc<dyn AnyCache>>,
}

impl Default for Caches {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches").field("names", &self.names()).field("limit", &self.inner.limit).finish()
    }
}

impl Caches {
    /// An empty registry for up to [`CACHES_MAX`] caches.
    pub fn new() -> Self {
        Self::with_limit(CACHES_MAX)
    }

    /// An empty registry for up to `limit` caches.
    pub fn with_limit(limit: usize) -> Self {
        Self { inner: Arc::new(Inner { limit, slots: RwLock::new(BTreeMap::new()) }) }
    }

    /// How many caches may be declared.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Notes the settings of a name, to be opened later with types.
    ///
    /// # Errors
    ///
    /// [`CachesError::Name`], [`CachesError::Duplicate`], [`CachesError::TooMany`].
    pub fn declare(&self, name: &str, settings: CacheSettings) -> Result<(), CachesError> {
        check_name("cache", name)?;
        let mut slots = self.inner.slots.write();
        self.check_free(&slots, name)?;
        slots.insert(name.into(), Slot { settings, open: None });
        Ok(())
    }

    /// Notes other settings for a name that was declared and not opened yet; answers whether that was so.
    ///
    /// An open cache keeps what it was made with: its limits are changed by
    /// [`set_max_entries`](AnyCache::set_max_entries) and its like.
    pub fn redeclare(&self, name: &str, settings: CacheSettings) -> bool {
        match self.inner.slots.write().get_mut(name) {
            Some(slot) if slot.open.is_none() => {
                slot.settings = settings;
                true
            }
            _ => false,
        }
    }

    /// Creates a byte cache under a new name.
    ///
    /// # Errors
    ///
    /// [`CachesError::Name`], [`CachesError::Duplicate`], [`CachesError::TooMany`], and what [`ByteCache::new`] refuses;
    /// nothing is registered then.
    pub fn create(&self, name: &str, settings: CacheSettings) -> Result<ByteCache, CachesError> {
        check_name("cache", name)?;
        let mut slots = self.inner.slots.write();
        self.check_free(&slots, name)?;
        let cache = ByteCache::new(name, &settings)?;
        let open: Arc<dyn AnyCache> = Arc::new(Named { cache: cache.clone(), made_with: settings.clone() });
        slots.insert(name.into(), Slot { settings, open: Some(open) });
        Ok(cache)
    }

    /// The byte cache of a declared name; the same one for all callers.
    ///
    /// # Errors
    ///
    /// [`CachesError::Unknown`]; [`CachesError::Mistyped`] if it is open with other types; what [`ByteCache::new`]
    /// refuses.
    pub fn bytes(&self, name: &str) -> Result<ByteCache, CachesError> {
        if let Some(open) = self.opened(name)? {
            return open.as_bytes().cloned().ok_or_else(|| mistyped::<str, [u8]>(&*open));
        }
        let mut slots = self.inner.slots.write();
        let slot = slots.get_mut(name).ok_or_else(|| unknown_now(name))?;
        if let Some(open) = &slot.open {
            return open.as_bytes().cloned().ok_or_else(|| mistyped::<str, [u8]>(&**open));
        }
        let cache = ByteCache::new(name, &slot.settings)?;
        slot.open = Some(Arc::new(Named { cache: cache.clone(), made_with: slot.settings.clone() }));
        Ok(cache)
    }

    /// The typed cache of a declared name; the same one for all callers with the same types.
    ///
    /// # Errors
    ///
    /// [`CachesError::Unknown`]; [`CachesError::Mistyped`] if it is open with other types;
    /// [`CachesError::CompressionOnTyped`]; [`CachesError::SnapshotOnTyped`]; what [`CacheBuilder::build`] refuses, for example a byte limit without a
    /// weigher, for which there is [`open_with`](Self::open_with).
    pub fn open<K, V>(&self, name: &str) -> Result<Cache<K, V>, CachesError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        self.open_with(name, |builder| builder)
    }

    /// Like [`open`](Self::open); `describe` adds what settings cannot say, such as a weigher or a clock, to a builder
    /// that already has the name and the settings. It is not called if the cache is open, and must not use the registry.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// ```
    /// use trimtab_cache::{Caches, CacheSettings, weigher};
    /// use trimtab_config::Profile;
    ///
    /// let caches = Caches::new();
    /// caches.declare("pages", CacheSettings::for_bytes(Profile::Balanced))?;
    /// let pages = caches.open_with::<String, String>("pages", |builder| builder.weigher(weigher::heap))?;
    /// # Ok::<(), trimtab_cache::CachesError>(())
    /// ```
    pub fn open_with<K, V>(
        &self,
        name: &str,
        describe: impl FnOnce(CacheBuilder<K, V>) -> CacheBuilder<K, V>,
    ) -> Result<Cache<K, V>, CachesError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        if let Some(open) = self.opened(name)? {
            return downcast(&*open);
        }
        let mut slots = self.inner.slots.write();
        let slot = slots.get_mut(name).ok_or_else(|| unknown_now(name))?;
        if let Some(open) = &slot.open {
            return downcast(&**open);
        }
        check_typed::<V>(name, &slot.settings)?;
        let cache = describe(Cache::builder().name(name).settings(&slot.settings)).build()?;
        slot.open = Some(Arc::new(Named { cache: cache.clone(), made_with: slot.settings.clone() }));
        Ok(cache)
    }

    /// Registers a cache that was built by hand, under its own name.
    ///
    /// # Errors
    ///
    /// [`CachesError::Duplicate`], [`CachesError::TooMany`].
    pub fn register<K, V, S>(&self, cache: &Cache<K, V, S>) -> Result<(), CachesError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let mut slots = self.inner.slots.write();
        self.check_free(&slots, cache.name())?;
        let made_with = CacheSettings { metrics: cache.store.metrics.is_some(), ..CacheSettings::default() };
        let settings = settings_now(cache, &made_with);
        let open: Arc<dyn AnyCache> = Arc::new(Named { cache: cache.clone(), made_with: settings.clone() });
        slots.insert(cache.name().into(), Slot { settings, open: Some(open) });
        Ok(())
    }

    /// The open cache of a name, whatever its types; `None` if the name is unknown or was not opened yet.
    pub fn get(&self, name: &str) -> Option<Arc<dyn AnyCache>> {
        self.inner.slots.read().get(name)?.open.clone()
    }

    /// All open caches, by name.
    pub fn list(&self) -> Vec<Arc<dyn AnyCache>> {
        self.inner.slots.read().values().filter_map(|slot| slot.open.clone()).collect()
    }

    /// All names, open or only declared, in order.
    pub fn names(&self) -> Vec<String> {
        self.inner.slots.read().keys().map(ToString::to_string).collect()
    }

    /// The settings a name was declared with.
    pub fn declared(&self, name: &str) -> Option<CacheSettings> {
        self.inner.slots.read().get(name).map(|slot| slot.settings.clone())
    }

    /// Forgets a name, and answers whether it was known. Handles that are still held go on working.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.inner.slots.write().remove(name);
        removed.is_some()
    }

    /// Removes expired entries of all caches, a bounded number of each; answers how many.
    pub fn expire(&self) -> usize {
        self.list().iter().map(|cache| cache.expire()).sum()
    }

    /// Publishes the statistics of all caches as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        self.list().iter().for_each(|cache| cache.publish_metrics());
    }

    fn check_free(&self, slots: &BTreeMap<Arc<str>, Slot>, name: &str) -> Result<(), CachesError> {
        if slots.contains_key(name) {
            return Err(CachesError::Duplicate { name: name.to_string() });
        }
        if slots.len() >= self.inner.limit {
            let (count, limit) = (slots.len(), self.inner.limit);
            return Err(CachesError::TooMany { name: name.to_string(), count, limit });
        }
        Ok(())
    }

    /// The open cache of a known name.
    fn opened(&self, name: &str) -> Result<Option<Arc<dyn AnyCache>>, CachesError> {
        check_name("cache", name)?;
        let slots = self.inner.slots.read();
        match slots.get(name) {
            Some(slot) => Ok(slot.open.clone()),
            None => Err(unknown(name, &slots)),
        }
    }
}

/// A name that was removed between two looks.
fn unknown_now(name: &str) -> CachesError {
    CachesError::Unknown { name: name.to_string(), suggestion: None, known: Vec::new() }
}

fn unknown(name: &str, slots: &BTreeMap<Arc<str>, Slot>) -> CachesError {
    let near = |known: &&Arc<str>| (strsim::damerau_levenshtein(known, name), known.len());
    CachesError::Unknown {
        name: name.to_string(),
        suggestion: slots
            .keys()
            .min_by_key(near)
            .filter(|known| strsim::damerau_levenshtein(known, name) <= 1 + name.len() / 4)
            .map(ToString::to_string),
        known: slots.keys().take(16).map(ToString::to_string).collect(),
    }
}

fn downcast<K: 'static, V: 'static>(open: &dyn AnyCache) -> Result<Cache<K, V>, CachesError> {
    open.as_any().downcast_ref::<Cache<K, V>>().cloned().ok_or_else(|| mistyped::<K, V>(open))
}

fn mistyped<K: ?Sized, V: ?Sized>(open: &dyn AnyCache) -> CachesError {
    CachesError::Mistyped {
        name: open.name().to_string(),
        open: format!("{} -> {}", open.key_type(), open.value_type()),
        asked: format!("{} -> {}", type_name::<K>(), type_name::<V>()),
    }
}

/// What only a byte cache can do.
fn check_typed<V: 'static>(name: &str, settings: &CacheSettings) -> Result<(), CachesError> {
    if settings.snapshot {
        return Err(CachesError::SnapshotOnTyped { name: name.to_string(), value_type: type_name::<V>() });
    }
    if settings.compression == Compression::Off {
        return Ok(());
    }
    Err(CachesError::CompressionOnTyped {
        name: name.to_string(),
        compression: settings.compression.to_string(),
        value_type: type_name::<V>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_a_full_registry_are_refused_and_change_nothing() {
        let caches = Caches::with_limit(2);
        caches.create("a", CacheSettings::default()).unwrap();
        caches.declare("b", CacheSettings::default()).unwrap();
        assert!(matches!(caches.create("a", CacheSettings::default()), Err(CachesError::Duplicate { .. })));
        assert!(matches!(caches.declare("b", CacheSettings::default()), Err(CachesError::Duplicate { .. })));
        assert!(matches!(caches.create("c", CacheSettings::default()), Err(CachesError::TooMany { limit: 2, .. })));
        assert_eq!(caches.names(), ["a", "b"]);
        assert_eq!(caches.list().len(), 1);
        assert!(caches.remove("a"));
        caches.create("c", CacheSettings::default()).unwrap();
    }

    #[test]
    fn compression_of_a_typed_cache_is_an_error() {
        let caches = Caches::new();
        let settings = CacheSettings { compression: Compression::Lz4, ..CacheSettings::default() };
        caches.declare("typed", settings).unwrap();
        let error = caches.open::<u64, String>("typed").unwrap_err();
        assert!(matches!(error, CachesError::CompressionOnTyped { .. }), "{error}");
    }

    #[test]
    fn a_typed_cache_cannot_be_saved_by_a_setting() {
        let caches = Caches::new();
        let settings = CacheSettings { snapshot: true, ..CacheSettings::default() };
        caches.declare("typed", settings).unwrap();
        let error = caches.open::<u64, String>("typed").unwrap_err();
        assert!(
            matches!(error, CachesError::SnapshotOnTyped { .. }) && error.to_string().contains("Cache::save"),
            "{error}"
        );
        assert!(caches.bytes("typed").is_ok());
    }

    #[test]
    fn byte_limit_without_a_weigher_is_an_error_until_one_is_given() {
        let caches = Caches::new();
        let settings = CacheSettings { max_bytes: Some(ByteSize::mib(1)), ..CacheSettings::default() };
        caches.declare("heavy", settings).unwrap();
        let error = caches.open::<u64, String>("heavy").unwrap_err();
        assert!(matches!(error, CachesError::Build(BuildError::WeigherMissing { .. })), "{error}");
        let cache = caches.open_with::<u64, String>("heavy", |b| b.weigher(crate::weigher::heap)).unwrap();
        cache.insert(1, "x".into());
        assert_eq!(caches.open::<u64, String>("heavy").unwrap().len(), 1);
    }

    #[test]
    fn settings_shown_are_those_in_force() {
        let caches = Caches::new();
        let pages = caches.create("pages", CacheSettings::default()).unwrap();
        pages.cache().set_max_entries(Some(7)).unwrap();
        pages.cache().set_ttl(Some(Duration::from_secs(5))).unwrap();
        let shown = caches.get("pages").unwrap().settings();
        assert_eq!((shown.max_entries, shown.ttl.map(Into::into)), (Some(7), Some(Duration::from_secs(5))));
        assert!(caches.get("pages").unwrap().as_bytes().is_some());
        assert!(matches!(caches.open::<u64, u64>("pages"), Err(CachesError::Mistyped { .. })));
    }
}
