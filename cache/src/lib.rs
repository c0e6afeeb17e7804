//! A typed, concurrent, in-memory cache for tokio services.
//!
//! One budget per cache (entries, bytes or both), expiry per entry, a policy that adapts itself to the traffic,
//! one load for all who wait on the same missing key, and statistics cheap enough to leave on.
//!
//! ```
//! use std::time::Duration;
//! use trimtab_cache::Cache;
//!
//! let users = Cache::builder()
//!     .name("users")
//!     .max_entries(10_000)
//!     .ttl(Duration::from_secs(300))
//!     .build()?;
//!
//! users.insert(7, "Ada".to_string());
//! assert_eq!(users.get(&7).as_deref(), Some("Ada"));
//! assert_eq!(users.get(&8), None);
//!
//! // A missing value is loaded once, however many ask for it at the same time.
//! let name = users.get_or_insert_with(8, || "Grace".to_string());
//! assert_eq!(name, "Grace");
//! assert_eq!(users.stats().loads, 1);
//! # Ok::<(), trimtab_cache::BuildError>(())
//! ```
//!
//! # Reading order
//!
//! | module | idea |
//! |---|---|
//! | [`cache`] | the handle: get, insert, remove, statistics |
//! | [`builder`] | how a cache is described and checked |
//! | [`load`] | get-or-load with a single flight per key |
//! | [`expiry`] | clocks and deadlines |
//! | [`weigher`] | what an entry weighs |
//! | [`policy`] | who has to leave: LRU, adaptive W-TinyLFU |
//! | [`stats`], [`metrics`] | what happened, and how it is published |
//! | [`config`], [`caches`] | settings of a cache, and the registry of named caches |
//! | [`bytes`](mod@bytes), [`codec`] | the cache of byte strings that an HTTP API serves, with compression |
//! | [`error`] | every refusal, with the way out |
//!
//! Inside, `store` holds the shards (index, entries, policy and flights under one lock each) and the budget they share.
//!
//! # Features
//!
//! `compress` (default) lets a [`ByteCache`] keep large values as lz4.

#![forbid(unsafe_code)]

pub mod builder;
pub mod bytes;
pub mod cache;
pub mod caches;
pub mod codec;
pub mod config;
mod entry;
pub mod error;
pub mod expiry;
pub mod load;
pub mod metrics;
pub mod policy;
pub mod stats;
mod store;
pub mod weigher;

pub use builder::CacheBuilder;
pub use bytes::ByteCache;
pub use cache::{Cache, EntryInfo, Page};
pub use caches::{AnyCache, Caches};
pub use config::{CacheSettings, Compression};
pub use error::{BuildError, CachesError, LoadError, PutError, Rejected, RejectedReason, UnknownPolicy};
pub use expiry::{Clock, ManualClock};
pub use policy::PolicyKind;
pub use stats::{CacheStats, Cause, Evictions};
pub use weigher::Weigh;
