//! How a system starts: which profile, which file, which single settings.

use std::path::PathBuf;

use serde::Serialize;
use trimtab_config::{Environment, Live, Loader, Machine, Profile};
use trimtab_monitor::MonitorError;

use crate::error::StartError;
use crate::parts::Given;
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// Says how to start. Everything has a default; only [`start`](Self::start) reads and checks.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use trimtab::Trimtab;
/// use trimtab::config::Profile;
///
/// let tt = Trimtab::builder()
///     .profile(Profile::Minimal)
///     .no_file()
///     .set("cache.sessions.ttl", "30m")
///     .start()
///     .await?;
/// assert_eq!(tt.profile(), Profile::Minimal);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct Builder {
    loader: Loader<TrimtabSettings>,
    watch_file: bool,
    recorder: bool,
    guarded: bool,
    given: Given,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { loader: Loader::new(), watch_file: true, recorder: true, guarded: false, given: Given::default() }
    }

    /// Everything that a loader was told, for example by a command line.
    pub fn loader(self, loader: Loader<TrimtabSettings>) -> Self {
        Self { loader, ..self }
    }

    /// Uses this profile, whatever the variable `TRIMTAB_PROFILE` and the file say. To propose one that they may
    /// override, give a [`loader`](Self::loader) with [`Loader::default_profile`].
    #[track_caller]
    pub fn profile(self, profile: Profile) -> Self {
        let loader = self.loader.profile(profile);
        Self { loader, ..self }
    }

    /// Uses this environment, whatever the variable `TRIMTAB_ENVIRONMENT` and the file say.
    #[track_caller]
    pub fn environment(self, environment: Environment) -> Self {
        let loader = self.loader.environment(environment);
        Self { loader, ..self }
    }

    /// A settings file that must exist, instead of `trimtab.toml`, which may be missing.
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        self.with(|loader| loader.file(path.into()))
    }

    /// No settings file.
    pub fn no_file(self) -> Self {
        self.with(Loader::no_file)
    }

    /// These variables instead of the process's own.
    pub fn variables<N, V>(self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<std::ffi::OsString>,
        V: Into<std::ffi::OsString>,
    {
        self.with(|loader| loader.variables(variables))
    }

    /// What is known of the machine, instead of looking.
    pub fn machine(self, machine: Machine) -> Self {
        self.with(|loader| loader.machine(machine))
    }

    /// One setting, above file and variables. A wrong path or value is reported by [`start`](Self::start) with all
    /// other problems.
    #[track_caller]
    pub fn set(self, path: impl Into<String>, value: impl Serialize) -> Self {
        let loader = self.loader.set(path, value);
        Self { loader, ..self }
    }

    /// Whether changes of the settings file take effect while the system runs. Default true.
    pub fn watch_file(mut self, watch: bool) -> Self {
        self.watch_file = watch;
        self
    }

    /// Whether to install the Prometheus recorder for the whole program. Default true; a recorder that the program
    /// has installed before stays in any case, and then answers its own scrapes.
    pub fn recorder(mut self, recorder: bool) -> Self {
        self.recorder = recorder;
        self
    }

    /// Whether the HTTP API stands behind this system's own parts, as far as their features are on. Default false.
    ///
    /// Its heavy requests are then jobs of the cpu lane, files of snapshots are behind the breaker of the call `snapshots`, and
    /// each peer's requests, those for entries excepted, are limited by the limit `admin`. Sections `[call.snapshots]` and
    /// `[limit.admin]` say how. For a program that is little but its HTTP API: where jobs of your own fill the lane, an
    /// operator's requests wait behind those that run.
    #[cfg(feature = "admin")]
    pub fn guarded_admin(mut self, guarded: bool) -> Self {
        self.guarded = guarded;
        self
    }

    /// Lets the scheduler's process lane run these functions in worker processes. Their `serve` must come first in `main`.
    ///
    /// ```standalone_crate
    /// use trimtab::Trimtab;
    /// use trimtab::scheduler::{Job, Workers};
    ///
    /// fn workers() -> Workers {
    ///     Workers::new().register("shout", |text: String| text.to_uppercase())
    /// }
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///     workers().serve();
    ///     let tt = Trimtab::builder().no_file().workers(workers()).set("scheduler.workers.timeout", "5s").start().await?;
    ///     let loud: String = tt.scheduler().submit(Job::process("shout", "hello".to_owned())).await?;
    ///     assert_eq!(loud, "HELLO");
    ///     tt.shutdown().await;
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "process")]
    pub fn workers(mut self, workers: trimtab_scheduler::Workers) -> Self {
        self.given.workers = Some(workers);
        self
    }

    /// Reads and checks the settings, and starts what they ask for.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it ends stops what was started.
    pub async fn start(self) -> Result<Trimtab, StartError> {
        let follow = self.watch_file && self.loader.file_path().is_some();
        // Files are read on a thread that may wait.
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| MonitorError::NoRuntime)?;
        let loading = runtime.spawn_blocking(move || Live::start(self.loader));
        let live = loading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        if self.recorder {
            // Before the caches: they resolve their handles once, with the recorder of that moment.
            if let Err(error) = trimtab_monitor::prometheus::install() {
                tracing::debug!(%error, "metrics go to the recorder that the program has installed");
            }
        }
        if follow {
            live.watch()?;
        }
        Trimtab::assemble(live, self.guarded, self.given)
    }

    fn with(self, change: impl FnOnce(Loader<TrimtabSettings>) -> Loader<TrimtabSettings>) -> Self {
        Self { loader: change(self.loader), ..self }
    }
}
