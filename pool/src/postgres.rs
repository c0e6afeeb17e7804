//! A manager of PostgreSQL connections, over `tokio-postgres`.
//!
//! The connection's driver is a task that ends with the client. A client whose connection is closed is seen when it comes
//! back, without asking the server; one that was idle for long is asked with an empty query. One that comes back in the
//! middle of a transaction is the caller's mistake that hurts the next caller most, so [`PostgresManager::recycling`] can
//! have every connection cleaned, at the price of a round trip.

use std::str::FromStr;

use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Error, NoTls, Socket};

use crate::manager::{Fate, Manager};

/// Makes PostgreSQL connections; `T` is how they are encrypted.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use trimtab_pool::ResourcePool;
/// use trimtab_pool::postgres::PostgresManager;
///
/// let orders = ResourcePool::builder("orders", PostgresManager::new("postgres://app@localhost/orders")?)
///     .min(2)
///     .max(20)
///     .build()?;
/// let connection = orders.acquire().await?;
/// let row = connection.query_one("SELECT 1", &[]).await?;
/// assert_eq!(row.get::<_, i32>(0), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresManager<T = NoTls> {
    config: Config,
    tls: T,
    recycle: Option<String>,
}

impl PostgresManager {
    /// A manager for this URL or key-value string, without encryption.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn new(url: &str) -> Result<Self, Error> {
        Ok(Self::with_tls(Config::from_str(url)?, NoTls))
    }
}

impl<T> PostgresManager<T> {
    /// A manager with its own configuration and encryption.
    pub fn with_tls(config: Config, tls: T) -> Self {
        Self { config, tls, recycle: None }
    }

    /// Runs this command on each connection that comes back, such as `ROLLBACK` or `DISCARD ALL`.
    pub fn recycling(mut self, command: impl Into<String>) -> Self {
        self.recycle = Some(command.into());
        self
    }
}

impl<T> Manager for PostgresManager<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Resource = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a PostgreSQL connection ended");
            }
        }));
        Ok(client)
    }

    async fn check(&self, client: &mut Client) -> Result<(), Error> {
        client.simple_query("").await.map(drop)
    }

    fn returned(&self, client: &mut Client) -> Fate {
        if client.is_closed() {
            Fate::Discard
        } else if self.recycle.is_some() {
            Fate::Recycle
        } else {
            Fate::Keep
        }
    }

    async fn recycle(&self, client: &mut Client) -> Result<(), Error> {
        // Without a command the pool asks because the last user panicked: its transaction must not stay open.
        client.batch_execute(self.recycle.as_deref().unwrap_or("ROLLBACK")).await
    }
}
