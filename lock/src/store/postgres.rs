//! Locks over PostgreSQL: session-level advisory locks, with a lease that the server enforces.
//!
//! Uncontended locks share one session: one statement tries the lock and draws the token. A contended lock is waited for on a
//! session of its own by the blocking call, which the server wakes one by one and in order; that session keeps the lock while it
//! is held. A name that was contended lately goes there at once.
//!
//! A session lock alone would outlive a holder that stopped. So each session has an `idle_session_timeout` of one lease and is
//! spoken to at a third of it: the server ends the session of whoever fell silent. The holder trusts its lock for one lease
//! after it *sent* what was answered last. A session that ends takes its locks along and its holders are told; nothing is taken
//! again under the same token.
//!
//! Keys are the first 64 bits of SHA-256 of the name. Two names of one key would only keep each other out: which name is held
//! is decided in the process, by the full name.

mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_postgres::Config;
use trimtab_config::Backoff;

use self::session::{Session, Waited};
use super::pauses::Pauses;
use super::tokens::Tokens;
use crate::config::LockSettings;
use crate::error::{Loss, StoreError};
use crate::mode::LeaseMode;
use crate::named::Named;

/// Idle sessions kept for the next contended lock.
const SPARE: usize = 4;
/// A name counts as contended for so long after somebody waited for it.
const CONTENDED: Duration = Duration::from_secs(5);
const SLOTS: usize = 256;

/// A PostgreSQL server.
pub(crate) struct Postgres {
    config: Config,
    lease: Duration,
    timeout: Duration,
    backoff: Backoff,
    shared: tokio::sync::Mutex<Option<Arc<Session>>>,
    spare: Arc<Mutex<Vec<Arc<Session>>>>,
    permits: Arc<Semaphore>,
    tokens: Arc<Tokens>,
    trips: Arc<AtomicU64>,
    start: Instant,
    /// By key: milliseconds since `start` at which somebody last waited, plus one. A stranger in a slot costs a session.
    contended: [AtomicU64; SLOTS],
}

/// A lock of this process, on the shared session or on its own.
pub(crate) struct PostgresHold {
    session: Arc<Session>,
    key: i64,
    token: u64,
    tokens: Arc<Tokens>,
    shared: bool,
    own: Option<Own>,
}

/// A session that goes back to the spare ones.
struct Own {
    spare: Arc<Mutex<Vec<Arc<Session>>>>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Postgres {
    pub(crate) async fn connect(url: &str, settings: &LockSettings) -> Result<Self, StoreError> {
        let config: Config = url.parse().map_err(|e| StoreError::new("the URL of the database cannot be read", e))?;
        let store = Self {
            config,
            lease: settings.lease.get(),
            timeout: settings.timeout.get(),
            backoff: settings.backoff.clone(),
            shared: tokio::sync::Mutex::default(),
            spare: Arc::default(),
            permits: Arc::new(Semaphore::new(settings.sessions_max as usize)),
            tokens: Arc::default(),
            trips: Arc::default(),
            start: Instant::now(),
            contended: [const { AtomicU64::new(0) }; SLOTS],
        };
        let (one, two) = (store.unarmed().await?, store.unarmed().await?);
        session::refuse_poolers(&one, &two).await?;
        let (one, two) = (Arc::new(one.arm().await?), Arc::new(two.arm().await?));
        one.keep_alive();
        *store.shared.lock().await = Some(one);
        store.spare.lock().push(two);
        Ok(store)
    }

    pub(crate) fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    async fn unarmed(&self) -> Result<Session, StoreError> {
        Session::open(&self.config, self.lease, self.timeout, self.trips.clone()).await
    }

    async fn open(&self) -> Result<Arc<Session>, StoreError> {
        Ok(Arc::new(self.unarmed().await?.arm().await?))
    }

    /// The session that all share, made again when it has ended.
    async fn shared(&self) -> Result<Arc<Session>, StoreError> {
        let mut shared = self.shared.lock().await;
        if let Some(session) = shared.as_ref().filter(|session| session.is_good()) {
            return Ok(session.clone());
        }
        let session = self.open().await?;
        session.keep_alive();
        *shared = Some(session.clone());
        Ok(session)
    }

    async fn own(&self) -> Result<Arc<Session>, StoreError> {
        loop {
            let spare = self.spare.lock().pop();
            match spare {
                Some(session) if session.is_fresh() => return Ok(session),
                // The server is about to end it, or has.
                Some(_) => {}
                None => return self.open().await,
            }
        }
    }

    fn slot(&self, key: i64) -> &AtomicU64 {
        &self.contended[key as u64 as usize % SLOTS]
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64 + 1
    }

    fn contended_lately(&self, key: i64) -> bool {
        let last = self.slot(key).load(Ordering::Relaxed);
        last != 0 && self.now().saturating_sub(last) < CONTENDED.as_millis() as u64
    }

    pub(crate) async fn take(&self, named: &Arc<Named>) -> Result<Option<PostgresHold>, StoreError> {
        let (key, together) = (key(&named.name), named.mode == LeaseMode::Shared);
        let waits = || named.wanted_until().is_some_and(|until| until > Instant::now());
        // A session's locks never exclude each other, so readers have sessions of their own.
        let own_session = together || (waits() && self.contended_lately(key));
        if !own_session {
            let session = self.shared().await?;
            let before = self.tokens.before();
            if let Some(token) = session.try_lock(key, false).await? {
                return self.held(session, key, false, token, before, None).await.map(Some);
            }
            if !waits() {
                return Ok(None);
            }
            self.slot(key).store(self.now(), Ordering::Relaxed);
        }
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            if together {
                return Err(StoreError::plain(
                    "all sessions are in use: each reader over PostgreSQL has its own; raise sessions_max, or read less at once",
                ));
            }
            return self.poll(named, key).await;
        };
        let session = self.own().await?;
        let own = Own { spare: self.spare.clone(), _permit: permit };
        let before = self.tokens.before();
        if together {
            if let Some(token) = session.try_lock(key, true).await? {
                return self.held(session, key, true, token, before, Some(own)).await.map(Some);
            }
            if !waits() {
                own.spare(session);
                return Ok(None);
            }
        }
        loop {
            let Some(until) = named.wanted_until() else {
                own.spare(session);
                return Ok(None);
            };
            match session.wait_lock(key, together, until, named).await? {
                Waited::Locked { token, at_once } => {
                    if !at_once {
                        self.slot(key).store(self.now(), Ordering::Relaxed);
                    }
                    return self.held(session, key, together, token, before, Some(own)).await.map(Some);
                }
                Waited::TimedOut if !waits() => {
                    own.spare(session);
                    return Ok(None);
                }
                Waited::TimedOut | Waited::Cancelled => {}
            }
        }
    }

