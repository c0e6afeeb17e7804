//! Groups of locks by name, in the store that `[lock.NAME]` says, and what becomes of them at the stop.
//!
//! A group is opened when code first asks for it, since that asks its store. At the stop, holders have a second to give back
//! what they hold (they know by [`Trimtab::closing`]); what is left is taken from them, and they are told.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use trimtab_config::{Change, Profile, Settings};
use trimtab_lock::{LockListing, LockSettings, Locks};

use crate::error::{NAMES_MAX, OpenError};
use crate::settings::TrimtabSettings;
use crate::system::Trimtab;

/// How long holders may take to give their locks back when the system stops.
pub const LOCK_GRACE: Duration = Duration::from_secs(1);
/// How long their stores may take to hear of locks that were taken from their holders.
const TAKEN_GRACE: Duration = Duration::from_millis(500);
/// What their holders are told, in the log.
const STOPS: &str = "the program stops";
/// How often is looked whether locks are free.
const LOOK: Duration = Duration::from_millis(5);

/// What became of the locks that this process held when it stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocksReleased {
    /// Given back by their holders: locks, read or held alone, and semaphores of which permits were held.
    pub given_back: usize,
    /// Taken from their holders, who were told: `GROUP/LOCK`.
    pub taken: Vec<String>,
}

impl fmt::Display for LocksReleased {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given_back, taken } = self;
        write!(f, "{given_back} locks were given back, {} were taken from their holders", taken.len())
    }
}

/// The named groups of a system.
#[derive(Clone, Debug)]
pub(crate) struct LockGroups {
    profile: Profile,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    declared: BTreeMap<String, LockSettings>,
    open: BTreeMap<String, Arc<OnceCell<Locks>>>,
}

impl LockGroups {
    pub(crate) fn declared(settings: &TrimtabSettings, profile: Profile) -> Self {
        let state = State { declared: settings.lock.clone(), open: BTreeMap::new() };
        Self { profile, state: Arc::new(Mutex::new(state)) }
    }

    async fn open(&self, name: &str, defaults: Option<LockSettings>) -> Result<Locks, OpenError> {
        let (cell, settings) = {
            let mut state = self.state.lock();
            if !state.open.contains_key(name) && state.open.len() >= NAMES_MAX {
                let name = name.chars().take(64).collect();
                return Err(OpenError::TooMany { what: "lock group", name, limit: NAMES_MAX });
            }
            let settings = state.declared.get(name).cloned().or(defaults);
            let settings = settings.unwrap_or_else(|| LockSettings::for_profile(self.profile));
            (Arc::clone(state.open.entry(name.to_owned()).or_default()), settings)
        };
        // One asks the store, the others wait for it; when it fails, the next one tries.
        let opened = cell.get_or_try_init(|| Locks::with_settings(name, settings)).await;
        Ok(opened?.clone())
    }

    /// All open groups, by name.
    pub(crate) fn list(&self) -> Vec<Locks> {
        self.state.lock().open.values().filter_map(|cell| cell.get().cloned()).collect()
    }

    /// Notes changed sections for groups that are not open yet.
    pub(crate) fn follow(&self, change: &Change<TrimtabSettings>) {
        self.state.lock().declared.clone_from(&change.new.lock);
    }

    pub(crate) fn publish_metrics(&self) {
        self.list().iter().for_each(Locks::publish_metrics);
    }

    /// Sees to it that this process holds no lock any more.
    pub(crate) async fn release(&self) -> LocksReleased {
        let groups = self.list();
        let before = held(&groups).len();
        if before == 0 {
            return LocksReleased::default();
        }
        until(LOCK_GRACE, || held(&groups).is_empty()).await;
        let mut taken = Vec::new();
        for (locks, LockListing { name, semaphore, .. }) in held(&groups) {
            let was_held = if semaphore {
                // Of how many it is one does not matter to who takes all.
                locks.semaphore(&name, 1).is_ok_and(|permits| permits.force_release(STOPS))
            } else {
                locks.force_release(&name, STOPS)
            };
            if was_held {
                taken.push(format!("{}/{name}", locks.name()));
            }
        }
        if !taken.is_empty() {
            // A name stays in use until its store has heard of it.
            until(TAKEN_GRACE, || groups.iter().all(|locks| locks.report().is_empty())).await;
        }
        LocksReleased { given_back: before.saturating_sub(taken.len()), taken }
    }
}

/// What this process holds: locks, alone or as a reader, and permits of semaphores.
fn held(groups: &[Locks]) -> Vec<(&Locks, LockListing)> {
    let of = |locks: &Locks| locks.listing().into_iter().filter(|lock| !lock.holders.is_empty());
    groups.iter().flat_map(|locks| of(locks).map(move |lock| (locks, lock)).collect::<Vec<_>>()).collect()
}

/// Looks again and again, for so long at most: locks tell nobody but their waiters.
async fn until(time: Duration, done: impl Fn() -> bool) {
    let looking = async {
        while !done() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // In time or not, what follows looks for itself.
    let _ = tokio::time::timeout(time, looking).await;
}

impl Trimtab {
    /// The group of locks of this name: the same one for all callers. The first call asks the store.
    ///
    /// Its settings are those of `[lock.NAME]`: `url` says where the locks are kept, and what is not named stays in this
    /// process. Stores beyond memory are features: `file`, `postgres`, `redis`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: an impossible name, a store that is not compiled in or does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: another caller goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use trimtab::Trimtab;
    ///
    /// let tt = Trimtab::builder().no_file().set("lock.jobs.lease", "5s").start().await?;
    /// let jobs = tt.locks("jobs").await?;
    /// let lease = jobs.acquire("invoices/2026-11", Duration::from_secs(5)).await?;
    /// assert!(jobs.try_acquire("invoices/2026-11").await?.is_none());
    /// lease.release().await?;
    /// assert_eq!(tt.shutdown().await.locks.taken.len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn locks(&self, name: &str) -> Result<Locks, OpenError> {
        self.parts().locks.open(name, None).await
    }

    /// As [`locks`](Self::locks), in the store of this URL where no section `[lock.NAME]` speaks: `memory:`, `file:FOLDER`,
    /// `postgres://…` or `redis://…`.
    ///
    /// # Errors
    ///
    /// As [`locks`](Self::locks).
    ///
    /// # Cancel safety
    ///
    /// As [`locks`](Self::locks).
    pub async fn locks_at(&self, name: &str, url: &str) -> Result<Locks, OpenError> {
        let mut defaults = LockSettings::for_profile(self.profile());
        defaults.url = trimtab_config::Secret::new(url);
        self.parts().locks.open(name, Some(defaults)).await
    }
}
