#![doc = include_str!("../README.md")]
//!
//! # Reading order

#![deny(unsafe_code)]

pub mod config;
mod demand;
pub mod error;
mod histogram;
pub mod leak;
pub mod manager;
pub mod metrics;
mod random;
pub mod resource;
pub mod stats;

pub use config::PoolSettings;
pub use error::{AcquireError, BuildError, CloseError, NameError, PoolsError};
pub use leak::{Leak, LeaseReport};
pub use manager::{Fate, Manager, Never};
pub use resource::{Lease, Priority, ResourcePool};
pub use stats::{ResourceStats, Trimmed, Waits};