    async fn held(
        &self,
        session: Arc<Session>,
        key: i64,
        shared: bool,
        token: u64,
        before: u64,
        own: Option<Own>,
    ) -> Result<PostgresHold, StoreError> {
        let hold = PostgresHold { session, key, token, tokens: self.tokens.clone(), shared, own };
        match self.tokens.accept(token, before) {
            Ok(_) => Ok(hold),
            Err(error) => {
                hold.release().await?;
                Err(error)
            }
        }
    }

    /// By ending the sessions of the holders, from one that holds nothing.
    pub(crate) async fn force(&self, name: &str) -> Result<usize, StoreError> {
        self.unarmed().await?.end_holders(key(name)).await
    }

    /// Asks again and again, where no session is left to wait on.
    async fn poll(&self, named: &Named, key: i64) -> Result<Option<PostgresHold>, StoreError> {
        let mut pauses = Pauses::new(&self.backoff, named);
        while pauses.pass().await {
            let session = self.shared().await?;
            let before = self.tokens.before();
            if let Some(token) = session.try_lock(key, false).await? {
                return self.held(session, key, false, token, before, None).await.map(Some);
            }
        }
        Ok(None)
    }
}

impl Own {
    fn spare(self, session: Arc<Session>) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE && session.is_good() {
            spare.push(session);
        }
    }
}

impl PostgresHold {
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn trusted_until(&self) -> Instant {
        self.session.trusted_until()
    }

    pub(crate) async fn watch(&self, named: &Named) -> Loss {
        // After a standstill both may be true: our own question that had no answer in time ends the session, too.
        let ended = || if Instant::now() > self.session.trusted_until() { Loss::Expired } else { Loss::Disconnected };
        loop {
            let until = self.session.trusted_until();
            // Others on this session may have spoken to the server meanwhile.
            if !named.trust(until) {
                return Loss::Expired;
            }
            tokio::select! {
                biased;
                () = self.session.ended() => return ended(),
                () = tokio::time::sleep_until(self.session.next_contact()) => {}
            }
            tokio::select! {
                biased;
                () = self.session.ended() => return ended(),
                () = tokio::time::sleep_until(until) => return Loss::Expired,
                answer = self.session.speak() => if answer.is_err() {
                    return ended();
                }
            }
        }
    }

    pub(crate) async fn next_token(&self) -> Result<u64, StoreError> {
        let before = self.tokens.before();
        self.tokens.accept(self.session.next_token().await?, before)
    }

    pub(crate) async fn release(self) -> Result<bool, StoreError> {
        let released = self.session.unlock(self.key, self.shared).await?;
        if let Some(own) = self.own {
            own.spare(self.session);
        }
        Ok(released)
    }

    /// Lost: whatever the server still thinks of this session, it ends, and others on it learn the same.
    pub(crate) fn abandon(self) {
        self.session.end();
    }
}

fn key(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}
