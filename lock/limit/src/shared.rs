//! One limit over many processes: a server decides in one atomic step, by its own clock.
//!
//! Each question is one round trip. Where that is too dear, `leased` permits are fetched at once and spent here; a process may
//! then spend, within `leased_for`, what it fetched before, so that any stretch of time `t` sees at most
//! `rate × t + burst + processes × leased` calls. What is not spent in time is dropped: the rate is missed from below, never
//! from above.
//!
//! A server that is away is left alone for `retry_after` and decided for by the [`Fallback`].

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lru::LruCache;
use tokio::time::{Instant, timeout};
use trimtab_config::Rate;

use crate::bounded::KeyUsage;
use crate::clock::DefaultClock;
use crate::config::{Fallback, LimitSettings};
use crate::decision::{Allowed, Left, Pace, Refused};
use crate::error::{BuildError, Cause, LimitError};
use crate::local::{KeyedLimit, checked};
use crate::metrics::{Counts, LimitStats};
use crate::rule::Rule;

/// Keys that fetch at the same time; more share a turn by chance.
const TURNS: usize = 64;

/// A limit for each key, shared over a server. Clones are cheap and speak of the same limit.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use trimtab_limit::{LimitSettings, SharedLimit};
///
/// let mut settings = LimitSettings::of("100/s burst 20".parse()?);
/// settings.url = Some("redis://localhost".to_owned().into());
/// let api = SharedLimit::connect("api", settings).await?;
/// api.check("customer/42").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedLimit {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    settings: LimitSettings,
    rule: Rule,
    server: Server,
    local: KeyedLimit<Box<str>, DefaultClock>,
    counts: Counts,
    /// Permits fetched and not spent, and what was used, by key.
    keys: parking_lot::Mutex<LruCache<String, Key>>,
    /// One who fetches brings permits for the others of its key.
    turns: Box<[tokio::sync::Mutex<()>]>,
    hasher: RandomState,
    start: Instant,
    /// Milliseconds since `start` until which the server is left alone.
    away_until: AtomicU64,
    /// Why.
    failure: parking_lot::Mutex<Option<Failure>>,
}

#[derive(Default)]
struct Key {
    /// Fetched and not spent.
    leased: u32,
    /// Until when those may be spent.
    until: Option<Instant>,
    /// Spent in all.
    permits: u64,
    refused: u64,
}

enum Server {
    #[cfg(feature = "postgres")]
    Postgres(postgres::Postgres),
    #[cfg(feature = "redis")]
    Redis(redis::Redis),
}

/// What is asked for: at least so many permits, at most so many.
#[derive(Debug, Clone, Copy)]
struct Question<'a> {
    key: &'a str,
    pace: Pace,
    least: u32,
    most: u32,
}

/// What the server answered: permits (none when refused), what is left, and when the least would be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decided {
    granted: u32,
    remaining: u32,
    retry_after: Duration,
}

#[derive(Debug, Clone)]
struct Failure {
    what: Arc<str>,
    cause: Option<Cause>,
}

impl Failure {
    fn new(what: impl Into<Arc<str>>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { what: what.into(), cause: Some(Arc::new(cause)) }
    }

    fn plain(what: impl Into<Arc<str>>) -> Self {
        Self { what: what.into(), cause: None }
    }
}

