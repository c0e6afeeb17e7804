//! Settings that change while the program runs.
//!
//! The current settings sit in an `arc-swap`: readers take a reference and never wait. A change (a patch, or the file) builds
//! complete new settings beside the old ones; only when nothing at all is wrong are they swapped in. So a reader sees either the
//! old or the new, never a mixture, and a bad change changes nothing.
//!
//! Subscribers are told in the order of changes, one after the other, with no lock held: they may read, patch and unsubscribe. A
//! queue makes that possible: whoever finds it idle delivers, everyone else leaves their message there.

mod change;
mod listeners;
mod watch;

pub use change::{Change, Changes, LeafChange};
pub use listeners::Subscription;
pub use watch::{WatchError, WatchOptions};

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;

use crate::load::layer::lay_over;
use crate::load::path::Path;
use crate::load::tree;
use crate::{Invalid, Loaded, Loader, Origin, Problem, Settings};
use listeners::{Event, Listeners};
use watch::Follower;

/// Settings that can be patched, reloaded and followed. A cheap handle: clones share everything.
///
/// ```
/// use serde_json::json;
/// use trimtab_config::{Live, Loader, Profile, Settings};
/// # #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// # #[serde(default)]
/// # struct App { workers: u8 }
/// # impl Default for App { fn default() -> Self { Self { workers: 2 } } }
/// # impl Settings for App { fn for_profile(_: Profile) -> Self { Self::default() } }
///
/// let live = Live::start(Loader::<App>::new().no_file().variables::<&str, &str>([])).unwrap();
/// let told = live.on_change(|change| println!("{} -> {}", change.old.workers, change.new.workers));
///
/// let changes = live.patch(json!({ "workers": 8 })).unwrap();
/// assert_eq!(changes.to_string(), "workers: 2 -> 8");
/// assert_eq!(live.current().workers, 8);
///
/// assert!(live.patch(json!({ "workers": 8000 })).is_err());
/// assert_eq!(live.current().workers, 8);
/// ```
pub struct Live<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    current: ArcSwap<Loaded<T>>,
    /// Held while new settings are built and swapped, so that changes come one after the other.
    loader: Mutex<Loader<T>>,
    last_error: Mutex<Option<Arc<Invalid>>>,
    listeners: Arc<Listeners<T>>,
    follower: Mutex<Option<Follower>>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Settings> std::fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let loaded = self.loaded();
        f.debug_struct("Live").field("profile", &loaded.profile).field("file", &loaded.file).finish_non_exhaustive()
    }
}

