//! The decision in Redis: one script, one key, which ends by itself when the burst is whole.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::time::timeout;

use super::{Decided, Failure, Question};

/// `KEYS`: the limit's key. `ARGV`: interval in microseconds, burst, least, most. Answers granted, remaining, microseconds to
/// wait. Microseconds of this century are exact in Lua's numbers, and interval and instant may have fractions.
const DECIDE: &str = r"
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local least, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local known = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local function keep(instant)
  redis.call('SET', KEYS[1], string.format('%.3f', instant), 'PX', math.ceil((instant - now) / 1000) + 1)
end
-- Left by a slower rate: a burst that is used up, no more.
local instant = math.min(known, now + burst * interval)
local free = math.floor((burst * interval - (instant - now)) / interval + 1e-6)
if free < least then
  if instant < known then keep(instant) end
  return {0, math.max(free, 0), math.ceil(instant - now - (burst - least) * interval)}
end
local granted = math.min(free, most)
instant = instant + granted * interval
keep(instant)
return {granted, free - granted, 0}
";

pub(super) struct Redis {
    client: Client,
    script: Script,
    connection: Mutex<Option<MultiplexedConnection>>,
    connecting: tokio::sync::Mutex<()>,
}

impl Redis {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let client = Client::open(url).map_err(|e| Failure::new("the URL of the server cannot be read", e))?;
        let (connection, connecting) = (Mutex::default(), tokio::sync::Mutex::default());
        let redis = Self { client, script: Script::new(DECIDE), connection, connecting };
        let first = timeout(Duration::from_secs(5), redis.connected()).await;
        first.map_err(|_| Failure::plain("the server did not accept a connection within 5s; is it reachable?"))??;
        Ok(redis)
    }

    async fn connected(&self) -> Result<MultiplexedConnection, Failure> {
        let known = || self.connection.lock().clone();
        if let Some(connection) = known() {
            return Ok(connection);
        }
        let _turn = self.connecting.lock().await;
        if let Some(connection) = known() {
            return Ok(connection);
        }
        // The limit has its own time limits.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = made.map_err(|e| Failure::new("the server did not accept a connection", e))?;
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }

    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Decided, Failure> {
        let mut connection = self.connected().await?;
        let mut call = self.script.key(format!("trimtab:limit:{}", question.key));
        call.arg(question.pace.interval.as_nanos() as f64 / 1e3).arg(question.pace.burst.get());
        call.arg(question.least).arg(question.most);
        let forget = Forget(&self.connection);
        let answer: Result<(u32, u32, u64), RedisError> = call.invoke_async(&mut connection).await;
        let broken = answer.as_ref().is_err_and(|e| e.is_io_error() || e.is_connection_dropped());
        if !broken {
            std::mem::forget(forget);
        }
        let (granted, remaining, wait) =
            answer.map_err(|e| Failure::new("its server did not answer as it should", e))?;
        Ok(Decided { granted, remaining, retry_after: Duration::from_micros(wait) })
    }
}

/// A connection on which an answer did not come is not used again, whether it failed or its time ran out.
struct Forget<'a>(&'a Mutex<Option<MultiplexedConnection>>);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}
