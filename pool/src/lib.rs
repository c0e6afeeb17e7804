#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! | module | idea |
//! |---|---|
//! | [`resource`] | connections: made, checked and closed by the pool's own tasks, handed out in one fair queue |
//! | [`manager`] | what a resource pool must know about its resources |
//! | [`object`] | objects that are dear to make: a few for each thread, the rest for all |
//! | [`buffer`] | byte buffers in size classes, under one budget of bytes |
//! | [`intern`] | one copy of each word |
//! | [`leak`], [`tracker`] | who holds what since when, with the line that took it |
#![cfg_attr(feature = "scope", doc = "| [`scope`] | an arena and an account for the time of a request |")]
#![cfg_attr(feature = "tower", doc = "| [`layer`] | a scope for each HTTP request |")]
#![cfg_attr(feature = "postgres", doc = "| [`postgres`] | PostgreSQL connections |")]
#![cfg_attr(feature = "redis", doc = "| [`redis`](mod@redis) | Redis connections |")]
//! | [`pools`] | the registry of named pools |
//! | [`config`], [`stats`], [`metrics`], [`error`] | settings, numbers, their publication, every refusal with the way out |
//!
//! Inside, `stash` keeps idle objects and `demand` says how many are worth keeping. Unsafe code stands in `stash/slot`,
//! `stash/seat`, `fence`, `clock`, `intern/words` and (with its feature) `account` only, each of which opens with what it relies on.

#![deny(unsafe_code)]

#[cfg(feature = "account")]
pub mod account;
pub mod buffer;
mod clock;
pub mod config;
mod demand;
pub mod error;
mod fence;
mod histogram;
pub mod intern;
#[cfg(feature = "tower")]
pub mod layer;
pub mod leak;
pub mod manager;
pub mod metrics;
pub mod object;
pub mod pools;
#[cfg(feature = "postgres")]
pub mod postgres;
mod random;
#[cfg(feature = "redis")]
pub mod redis;
pub mod resource;
#[cfg(feature = "scope")]
pub mod scope;
mod stash;
pub mod stats;
mod sync;
mod tally;
mod threads;
pub mod tracker;

pub use buffer::{Buffer, BufferPool, BufferPoolBuilder, OwnedBuffer};
pub use config::PoolSettings;
pub use error::{AcquireError, BuildError, CloseError, PoolsError};
pub use intern::{Interner, Istr};
pub use leak::{Leak, LeaseReport, LeaseSite};
pub use manager::{Fate, Manager, Never};
pub use object::{ObjectPool, OwnedPooled, Pooled};
pub use pools::{AnyPool, PoolKind, Pools};
pub use resource::{Lease, Priority, ResourcePool};
#[cfg(feature = "scope")]
pub use scope::{Scope, Scopes};
pub use stats::{BufferStats, InternerStats, ObjectStats, PoolNumbers, ResourceStats, Trimmed, Waits};
pub use tracker::{Tracked, Tracker};
pub use trimtab_config::NameError;
