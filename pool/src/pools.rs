//! The registry of named pools: settings by name, one pool per name, and a view of all for dashboards.
//!
//! A name may be *declared* with settings, and is *opened* with what makes its objects, at any place and any number of times:
//! the same pool comes back, and the later factory is not used.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use trimtab_config::{Profile, Settings, Share, check_name};

use crate::buffer::BufferPool;
use crate::config::{PoolSettings, check};
use crate::error::{BuildError, PoolsError};
use crate::intern::Interner;
use crate::leak::LeaseReport;
use crate::manager::Manager;
use crate::object::{ObjectPool, ObjectPoolBuilder};
use crate::resource::{ResourcePool, ResourcePoolBuilder};
use crate::stats::{PoolNumbers, Trimmed};

/// How many pools a registry holds unless told otherwise.
pub const POOLS_MAX: usize = 256;

/// What a pool keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// Resources that are made and checked over a network.
    Resources,
    /// Objects.
    Objects,
    /// Byte buffers.
    Buffers,
    /// Words.
    Words,
}

impl PoolKind {
    /// The name used over HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Objects => "objects",
            Self::Buffers => "buffers",
            Self::Words => "words",
        }
    }
}

/// What is the same for pools of all kinds.
pub trait AnyPool: fmt::Debug + Send + Sync {
    /// The name.
    fn name(&self) -> &str;
    /// What it keeps.
    fn kind(&self) -> PoolKind;
    /// The type of what it keeps.
    fn item_type(&self) -> &'static str;
    /// The numbers.
    fn numbers(&self) -> PoolNumbers;
    /// The settings in force; none for an interner.
    fn settings(&self) -> Option<PoolSettings>;
    /// Changes the settings while the pool runs. An interner has none and ignores them.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with all problems; then nothing changed.
    fn apply(&self, settings: PoolSettings) -> Result<(), BuildError>;
    /// Open leases by the line that took them. Resource pools only; others answer an empty report.
    fn report(&self) -> LeaseReport {
        LeaseReport::default()
    }
    /// Lets go of a share of what is idle; answers what it freed.
    fn trim_idle(&self, share: Share) -> Trimmed;
    /// What is due now and then. A resource pool does it by itself.
    fn tick(&self) {}
    /// Publishes the numbers as metrics.
    fn publish_metrics(&self);
    /// The concrete pool, to be downcast.
    fn as_any(&self) -> &dyn Any;
}

macro_rules! any_pool {
    ([$($generics:tt)*] $pool:ty, $kind:ident, $item:ty, { $($extra:tt)* }) => {
        impl<$($generics)*> AnyPool for $pool {
            fn name(&self) -> &str {
                <$pool>::name(self)
            }
            fn kind(&self) -> PoolKind {
                PoolKind::$kind
            }
            fn item_type(&self) -> &'static str {
                type_name::<$item>()
            }
            fn numbers(&self) -> PoolNumbers {
                self.stats().into()
            }
            fn trim_idle(&self, share: Share) -> Trimmed {
                <$pool>::trim_idle(self, share)
            }
            fn publish_metrics(&self) {
                <$pool>::publish_metrics(self);
            }
            fn as_any(&self) -> &dyn Any {
                self
            }
            $($extra)*
        }
    };
}

macro_rules! settings {
    () => {
        fn settings(&self) -> Option<PoolSettings> {
            Some(Self::settings(self))
        }
        fn apply(&self, settings: PoolSettings) -> Result<(), BuildError> {
            Self::apply(self, settings)
        }
    };
}

any_pool!([M: Manager] ResourcePool<M>, Resources, M::Resource, {
    settings!();
    fn report(&self) -> LeaseReport {
        ResourcePool::report(self)
    }
});
any_pool!([T: Send + 'static] ObjectPool<T>, Objects, T, {
    settings!();
    fn tick(&self) {
        self.clean_up();
    }
});
any_pool!([] BufferPool, Buffers, bytes::BytesMut, {
    settings!();
    fn tick(&self) {
        self.clean_up();
    }
});
any_pool!([] Interner, Words, crate::intern::Istr, {
    fn settings(&self) -> Option<PoolSettings> {
        None
    }
    fn apply(&self, _: PoolSettings) -> Result<(), BuildError> {
        Ok(())
    }
});

