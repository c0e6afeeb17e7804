//! Limits inside of one process: one for all callers, or one for each key.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{InsufficientCapacity, NotUntil, RateLimiter};
use trimtab_config::{Problems, Rate, Settings, check_name};

use crate::bounded::BoundedStore;
use crate::clock::DefaultClock;
use crate::config::LimitSettings;
use crate::decision::{Allowed, Left, Pace, Refused};
use crate::error::{BuildError, LimitError};
use crate::metrics::{Counts, LimitStats};

/// One limit for all callers. Clones are cheap and speak of the same limit.
///
/// ```
/// use trimtab_limit::Limit;
///
/// let mails = Limit::new("mails", "10/m burst 2".parse()?)?;
/// assert!(mails.check().is_ok() && mails.check().is_ok());
/// let error = mails.check().unwrap_err();
/// assert!(error.retry_after().unwrap().as_secs() < 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Limit<C: Clock = DefaultClock> {
    inner: Arc<Inner<NotKeyed, InMemoryState, C>>,
}

/// A limit for each key, in bounded memory. Clones are cheap and speak of the same limit.
///
/// ```
/// use trimtab_limit::KeyedLimit;
///
/// let logins: KeyedLimit<String> = KeyedLimit::new("logins", "5/m burst 1".parse()?)?;
/// assert!(logins.check(&"ada".to_owned()).is_ok());
/// assert!(logins.check(&"ada".to_owned()).is_err());
/// assert!(logins.check(&"grace".to_owned()).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyedLimit<K: Hash + Eq + Clone, C: Clock = DefaultClock> {
    inner: Arc<Inner<K, BoundedStore<K>, C>>,
    keys: BoundedStore<K>,
}

type Limiter<K, S, C> = RateLimiter<K, S, C, StateInformationMiddleware>;

struct Inner<K, S: StateStore<Key = K>, C: Clock> {
    name: Arc<str>,
    settings: LimitSettings,
    limiter: Limiter<K, S, C>,
    counts: Counts,
}

impl<K, S: StateStore<Key = K>, C: Clock> Inner<K, S, C> {
    fn new(name: &str, settings: LimitSettings, store: S, clock: C) -> Result<Arc<Self>, BuildError> {
        let pace = checked(name, &settings)?;
        let limiter = Limiter::new(pace.quota(), store, clock);
        Ok(Arc::new(Self { name: name.into(), settings, limiter, counts: Counts::default() }))
    }

    #[cold]
    fn refuse(&self, not: &NotUntil<C::Instant>) -> LimitError {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after = not.wait_time_from(self.limiter.clock().now());
        let quota = not.quota();
        let (burst, interval) = (quota.burst_size().get(), quota.replenish_interval());
        // Only a weight above one leaves permits behind; those are not known here, so none are promised.
        let refused = Refused { retry_after: retry_after.max(interval / 1000), burst, remaining: 0 };
        LimitError::Refused { limit: self.name.clone(), refused }
    }

    #[cold]
    fn too_much(&self, asked: u32, capacity: InsufficientCapacity) -> LimitError {
        LimitError::TooMuch { limit: self.name.clone(), asked, burst: capacity.0 }
    }
}

/// Checks name and settings.
pub(crate) fn checked(name: &str, settings: &LimitSettings) -> Result<Pace, BuildError> {
    check_name("limit", name)?;
    let mut problems = Problems::new();
    problems.within(&format!("limit.{name}"), |problems| settings.check(problems));
    problems.into_result().map_err(|problems| BuildError::Settings { name: name.to_owned(), problems })?;
    Pace::new(settings.rate).map_err(|why| {
        let mut problems = Problems::new();
        problems.report(format!("limit.{name}.rate"), settings.rate, why);
        BuildError::Settings { name: name.to_owned(), problems: problems.into_result().unwrap_err() }
    })
}

impl Limit {
    /// A limit at this rate.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or rate.
    pub fn new(name: &str, rate: Rate) -> Result<Self, BuildError> {
        Self::with_clock(name, LimitSettings::of(rate), DefaultClock::default())
    }
}

