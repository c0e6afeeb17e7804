#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! | module | idea |
//! |---|---|
//! | [`cache`] | the handle: get, insert, remove, statistics |
//! | [`builder`] | how a cache is described and checked |
//! | [`load`] | get-or-load with a single flight per key |
//! | [`bulk`] | many keys at once: look up, store, load by one call |
//! | [`key_entry`] | one key in hand: insert if absent, modify, upsert, compute |
//! | [`loading`] | a cache with a loader: refresh-ahead, stale answers, time-outs, remembered errors |
//! | [`memo`] | cached functions |
//! | [`expiry`] | clocks and deadlines: time to live, time to idle, adaptive |
//! | [`tags`] | invalidation by tag and by predicate |
//! | [`weigher`] | what an entry weighs |
//! | [`policy`] | who has to leave: LRU, LFU, FIFO, TTL, ARC, or whatever fits the traffic; changed while the cache runs |
//! | [`curve`] | what other sizes and policies would bring |
//! | [`arbiter`] | one memory budget over all caches |
//! | [`inspect`] | hottest, coldest, and why an entry is where it is |
#![cfg_attr(feature = "snapshot", doc = "| [`snapshot`] | a cache written to a file and read back, hottest first |")]
//! | [`weak`] | values that live as long as somebody uses them |
//! | [`stats`], [`metrics`] | what happened, and how it is published |
//! | [`config`], [`caches`] | settings of a cache, and the registry of named caches |
//! | [`bytes`](mod@bytes), [`codec`] | the cache of byte strings that an HTTP API serves, with compression |
//! | [`error`] | every refusal, with the way out |
//!
//! Inside, `store` holds the shards and the budget they share. Its `arena` keeps entries so that readers need no lock; unsafe code
//! stands there and in `slots`, `chunked`, `compare`, `epoch` and `sync` only, each of which opens with what it relies on.

#![deny(unsafe_code)]

pub mod arbiter;
pub mod builder;
pub mod bulk;
pub mod bytes;
pub mod cache;
pub mod caches;
pub mod codec;
pub mod config;
pub mod curve;
pub mod error;
pub mod expiry;
pub mod inspect;
pub mod key_entry;
mod listener;
pub mod load;
pub mod loading;
pub mod memo;
pub mod metrics;
pub mod policy;
pub mod shrink;
#[cfg(feature = "snapshot")]
pub mod snapshot;
pub mod stats;
mod store;
pub mod tags;
mod terms;
pub mod weak;
pub mod weigher;

pub use arbiter::{Bounds, BudgetSettings, BudgetState, Decision, MemberState, MemoryBudget, ShareSettings};
pub use builder::{CacheBuilder, SHARDS_MAX};
pub use bytes::ByteCache;
pub use cache::{Cache, EntryInfo, Page};
pub use caches::{AnyCache, Caches};
pub use config::{CacheSettings, Compression};
pub use curve::{Curve, CurvePoint, Estimate, PolicyPoint, ShadowMode};
pub use error::{BudgetError, BuildError, CachesError, LoadError, PutError, Rejected, RejectedReason, UnknownPolicy};
pub use expiry::{Clock, ManualClock};
pub use inspect::Explanation;
pub use key_entry::{Computed, KeyEntry, Modify, Op};
pub use load::Keep;
pub use loading::{Loaded, LoadingCache, LoadingStats};
pub use memo::Memo;
pub use policy::PolicyKind;
pub use shrink::{Freed, Shrunk};
#[cfg(feature = "snapshot")]
pub use snapshot::{Restored, Saved, SnapshotError};
pub use stats::{CacheStats, Cause, Evictions};
pub use trimtab_config::NameError;
pub use weak::{WeakCache, WeakStats};
pub use weigher::Weigh;
