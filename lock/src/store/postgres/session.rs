//! One session: its statements, when it was last heard of, and how its end is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls, Row, Statement};

use crate::error::StoreError;
use crate::named::Named;

/// The sequence that tokens come from, in the first schema of the search path.
const SEQUENCE: &str = "trimtab_lock_tokens";
const OLDEST: i32 = 140_000;
/// The longest `lock_timeout` of one statement; a longer wait asks again.
const WAIT_MAX: Duration = Duration::from_secs(60 * 60);

pub(crate) struct Session {
    client: Client,
    cancel: CancelToken,
    pid: i32,
    lease: Duration,
    timeout: Duration,
    statements: Statements,
    /// When the last question that was answered had been sent: the server has heard of us since.
    contact: Mutex<Instant>,
    ended: watch::Receiver<bool>,
    driver: AbortHandle,
    kept: AtomicBool,
    trips: Arc<AtomicU64>,
}

struct Statements {
    alone: Ways,
    together: Ways,
    token: Statement,
    speak: Statement,
}

/// The statements of one kind of advisory lock.
struct Ways {
    try_lock: Statement,
    wait_lock: Statement,
    unlock: Statement,
}

impl Ways {
    /// `kind` is what the names of its functions have behind `lock`: nothing, or `_shared`.
    async fn prepare(client: &Client, kind: &str) -> Result<Self, Error> {
        // CASE, since the order in which a list of columns is computed is nobody's promise.
        let try_lock =
            format!("SELECT CASE WHEN pg_try_advisory_lock{kind}($1) THEN nextval('{SEQUENCE}') END, pg_backend_pid()");
        let wait_lock = format!(
            "SELECT CASE WHEN set_config('lock_timeout', $2, false) IS NOT NULL THEN \
             CASE WHEN pg_advisory_lock{kind}($1)::text IS NOT NULL THEN nextval('{SEQUENCE}') END END, \
             pg_backend_pid()"
        );
        let unlock = format!("SELECT pg_advisory_unlock{kind}($1), pg_backend_pid()");
        let (try_lock, wait_lock, unlock) =
            tokio::try_join!(client.prepare(&try_lock), client.prepare(&wait_lock), client.prepare(&unlock))?;
        Ok(Self { try_lock, wait_lock, unlock })
    }
}

impl Statements {
    fn ways(&self, shared: bool) -> &Ways {
        if shared { &self.together } else { &self.alone }
    }
}

/// How a wait ended.
pub(crate) enum Waited {
    Locked { token: u64, at_once: bool },
    TimedOut,
    Cancelled,
}

impl Session {
    pub(crate) async fn open(
        config: &Config,
        lease: Duration,
        patience: Duration,
        trips: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let opened = timeout(patience, Self::open_now(config, lease, patience, trips)).await;
        opened.unwrap_or_else(|_| {
            Err(StoreError::plain(format!(
                "the database did not accept a session within {patience:?}; is it reachable?"
            )))
        })
    }

