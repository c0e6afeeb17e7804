//! A connection that is made when it is needed, and made again after it failed.
//!
//! The package's own manager is not used: it repeats commands by itself, and a question about a lock must be repeated only by
//! who knows what it may have done.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, ScriptInvocation};
use tokio::time::timeout;

use crate::error::StoreError;

pub(super) struct Link {
    client: Client,
    patience: Duration,
    connection: Mutex<Option<MultiplexedConnection>>,
    connecting: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn new(url: &str, patience: Duration) -> Result<Self, StoreError> {
        let client = Client::open(url).map_err(|e| StoreError::new("the URL of the server cannot be read", e))?;
        Ok(Self { client, patience, connection: Mutex::default(), connecting: tokio::sync::Mutex::default() })
    }

    /// A second connection to the same server.
    pub(super) fn another(&self) -> Self {
        let (client, patience) = (self.client.clone(), self.patience);
        Self { client, patience, connection: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        let known = || self.connection.lock().clone();
        if let Some(connection) = known() {
            return Ok(connection);
        }
        // One of those who found it gone makes it anew.
        let _turn = self.connecting.lock().await;
        if let Some(connection) = known() {
            return Ok(connection);
        }
        // The package's own limit on answers would end waits; each question here has its own.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.patience)).set_response_timeout(None);
        let made = timeout(self.patience, self.client.get_multiplexed_async_connection_with_config(&config)).await;
        let made = made.map_err(|_| {
            StoreError::plain(format!(
                "the server did not accept a connection within {:?}; is it reachable?",
                self.patience
            ))
        })?;
        let connection = made.map_err(refused)?;
        *self.connection.lock() = Some(connection.clone());
        Ok(connection)
    }

    fn drop_connection(&self) {
        *self.connection.lock() = None;
    }

    pub(super) async fn run<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
        patience: Duration,
    ) -> Result<T, StoreError> {
        let mut connection = self.connect().await?;
        match timeout(patience, invocation.invoke_async(&mut connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
                    self.drop_connection();
                }
                Err(refused(error))
            }
            Err(_) => {
                self.drop_connection();
                Err(StoreError::plain(format!("the server did not answer within {patience:?}")))
            }
        }
    }

    /// Waits for an element of the list `key`, at most `wait`; `grace` more for the answer to arrive.
    pub(super) async fn await_element(
        &self,
        key: &str,
        wait: Duration,
        grace: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let mut connection = self.connect().await?;
        let mut command = redis::cmd("BLPOP");
        command.arg(key).arg(format!("{:.3}", wait.as_secs_f64()));
        let answer = timeout(wait + grace, command.query_async::<Option<(String, u64)>>(&mut connection)).await;
        match answer {
            Ok(Ok(element)) => Ok(element.map(|(_, token)| token)),
            Ok(Err(error)) => {
                self.drop_connection();
                Err(refused(error))
            }
            Err(_) => {
                self.drop_connection();
                Err(StoreError::plain("the server did not answer a wait in time"))
            }
        }
    }
}

fn refused(error: RedisError) -> StoreError {
    // Another password will not appear by itself.
    let permanent = matches!(error.kind(), redis::ErrorKind::AuthenticationFailed);
    let told = StoreError::new("the server did not answer as it should", error);
    if permanent { told.permanent() } else { told }
}

/// A number by chance, from the seeds that the standard library draws from the system for each map.
pub(super) fn chance() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let own = u64::from(std::process::id());
    RandomState::new().hash_one(own) ^ RandomState::new().hash_one(std::time::SystemTime::now())
}
