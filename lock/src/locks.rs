//! Groups of locks, and asking for one.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use trimtab_config::{Problems, Profile, Secret, Settings, check_name};

use crate::config::LockSettings;
use crate::error::{AcquireError, BuildError, LockError, ReleaseError};
use crate::group::Group;
use crate::lease::{Driver, Lease, LeaseWatch};
use crate::metrics::LockStats;
use crate::named::{Answer, Entered, Keeper, LockReport, Named};
use crate::store::Store;

/// The longest name of a lock, in bytes.
pub const LOCK_NAME_MAX: usize = 4096;

/// The longest time that is added to an instant: far enough for never, and no clock overflows.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

tokio::task_local! {
    /// The locks under which the current `with_lock` runs.
    static UNDER: Vec<Arc<Named>>;
}

/// A group of locks in one store. Clones are cheap and speak of the same group.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use trimtab_lock::Locks;
///
/// let locks = Locks::memory("jobs")?;
/// let lease = locks.acquire("invoices/2026-11", Duration::from_secs(5)).await?;
/// assert!(locks.try_acquire("invoices/2026-11").await?.is_none());
/// let first = lease.token();
/// lease.release().await?;
/// assert!(locks.acquire("invoices/2026-11", Duration::ZERO).await?.token() > first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Locks {
    group: Arc<Group>,
}

impl Locks {
    /// Locks between the tasks of this process.
    ///
    /// # Errors
    ///
    /// [`BuildError::Name`].
    pub fn memory(group: &str) -> Result<Self, BuildError> {
        let settings = checked(group, LockSettings::for_profile(Profile::default()))?;
        Ok(Self { group: Arc::new(Group::new(group.into(), settings, Store::Memory, None)) })
    }

    /// Locks in the store of this URL: `memory:`, `file:FOLDER`, `postgres://…` or `redis://…`, with the default settings.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: see [`with_settings`](Self::with_settings).
    pub async fn connect(group: &str, url: &str) -> Result<Self, BuildError> {
        let settings = LockSettings { url: Secret::new(url), ..LockSettings::for_profile(Profile::default()) };
        Self::with_settings(group, settings).await
    }

    /// Locks with their own settings. The store is tried once, so that a wrong address is found now.
    ///
    /// All processes whose locks are to exclude each other use the same store; the name of the group only labels metrics.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or settings, a store that is not compiled in or does not answer, a pooler that would
    /// strand locks, a folder on a network.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing stays behind but what the store needs once (a folder, a sequence).
    pub async fn with_settings(group: &str, settings: LockSettings) -> Result<Self, BuildError> {
        let settings = checked(group, settings)?;
        let runtime = Handle::try_current().ok();
        let store = Store::open(group, &settings, runtime.as_ref()).await?;
        Ok(Self { group: Arc::new(Group::new(group.into(), settings, store, runtime)) })
    }