    async fn open_now(
        config: &Config,
        lease: Duration,
        patience: Duration,
        trips: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let refused = |error: Error| {
            // Another password or database will not appear by itself.
            let permanent = error.code().is_some_and(|code| {
                [
                    SqlState::INVALID_PASSWORD,
                    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                    SqlState::INVALID_CATALOG_NAME,
                ]
                .contains(code)
            });
            let told = answered("the database did not accept a session", error);
            if permanent { told.permanent() } else { told }
        };
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        let (told, ended) = watch::channel(false);
        let driver = tokio::spawn(async move {
            // However it ends, by the server or by the last user, those who watch are told.
            let _told = Told(told);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session of locks ended");
            }
        });
        let driver = driver.abort_handle();
        // Until the session stands, an error must not leave its connection behind.
        let guard = Abort(Some(driver.clone()));
        let started = Instant::now();
        let version: i32 =
            client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await.map_err(refused)?.get(0);
        if version < OLDEST {
            let what = format!("PostgreSQL {} has no idle_session_timeout; use version 14 or later", version / 10_000);
            return Err(StoreError::plain(what).permanent());
        }
        // None of the database's own habits that could end a wait or, after a crash, set the tokens back: they must be on its disk
        // before they are given out (once in 32 tokens there is something to write).
        let limits = "SET statement_timeout = 0; SET synchronous_commit = on; SET application_name = 'trimtab-lock'";
        client.batch_execute(limits).await.map_err(refused)?;
        // So that the server finds out about a waiter that died; systems without the means refuse it.
        let _ = client.batch_execute("SET client_connection_check_interval = 1000").await;
        make_sequence(&client).await?;
        let statements = async {
            // At the same time, which is one round trip for all of them.
            let (alone, together, token, speak) = tokio::try_join!(
                Ways::prepare(&client, ""),
                Ways::prepare(&client, "_shared"),
                client.prepare("SELECT nextval('trimtab_lock_tokens'), pg_backend_pid()"),
                client.prepare("SELECT true, pg_backend_pid()"),
            )?;
            Ok::<_, Error>(Statements { alone, together, token, speak })
        };
        let statements = statements.await.map_err(refused)?;
        let pid = client.query_one(&statements.speak, &[]).await.map_err(refused)?.get(1);
        let (cancel, contact, kept) = (client.cancel_token(), Mutex::new(started), AtomicBool::new(false));
        std::mem::forget(guard);
        Ok(Self { client, cancel, pid, lease, timeout: patience, statements, contact, ended, driver, kept, trips })
    }

    /// From now on the server ends the session when it is silent for one lease. Before, it holds nothing.
    pub(crate) async fn arm(self) -> Result<Self, StoreError> {
        let sent = Instant::now();
        let limit = format!("SET idle_session_timeout = {}", self.lease.as_millis());
        let set = timeout(self.timeout, self.client.batch_execute(&limit)).await;
        set.map_err(|_| StoreError::plain(format!("the database did not answer within {:?}", self.timeout)))?
            .map_err(|error| answered("the database did not take the limit of a session", error))?;
        *self.contact.lock() = sent;
        Ok(self)
    }

    /// Whether it may be used.
    pub(crate) fn is_good(&self) -> bool {
        !self.client.is_closed() && !*self.ended.borrow()
    }

    /// Whether the server will certainly keep it for a while.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_good() && Instant::now() < *self.contact.lock() + self.lease / 2
    }

    /// The holder's side of the lease: a little less than the server's, for clocks that do not run alike.
    pub(crate) fn trusted_until(&self) -> Instant {
        *self.contact.lock() + self.lease - self.lease / 20
    }

    /// When the server should hear of us again.
    pub(crate) fn next_contact(&self) -> Instant {
        *self.contact.lock() + self.lease / 3
    }

    /// Returns once the session has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // A sender that is gone has told before.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends it at once.
    pub(crate) fn end(&self) {
        self.driver.abort();
    }

    /// Speaks to the server for as long as the session is in use, so that its idle time is not taken for silence.
    pub(crate) fn keep_alive(self: &Arc<Self>) {
        if self.kept.swap(true, Ordering::Relaxed) {
            return;
        }
        let session = Arc::downgrade(self);
        drop(tokio::spawn(async move {
            loop {
                let Some(next) = session.upgrade().filter(|session| session.is_good()).map(|s| s.next_contact()) else {
                    return;
                };
                tokio::time::sleep_until(next).await;
                let Some(session) = session.upgrade() else { return };
                if Instant::now() >= session.next_contact() && session.speak().await.is_err() {
                    return;
                }
            }
        }));
    }

    async fn ask(&self, statement: &Statement, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row, StoreError> {
        let sent = Instant::now();
        self.trips.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(self.timeout.min(self.lease), self.client.query_one(statement, parameters)).await;
        let Ok(answer) = answer else {
            // What it would answer later must not be taken for something else; and its locks may be ours without our knowing.
            self.end();
            return Err(StoreError::plain(format!(
                "the database did not answer within {:?}",
                self.timeout.min(self.lease)
            )));
        };
        let row = answer.map_err(|error| answered("the database did not answer as it should", error))?;
        self.heard(sent, &row)?;
        Ok(row)
    }

    fn heard(&self, sent: Instant, row: &Row) -> Result<(), StoreError> {
        if row.get::<_, i32>(1) != self.pid {
            self.end();
            return Err(pooler());
        }
        let mut contact = self.contact.lock();
        *contact = sent.max(*contact);
        Ok(())
    }

    /// Its token, if the lock was free.
    pub(crate) async fn try_lock(&self, key: i64, shared: bool) -> Result<Option<u64>, StoreError> {
        match self.ask(&self.statements.ways(shared).try_lock, &[&key]).await {
            Ok(row) => Ok(row.get::<_, Option<i64>>(0).map(|token| token as u64)),
            Err(error) => {
                self.free(key, shared).await;
                Err(error)
            }
        }
    }

    /// Waits for the lock as long as somebody wants it.
    pub(crate) async fn wait_lock(
        &self,
        key: i64,
        shared: bool,
        until: Instant,
        named: &Named,
    ) -> Result<Waited, StoreError> {
        let sent = Instant::now();
        let wait = until.saturating_duration_since(sent).min(WAIT_MAX);
        // 0 would wait for ever.
        let milliseconds = (wait.as_millis() + 1).to_string();
        let parameters: [&(dyn ToSql + Sync); 2] = [&key, &milliseconds];
        self.trips.fetch_add(1, Ordering::Relaxed);
        let question = self.client.query_one(&self.statements.ways(shared).wait_lock, &parameters);
        tokio::pin!(question);
        let mut cancelled = false;
        let answer = tokio::select! {
            biased;
            answer = &mut question => Some(answer),
            () = tokio::time::sleep(wait + self.timeout) => None,
            () = named.unwanted() => {
                cancelled = true;
                // By a connection of its own; when that fails, the statement ends by its time.
                let _ = timeout(self.timeout, self.cancel.cancel_query(NoTls)).await;
                timeout(self.timeout, question).await.ok()
            }
        };
        let row = match answer {
            Some(Ok(row)) => row,
            Some(Err(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                *self.contact.lock() = sent;
                self.free(key, shared).await;
                return Ok(Waited::TimedOut);
            }
            Some(Err(error)) if cancelled && error.code() == Some(&SqlState::QUERY_CANCELED) => {
                self.free(key, shared).await;
                return Ok(Waited::Cancelled);
            }
            Some(Err(error)) => {
                self.end();
                return Err(StoreError::new("the database ended the wait for a lock", error));
            }
            None => {
                self.end();
                return Err(StoreError::plain(format!("the database did not answer within {:?}", wait + self.timeout)));
            }
        };
        self.heard(sent, &row)?;
        let token: Option<i64> = row.get(0);
        let Some(token) = token else { return Err(StoreError::plain("the database gave no token")) };
        // The answer may have lain here while this program stood still. A short wait is its own proof; after a long one the
        // server is asked once more.
        let waited = sent.elapsed();
        if waited > self.lease / 2 {
            self.speak().await?;
        }
        Ok(Waited::Locked { token: token as u64, at_once: waited < Duration::from_millis(1) })
    }

    /// After a statement that failed. Its error may have come after the lock, which a session keeps through any error: a wait
    /// that was cancelled in the moment of its success left the lock behind on an idle session.
    async fn free(&self, key: i64, shared: bool) {
        if self.is_good() && self.unlock(key, shared).await.is_err() {
            self.end();
        }
    }

    /// False when the lock was not held.
    pub(crate) async fn unlock(&self, key: i64, shared: bool) -> Result<bool, StoreError> {
        Ok(self.ask(&self.statements.ways(shared).unlock, &[&key]).await?.get(0))
    }

    /// Ends the sessions that hold this key; how many.
    pub(crate) async fn end_holders(&self, key: i64) -> Result<usize, StoreError> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&key];
        let ended = self.client.query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND ((classid::int8 << 32) | objid::int8) = $1",
            &parameters,
        );
        let ended = timeout(self.timeout, ended).await;
        let ended = ended
            .map_err(|_| StoreError::plain(format!("the database did not answer within {:?}", self.timeout)))?
            .map_err(|e| StoreError::new("the database did not end the session of the holder", e))?;
        Ok(ended.iter().filter(|row| row.get(0)).count())
    }

    pub(crate) async fn next_token(&self) -> Result<u64, StoreError> {
        let token: i64 = self.ask(&self.statements.token, &[]).await?.get(0);
        Ok(token as u64)
    }

    /// Lets the server hear of us.
    pub(crate) async fn speak(&self) -> Result<(), StoreError> {
        self.ask(&self.statements.speak, &[]).await.map(drop)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

struct Told(watch::Sender<bool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

struct Abort(Option<AbortHandle>);

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(driver) = &self.0 {
            driver.abort();
        }
    }
}

