#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! | module | idea |
//! |---|---|
//! | [`locks`] | groups of locks, asking for one, work under one |
//! | [`lease`] | what a holder has: a token, and word of its loss |
//! | [`mode`], [`semaphore`] | held alone, together, or as one of so many |
//! | [`listing`] | who holds and waits, as plain data |
//! | [`named`] | one name in one process: holder, queue, every rule |
//! | [`config`], [`metrics`], [`error`] | settings, numbers and their publication, every refusal with the way out |
//!
//! Inside, `keeper` does what one name needs in a store, `store` is one face over files, PostgreSQL and Redis, each in a file
//! below it that opens with what it relies on.

#![forbid(unsafe_code)]

pub mod config;
pub mod error;
mod group;
mod keeper;
pub mod lease;
pub mod listing;
pub mod locks;
pub mod metrics;
pub mod mode;
pub mod named;
pub mod semaphore;
mod store;

pub use config::LockSettings;
pub use error::{AcquireError, BuildError, ForceError, LocalHolder, LockError, Loss, ReleaseError};
pub use lease::{Lease, LeaseWatch};
pub use listing::{ListedHolder, ListedWaiter, LockListing};
pub use locks::{LOCK_NAME_MAX, Lock, Locks};
pub use metrics::LockStats;
pub use mode::LeaseMode;
pub use named::LockReport;
pub use semaphore::Semaphore;
pub use trimtab_config::NameError;