impl<T: Settings> Live<T> {
    /// Loads for the first time.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub fn start(mut loader: Loader<T>) -> Result<Self, Invalid> {
        let loaded = loader.load()?;
        // From now on, a file that was there and is gone is a fault, not a wish for defaults.
        loader.file_required |= loaded.file.is_some();
        Ok(Self {
            inner: Arc::new(Inner {
                current: ArcSwap::from_pointee(loaded),
                loader: Mutex::new(loader),
                last_error: Mutex::new(None),
                listeners: Arc::new(Listeners::new()),
                follower: Mutex::new(None),
            }),
        })
    }

    /// The settings of this moment.
    ///
    /// # Complexity
    ///
    /// Constant, without waiting: two reference counts.
    pub fn current(&self) -> Arc<T> {
        self.inner.current.load().settings.clone()
    }

    /// The settings of this moment with the origin of each.
    pub fn loaded(&self) -> Arc<Loaded<T>> {
        self.inner.current.load_full()
    }

    /// Lays `patch`, a partial tree, over all other sources; `null` empties an optional setting.
    ///
    /// Earlier patches stay, unless this one says otherwise. What the file says is not read again.
    ///
    /// # Errors
    ///
    /// Every problem found; then nothing changes.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a patch is handed over; callers have a fresh tree, not a kept one"
    )]
    pub fn patch(&self, patch: Value) -> Result<Changes, Invalid> {
        if !patch.is_object() {
            let problem = Problem::new("", "a patch must be a table of settings").with_origin(Origin::Patch);
            return Err(Invalid { problems: vec![problem] });
        }
        self.inner.replace("patch", |loader, current| {
            let node = current.view().schema.node();
            lay_over(&mut loader.patch, &patch, Some(&node));
            loader.keep_sources(current);
            Ok(())
        })
    }

    /// Takes back what patches said about the setting or table at `path`; an empty path takes back all.
    ///
    /// # Errors
    ///
    /// When no patch has set it, or when the settings without it are refused; then nothing changes.
    pub fn reset(&self, path: &str) -> Result<Changes, Invalid> {
        self.inner.replace("reset", |loader, current| {
            let refuse = |why: String| Invalid { problems: vec![Problem::new(path, why).with_origin(Origin::Patch)] };
            if path.is_empty() {
                loader.patch = Value::Object(serde_json::Map::new());
            } else {
                let segments = Path::parse(path).map_err(refuse)?;
                let taken = tree::remove(&mut loader.patch, &segments.0);
                taken.ok_or_else(|| refuse("no patch has set this".into()))?;
            }
            loader.keep_sources(current);
            Ok(())
        })
    }

    /// All patches so far as one tree, secrets masked.
    pub fn patches(&self) -> Value {
        let patch = self.inner.loader.lock().patch.clone();
        self.inner.current.load().view().schema.masked(&[], &patch)
    }

    /// Reads all sources again. Patches stay on top.
    ///
    /// # Errors
    ///
    /// Every problem found; then nothing changes. The refusal is logged, told to [`on_failure`](Self::on_failure), and kept as
    /// [`last_error`](Self::last_error).
    pub fn reload(&self) -> Result<Changes, Invalid> {
        self.inner.reload()
    }

    /// Why the last reload was refused; `None` once one has succeeded.
    pub fn last_error(&self) -> Option<Arc<Invalid>> {
        self.inner.last_error.lock().clone()
    }

    /// Calls `listener` after every change, until the subscription is dropped.
    ///
    /// It runs on the thread that made the change (or is just delivering another), with no lock held. A panic in it is logged and
    /// hurts nobody else.
    pub fn on_change(&self, listener: impl Fn(&Change<T>) + Send + Sync + 'static) -> Subscription {
        self.inner.listeners.add(move |event| {
            if let Event::Changed(change) = event {
                listener(change);
            }
        })
    }

    /// Calls `listener` after every reload that was refused, until the subscription is dropped.
    pub fn on_failure(&self, listener: impl Fn(&Invalid) + Send + Sync + 'static) -> Subscription {
        self.inner.listeners.add(move |event| {
            if let Event::Refused(invalid) = event {
                listener(invalid);
            }
        })
    }

    /// Follows the file, with the usual [`WatchOptions`].
    ///
    /// # Errors
    ///
    /// When no file belongs to the settings, or the system gives no thread.
    pub fn watch(&self) -> Result<(), WatchError> {
        self.watch_with(WatchOptions::default())
    }

    /// Follows the file: a change to it is loaded as by [`reload`](Self::reload), from a thread named `trimtab-config`.
    ///
    /// Also a file that does not exist yet, one that is replaced by a rename, and one behind symbolic links that are swapped
    /// (Kubernetes). Ends when the last handle is dropped, or with [`unwatch`](Self::unwatch). Calling it again starts afresh.
    ///
    /// # Errors
    ///
    /// When no file belongs to the settings, or the system gives no thread.
    pub fn watch_with(&self, options: WatchOptions) -> Result<(), WatchError> {
        self.unwatch();
        let (path, _) = self.inner.loader.lock().file_path().ok_or(WatchError::NoFile)?;
        let known = self.inner.current.load().view().file_text.as_deref().map(str::as_bytes).map(watch::fingerprint);
        let weak = Arc::downgrade(&self.inner);
        let reload = move || weak.upgrade().map(|inner| drop(inner.reload())).is_some();
        *self.inner.follower.lock() = Some(Follower::start(path, known, options, reload)?);
        Ok(())
    }

    /// Stops following the file.
    pub fn unwatch(&self) {
        // Out of the lock before the thread is waited for: it may be telling a subscriber that calls this very function.
        let follower = self.inner.follower.lock().take();
        drop(follower);
    }
}

impl<T: Settings> Loader<T> {
    /// Loads from what the last good load saw, so that only the patch can be at fault.
    fn keep_sources(&mut self, current: &Loaded<T>) {
        self.file_text.clone_from(&current.view().file_text);
        // Without a text there was no file; one that has appeared since waits for a reload.
        if self.file_text.is_none() {
            *self = self.clone().no_file();
        }
        *self = self.clone().machine(current.machine.clone());
    }
}

impl<T: Settings> Inner<T> {
    /// Builds settings with a loader that `prepare` has changed, and swaps them in if they are sound.
    fn replace(
        &self,
        cause: &'static str,
        prepare: impl FnOnce(&mut Loader<T>, &Loaded<T>) -> Result<(), Invalid>,
    ) -> Result<Changes, Invalid> {
        let mut loader = self.loader.lock();
        let old = self.current.load_full();
        let mut candidate = loader.clone();
        prepare(&mut candidate, &old)?;
        let new = Arc::new(candidate.load()?);
        loader.patch = candidate.patch;
        loader.file_required |= new.file.is_some();
        let changes = Changes::between(&old, &new);
        self.current.store(new.clone());
        if !changes.is_empty() {
            let change =
                Change { old: old.settings.clone(), new: new.settings.clone(), changes: changes.clone(), cause };
            self.listeners.queue(Event::Changed(change));
        }
        // After the swap and in its order, but with no lock held.
        drop(loader);
        self.listeners.deliver();
        Ok(changes)
    }

    fn reload(&self) -> Result<Changes, Invalid> {
        let result = self.replace("reload", |_, _| Ok(()));
        match &result {
            Ok(changes) => {
                *self.last_error.lock() = None;
                tracing::info!(changed = changes.len(), restart = changes.needs_restart(), "settings reloaded");
            }
            Err(invalid) => {
                let invalid = Arc::new(invalid.clone());
                *self.last_error.lock() = Some(invalid.clone());
                tracing::error!(problems = invalid.problems().len(), %invalid, "settings refused; the old ones stay");
                self.listeners.queue(Event::Refused(invalid));
                self.listeners.deliver();
            }
        }
        result
    }
}