/// A statement that was prepared and is not known is one on another backend.
fn answered(what: &str, error: Error) -> StoreError {
    let elsewhere = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::DUPLICATE_PSTATEMENT];
    if error.code().is_some_and(|code| elsewhere.contains(code)) { pooler() } else { StoreError::new(what, error) }
}

fn pooler() -> StoreError {
    StoreError::plain(
        "statements of one session reach different backends: a pooler in transaction mode (such as PgBouncer) stands between, \
         and a lock would stay on a backend that is not ours; connect to the server itself, or to a pool in session mode",
    )
    .permanent()
}

/// Refuses a pooler in transaction mode, which gives each statement whatever backend is free.
///
/// A quiet pooler gives the same one again and again, so it has to be made to choose: while one session keeps a backend in a
/// transaction, the other gets another one than before.
pub(crate) async fn refuse_poolers(one: &Session, two: &Session) -> Result<(), StoreError> {
    if one.pid == two.pid {
        return Err(pooler());
    }
    let failed = |error| StoreError::new("the database cannot be asked whether a pooler stands before it", error);
    for (keeps, asks) in [(one, two), (two, one)] {
        keeps.client.batch_execute("BEGIN").await.map_err(failed)?;
        let asked = async {
            keeps.speak().await?;
            asks.speak().await
        };
        let asked = asked.await;
        keeps.client.batch_execute("ROLLBACK").await.map_err(failed)?;
        asked?;
    }
    Ok(())
}

/// What `IF NOT EXISTS` fails with when another session makes the same in the same moment, by how far that one is.
const MADE_MEANWHILE: [SqlState; 3] =
    [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];

async fn make_sequence(client: &Client) -> Result<(), StoreError> {
    let known = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&SEQUENCE]).await;
    let known: bool = known.map_err(|e| StoreError::new("the database cannot be asked for its sequences", e))?.get(0);
    if known {
        return Ok(());
    }
    match client.batch_execute(&format!("CREATE SEQUENCE IF NOT EXISTS {SEQUENCE}")).await {
        Ok(()) => Ok(()),
        Err(error) if error.code().is_some_and(|code| MADE_MEANWHILE.contains(code)) => Ok(()),
        Err(error) => Err(StoreError::new(
            format!("the sequence {SEQUENCE}, which tokens come from, cannot be made; let its owner run CREATE SEQUENCE {SEQUENCE} and grant USAGE on it"),
            error,
        )
        .permanent()),
    }
}