impl SharedLimit {
    /// A limit over the server of `settings.url`, which is tried once, so that a wrong address is found now.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: an impossible name or settings, a server that is not compiled in or does not answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing stays behind but what the server needs once (a table).
    pub async fn connect(name: &str, settings: LimitSettings) -> Result<Self, BuildError> {
        let pace = checked(name, &settings)?;
        let url = settings.url.as_ref().map_or("", |url| url.expose());
        let scheme = url.split(':').next().unwrap_or("");
        let refused =
            |Failure { what, cause }| BuildError::Server { name: name.to_owned(), what: what.to_string(), cause };
        let server = match scheme {
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => Server::Postgres(postgres::Postgres::connect(url).await.map_err(refused)?),
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis+unix" | "unix" => {
                Server::Redis(redis::Redis::connect(url).await.map_err(refused)?)
            }
            // No more of it: a URL may hold a password anywhere.
            _ => return Err(BuildError::Scheme { name: name.to_owned(), scheme: scheme.chars().take(16).collect() }),
        };
        let local = KeyedLimit::with_clock(name, settings.clone(), DefaultClock::default())?;
        let room = NonZeroUsize::new(settings.keys_max as usize).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.into(),
                rule: Rule::new(settings.rate, pace),
                server,
                local,
                counts: Counts::default(),
                keys: parking_lot::Mutex::new(bounded(room)),
                turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
                hasher: RandomState::new(),
                start: Instant::now(),
                away_until: AtomicU64::new(0),
                failure: parking_lot::Mutex::default(),
                settings,
            }),
        })
    }

    /// The name. Processes that use the same name on the same server share the limit.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The settings in force.
    pub fn settings(&self) -> &LimitSettings {
        &self.inner.settings
    }

    /// The rate in force in this process.
    pub fn rate(&self) -> Rate {
        self.inner.rule.rate()
    }

    /// Changes rate and burst from the next question on, in this process: each process asks by its own, so change it in all of
    /// them. What a key used stays used, up to the new burst.
    ///
    /// # Errors
    ///
    /// [`BuildError::Settings`]: an impossible rate, or a burst below `leased`; nothing has changed then.
    pub fn set_rate(&self, rate: Rate) -> Result<(), BuildError> {
        let inner = &*self.inner;
        let pace = checked(&inner.name, &LimitSettings { rate, ..inner.settings.clone() })?;
        inner.local.set_rate(rate)?;
        inner.rule.change(rate, pace);
        Ok(())
    }

    /// What the busiest keys used in this process, the busiest first; at most `count`. Exact for each key since it is
    /// remembered, which are the `keys_max` asked for last. Looks at all of them, so it is for people.
    pub fn usage(&self, count: usize) -> Vec<KeyUsage<String>> {
        let mut top = Vec::new();
        for (key, used) in self.inner.keys.lock().iter() {
            let total = used.permits.saturating_add(used.refused);
            KeyUsage::offer(&mut top, count, total, || KeyUsage::new(key.clone(), used.permits, used.refused));
        }
        top
    }

    /// Whether a call of this key may pass; counts it if so.
    ///
    /// # Errors
    ///
    /// [`LimitError::Refused`] with the time after which to come again; [`LimitError::Unavailable`] when the server is away
    /// and the fallback is `closed`.
    ///
    /// # Cancel safety
    ///
    /// Safe: a caller who leaves may have spent permits that nobody used, never more.
    ///
    /// # Complexity
    ///
    /// One round trip, or none while fetched permits last.
    pub async fn check(&self, key: &str) -> Result<Allowed, LimitError> {
        self.check_n(key, NonZeroU32::MIN).await
    }

    /// The same for a call that weighs `weight`: it passes whole or not at all.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and [`LimitError::TooMuch`] for a weight beyond the burst.
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_n(&self, key: &str, weight: NonZeroU32) -> Result<Allowed, LimitError> {
        let inner = &*self.inner;
        let pace = inner.rule.pace();
        let (weight, burst) = (weight.get(), pace.burst.get());
        if weight > burst {
            return Err(LimitError::TooMuch { limit: inner.name.clone(), asked: weight, burst });
        }
        let most = inner.settings.leased.min(burst).max(weight);
        if most == weight {
            return inner.ask(key, pace, weight, most).await;
        }
        if let Some(left) = inner.spend(key, weight) {
            return Ok(told(pace, left));
        }
        let turn = &inner.turns[inner.hasher.hash_one(key) as usize % TURNS];
        let _turn = turn.lock().await;
        // Somebody may have fetched for us.
        match inner.spend(key, weight) {
            Some(left) => Ok(told(pace, left)),
            None => inner.ask(key, pace, weight, most).await,
        }
    }

    /// The numbers.
    pub fn stats(&self) -> LimitStats {
        let local = self.inner.local.stats();
        let keys = self.inner.keys.lock().len().max(local.keys);
        let own = self.inner.counts.stats(keys, local.crowded);
        LimitStats { refused: own.refused + local.refused, ..own }
    }

    /// Publishes the numbers as metrics. Call it before each scrape.
    pub fn publish_metrics(&self) {
        if self.inner.settings.metrics {
            self.inner.counts.publish(&self.inner.name, self.stats());
        }
    }
}

impl Inner {
    /// Counts what one call used.
    fn count(&self, key: &str, permits: u32, refused: bool) {
        let mut keys = self.keys.lock();
        let known = known(&mut keys, key);
        known.permits += u64::from(permits);
        known.refused += u64::from(refused);
    }