/// The named pools of one service. Clones are cheap and speak of the same registry.
///
/// ```
/// use trimtab_pool::{ObjectPool, PoolSettings, Pools};
///
/// let pools = Pools::new();
/// let scratch: ObjectPool<Vec<u8>> = pools.object_pool("scratch", Vec::new)?;
/// drop(scratch.acquire());
/// assert_eq!(pools.get("scratch").unwrap().numbers().idle, 1);
/// assert!(pools.object_pool("scratch", String::new).is_err(), "one name, one type");
/// # Ok::<(), trimtab_pool::PoolsError>(())
/// ```
#[derive(Clone)]
pub struct Pools {
    inner: Arc<Inner>,
}

struct Inner {
    profile: Profile,
    limit: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    declared: BTreeMap<String, PoolSettings>,
    open: BTreeMap<Arc<str>, Arc<dyn AnyPool>>,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

impl Default for Pools {
    fn default() -> Self {
        Self::new()
    }
}

impl Pools {
    /// An empty registry with the default profile.
    pub fn new() -> Self {
        Self::with_profile(Profile::default())
    }

    /// An empty registry; pools without settings get the defaults of this profile.
    pub fn with_profile(profile: Profile) -> Self {
        Self::with_limit(profile, POOLS_MAX)
    }

    /// An empty registry that holds at most `limit` pools.
    pub fn with_limit(profile: Profile, limit: usize) -> Self {
        Self { inner: Arc::new(Inner { profile, limit, state: RwLock::default() }) }
    }

    /// Notes the settings of a name for whoever opens it; an open pool takes them on at once.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, or settings that make no pool; then nothing changed.
    pub fn declare(&self, name: &str, settings: PoolSettings) -> Result<(), PoolsError> {
        check_name("pool", name)?;
        let open = self.get(name);
        match open {
            Some(pool) => pool.apply(settings.clone())?,
            None => check(name, &settings)?,
        }
        self.inner.state.write().declared.insert(name.to_owned(), settings);
        Ok(())
    }

    /// Takes declared settings back: an open pool gets the profile's defaults.
    ///
    /// # Errors
    ///
    /// [`PoolsError`] when the pool refuses them.
    pub fn undeclare(&self, name: &str) -> Result<(), PoolsError> {
        self.inner.state.write().declared.remove(name);
        match self.get(name) {
            Some(pool) => Ok(pool.apply(PoolSettings::for_profile(self.inner.profile))?),
            None => Ok(()),
        }
    }

    /// The settings that a pool of this name is built with.
    pub fn settings_of(&self, name: &str) -> PoolSettings {
        let declared = self.inner.state.read().declared.get(name).cloned();
        declared.unwrap_or_else(|| PoolSettings::for_profile(self.inner.profile))
    }

    /// The pool of this name, or else the one that `build` makes. It is called without a lock; when two open a name at the same
    /// time the first one stays.
    fn open<P>(&self, name: &str, build: impl FnOnce(PoolSettings) -> Result<P, BuildError>) -> Result<P, PoolsError>
    where
        P: AnyPool + Clone + 'static,
    {
        check_name("pool", name)?;
        if let Some(pool) = self.get(name) {
            return downcast(&*pool);
        }
        let built = build(self.settings_of(name))?;
        let mut state = self.inner.state.write();
        if let Some(pool) = state.open.get(name) {
            return downcast(&**pool);
        }
        if state.open.len() >= self.inner.limit {
            let (count, limit) = (state.open.len(), self.inner.limit);
            return Err(PoolsError::TooMany { name: name.to_owned(), count, limit });
        }
        state.open.insert(name.into(), Arc::new(built.clone()));
        Ok(built)
    }

    /// The object pool of this name: the same one for all callers. The first one's factory counts.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, another type than at the first call, a full registry.
    pub fn object_pool<T: Send + 'static>(
        &self,
        name: &str,
        factory: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<ObjectPool<T>, PoolsError> {
        self.object_pool_with(name, factory, |builder| builder)
    }

