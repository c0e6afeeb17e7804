//! What the API shows: handles to the caches, the monitor and the settings of one system.
//!
//! A console is cheap to clone and owns nothing of what it shows. The settings come through the small trait
//! [`SettingsView`], because only the assembled system knows the whole tree.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use trimtab_cache::{Caches, MemoryBudget};
use trimtab_config::{Origin, Profile};
use trimtab_monitor::Monitor;
use trimtab_pool::Pools;

use crate::parts::Parts;

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingLeaf {
    /// Path in the tree of settings: `cache.users.max_bytes`.
    pub path: String,
    /// The value in effect; a secret is masked.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// What one layer says about a setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingLayer {
    /// Where the value comes from.
    pub origin: Origin,
    /// The layer's value; a secret is masked.
    pub value: Value,
    /// Whether this is the value in effect.
    pub wins: bool,
}

/// One setting that a change at run time has changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingChange {
    /// Path in the tree of settings.
    pub path: String,
    /// The value before; a secret is masked. `None` when there was none.
    pub old: Option<Value>,
    /// The value now; a secret is masked. `None` when it is gone.
    pub new: Option<Value>,
    /// Where the value comes from now.
    pub origin: Origin,
    /// Whether it takes effect only after a restart.
    pub restart: bool,
}

/// The settings of the running system, lowest layer first where layers are listed.
///
/// Secrets must be masked by the implementation: what it answers is shown to whoever may read. Settings that never
/// change while the program runs need only the first five methods; changes are then refused in words.
pub trait SettingsView: Send + Sync {
    /// The profile in effect.
    fn profile(&self) -> Profile;
    /// The environment in effect.
    fn environment(&self) -> String;
    /// Every effective setting, ordered by path.
    fn leaves(&self) -> Vec<SettingLeaf>;
    /// What every layer says about `path`; `None` when there is no such setting.
    fn explain(&self, path: &str) -> Option<Vec<SettingLayer>>;
    /// The JSON schema of the settings.
    fn schema(&self) -> Value;

    /// Lays a partial tree over all other sources, whole or not at all; answers what changed, ordered by path.
    ///
    /// It is called where blocking is allowed, and may wait until the parts have followed.
    ///
    /// # Errors
    ///
    /// Every problem found, secrets masked; then nothing changed.
    fn patch(&self, patch: Value) -> Result<Vec<SettingChange>, Vec<trimtab_config::Problem>> {
        let _ = patch;
        Err(vec![trimtab_config::Problem::new("", UNCHANGEABLE)])
    }

    /// Takes back what patches said about the setting or table at `path`; an empty path takes back all of them.
    ///
    /// It is called where blocking is allowed.
    ///
    /// # Errors
    ///
    /// When no patch has set it, or when the settings without it are refused; then nothing changed.
    fn reset(&self, path: &str) -> Result<Vec<SettingChange>, Vec<trimtab_config::Problem>> {
        Err(vec![trimtab_config::Problem::new(path, UNCHANGEABLE)])
    }

    /// All patches so far as one tree, secrets masked.
    fn patches(&self) -> Value {
        Value::Object(serde_json::Map::new())
    }
}

const UNCHANGEABLE: &str =
    "this program's settings do not change while it runs; change them at their source and restart it";

/// The handles behind one router.
#[derive(Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

struct Inner {
    caches: Caches,
    pools: OnceLock<Pools>,
    monitor: Monitor,
    settings: Arc<dyn SettingsView>,
    program: String,
    version: String,
    closed: watch::Sender<bool>,
    reclaimed: AtomicU64,
    budget: OnceLock<Arc<MemoryBudget>>,
    #[cfg_attr(
        not(any(feature = "scheduler", feature = "lock", feature = "limit")),
        allow(dead_code, reason = "where no part is compiled in")
    )]
    parts: Parts,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("program", &self.inner.program).finish_non_exhaustive()
    }
}

impl Console {
    /// A console for one system; `program` and `version` are shown at `/info`.
    pub fn new(
        caches: Caches,
        monitor: Monitor,
        settings: Arc<dyn SettingsView>,
        program: impl Into<String>,
        version: impl Into<String>,
    ) -> Self {
        let (program, version) = (program.into(), version.into());
        let (closed, _) = watch::channel(false);
        let reclaimed = AtomicU64::new(0);
        let (budget, pools) = (OnceLock::new(), OnceLock::new());
        let parts = Parts::default();
        Self {
            inner: Arc::new(Inner {
                caches,
                pools,
                monitor,
                settings,
                program,
                version,
                closed,
                reclaimed,
                budget,
                parts,
            }),
        }
    }

    /// Shows a memory budget over the caches; the first one given stays.
    #[must_use]
    pub fn with_budget(self, budget: Arc<MemoryBudget>) -> Self {
        self.inner.budget.get_or_init(|| budget);
        self
    }

    /// The memory budget over the caches, if there is one.
    pub fn budget(&self) -> Option<&MemoryBudget> {
        self.inner.budget.get().map(|budget| &**budget)
    }

    /// Shows these pools. To be called once, before the pools are asked for; later calls change nothing.
    pub fn with_pools(self, pools: Pools) -> Self {
        let _ = self.inner.pools.set(pools);
        self
    }

    /// The named pools.
    pub fn pools(&self) -> &Pools {
        self.inner.pools.get_or_init(Pools::new)
    }

    /// The parts that features switch on.
    #[cfg(any(feature = "scheduler", feature = "lock", feature = "limit"))]
    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    /// The named caches.
    pub fn caches(&self) -> &Caches {
        &self.inner.caches
    }

    /// The monitor.
    pub fn monitor(&self) -> &Monitor {
        &self.inner.monitor
    }

    /// The settings.
    pub fn settings(&self) -> &dyn SettingsView {
        &*self.inner.settings
    }

    /// Name of the program.
    pub fn program(&self) -> &str {
        &self.inner.program
    }

    /// Version of the program.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Ends every open event stream and refuses new ones: call it when a graceful shutdown begins, since a stream
    /// never ends by itself and the server would wait for it.
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
    }

    /// Becomes `true` when [`close`](Self::close) is called.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.inner.closed.subscribe()
    }

    /// Bytes that optimisations have given back since the start.
    pub(crate) fn reclaimed(&self) -> u64 {
        self.inner.reclaimed.load(Ordering::Relaxed)
    }

    pub(crate) fn add_reclaimed(&self, bytes: u64) {
        self.inner.reclaimed.fetch_add(bytes, Ordering::Relaxed);
    }
}
