#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Start, use, stop.
mod builder;
mod error;
mod pools;
mod shutdown;
mod system;

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
#[cfg(feature = "admin")]
pub use error::ServeError;
pub use error::StartError;
pub use relief::Relieved;
#[cfg(feature = "admin")]
pub use serve::{CONNECTIONS_MAX, DRAIN, HEADER_TIMEOUT, Server};
pub use settings::{MemorySettings, TrimtabSettings};
pub use shutdown::signal;
pub use system::Trimtab;

/// HTTP API and dashboard: the router, its settings and its handles.
#[cfg(feature = "admin")]
pub use trimtab_admin as admin;
/// Caches: [`Cache`](cache::Cache), [`ByteCache`](cache::ByteCache), [`Caches`](cache::Caches).
pub use trimtab_cache as cache;
/// Units, profiles, layered settings.
pub use trimtab_config as config;
/// Probes, history, pressure, health, metrics.
pub use trimtab_monitor as monitor;
/// Pools: [`ResourcePool`](pool::ResourcePool), [`ObjectPool`](pool::ObjectPool), [`BufferPool`](pool::BufferPool),
/// [`Interner`](pool::Interner).
pub use trimtab_pool as pool;