    /// Spends permits that were fetched before; what is left of them.
    fn spend(&self, key: &str, weight: u32) -> Option<u32> {
        let mut keys = self.keys.lock();
        let known = keys.get_mut(key)?;
        if known.leased < weight || known.until.is_none_or(|until| until < Instant::now()) {
            return None;
        }
        known.leased -= weight;
        known.permits += u64::from(weight);
        Some(known.leased)
    }

    async fn ask(&self, key: &str, pace: Pace, least: u32, most: u32) -> Result<Allowed, LimitError> {
        let now = self.start.elapsed().as_millis() as u64;
        if now < self.away_until.load(Ordering::Relaxed) {
            return self.fall_back(key, pace, least);
        }
        self.counts.questions.fetch_add(1, Ordering::Relaxed);
        let full = format!("{}:{key}", self.name);
        let question = Question { key: &full, pace, least, most };
        let patience = self.settings.timeout.get();
        let answer = timeout(patience, async {
            match &self.server {
                #[cfg(feature = "postgres")]
                Server::Postgres(server) => server.ask(question).await,
                #[cfg(feature = "redis")]
                Server::Redis(server) => server.ask(question).await,
            }
        });
        let decided = match answer.await {
            Ok(Ok(decided)) => decided,
            Ok(Err(failure)) => return self.away(key, pace, least, failure),
            Err(_) => {
                let failure = Failure::plain(format!("its server did not answer within {patience:?}"));
                return self.away(key, pace, least, failure);
            }
        };
        let Decided { granted, remaining, retry_after } = decided;
        if granted < least {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            self.count(key, 0, true);
            let refused = Refused { retry_after, burst: pace.burst.get(), remaining };
            return Err(LimitError::Refused { limit: self.name.clone(), refused });
        }
        let mut keys = self.keys.lock();
        let known = known(&mut keys, key);
        known.permits += u64::from(least);
        if granted > least {
            // What was left of the last ones is given up: two leases of one key could add up beyond what is stated.
            known.leased = granted - least;
            known.until = Some(Instant::now() + self.settings.leased_for.get());
        }
        Ok(told(pace, remaining + granted - least))
    }

    /// The server failed: it is left alone for a while.
    fn away(&self, key: &str, pace: Pace, weight: u32, failure: Failure) -> Result<Allowed, LimitError> {
        let pause = self.settings.retry_after.as_millis() as u64;
        let now = self.start.elapsed().as_millis() as u64;
        let before = self.away_until.swap(now + pause, Ordering::Relaxed);
        if before < now {
            tracing::warn!(limit = %self.name, failure = %failure.what, fallback = ?self.settings.fallback, "a limit's server is away");
        }
        *self.failure.lock() = Some(failure);
        self.fall_back(key, pace, weight)
    }

    fn fall_back(&self, key: &str, pace: Pace, weight: u32) -> Result<Allowed, LimitError> {
        self.counts.away.fetch_add(1, Ordering::Relaxed);
        let decided = self.without_server(key, pace, weight);
        let passed = decided.is_ok();
        self.count(key, if passed { weight } else { 0 }, !passed);
        decided
    }

    fn without_server(&self, key: &str, pace: Pace, weight: u32) -> Result<Allowed, LimitError> {
        match self.settings.fallback {
            Fallback::Open => Ok(told(pace, pace.burst.get() - weight)),
            Fallback::Closed => {
                let failure = self.failure.lock().clone().unwrap_or_else(|| Failure::plain("its server failed"));
                Err(LimitError::Unavailable { limit: self.name.clone(), what: failure.what, cause: failure.cause })
            }
            Fallback::Local => self.local.check_n(&key.into(), NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN)),
        }
    }
}

impl fmt::Debug for SharedLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimit").field("name", &self.name()).field("rate", &self.rate()).finish_non_exhaustive()
    }
}

fn told(pace: Pace, remaining: u32) -> Allowed {
    Allowed(Left::Told { burst: pace.burst.get(), remaining, interval: pace.interval })
}

/// What is known of a key, from now on.
fn known<'a>(keys: &'a mut LruCache<String, Key>, key: &str) -> &'a mut Key {
    keys.get_or_insert_mut_ref(key, Key::default)
}

/// A table that grows with its keys, up to `room`.
fn bounded(room: NonZeroUsize) -> LruCache<String, Key> {
    let mut table = LruCache::unbounded();
    table.resize(room);
    table
}
