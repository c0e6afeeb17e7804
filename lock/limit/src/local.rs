//! Limits inside of one process: one for all callers, or one for each key.

use std::fmt;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use trimtab_config::{Problems, Rate, Settings, check_name};

use crate::bounded::{BoundedStore, KeyUsage};
use crate::clock::DefaultClock;
use crate::config::LimitSettings;
use crate::decision::{Allowed, Left, Pace, Refused};
use crate::error::{BuildError, LimitError};
use crate::metrics::{Counts, LimitStats};
use crate::rule::{Rule, Terms};

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
    inner: Arc<Direct<C>>,
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
    inner: Arc<Inner<C>>,
    keys: BoundedStore<K>,
}

struct Direct<C: Clock> {
    shared: Inner<C>,
    /// When the burst is whole again.
    instant: AtomicU64,
}

struct Inner<C: Clock> {
    name: Arc<str>,
    settings: LimitSettings,
    rule: Rule,
    clock: C,
    start: C::Instant,
    counts: Counts,
}

impl<C: Clock> Inner<C> {
    fn new(name: &str, settings: LimitSettings, clock: C) -> Result<Self, BuildError> {
        let rule = Rule::new(settings.rate, checked(name, &settings)?);
        let start = clock.now();
        Ok(Self { name: name.into(), settings, rule, clock, start, counts: Counts::default() })
    }

    /// Nanoseconds since the start.
    #[inline]
    fn now(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }

    /// What a call of this weight costs.
    fn cost(&self, terms: Terms, weight: NonZeroU32) -> Result<u64, LimitError> {
        let burst = terms.burst();
        if weight.get() > burst {
            return Err(LimitError::TooMuch { limit: self.name.clone(), asked: weight.get(), burst });
        }
        Ok(terms.interval * u64::from(weight.get()))
    }

    #[cold]
    fn refuse(&self, terms: Terms, wait: u64) -> LimitError {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after = Duration::from_nanos(wait.max(terms.interval / 1000));
        // Only a weight above one leaves permits behind; those are not known here, so none are promised.
        let refused = Refused { retry_after, burst: terms.burst(), remaining: 0 };
        LimitError::Refused { limit: self.name.clone(), refused }
    }