    /// The same with a word on how the pool is built, such as its reset.
    ///
    /// # Errors
    ///
    /// As [`object_pool`](Self::object_pool).
    pub fn object_pool_with<T: Send + 'static>(
        &self,
        name: &str,
        factory: impl Fn() -> T + Send + Sync + 'static,
        with: impl FnOnce(ObjectPoolBuilder<T>) -> ObjectPoolBuilder<T>,
    ) -> Result<ObjectPool<T>, PoolsError> {
        self.open(name, |settings| {
            with(ObjectPool::builder(name, factory).settings(settings).with_profile(self.inner.profile)).build()
        })
    }

    /// The resource pool of this name: the same one for all callers. The first one's manager counts.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, another type than at the first call, a full registry, no runtime.
    pub fn resource_pool<M: Manager>(&self, name: &str, manager: M) -> Result<ResourcePool<M>, PoolsError> {
        self.resource_pool_with(name, manager, |builder| builder)
    }

    /// The same with a word on how the pool is built, such as its leak handler.
    ///
    /// # Errors
    ///
    /// As [`resource_pool`](Self::resource_pool).
    pub fn resource_pool_with<M: Manager>(
        &self,
        name: &str,
        manager: M,
        with: impl FnOnce(ResourcePoolBuilder<M>) -> ResourcePoolBuilder<M>,
    ) -> Result<ResourcePool<M>, PoolsError> {
        self.open(name, |settings| {
            with(ResourcePool::builder(name, manager).settings(settings).with_profile(self.inner.profile)).build()
        })
    }

    /// The buffer pool of this name: the same one for all callers.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, a name of another kind, a full registry.
    pub fn buffer_pool(&self, name: &str) -> Result<BufferPool, PoolsError> {
        self.open(name, |settings| BufferPool::builder(name).settings(settings).build())
    }

    /// The interner of this name: the same one for all callers. The first one's `make` counts, such as
    /// `|name| Interner::bounded(name, 10_000)`.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, a name of another kind, a full registry.
    pub fn interner(&self, name: &str, make: impl FnOnce(&str) -> Interner) -> Result<Interner, PoolsError> {
        self.open(name, |_| Ok(make(name)))
    }

    /// The open pool of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn AnyPool>> {
        self.inner.state.read().open.get(name).cloned()
    }

    /// The open pool of this name, or an error that names those that are open.
    ///
    /// # Errors
    ///
    /// [`PoolsError::Unknown`].
    pub fn find(&self, name: &str) -> Result<Arc<dyn AnyPool>, PoolsError> {
        self.get(name).ok_or_else(|| {
            let state = self.inner.state.read();
            let distance = |known: &&Arc<str>| strsim::damerau_levenshtein(known, name);
            let near = state.open.keys().min_by_key(distance).filter(|near| distance(near) <= 1 + name.len() / 4);
            PoolsError::Unknown {
                name: name.chars().take(trimtab_config::NAME_MAX).collect(),
                suggestion: near.map(ToString::to_string),
                known: state.open.keys().take(16).map(ToString::to_string).collect(),
            }
        })
    }

    /// All open pools, by name.
    pub fn list(&self) -> Vec<Arc<dyn AnyPool>> {
        self.inner.state.read().open.values().cloned().collect()
    }

    /// Names that have settings, open or not.
    pub fn declared(&self) -> Vec<String> {
        self.inner.state.read().declared.keys().cloned().collect()
    }

    /// Forgets an open pool, and answers whether it was known. Handles that are still held go on working.
    pub fn remove(&self, name: &str) -> bool {
        let removed = self.inner.state.write().open.remove(name);
        removed.is_some()
    }

    /// Lets go of a share of what is idle in all pools; answers what that freed.
    pub fn trim_idle(&self, share: Share) -> Trimmed {
        self.list().iter().map(|pool| pool.trim_idle(share)).fold(Trimmed::default(), std::ops::Add::add)
    }

    /// What is due now and then: call it every few seconds.
    pub fn tick(&self) {
        self.list().iter().for_each(|pool| pool.tick());
    }

    /// Publishes the numbers of all pools as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        self.list().iter().for_each(|pool| pool.publish_metrics());
    }
}

fn downcast<P: AnyPool + Clone + 'static>(pool: &dyn AnyPool) -> Result<P, PoolsError> {
    pool.as_any().downcast_ref::<P>().cloned().ok_or_else(|| PoolsError::Mistyped {
        name: pool.name().to_owned(),
        open: pool.item_type(),
        asked: type_name::<P>(),
    })
}
