//! The bulkhead: so many calls at the same time, so many that wait, each for so long, and no more.
//!
//! A wall between one kind of call and the rest of a service (Nygard, *Release It!*, 2007): when the far side is slow it fills up
//! with callers, and those beyond are told at once instead of queueing up everywhere.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use trimtab_config::Duration;

use crate::gate::Gate;
use crate::gate::semaphore::{Permit, PermitStats, Permits, check_limit};
use crate::manners::clock::FOREVER;
use crate::manners::config::{BulkheadSettings, check};
use crate::manners::{Refusal, SetupError};

/// A limit on calls at the same time, with a bounded queue in front. Clones are cheap and share the room.
///
/// ```
/// use trimtab_scheduler::{Bulkhead, BulkheadSettings, CallError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let settings = BulkheadSettings { max: 1, max_waiting: 0, ..BulkheadSettings::default() };
/// let reports = Bulkhead::with_settings("reports", settings)?;
/// let inside = reports.acquire().await?;
/// let refused = reports.call(async { Ok::<_, std::io::Error>(7) }).await.unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "gate \"reports\" refused: 1 of 1 permits are out and 0 callers wait; call less, or raise its limit");
/// # drop(inside);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    inner: Arc<Permits>,
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead").field("stats", &self.stats()).finish()
    }
}

impl Bulkhead {
    /// A bulkhead with the default settings but for the most calls.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or no calls.
    pub fn new(name: &str, max: u32) -> Result<Self, SetupError> {
        Self::with_settings(name, BulkheadSettings { max, ..BulkheadSettings::default() })
    }

    /// A bulkhead with these settings.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn with_settings(name: &str, settings: BulkheadSettings) -> Result<Self, SetupError> {
        check("bulkhead", name, &settings)?;
        let BulkheadSettings { max, max_waiting, max_wait } = settings;
        let max_wait = max_wait.map_or(FOREVER, Duration::get);
        Ok(Self { inner: Permits::new("bulkhead", name, max as usize, max_waiting as usize, max_wait) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// Room that is free.
    pub fn available(&self) -> usize {
        self.inner.available()
    }

    /// Takes room, waiting for it if settings allow.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`](crate::Reason::Full) when too many wait, [`Reason::Waited`](crate::Reason::Waited) when the wait was too
    /// long, [`Reason::Closed`](crate::Reason::Closed).
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves gives up its place and holds nothing.
    #[inline]
    pub async fn acquire(&self) -> Result<Permit<'_>, Refusal> {
        self.inner.acquire(1).await
    }

    /// Takes room if there is some.
    ///
    /// # Errors
    ///
    /// [`Reason::Full`](crate::Reason::Full) or [`Reason::Closed`](crate::Reason::Closed).
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, Refusal> {
        self.inner.try_acquire(1)
    }

    /// Changes the most calls. Fewer take effect as calls end.
    ///
    /// # Errors
    ///
    /// [`SetupError::Settings`] for none, or too many; then nothing changed.
    pub fn set_max(&self, max: u32) -> Result<(), SetupError> {
        check_limit("bulkhead", self.name(), max as usize)?;
        self.inner.set_limit(max as usize);
        Ok(())
    }

    /// Lets nobody in any more: those who wait and those who come are refused.
    pub fn close(&self) {
        self.inner.close();
    }

    crate::gate::call_alone!();

    /// Its numbers.
    pub fn stats(&self) -> PermitStats {
        self.inner.stats()
    }

    /// Publishes its numbers through the `metrics` facade; call it before each scrape.
    pub fn publish_metrics(&self) {
        self.inner.publish();
    }
}

impl Gate for Bulkhead {
    type Permit<'a> = Permit<'a>;

    #[inline]
    fn enter(&self) -> impl Future<Output = Result<Permit<'_>, Refusal>> + Send {
        self.inner.acquire(1)
    }

    #[inline]
    fn try_enter(&self) -> Result<Permit<'_>, Refusal> {
        self.try_acquire()
    }
}