    /// The name of the group.
    pub fn name(&self) -> &str {
        &self.group.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LockSettings {
        &self.group.settings
    }

    /// A handle on one lock, for those who ask for it again and again.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Name`] for a name that is empty or beyond [`LOCK_NAME_MAX`].
    pub fn lock(&self, name: &str) -> Result<Lock, AcquireError> {
        if name.is_empty() || name.len() > LOCK_NAME_MAX {
            return Err(AcquireError::Name { length: name.len(), limit: LOCK_NAME_MAX });
        }
        Ok(Lock { named: self.group.named(name) })
    }

    /// Waits at most `wait` for the lock of this name.
    ///
    /// # Errors
    ///
    /// [`AcquireError`]: the time ran out, the caller holds the lock itself, too many wait, the store fails.
    ///
    /// # Cancel safety
    ///
    /// Safe: a caller who leaves gives up its place in the queue, and a lock that was on its way goes to the next.
    ///
    /// # Complexity
    ///
    /// One round trip to the store when the lock is free.
    #[track_caller]
    pub fn acquire(
        &self,
        name: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<Lease, AcquireError>> + Send + use<> {
        let (lock, location) = (self.lock(name), Location::caller());
        async move { lock?.wait(wait, location).await }
    }

    /// The lock of this name if it is free now.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), but for a lock that is held: that is `None`.
    ///
    /// # Cancel safety
    ///
    /// Safe, as `acquire`.
    #[track_caller]
    pub fn try_acquire(&self, name: &str) -> impl Future<Output = Result<Option<Lease>, AcquireError>> + Send + use<> {
        let (lock, location) = (self.lock(name), Location::caller());
        async move { lock?.look(location).await }
    }

    /// Runs `work` under the lock, and stops it (drops its future) when the lease is lost.
    ///
    /// Work that has finished while its lease was lost is an error too: it may not have been alone. The token from the
    /// [`LeaseWatch`] is what makes even that harmless.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use trimtab_lock::Locks;
    ///
    /// let locks = Locks::memory("jobs")?;
    /// let sum = locks.with_lock("sum", Duration::from_secs(5), |lease| async move {
    ///     assert!(!lease.is_lost());
    ///     1 + 1
    /// });
    /// assert_eq!(sum.await?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`LockError::Acquire`] when it never started, [`LockError::Lost`] when the lease was lost.
    ///
    /// # Cancel safety
    ///
    /// Safe: the work is dropped, and the lock is given back in the background.
    #[track_caller]
    pub fn with_lock<T, F, W>(
        &self,
        name: &str,
        wait: Duration,
        work: F,
    ) -> impl Future<Output = Result<T, LockError>> + use<T, F, W>
    where
        F: FnOnce(LeaseWatch) -> W,
        W: Future<Output = T>,
    {
        let (lock, location) = (self.lock(name), Location::caller());
        async move {
            let lock = lock?;
            let lease = lock.wait(wait, location).await?;
            let mut under = UNDER.try_with(Clone::clone).unwrap_or_default();
            under.push(lock.named.clone());
            let token = lease.token();
            let lost = |loss, finished| LockError::Lost { name: lock.named.name.clone(), token, loss, finished };
            let value = tokio::select! {
                biased;
                loss = lease.lost() => return Err(lost(loss, false)),
                value = UNDER.scope(under, work(lease.watch())) => value,
            };
            match lease.release().await {
                Err(ReleaseError::Lost { loss, .. }) => Err(lost(loss, true)),
                // Unconfirmed: the work was done in time.
                Ok(()) | Err(_) => Ok(value),
            }
        }
    }

    /// Who holds and awaits what in this process, by name.
    pub fn report(&self) -> Vec<LockReport> {
        self.group.report()
    }

    /// Takes a lock from its holder in this process, who is told; false when nobody here holds it. For operators: the reason
    /// goes to the log as an event of the target `trimtab_lock::audit`.
    pub fn force_release(&self, name: &str, reason: &str) -> bool {
        let forced = self.group.known(name).is_some_and(|named| named.force());
        if forced {
            tracing::warn!(target: "trimtab_lock::audit", group = %self.group.name, lock = name, reason, "taken from its holder");
        }
        forced
    }

    /// The numbers.
    pub fn stats(&self) -> LockStats {
        let (mut held, mut waiting) = (0, 0);
        for report in self.report() {
            held += usize::from(report.holder.is_some());
            waiting += report.waiting;
        }
        self.group.counts.stats(&self.group.name, held, waiting, self.group.store.trips())
    }

    /// Publishes the numbers as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.group.settings.metrics {
            self.group.counts.publish(&self.stats());
        }
    }
}

impl fmt::Debug for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locks")
            .field("name", &self.group.name)
            .field("store", &self.group.store.kind())
            .finish_non_exhaustive()
    }
}

fn checked(group: &str, settings: LockSettings) -> Result<LockSettings, BuildError> {
    check_name("lock group", group)?;
    let mut problems = Problems::new();
    problems.within(&format!("lock.{group}"), |problems| settings.check(problems));
    problems.into_result().map_err(|problems| BuildError::Settings { group: group.to_owned(), problems })?;
    Ok(settings)
}

/// One lock, its name resolved. Clones are cheap.
#[derive(Clone)]
pub struct Lock {
    named: Arc<Named>,
}

impl Lock {
    /// The name.
    pub fn name(&self) -> &str {
        &self.named.name
    }

