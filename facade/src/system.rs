//! The assembled system: one handle to the caches, the monitor and the settings of a service.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_cache::{ByteCache, Cache, CacheSettings, Caches, CachesError, MemoryBudget};
use trimtab_config::{Live, Loaded, Profile, Settings, Share};
use trimtab_monitor::{CallbackId, Health, Monitor, Need};
use trimtab_pool::Pools;

use crate::builder::Builder;
use crate::error::StartError;
use crate::parts::{Given, Parts};
use crate::relief::{Relief, Relieved};
use crate::reload::Reload;
use crate::settings::TrimtabSettings;
use crate::shutdown::{Closing, Stopped};
use crate::watch::Watch;

/// A running system. Clones are cheap and speak of the same one.
///
/// ```
/// use trimtab::Trimtab;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tt = Trimtab::start().await?; // TRIMTAB_PROFILE, trimtab.toml, environment variables
/// let names = tt.cache::<u64, String>("names")?;
/// let name = names.get_with(7, || async { "Ada".to_owned() }).await;
/// assert_eq!(name, "Ada");
/// tt.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Trimtab {
    inner: Arc<Inner>,
}

struct Inner {
    live: Live<TrimtabSettings>,
    caches: Caches,
    pools: Pools,
    parts: Parts,
    monitor: Monitor,
    housekeeping: CallbackId,
    /// On which it stops.
    runtime: tokio::runtime::Handle,
    budget: Option<Arc<MemoryBudget>>,
    closing: Closing,
    started: Instant,
    #[cfg(feature = "admin")]
    console: trimtab_admin::Console,
    /// Carries changed settings to the parts while the system lives.
    _reload: Reload,
}

/// Settings of a byte cache: never without a limit on bytes.
pub(crate) fn bounded(settings: CacheSettings, profile: Profile) -> CacheSettings {
    let max_bytes = settings.max_bytes.or(CacheSettings::for_bytes(profile).max_bytes);
    let mut settings = settings;
    settings.max_bytes = max_bytes;
    settings
}

impl fmt::Debug for Trimtab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trimtab")
            .field("profile", &self.profile())
            .field("caches", &self.inner.caches)
            .finish_non_exhaustive()
    }
}

