#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Start, use, stop.
mod builder;
#[cfg(feature = "scheduler")]
mod calls;
mod error;
#[cfg(feature = "scheduler")]
mod lanes;
#[cfg(feature = "limit")]
mod limits;
#[cfg(feature = "lock")]
mod locks;
mod parts;
mod pools;
mod shutdown;
mod system;
mod watch;

// Settings: the whole tree, how a change reaches the parts, and what memory pressure does to them.
mod relief;
mod reload;
mod settings;

// The door to the network, and what the program says.
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "admin")]
mod serve;
#[cfg(feature = "admin")]
mod view;
#[cfg(feature = "admin")]
mod warm;

pub mod prelude;

pub use builder::Builder;
#[cfg(feature = "scheduler")]
pub use calls::Call;
#[cfg(feature = "admin")]
pub use error::ServeError;
pub use error::{OpenError, StartError};
#[cfg(feature = "lock")]
pub use locks::{LOCK_GRACE, LocksReleased};
#[cfg(feature = "scheduler")]
pub use parts::JOB_DRAIN;
pub use relief::Relieved;
#[cfg(feature = "admin")]
pub use serve::{CONNECTIONS_MAX, DRAIN, HEADER_TIMEOUT, Server};
pub use settings::{MemorySettings, TrimtabSettings};
pub use shutdown::{SERVING_MAX, Serving, Stopped, signal};
pub use system::Trimtab;

/// HTTP API and dashboard: the router, its settings and its handles.
#[cfg(feature = "admin")]
pub use trimtab_admin as admin;
/// Caches: [`Cache`](cache::Cache), [`ByteCache`](cache::ByteCache), [`Caches`](cache::Caches).
pub use trimtab_cache as cache;
/// Units, profiles, layered settings.
pub use trimtab_config as config;
/// Rate limits: [`Limit`](limit::Limit), [`KeyedLimit`](limit::KeyedLimit).
#[cfg(feature = "limit")]
pub use trimtab_limit as limit;
/// Locks: [`Locks`](lock::Locks), [`Lease`](lock::Lease).
#[cfg(feature = "lock")]
pub use trimtab_lock as lock;
/// Probes, history, pressure, health, metrics.
pub use trimtab_monitor as monitor;
/// Pools: [`ResourcePool`](pool::ResourcePool), [`ObjectPool`](pool::ObjectPool), [`BufferPool`](pool::BufferPool),
/// [`Interner`](pool::Interner).
pub use trimtab_pool as pool;
/// Lanes and manners: [`Scheduler`](scheduler::Scheduler), [`Job`](scheduler::Job), [`Breaker`](scheduler::Breaker),
/// [`Chain`](scheduler::Chain).
#[cfg(feature = "scheduler")]
pub use trimtab_scheduler as scheduler;
