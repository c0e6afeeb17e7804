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

use crate::clock::DefaultClock;
use crate::config::{Fallback, LimitSettings};
use crate::decision::{Allowed, Left, Pace, Refused};
use crate::error::{BuildError, Cause, LimitError};
use crate::local::{KeyedLimit, checked};
use crate::metrics::{Counts, LimitStats};

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
    pace: Pace,
    server: Server,
    local: KeyedLimit<Box<str>, DefaultClock>,
    counts: Counts,
    /// Permits fetched and not spent, by key.
    leased: parking_lot::Mutex<LruCache<Box<str>, Leased>>,
    /// One who fetches brings permits for the others of its key.
    turns: Box<[tokio::sync::Mutex<()>]>,
    hasher: RandomState,
    start: Instant,
    /// Milliseconds since `start` until which the server is left alone.
    away_until: AtomicU64,
    /// Why.
    failure: parking_lot::Mutex<Option<Failure>>,
}

struct Leased {
    permits: u32,
    until: Instant,
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
                pace,
                server,
                local,
                counts: Counts::default(),
                leased: parking_lot::Mutex::new(bounded(room)),
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
        let (weight, burst) = (weight.get(), inner.pace.burst.get());
        if weight > burst {
            return Err(LimitError::TooMuch { limit: inner.name.clone(), asked: weight, burst });
        }
        let most = inner.settings.leased.max(weight);
        if most == weight {
            return inner.ask(key, weight, most).await;
        }
        if let Some(left) = inner.spend(key, weight) {
            return Ok(inner.told(left));
        }
        let turn = &inner.turns[inner.hasher.hash_one(key) as usize % TURNS];
        let _turn = turn.lock().await;
        // Somebody may have fetched for us.
        match inner.spend(key, weight) {
            Some(left) => Ok(inner.told(left)),
            None => inner.ask(key, weight, most).await,
        }
    }

    /// The numbers.
    pub fn stats(&self) -> LimitStats {
        let local = self.inner.local.stats();
        let keys = self.inner.leased.lock().len().max(local.keys);
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
    fn told(&self, remaining: u32) -> Allowed {
        Allowed(Left::Told { burst: self.pace.burst.get(), remaining, interval: self.pace.interval })
    }

    /// Spends permits that were fetched before; what is left of them.
    fn spend(&self, key: &str, weight: u32) -> Option<u32> {
        let mut leased = self.leased.lock();
        let left = leased.get_mut(key)?;
        if left.permits < weight || left.until < Instant::now() {
            return None;
        }
        left.permits -= weight;
        Some(left.permits)
    }

    async fn ask(&self, key: &str, least: u32, most: u32) -> Result<Allowed, LimitError> {
        let now = self.start.elapsed().as_millis() as u64;
        if now < self.away_until.load(Ordering::Relaxed) {
            return self.fall_back(key, least);
        }
        self.counts.questions.fetch_add(1, Ordering::Relaxed);
        let full = format!("{}:{key}", self.name);
        let question = Question { key: &full, pace: self.pace, least, most };
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
            Ok(Err(failure)) => return self.away(key, least, failure),
            Err(_) => {
                let failure = Failure::plain(format!("its server did not answer within {patience:?}"));
                return self.away(key, least, failure);
            }
        };
        let Decided { granted, remaining, retry_after } = decided;
        if granted < least {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            let refused = Refused { retry_after, burst: self.pace.burst.get(), remaining };
            return Err(LimitError::Refused { limit: self.name.clone(), refused });
        }
        if granted > least {
            let until = Instant::now() + self.settings.leased_for.get();
            let fetched = Leased { permits: granted - least, until };
            // What was left of the last ones is given up: two leases of one key could add up beyond what is stated.
            self.leased.lock().put(key.into(), fetched);
        }
        Ok(self.told(remaining + granted - least))
    }

    /// The server failed: it is left alone for a while.
    fn away(&self, key: &str, weight: u32, failure: Failure) -> Result<Allowed, LimitError> {
        let pause = self.settings.retry_after.as_millis() as u64;
        let now = self.start.elapsed().as_millis() as u64;
        let before = self.away_until.swap(now + pause, Ordering::Relaxed);
        if before < now {
            tracing::warn!(limit = %self.name, failure = %failure.what, fallback = ?self.settings.fallback, "a limit's server is away");
        }
        *self.failure.lock() = Some(failure);
        self.fall_back(key, weight)
    }

    fn fall_back(&self, key: &str, weight: u32) -> Result<Allowed, LimitError> {
        self.counts.away.fetch_add(1, Ordering::Relaxed);
        match self.settings.fallback {
            Fallback::Open => Ok(self.told(self.pace.burst.get() - weight)),
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
        f.debug_struct("SharedLimit")
            .field("name", &self.name())
            .field("rate", &self.settings().rate)
            .finish_non_exhaustive()
    }
}

/// A table that grows with its keys, up to `room`.
fn bounded(room: NonZeroUsize) -> LruCache<Box<str>, Leased> {
    let mut table = LruCache::unbounded();
    table.resize(room);
    table
}