    fn change(&self, rate: Rate) -> Result<(), BuildError> {
        let pace = checked(&self.name, &LimitSettings { rate, ..self.settings.clone() })?;
        self.rule.change(rate, pace);
        Ok(())
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
        let shared = Inner::new(name, settings, clock)?;
        Ok(Self { inner: Arc::new(Direct { shared, instant: AtomicU64::new(0) }) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.shared.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LimitSettings {
        &self.inner.shared.settings
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.inner.shared.rule.rate()
    }

    /// Changes rate and burst from the next call on, in this process. What was used stays used, up to the new burst.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`]: an impossible rate; nothing has changed then.
    pub fn set_rate(&self, rate: Rate) -> Result<(), BuildError> {
        self.inner.shared.change(rate)
    }

    /// Whether a call may pass; counts it if so. Never waits.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`] with the time after which to come again.
    #[inline]
    pub fn check(&self) -> Result<Allowed, LimitError> {
        let terms = self.inner.shared.rule.terms();
        self.decide(terms, terms.interval)
    }

    /// The same for a call that weighs `weight`: it passes whole or not at all.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`], or [`LimitError::TooMuch`] for a weight beyond the burst.
    pub fn check_n(&self, weight: NonZeroU32) -> Result<Allowed, LimitError> {
        let terms = self.inner.shared.rule.terms();
        self.decide(terms, self.inner.shared.cost(terms, weight)?)
    }

    #[inline]
    fn decide(&self, terms: Terms, cost: u64) -> Result<Allowed, LimitError> {
        let Direct { shared, instant } = &*self.inner;
        let now = shared.now();
        let mut before = instant.load(Ordering::Relaxed);
        loop {
            match terms.decide(before, now, cost) {
                // Nothing else is published through it: the number alone is what counts.
                Ok(next) => match instant.compare_exchange_weak(before, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Ok(Allowed(Left::Measured { terms, ahead: next - now })),
                    Err(newer) => before = newer,
                },
                Err(wait) => {
                    if let Some(forgiven) = wait.forgiven {
                        // If another call was faster, it has done the same.
                        let _ = instant.compare_exchange(before, forgiven, Ordering::Relaxed, Ordering::Relaxed);
                    }
                    return Err(shared.refuse(terms, wait.nanos));
                }
            }
        }
    }

    /// The numbers.
    pub fn stats(&self) -> LimitStats {
        self.inner.shared.counts.stats(0, 0)
    }

    /// Publishes the numbers as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.settings().metrics {
            self.inner.shared.counts.publish(self.name(), self.stats());
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
        Ok(Self { inner: Arc::new(Inner::new(name, settings, clock)?), keys })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LimitSettings {
        &self.inner.settings
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.inner.rule.rate()
    }

    #[cfg(feature = "tower")]
    pub(crate) fn terms(&self) -> Terms {
        self.inner.rule.terms()
    }

    /// Changes rate and burst of all keys from the next call on, in this process. What a key used stays used, up to the new
    /// burst.
    ///
    /// ```
    /// use trimtab_limit::KeyedLimit;
    ///
    /// let logins: KeyedLimit<&str> = KeyedLimit::new("logins", "1/h burst 1".parse()?)?;
    /// assert!(logins.check(&"ada").is_ok() && logins.check(&"ada").is_err());
    /// logins.set_rate("1000000/s burst 5".parse()?)?;
    /// let error = logins.check(&"ada").err();
    /// // Used up, but back within a millionth of a second.
    /// assert!(error.is_none_or(|error| error.retry_after().unwrap().as_micros() <= 1));
    /// assert_eq!(logins.usage(10)[0].key, "ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`]: an impossible rate; nothing has changed then.
    pub fn set_rate(&self, rate: Rate) -> Result<(), BuildError> {
        self.inner.change(rate)
    }

    /// Whether a call of this key may pass; counts it if so. Never waits.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`] with the time after which to come again.
    #[inline]
    pub fn check(&self, key: &K) -> Result<Allowed, LimitError> {
        let terms = self.inner.rule.terms();
        self.decide(key, terms, terms.interval, 1)
    }

    /// The same for a call that weighs `weight`: it passes whole or not at all.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`], or [`LimitError::TooMuch`] for a weight beyond the burst.
    pub fn check_n(&self, key: &K, weight: NonZeroU32) -> Result<Allowed, LimitError> {
        let terms = self.inner.rule.terms();
        self.decide(key, terms, self.inner.cost(terms, weight)?, weight.get())
    }

    #[inline]
    fn decide(&self, key: &K, terms: Terms, cost: u64, weight: u32) -> Result<Allowed, LimitError> {
        let now = self.inner.now();
        let decided = self.keys.decide(key, weight, |instant| {
            let decided = terms.decide(instant.map_or(0, Nanos::as_u64), now, cost);
            let next = decided.map_or_else(|wait| wait.forgiven, Some);
            (decided, next.map(Nanos::from))
        });
        match decided {
            Ok(next) => Ok(Allowed(Left::Measured { terms, ahead: next - now })),
            Err(wait) => Err(self.inner.refuse(terms, wait.nanos)),
        }
    }

    /// What the busiest of the remembered keys used, the busiest first; at most `count`. Exact for each key since it is
    /// remembered. Looks at all keys, so it is for people and not for each request.
    pub fn usage(&self, count: usize) -> Vec<KeyUsage<K>> {
        self.keys.top(count)
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
        f.debug_struct("Limit").field("name", &self.name()).field("rate", &self.rate()).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Clone, C: Clock> fmt::Debug for KeyedLimit<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimit").field("name", &self.name()).field("rate", &self.rate()).finish_non_exhaustive()
    }
}