    /// Waits at most `wait` for the lock. Errors and cancel safety as [`Locks::acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`].
    #[track_caller]
    pub fn acquire(&self, wait: Duration) -> impl Future<Output = Result<Lease, AcquireError>> + Send + '_ {
        let location = Location::caller();
        self.wait(wait, location)
    }

    /// The lock if it is free now. Errors and cancel safety as [`Locks::try_acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`].
    #[track_caller]
    pub fn try_acquire(&self) -> impl Future<Output = Result<Option<Lease>, AcquireError>> + Send + '_ {
        let location = Location::caller();
        self.look(location)
    }

    async fn wait(&self, wait: Duration, location: &'static Location<'static>) -> Result<Lease, AcquireError> {
        self.refuse_reentry()?;
        let now = Instant::now();
        let deadline = now + wait.min(FOREVER);
        match self.named.enter(deadline, false, now, location)? {
            Entered::Granted(lease) => Ok(lease),
            Entered::Queued(number, answer, keeper) => {
                let place = Place::new(&self.named, number, answer, keeper);
                self.needs_runtime()?;
                let timed_out = || self.named.group.counts.timed_out();
                place.answer(deadline).await.transpose().unwrap_or_else(|| {
                    timed_out();
                    Err(self.named.too_late(now.elapsed()))
                })
            }
            Entered::Busy => Err(self.named.too_late(Duration::ZERO)),
        }
    }

    async fn look(&self, location: &'static Location<'static>) -> Result<Option<Lease>, AcquireError> {
        self.refuse_reentry()?;
        let now = Instant::now();
        match self.named.enter(now, true, now, location)? {
            Entered::Granted(lease) => Ok(Some(lease)),
            Entered::Busy => Ok(None),
            Entered::Queued(number, answer, keeper) => {
                let place = Place::new(&self.named, number, answer, keeper);
                self.needs_runtime()?;
                let patience = self.named.group.settings.timeout.get().min(FOREVER);
                match place.answer(now + patience).await {
                    Ok(Some(lease)) => Ok(Some(lease)),
                    Err(AcquireError::Timeout { .. }) => Ok(None),
                    Ok(None) => Err(self.named.too_late(now.elapsed())),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// A free lock in memory needs none; waiting does, for its time limit.
    fn needs_runtime(&self) -> Result<(), AcquireError> {
        Handle::try_current().map(drop).map_err(|error| AcquireError::Unavailable {
            group: self.named.group.name.clone(),
            name: self.named.name.clone(),
            what: "waiting for a lock needs a tokio runtime; call it from inside of one".into(),
            cause: Some(Arc::new(error)),
        })
    }

    fn refuse_reentry(&self) -> Result<(), AcquireError> {
        let under = UNDER.try_with(|under| under.iter().any(|named| Arc::ptr_eq(named, &self.named))).unwrap_or(false);
        if under {
            let (group, name) = (self.named.group.name.clone(), self.named.name.clone());
            return Err(AcquireError::Reentrant { group, name });
        }
        Ok(())
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A caller's place in the queue, given up when the caller goes.
struct Place {
    driver: Driver,
    number: Option<u64>,
    answer: Answer,
}

impl Place {
    fn new(named: &Arc<Named>, number: u64, answer: Answer, keeper: Option<Keeper>) -> Self {
        Self { driver: Driver { named: named.clone(), keeper }, number: Some(number), answer }
    }

    /// The answer, or none when the deadline came first.
    async fn answer(mut self, deadline: Instant) -> Result<Option<Lease>, AcquireError> {
        let answered = tokio::select! {
            biased;
            never = self.driver.run() => match never {},
            answer = &mut self.answer => Some(answer),
            () = tokio::time::sleep_until(deadline) => None,
        };
        let answered = match (answered, self.number) {
            (None, Some(number)) if self.driver.named.leave(number) => {
                self.number = None;
                return Ok(None);
            }
            // It came in the same moment.
            (None, _) => (&mut self.answer).await,
            (Some(answer), _) => answer,
        };
        self.number = None;
        // A sender that was dropped belonged to a runtime that has ended.
        answered.map_or_else(|_| Err(self.driver.named.too_late(Duration::ZERO)), |answer| answer.map(Some))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.driver.named.leave(number);
        }
    }
}