impl Trimtab {
    /// Starts with the settings of the machine, `trimtab.toml` in the working directory (if there is one) and the
    /// environment's variables.
    ///
    /// # Errors
    ///
    /// [`StartError`]; with settings that cannot be used it lists every problem at once.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Says more about the start: profile, file, single settings.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Puts the parts together; the builder has read the settings.
    pub(crate) fn assemble(live: Live<TrimtabSettings>, guarded: bool, given: Given) -> Result<Self, StartError> {
        let settings = live.current();
        let caches = Caches::new();
        for (name, cache) in &settings.cache {
            caches.declare(name, cache.clone())?;
        }
        let pools = crate::pools::declared(&settings, live.loaded().profile)?;
        let parts = Parts::start(&live.loaded(), given)?;
        let monitor =
            Monitor::builder().settings(settings.monitor.clone()).memory_limit(settings.memory.limit).start()?;
        // Once a tick: what has expired goes, a bounded number; the counts of all caches are published; and a settings
        // file that was refused shows in the health until it is mended.
        let started = Instant::now();
        let budget = settings.budget.build()?.map(Arc::new);
        let housekeeping = monitor.on_tick({
            let (caches, pools, live, budget) = (caches.clone(), pools.clone(), live.clone(), budget.clone());
            let (parts, watch) = (parts.clone(), Watch::new(monitor.health()));
            let relief = Arc::new(Relief::default());
            let settings = monitor.health().component("settings", Need::Optional);
            move |tick| {
                caches.expire();
                if let Some(budget) = &budget
                    && let Some(decision) = budget.tick(&caches.list(), started.elapsed())
                {
                    tracing::info!(%decision, "the memory budget moved bytes");
                }
                relief.tick(&caches, &pools, tick.pressure.level, &live.current(), started.elapsed());
                caches.publish_metrics();
                pools.tick();
                pools.publish_metrics();
                parts.hear(&tick.sample);
                parts.publish_metrics();
                watch.look(&parts, &live.current());
                if let Some(why) = live.last_error() {
                    settings.degraded(format!("changed settings were refused, the old ones stay: {why}"));
                } else {
                    settings.up();
                }
            }
        });
        let reload = Reload::follow(&live, &caches, &pools, &parts, &monitor);
        #[cfg(feature = "admin")]
        let console = parts.show(crate::view::console(&live, &caches, &monitor).with_pools(pools.clone()));
        #[cfg(feature = "admin")]
        let console = if guarded { parts.guard(console, live.loaded().profile)? } else { console };
        #[cfg(not(feature = "admin"))]
        let _ = guarded;
        #[cfg(feature = "admin")]
        let console = match &budget {
            Some(budget) => console.with_budget(Arc::clone(budget)),
            None => console,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                live,
                caches,
                pools,
                parts,
                monitor,
                housekeeping,
                runtime: tokio::runtime::Handle::current(),
                closing: Closing::new(),
                started,
                budget,
                #[cfg(feature = "admin")]
                console,
                _reload: reload,
            }),
        })
    }

    /// The cache of this name, with these types: the same one for all callers.
    ///
    /// Its settings are those of `[cache.NAME]`. A name that no setting mentions gets the profile's defaults.
    ///
    /// # Errors
    ///
    /// [`CachesError`]: an impossible name, other types than at the first call, a byte limit without a weigher (see
    /// [`Caches::open_with`]), compression of typed values.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use trimtab::Trimtab;
    /// let tt = Trimtab::builder().no_file().set("cache.users.max_entries", 500).start().await?;
    /// let users = tt.cache::<u64, String>("users")?;
    /// assert_eq!(users.stats().max_entries, Some(500));
    /// assert!(tt.cache::<u64, u64>("users").is_err(), "one name, one type");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache<K, V>(&self, name: &str) -> Result<Cache<K, V>, CachesError>
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        match self.inner.caches.open(name) {
            Err(CachesError::Unknown { .. }) => {
                let defaults = CacheSettings::for_profile(self.profile());
                match self.inner.caches.declare(name, defaults) {
                    // Another caller was faster: its cache is ours too.
                    Ok(()) | Err(CachesError::Duplicate { .. }) => self.inner.caches.open(name),
                    Err(error) => Err(error),
                }
            }
            opened => opened,
        }
    }

    /// The cache of bytes of this name, as the HTTP API serves them: the same one for all callers.
    ///
    /// Its settings are those of `[cache.NAME]`. Values of unknown size come from outside, so without a `max_bytes` it is
    /// limited to the profile's 8, 64 or 512 MiB. With `snapshot = true` the first call reads back what the last run has saved,
    /// which takes time in proportion to it.
    ///
    /// # Errors
    ///
    /// [`CachesError`]: an impossible name, or a cache that is open with types.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use trimtab::Trimtab;
    /// let tt = Trimtab::builder().no_file().start().await?;
    /// let pages = tt.byte_cache("pages")?;
    /// pages.put("/", &b"<!doctype html>"[..], None)?;
    /// assert_eq!(pages.get("/").as_deref(), Some(&b"<!doctype html>"[..]));
    /// assert_eq!(pages.stats().max_bytes, Some(64 << 20));
    /// # Ok(())
    /// # }
    /// ```
    pub fn byte_cache(&self, name: &str) -> Result<ByteCache, CachesError> {
        let (caches, profile) = (&self.inner.caches, self.profile());
        #[cfg(feature = "admin")]
        let first = caches.get(name).is_none();
        match caches.declared(name) {
            Some(settings) => {
                caches.redeclare(name, bounded(settings, profile));
            }
            None => match caches.declare(name, CacheSettings::for_bytes(profile)) {
                Ok(()) | Err(CachesError::Duplicate { .. }) => {}
                Err(error) => return Err(error),
            },
        }
        let cache = caches.bytes(name)?;
        #[cfg(feature = "admin")]
        {
            let settings = self.settings();
            if let (true, Some(directory)) = (first && is_kept(&settings, name), &settings.server.snapshots) {
                crate::warm::restore(&cache, directory);
            }
        }
        Ok(cache)
    }

    /// Saves the byte caches with `snapshot = true` to the directory of `server.snapshots`, each file replaced whole; answers
    /// how many were saved. What goes wrong is told in the log.
    ///
    /// [`serve`](Self::serve) does this when it ends. Call it at the end of a program that serves [`admin`](Self::admin) itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once called, the files are written whether or not anyone waits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use trimtab::Trimtab;
    /// # let folder = tempfile::tempdir()?;
    /// # let directory = folder.path().to_str().unwrap();
    /// let start = || Trimtab::builder().no_file().set("server.snapshots", directory).set("cache.pages.snapshot", true).start();
    /// let tt = start().await?;
    /// tt.byte_cache("pages")?.put("/", "hello", None)?;
    /// assert_eq!(tt.save_snapshots().await, 1);
    /// tt.shutdown().await;
    ///
    /// let again = start().await?;
    /// assert_eq!(again.byte_cache("pages")?.get("/").as_deref(), Some(&b"hello"[..]));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "admin")]
    pub async fn save_snapshots(&self) -> usize {
        let settings = self.settings();
        let Some(directory) = settings.server.snapshots.clone() else { return 0 };
        let open = self.inner.caches.list();
        let kept = open.iter().filter(|cache| is_kept(&settings, cache.name()));
        let kept: Vec<_> = kept.filter_map(|cache| cache.as_bytes().cloned()).collect();
        tokio::task::spawn_blocking(move || crate::warm::save(&kept, &directory)).await.unwrap_or(0)
    }

    /// The registry of named caches.
    pub fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    /// The memory budget over all caches, if `budget.total` is set: its limits and latest decisions.
    ///
    /// A cache comes under it at the first tick of the monitor after it was opened.
    pub fn budget(&self) -> Option<&MemoryBudget> {
        self.inner.budget.as_deref()
    }

    /// The registry of named pools.
    pub fn pools(&self) -> &Pools {
        &self.inner.pools
    }

    /// Samples, history and pressure.
    pub fn monitor(&self) -> &Monitor {
        &self.inner.monitor
    }

    /// Liveness and readiness: add components of your own.
    pub fn health(&self) -> &Health {
        self.inner.monitor.health()
    }

    /// The settings in effect.
    pub fn settings(&self) -> Arc<TrimtabSettings> {
        self.inner.live.current()
    }

    /// The settings with the origin of each value.
    pub fn loaded(&self) -> Arc<Loaded<TrimtabSettings>> {
        self.inner.live.loaded()
    }

    /// The settings as they can change at run time: patch, reload, subscribe.
    pub fn live(&self) -> &Live<TrimtabSettings> {
        &self.inner.live
    }

    /// The profile in effect.
    pub fn profile(&self) -> Profile {
        self.loaded().profile
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.inner.started.elapsed()
    }

    /// Removes what has expired from all caches, without the bound of the background work; answers how many entries.
    pub fn cleanup(&self) -> usize {
        // No more than is held now: entries that keep coming and expiring must not keep the caller here.
        let held = self.inner.caches.list().iter().map(|cache| cache.len()).sum::<u64>() as usize;
        let mut removed = 0;
        while removed < held {
            let step = self.inner.caches.expire();
            if step == 0 {
                break;
            }
            removed += step;
        }
        removed
    }

    /// Shrinks all caches together to a share of the bytes that they hold now, what is regretted least first, lets pools keep
    /// the same share of what they have idle, and gives the memory back to the system; answers what that brought. The same happens by itself when memory pressure is high, see
    /// [`MemorySettings`](crate::MemorySettings). Blocks: call it from `tokio::task::spawn_blocking` if there is much.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use trimtab::{Trimtab, config::Share};
    /// let tt = Trimtab::builder().no_file().start().await?;
    /// let users = tt.cache::<u64, u64>("users")?;
    /// (0..100).for_each(|key| users.insert(key, key));
    /// let relieved = tt.shrink_to(Share::percent(25));
    /// assert_eq!((relieved.freed.entries, users.len()), (75, 25));
    /// # Ok(())
    /// # }
    /// ```
    pub fn shrink_to(&self, share: Share) -> Relieved {
        crate::relief::relieve(&self.inner.caches, &self.inner.pools, share, || self.inner.monitor.reclaim())
    }

    /// The HTTP API and the dashboard as a router, to be merged into a service of one's own.
    #[cfg(feature = "admin")]
    pub fn admin(&self) -> axum::Router {
        trimtab_admin::router(self.inner.console.clone(), self.settings().server.clone())
    }

    /// The same for a listener of its own.
    #[cfg(feature = "admin")]
    pub(crate) fn standalone(&self) -> axum::Router {
        trimtab_admin::standalone(self.inner.console.clone(), self.settings().server.clone())
    }

    /// Takes the port of `server.address`, so that the address can be told before the first answer.
    ///
    /// # Errors
    ///
    /// [`ServeError`](crate::ServeError) when the port is in use or refused.
    #[cfg(feature = "admin")]
    pub async fn bind(&self) -> Result<crate::Server, crate::ServeError> {
        crate::Server::bind(self.clone()).await
    }

    /// Serves the HTTP API and the dashboard until [`shutdown`](Self::shutdown), then [saves](Self::save_snapshots) the caches
    /// that are to survive a restart.
    ///
    /// # Errors
    ///
    /// [`ServeError`](crate::ServeError) when the port is in use or refused.
    #[cfg(feature = "admin")]
    pub async fn serve(&self) -> Result<(), crate::ServeError> {
        let _serving = self.serving();
        self.bind().await?.run().await;
        self.save_snapshots().await;
        Ok(())
    }

    /// Where the value of a setting comes from, in words.
    #[cfg(feature = "admin")]
    pub(crate) fn origin(&self, path: &str) -> String {
        self.loaded().origin(path).map_or_else(|| "default".to_owned(), |origin| origin.to_string())
    }

    /// Resolves when the shutdown begins.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn closing(&self) {
        self.inner.closing.closed().await;
    }

    /// Stops: readiness turns false, servers finish their open requests, jobs finish within ten seconds or are cancelled, locks
    /// are given back or taken from their holders, the monitor ends; answers what became of jobs and locks.
    ///
    /// Caches stay usable for whoever holds one. Further calls wait for the same end, and are answered the same.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: once called, everything ends whether or not anyone waits.
    pub async fn shutdown(&self) -> Stopped {
        self.health().drain();
        if let Some(report) = self.inner.closing.close() {
            #[cfg(feature = "admin")]
            self.inner.console.close();
            let system = self.clone();
            self.inner.runtime.spawn(async move {
                system.inner.closing.served().await;
                let stopped = system.inner.parts.stop().await;
                system.inner.monitor.remove_callback(system.inner.housekeeping);
                system.inner.monitor.shutdown().await;
                tracing::debug!("{stopped}");
                report.send_replace(Some(stopped));
            });
        }
        self.inner.closing.stopped().await
    }

    /// The parts that features switch on.
    #[cfg(any(feature = "scheduler", feature = "lock", feature = "limit"))]
    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// Says that a server of your own answers requests: a stop takes jobs and keeps locks until what this returns is dropped,
    /// for [`SERVING_MAX`](crate::SERVING_MAX) at most. [`serve`](Self::serve) and [`bind`](Self::bind) do so by themselves.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tt = trimtab::Trimtab::builder().no_file().start().await?;
    /// let serving = tt.serving();
    /// // axum::serve(listener, app).with_graceful_shutdown(async move { tt.closing().await }).await?;
    /// drop(serving);
    /// # tt.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serving(&self) -> crate::Serving {
        self.inner.closing.serving()
    }

    /// Whether requests are counted by peer.
    #[cfg(feature = "admin")]
    pub(crate) fn counts_peers(&self) -> bool {
        self.inner.console.counts_peers()
    }

    /// Shuts down on ctrl-C or SIGTERM. A second signal ends the program at once, with exit status 130.
    pub fn shutdown_on_signal(&self) {
        let system = self.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                name = crate::shutdown::signal() => name,
                () = system.closing() => return,
            };
            tracing::info!(signal = name, "shutting down; a second signal ends at once");
            tokio::spawn(async {
                crate::shutdown::signal().await;
                std::process::exit(130);
            });
            system.shutdown().await;
        });
    }
}

/// Whether a cache is to survive a restart.
#[cfg(feature = "admin")]
fn is_kept(settings: &TrimtabSettings, name: &str) -> bool {
    settings.cache.get(name).is_some_and(|cache| cache.snapshot)
}
