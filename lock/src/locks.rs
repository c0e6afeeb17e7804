//! Groups of locks, and asking for one.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use trimtab_config::{Problems, Profile, Secret, Settings, check_name};

use crate::config::LockSettings;
use crate::error::{AcquireError, BuildError, ForceError, LockError, ReleaseError};
use crate::group::Group;
use crate::lease::{Driver, Lease, LeaseWatch};
use crate::listing::LockListing;
use crate::metrics::LockStats;
use crate::mode::LeaseMode;
use crate::named::{Answer, Entered, Keeper, LockReport, Named};
use crate::semaphore::Semaphore;
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
        named(name)?;
        Ok(Lock { named: self.group.named(name) })
    }

    /// A semaphore: a name of which at most `permits` leases are held at the same time. In memory and over Redis.
    ///
    /// Semaphores have names of their own: a lock of the same name is something else. All who use one should ask with the
    /// same number; where they do not, each is served while fewer are held than it says itself.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use trimtab_lock::Locks;
    ///
    /// let renders = Locks::memory("jobs")?.semaphore("render", 2)?;
    /// let (one, two) = (renders.try_acquire().await?, renders.try_acquire().await?);
    /// assert!(one.is_some() && two.is_some() && renders.try_acquire().await?.is_none());
    /// drop(one);
    /// assert!(renders.acquire(Duration::ZERO).await.is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError::Name`], and [`AcquireError::Unsupported`] over files and PostgreSQL or for no permits.
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore, AcquireError> {
        named(name)?;
        let store = self.group.store.kind();
        let what = if permits == 0 {
            "a semaphore of no permits would stop everybody; ask for at least 1"
        } else if ["memory", "redis"].contains(&store) {
            return Ok(Semaphore::new(self.group.clone(), name.into(), permits));
        } else {
            "semaphores are kept in memory and over Redis; its locks can be read together or held alone"
        };
        Err(AcquireError::Unsupported { group: self.group.name.clone(), name: name.into(), store, what })
    }

    /// Waits at most `wait` to hold the lock of this name together with other readers, while nobody holds it alone.
    /// [`acquire`](Self::acquire) is the writer's side. Readers queue behind writers who came before them.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use trimtab_lock::Locks;
    ///
    /// let locks = Locks::memory("jobs")?;
    /// let (one, two) = (locks.read("prices", Duration::ZERO).await?, locks.read("prices", Duration::ZERO).await?);
    /// assert!(locks.try_acquire("prices").await?.is_none());
    /// drop((one, two));
    /// assert!(locks.try_acquire("prices").await?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Safe, as `acquire`.
    ///
    /// # Complexity
    ///
    /// One round trip to the store, and one to give back: readers of one process do not share a lease.
    #[track_caller]
    pub fn read(&self, name: &str, wait: Duration) -> impl Future<Output = Result<Lease, AcquireError>> + Send + use<> {
        let (group, location) = (self.group.clone(), Location::caller());
        let checked = named(name).map(|()| Arc::<str>::from(name));
        async move { wait_for(&group.shared(&checked?, LeaseMode::Shared), LeaseMode::Shared, wait, location).await }
    }

    /// The lock of this name together with other readers, if nobody holds it alone or waits to.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// Safe, as `acquire`.
    #[track_caller]
    pub fn try_read(&self, name: &str) -> impl Future<Output = Result<Option<Lease>, AcquireError>> + Send + use<> {
        let (group, location) = (self.group.clone(), Location::caller());
        let checked = named(name).map(|()| Arc::<str>::from(name));
        async move { look(&group.shared(&checked?, LeaseMode::Shared), LeaseMode::Shared, location).await }
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
        async move {
            let Lock { named } = lock?;
            match at_once(&named, LeaseMode::Exclusive, location) {
                Ok(lease) => Ok(lease),
                Err(now) => ask(&named, LeaseMode::Exclusive, wait, now, location).await,
            }
        }
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
        async move { look(&lock?.named, LeaseMode::Exclusive, location).await }
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
        async move { under(lock?.named, LeaseMode::Exclusive, wait, location, work).await }
    }

    /// As [`with_lock`](Self::with_lock), but together with other readers: see [`read`](Self::read).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use trimtab_lock::Locks;
    ///
    /// let locks = Locks::memory("jobs")?;
    /// let other = locks.read("prices", Duration::ZERO).await?;
    /// assert_eq!(locks.with_read("prices", Duration::ZERO, |_| async { 7 }).await?, 7);
    /// # drop(other);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As [`with_lock`](Self::with_lock).
    ///
    /// # Cancel safety
    ///
    /// Safe, as `with_lock`.
    #[track_caller]
    pub fn with_read<T, F, W>(
        &self,
        name: &str,
        wait: Duration,
        work: F,
    ) -> impl Future<Output = Result<T, LockError>> + use<T, F, W>
    where
        F: FnOnce(LeaseWatch) -> W,
        W: Future<Output = T>,
    {
        let (group, location) = (self.group.clone(), Location::caller());
        let checked = named(name).map(|()| Arc::<str>::from(name));
        async move {
            let named = group.shared(&checked?, LeaseMode::Shared);
            under(named, LeaseMode::Shared, wait, location, work).await
        }
    }

    /// Who holds and awaits what in this process, by name.
    pub fn report(&self) -> Vec<LockReport> {
        self.group.report()
    }

    /// Takes a lock from those who hold it in this process, who are told; false when nobody here holds it. For operators: the
    /// reason goes to the log as an event of the target `trimtab_lock::audit`.
    pub fn force_release(&self, name: &str, reason: &str) -> bool {
        self.group.force(name, false, reason) > 0
    }

    /// Takes a lock from those who hold it in any process; how many they were. For operators: the reason goes to the log as an
    /// event of the target `trimtab_lock::audit`, and the deed is counted.
    ///
    /// Holders in this process are told at once, and nobody else is asked for then. Over PostgreSQL the session of a holder
    /// elsewhere is ended: it is told at once, and every other lock on that session is lost with it. Over Redis the lock goes
    /// to the next waiter at once, and the holder is told at its next renewal, within a third of its lease; the token protects
    /// until then. The kernel takes a file's lock from no process, so that is refused.
    ///
    /// # Errors
    ///
    /// [`ForceError`]: what the store cannot do, or that it failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped in between, it may have happened or not.
    pub async fn force_release_everywhere(&self, name: &str, reason: &str) -> Result<usize, ForceError> {
        self.group.force_everywhere(name, false, reason).await
    }

    /// Who holds and who waits in this process, with their ages: for a page or an answer.
    pub fn listing(&self) -> Vec<LockListing> {
        self.group.list()
    }

    /// The numbers.
    pub fn stats(&self) -> LockStats {
        let (mut held, mut waiting) = (0, 0);
        for report in self.report() {
            held += usize::from(report.holder.is_some()) + report.shared;
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
        async move {
            match at_once(&self.named, LeaseMode::Exclusive, location) {
                Ok(lease) => Ok(lease),
                Err(now) => ask(&self.named, LeaseMode::Exclusive, wait, now, location).await,
            }
        }
    }

    /// The lock if it is free now. Errors and cancel safety as [`Locks::try_acquire`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`].
    #[track_caller]
    pub fn try_acquire(&self) -> impl Future<Output = Result<Option<Lease>, AcquireError>> + Send + '_ {
        let location = Location::caller();
        look(&self.named, LeaseMode::Exclusive, location)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Runs work under a lease, and stops it when that is lost.
async fn under<T, F, W>(
    named: Arc<Named>,
    mode: LeaseMode,
    wait: Duration,
    location: &'static Location<'static>,
    work: F,
) -> Result<T, LockError>
where
    F: FnOnce(LeaseWatch) -> W,
    W: Future<Output = T>,
{
    let lease = wait_for(&named, mode, wait, location).await?;
    let mut under = UNDER.try_with(Clone::clone).unwrap_or_default();
    under.push(named.clone());
    let token = lease.token();
    let lost = |loss, finished| LockError::Lost { name: named.name.clone(), token, loss, finished };
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

/// In memory: a lease that can be had now, else the time of the look. Callers have it on top of their own future: handed through
/// several, it would cost more than the lock.
#[inline]
fn at_once(named: &Arc<Named>, mode: LeaseMode, location: &'static Location<'static>) -> Result<Lease, Instant> {
    let now = Instant::now();
    if is_under(named) { Err(now) } else { named.at_once(mode, now, location).ok_or(now) }
}

/// Waits for a lease.
pub(crate) async fn wait_for(
    named: &Arc<Named>,
    mode: LeaseMode,
    wait: Duration,
    location: &'static Location<'static>,
) -> Result<Lease, AcquireError> {
    match at_once(named, mode, location) {
        Ok(lease) => Ok(lease),
        Err(now) => ask(named, mode, wait, now, location).await,
    }
}

async fn ask(
    named: &Arc<Named>,
    mode: LeaseMode,
    wait: Duration,
    now: Instant,
    location: &'static Location<'static>,
) -> Result<Lease, AcquireError> {
    refuse_reentry(named)?;
    let deadline = now + wait.min(FOREVER);
    match named.enter(mode, deadline, false, now, location)? {
        Entered::Granted(lease) => Ok(lease),
        Entered::Queued(number, answer, keeper) => {
            let place = Place::new(named, number, answer, keeper);
            needs_runtime(named)?;
            let timed_out = || named.group.counts.timed_out();
            place.answer(deadline).await.transpose().unwrap_or_else(|| {
                timed_out();
                Err(named.too_late(now.elapsed()))
            })
        }
        Entered::Busy => Err(named.too_late(Duration::ZERO)),
    }
}

/// Looks once.
pub(crate) async fn look(
    named: &Arc<Named>,
    mode: LeaseMode,
    location: &'static Location<'static>,
) -> Result<Option<Lease>, AcquireError> {
    refuse_reentry(named)?;
    let now = Instant::now();
    match named.enter(mode, now, true, now, location)? {
        Entered::Granted(lease) => Ok(Some(lease)),
        Entered::Busy => Ok(None),
        Entered::Queued(number, answer, keeper) => {
            let place = Place::new(named, number, answer, keeper);
            needs_runtime(named)?;
            let patience = named.group.settings.timeout.get().min(FOREVER);
            match place.answer(now + patience).await {
                Ok(Some(lease)) => Ok(Some(lease)),
                Err(AcquireError::Timeout { .. }) => Ok(None),
                Ok(None) => Err(named.too_late(now.elapsed())),
                Err(error) => Err(error),
            }
        }
    }
}

/// A free lock in memory needs none; waiting does, for its time limit.
fn needs_runtime(named: &Named) -> Result<(), AcquireError> {
    Handle::try_current().map(drop).map_err(|error| AcquireError::Unavailable {
        group: named.group.name.clone(),
        name: named.name.clone(),
        what: "waiting for a lock needs a tokio runtime; call it from inside of one".into(),
        cause: Some(Arc::new(error)),
    })
}

fn refuse_reentry(named: &Named) -> Result<(), AcquireError> {
    if is_under(named) {
        let (group, name) = (named.group.name.clone(), named.name.clone());
        return Err(AcquireError::Reentrant { group, name });
    }
    Ok(())
}

fn is_under(named: &Named) -> bool {
    UNDER.try_with(|under| under.iter().any(|held| same(held, named))).unwrap_or(false)
}

fn same(one: &Named, two: &Named) -> bool {
    Arc::ptr_eq(&one.group, &two.group) && one.name == two.name && one.counted == two.counted
}

fn named(name: &str) -> Result<(), AcquireError> {
    if name.is_empty() || name.len() > LOCK_NAME_MAX {
        return Err(AcquireError::Name { length: name.len(), limit: LOCK_NAME_MAX });
    }
    Ok(())
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
            answer = self.driver.until(&mut self.answer) => Some(answer),
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
