//! The pools of the assembled system: by name, with the settings of `[pool.NAME]`.

use trimtab_config::{Change, Profile};
use trimtab_pool::{BufferPool, Interner, Manager, ObjectPool, Pools, PoolsError, ResourcePool};

use crate::error::StartError;
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// A registry that knows the settings of all sections.
pub(crate) fn declared(settings: &TrimtabSettings, profile: Profile) -> Result<Pools, StartError> {
    let pools = Pools::with_profile(profile);
    for (name, pool) in &settings.pool {
        pools.declare(name, pool.clone())?;
    }
    Ok(pools)
}

/// Carries changed sections to their pools.
pub(crate) fn follow(change: &Change<TrimtabSettings>, pools: &Pools) {
    let (old, new) = (&change.old.pool, &change.new.pool);
    let changed = new.iter().filter(|(name, settings)| old.get(*name) != Some(settings));
    let results = changed.map(|(name, settings)| (name, pools.declare(name, settings.clone())));
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, pools.undeclare(name)));
    for (name, error) in results.chain(gone).filter_map(|(name, result)| Some((name, result.err()?))) {
        tracing::error!(pool = name, %error, "the pool keeps its old settings");
    }
}

impl Trimtab {
    /// The pool of resources of this name, such as connections: the same one for all callers. The first one's manager counts.
    ///
    /// Its settings are those of `[pool.NAME]`. A name that no setting mentions gets the profile's defaults.
    ///
    /// # Errors
    ///
    /// [`PoolsError`]: an impossible name, another type than at the first call.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use trimtab::Trimtab;
    /// use trimtab::pool::Manager;
    ///
    /// struct Connect;
    ///
    /// impl Manager for Connect {
    ///     type Resource = String;
    ///     type Error = std::io::Error;
    ///
    ///     async fn create(&self) -> Result<String, std::io::Error> {
    ///         Ok("a connection".to_owned())
    ///     }
    /// }
    ///
    /// let tt = Trimtab::builder().no_file().set("pool.orders.max", 20).start().await?;
    /// let orders = tt.resource_pool("orders", Connect)?;
    /// assert_eq!(*orders.acquire().await?, "a connection");
    /// assert_eq!(orders.stats().max, 20);
    /// # tt.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn resource_pool<M: Manager>(&self, name: &str, manager: M) -> Result<ResourcePool<M>, PoolsError> {
        self.pools().resource_pool(name, manager)
    }

    /// The pool of objects of this name: the same one for all callers. The first one's factory counts.
    ///
    /// A reset and the like are given with [`Pools::object_pool_with`].
    ///
    /// # Errors
    ///
    /// As [`resource_pool`](Self::resource_pool).
    pub fn object_pool<T: Send + 'static>(
        &self,
        name: &str,
        factory: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<ObjectPool<T>, PoolsError> {
        self.pools().object_pool(name, factory)
    }

    /// The pool of byte buffers of this name: the same one for all callers.
    ///
    /// # Errors
    ///
    /// As [`resource_pool`](Self::resource_pool).
    pub fn buffer_pool(&self, name: &str) -> Result<BufferPool, PoolsError> {
        self.pools().buffer_pool(name)
    }

    /// The interner of this name, which keeps the last `keep` words beside those in use: the same one for all callers.
    ///
    /// # Errors
    ///
    /// As [`resource_pool`](Self::resource_pool).
    pub fn interner(&self, name: &str, keep: usize) -> Result<Interner, PoolsError> {
        self.pools().interner(name, |name| Interner::bounded(name, keep))
    }
}
