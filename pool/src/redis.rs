//! A manager of Redis connections, over `redis`.
//!
//! A multiplexed connection serves many tasks at once and needs no pool. A pool is for what makes a connection one task's
//! own: transactions with `WATCH`, blocking commands, scripts that must not delay others.

use redis::aio::MultiplexedConnection;
use redis::{Client, IntoConnectionInfo, RedisError};

use crate::manager::Manager;

/// Makes Redis connections.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use trimtab_pool::ResourcePool;
/// use trimtab_pool::redis::RedisManager;
///
/// let sessions = ResourcePool::builder("sessions", RedisManager::new("redis://localhost")?).max(8).build()?;
/// let mut connection = sessions.acquire().await?;
/// let answer: String = ::redis::cmd("PING").query_async(&mut *connection).await?;
/// assert_eq!(answer, "PONG");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedisManager {
    client: Client,
}

impl RedisManager {
    /// A manager for this URL.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn new(url: impl IntoConnectionInfo) -> Result<Self, RedisError> {
        Ok(Self { client: Client::open(url)? })
    }
}

impl Manager for RedisManager {
    type Resource = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self) -> Result<MultiplexedConnection, RedisError> {
        self.client.get_multiplexed_async_connection().await
    }

    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        redis::cmd("PING").query_async(connection).await
    }

    async fn recycle(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        redis::cmd("UNWATCH").query_async(connection).await
    }
}
