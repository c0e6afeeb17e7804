//! The decision in PostgreSQL: one statement on one row, which locks it for its own length.
//!
//! The table is not logged: a crash of the server empties it, and every burst is whole again. Rows whose burst is whole are
//! swept now and then; without them nothing is different.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::{Decided, Failure, Question};

/// Instants are microseconds since 1970, exact in a double for this century. `$1` key, `$2` interval, `$3` burst, `$4` least,
/// `$5` most. The time is read when the row is locked, not when the statement began: an instant further ahead than a burst was left
/// by a slower rate and counts as a burst that is used up, and to a statement that has waited for the row, and would go by
/// an old time, what others used meanwhile would look like that.
const DECIDE: &str = "
WITH moment AS (SELECT extract(epoch FROM clock_timestamp())::float8 * 1e6 AS now)
INSERT INTO trimtab_limits AS old (key, instant, granted)
SELECT $1, now + $2::float8 * least($5::int4, $3::int4), least($5::int4, $3::int4) FROM moment
ON CONFLICT (key) DO UPDATE SET (instant, granted) = (
    SELECT least(greatest(old.instant, now), now + $2::float8 * $3::int4) + $2::float8 * take, take
    FROM (
        SELECT now, CASE WHEN free >= $4::int4 THEN least(free, $5::int4) ELSE 0 END AS take
        FROM (
            SELECT now, floor(greatest($3::int4 * $2::float8 - greatest(old.instant - now, 0), 0) / $2::float8 + 1e-6)::int4 AS free
            FROM (SELECT extract(epoch FROM clock_timestamp())::float8 * 1e6 AS now) AS moment
        ) AS room
    ) AS taken
)
RETURNING granted, instant - extract(epoch FROM clock_timestamp())::float8 * 1e6";

const SWEEP: &str =
    "DELETE FROM trimtab_limits WHERE instant < extract(epoch FROM statement_timestamp())::float8 * 1e6";
/// One question of so many sweeps.
const SWEEP_EVERY: u32 = 10_000;

/// What `IF NOT EXISTS` fails with when another session makes the same in the same moment, by how far that one is.
const MADE_MEANWHILE: [SqlState; 3] =
    [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];

pub(super) struct Postgres {
    config: Config,
    session: Mutex<Option<Arc<Session>>>,
    connecting: tokio::sync::Mutex<()>,
    asked: AtomicU32,
}

struct Session {
    client: Client,
    decide: Statement,
}

impl Postgres {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let config = url.parse().map_err(|e| Failure::new("the URL of the database cannot be read", e))?;
        let (session, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        let postgres = Self { config, session, connecting, asked: AtomicU32::new(0) };
        let first = timeout(Duration::from_secs(5), postgres.connected()).await;
        first.map_err(|_| Failure::plain("the database did not accept a session within 5s; is it reachable?"))??;
        Ok(postgres)
    }

    async fn connected(&self) -> Result<Arc<Session>, Failure> {
        let known = || self.session.lock().clone().filter(|session| !session.client.is_closed());
        if let Some(session) = known() {
            return Ok(session);
        }
        let _turn = self.connecting.lock().await;
        if let Some(session) = known() {
            return Ok(session);
        }
        let refused = |e| Failure::new("the database did not accept a session", e);
        let (client, connection) = self.config.connect(NoTls).await.map_err(refused)?;
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a session of limits ended");
            }
        }));
        let made = client
            .batch_execute(
                "CREATE UNLOGGED TABLE IF NOT EXISTS trimtab_limits \
                 (key text PRIMARY KEY, instant float8 NOT NULL, granted int4 NOT NULL)",
            )
            .await;
        match made {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(|code| MADE_MEANWHILE.contains(code)) => {}
            Err(error) => {
                return Err(Failure::new("the table trimtab_limits cannot be made; let its owner make it", error));
            }
        }
        let decide = client.prepare(DECIDE).await.map_err(refused)?;
        let session = Arc::new(Session { client, decide });
        *self.session.lock() = Some(session.clone());
        Ok(session)
    }

    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Decided, Failure> {
        let session = self.connected().await?;
        let interval = question.pace.interval.as_nanos() as f64 / 1e3;
        let burst = question.pace.burst.get().min(i32::MAX as u32) as i32;
        let (least, most) = (question.least as i32, question.most as i32);
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            let session = session.clone();
            drop(tokio::spawn(async move {
                if let Err(error) = session.client.batch_execute(SWEEP).await {
                    tracing::debug!(%error, "old rows of limits were not swept");
                }
            }));
        }
        let row = session.client.query_one(&session.decide, &[&question.key, &interval, &burst, &least, &most]).await;
        let row = row.map_err(|e| Failure::new("its database did not answer as it should", e))?;
        let (granted, ahead): (i32, f64) = (row.get(0), row.get(1));
        let free = ((f64::from(burst) * interval - ahead.max(0.0)) / interval + 1e-6).floor().max(0.0);
        let wait = ahead - f64::from(burst - least) * interval;
        let retry_after = if granted > 0 { Duration::ZERO } else { Duration::from_nanos((wait.max(1.0) * 1e3) as u64) };
        Ok(Decided { granted: granted.max(0) as u32, remaining: free as u32, retry_after })
    }
}
