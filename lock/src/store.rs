//! Where locks are kept: one face over the stores, chosen by URL.
//!
//! A store is asked by keepers only, at most one for each name and process. `take` asks until somebody wants the lock no
//! more; what it has begun when that happens it undoes itself. A [`Hold`] is what the process has in the store: it is renewed
//! while it is watched, draws further tokens, and is given back once.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::config::LockSettings;
use crate::error::{BuildError, Loss, StoreError};
use crate::named::Named;

#[cfg(all(feature = "file", unix))]
pub(crate) mod file;
#[cfg(any(all(feature = "file", unix), feature = "postgres"))]
mod pauses;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod tokens;

#[derive(Debug)]
pub(crate) enum Store {
    Memory,
    #[cfg(all(feature = "file", unix))]
    File(file::Files),
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Postgres>),
    #[cfg(feature = "redis")]
    Redis(Box<redis::Redis>),
}

/// What a process has of one lock.
pub(crate) enum Hold {
    #[cfg(all(feature = "file", unix))]
    File(file::FileHold),
    #[cfg(feature = "postgres")]
    Postgres(postgres::PostgresHold),
    #[cfg(feature = "redis")]
    Redis(redis::RedisHold),
    #[allow(dead_code, reason = "the only one where no store is compiled in")]
    Never(Infallible),
}

impl Store {
    #[allow(clippy::unused_async, reason = "where no store is compiled in")]
    pub(crate) async fn open(
        group: &str,
        settings: &LockSettings,
        runtime: Option<&Handle>,
    ) -> Result<Self, BuildError> {
        let url = settings.url.expose();
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        if scheme == "memory" {
            return Ok(Self::Memory);
        }
        if runtime.is_none() {
            return Err(BuildError::NoRuntime { group: group.to_owned() });
        }
        match scheme {
            #[cfg(all(feature = "file", unix))]
            "file" => {
                let folder = rest.strip_prefix("//").unwrap_or(rest);
                let files = file::Files::open(folder.as_ref(), settings);
                files.map(Self::File).map_err(|error| error.build(group))
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let store = postgres::Postgres::connect(url, settings).await;
                store.map(|store| Self::Postgres(Box::new(store))).map_err(|error| error.build(group))
            }
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis+unix" | "unix" => {
                let store = redis::Redis::connect(url, settings).await;
                store.map(|store| Self::Redis(Box::new(store))).map_err(|error| error.build(group))
            }
            _ => {
                let _ = rest;
                // No more of it: a URL may hold a password anywhere.
                let scheme = scheme.chars().take(16).collect();
                Err(BuildError::Scheme { group: group.to_owned(), scheme })
            }
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            #[cfg(all(feature = "file", unix))]
            Self::File(_) => "file",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory)
    }

    /// Whether a lease ends by time or with a connection.
    pub(crate) fn needs_renewal(&self) -> bool {
        !matches!(self.kind(), "memory" | "file")
    }

    /// Questions asked so far.
    pub(crate) fn trips(&self) -> u64 {
        match self {
            Self::Memory => 0,
            #[cfg(all(feature = "file", unix))]
            Self::File(_) => 0,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.trips(),
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.trips(),
        }
    }

    /// The lock, or none when nobody wants it any more.
    #[allow(clippy::unused_async, unused_variables, reason = "where no store is compiled in")]
    pub(crate) async fn take(&self, named: &Arc<Named>) -> Result<Option<Hold>, StoreError> {
        match self {
            // Needs no keeper.
            Self::Memory => Ok(None),
            #[cfg(all(feature = "file", unix))]
            Self::File(files) => Ok(files.take(named).await?.map(Hold::File)),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => Ok(store.take(named).await?.map(Hold::Postgres)),
            #[cfg(feature = "redis")]
            Self::Redis(store) => Ok(store.take(named).await?.map(Hold::Redis)),
        }
    }
}

impl Store {
    /// Takes a name from all who hold it, in other processes too; how many.
    #[allow(clippy::unused_async, unused_variables, reason = "where no store is compiled in")]
    pub(crate) async fn force(&self, name: &str, counted: bool) -> Result<usize, StoreError> {
        match self {
            // Nobody else is there.
            Self::Memory => Ok(0),
            #[cfg(all(feature = "file", unix))]
            Self::File(_) => Err(StoreError::plain("a file's lock ends with its process only")),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.force(name).await,
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.force(name, counted).await,
        }
    }
}

#[allow(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    unused_variables,
    reason = "where not all stores are compiled in"
)]
impl Hold {
    /// The token it was taken with.
    pub(crate) fn token(&self) -> u64 {
        match self {
            #[cfg(all(feature = "file", unix))]
            Self::File(hold) => hold.token(),
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => hold.token(),
            #[cfg(feature = "redis")]
            Self::Redis(hold) => hold.token(),
            Self::Never(never) => match *never {},
        }
    }

    /// How long the holder's clock may trust it without another word from the store.
    pub(crate) fn trusted_until(&self) -> Option<Instant> {
        match self {
            #[cfg(all(feature = "file", unix))]
            Self::File(_) => None,
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => Some(hold.trusted_until()),
            #[cfg(feature = "redis")]
            Self::Redis(hold) => Some(hold.trusted_until()),
            Self::Never(never) => match *never {},
        }
    }

    /// Renews until it is lost. Safe to drop at any moment.
    pub(crate) async fn watch(&self, named: &Named) -> Loss {
        match self {
            // The kernel keeps it as long as this process lives.
            #[cfg(all(feature = "file", unix))]
            Self::File(_) => std::future::pending().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => hold.watch(named).await,
            #[cfg(feature = "redis")]
            Self::Redis(hold) => hold.watch(named).await,
            Self::Never(never) => match *never {},
        }
    }

    /// A token for the next lease under the same hold. Safe to drop at any moment.
    pub(crate) async fn next_token(&self) -> Result<u64, StoreError> {
        match self {
            #[cfg(all(feature = "file", unix))]
            Self::File(hold) => hold.next_token(),
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => hold.next_token().await,
            #[cfg(feature = "redis")]
            Self::Redis(hold) => hold.next_token().await,
            Self::Never(never) => match *never {},
        }
    }

    /// Gives it back; a loss when the store says that it was no longer ours.
    pub(crate) async fn release(self) -> Result<Option<Loss>, StoreError> {
        match self {
            #[cfg(all(feature = "file", unix))]
            Self::File(hold) => hold.release().map(|()| None),
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => hold.release().await.map(|ours| (!ours).then_some(Loss::Gone)),
            #[cfg(feature = "redis")]
            Self::Redis(hold) => hold.release().await,
            Self::Never(never) => match never {},
        }
    }

    /// It was lost: nothing is to be given back, and nothing of it may serve anybody again.
    pub(crate) fn abandon(self) {
        match self {
            #[cfg(all(feature = "file", unix))]
            Self::File(hold) => drop(hold),
            #[cfg(feature = "postgres")]
            Self::Postgres(hold) => hold.abandon(),
            #[cfg(feature = "redis")]
            Self::Redis(hold) => drop(hold),
            Self::Never(never) => match never {},
        }
    }
}
