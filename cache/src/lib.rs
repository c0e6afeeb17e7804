#![doc = include_str!("../README.md")]
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
//! | [`policy`] | who has to leave: LRU, or whatever fits the traffic |
//! | [`stats`], [`metrics`] | what happened, and how it is published |
//! | [`config`], [`caches`] | settings of a cache, and the registry of named caches |
//! | [`bytes`](mod@bytes), [`codec`] | the cache of byte strings that an HTTP API serves, with compression |
//! | [`error`] | every refusal, with the way out |
//!
//! Inside, `store` holds the shards and the budget they share. Its `arena` keeps entries so that readers need no lock, and is
//! with `epoch` and `chunked` the only place of unsafe code; each of these files opens with what it relies on.

#![deny(unsafe_code)]

pub mod builder;
pub mod bytes;
pub mod cache;
pub mod caches;
pub mod codec;
pub mod config;
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
pub use error::{BuildError, CachesError, LoadError, NameError, PutError, Rejected, RejectedReason, UnknownPolicy};
pub use expiry::{Clock, ManualClock};
pub use policy::PolicyKind;
pub use stats::{CacheStats, Cause, Evictions};
pub use weigher::Weigh;