impl<C: Clock> Limit<C> {
    /// A limit with its own settings and clock, such as `governor::clock::FakeRelativeClock` in tests.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or settings.
    pub fn with_clock(name: &str, settings: LimitSettings, clock: C) -> Result<Self, BuildError> {
        Ok(Self { inner: Inner::new(name, settings, InMemoryState::default(), clock)? })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LimitSettings {
        &self.inner.settings
    }

    /// Whether a call may pass; counts it if so. Never waits.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`] with the time after which to come again.
    #[inline]
    pub fn check(&self) -> Result<Allowed, LimitError> {
        match self.inner.limiter.check() {
            Ok(state) => Ok(Allowed(Left::Measured(state))),
            Err(not) => Err(self.inner.refuse(&not)),
        }
    }

    /// The same for a call that weighs `weight`: it passes whole or not at all.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`], or [`LimitError::TooMuch`] for a weight beyond the burst.
    pub fn check_n(&self, weight: NonZeroU32) -> Result<Allowed, LimitError> {
        match self.inner.limiter.check_n(weight) {
            Ok(Ok(state)) => Ok(Allowed(Left::Measured(state))),
            Ok(Err(not)) => Err(self.inner.refuse(&not)),
            Err(capacity) => Err(self.inner.too_much(weight.get(), capacity)),
        }
    }

    /// The numbers.
    pub fn stats(&self) -> LimitStats {
        self.inner.counts.stats(0, 0)
    }

    /// Publishes the numbers as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.inner.settings.metrics {
            self.inner.counts.publish(&self.inner.name, self.stats());
        }
    }
}

impl<K: Hash + Eq + Clone> KeyedLimit<K> {
    /// A limit at this rate for each key.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or rate.
    pub fn new(name: &str, rate: Rate) -> Result<Self, BuildError> {
        Self::with_clock(name, LimitSettings::of(rate), DefaultClock::default())
    }
}

impl<K: Hash + Eq + Clone, C: Clock> KeyedLimit<K, C> {
    /// A limit with its own settings and clock, such as `governor::clock::FakeRelativeClock` in tests.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or settings.
    pub fn with_clock(name: &str, settings: LimitSettings, clock: C) -> Result<Self, BuildError> {
        let keys = BoundedStore::new(settings.keys_max as usize);
        Ok(Self { inner: Inner::new(name, settings, keys.clone(), clock)?, keys })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LimitSettings {
        &self.inner.settings
    }

    /// Whether a call of this key may pass; counts it if so. Never waits.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`] with the time after which to come again.
    #[inline]
    pub fn check(&self, key: &K) -> Result<Allowed, LimitError> {
        match self.inner.limiter.check_key(key) {
            Ok(state) => Ok(Allowed(Left::Measured(state))),
            Err(not) => Err(self.inner.refuse(&not)),
        }
    }

    /// The same for a call that weighs `weight`: it passes whole or not at all.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`], or [`LimitError::TooMuch`] for a weight beyond the burst.
    pub fn check_n(&self, key: &K, weight: NonZeroU32) -> Result<Allowed, LimitError> {
        match self.inner.limiter.check_key_n(key, weight) {
            Ok(Ok(state)) => Ok(Allowed(Left::Measured(state))),
            Ok(Err(not)) => Err(self.inner.refuse(&not)),
            Err(capacity) => Err(self.inner.too_much(weight.get(), capacity)),
        }
    }

    /// The numbers.
    pub fn stats(&self) -> LimitStats {
        self.inner.counts.stats(self.keys.len(), self.keys.crowded())
    }

    /// Publishes the numbers as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.inner.settings.metrics {
            self.inner.counts.publish(&self.inner.name, self.stats());
        }
    }
}

impl<C: Clock> Clone for Limit<C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<K: Hash + Eq + Clone, C: Clock> Clone for KeyedLimit<K, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), keys: self.keys.clone() }
    }
}

impl<C: Clock> fmt::Debug for Limit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("name", &self.name()).field("rate", &self.settings().rate).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, C: Clock> fmt::Debug for KeyedLimit<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimit")
            .field("name", &self.name())
            .field("rate", &self.settings().rate)
            .finish_non_exhaustive()
    }
}
