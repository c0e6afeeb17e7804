#![doc = include_str!("../README.md")]
//!
//! # Reading order
//!
//! | module | idea |
//! |---|---|
//! | `rule` | the decision itself: one instant for each key, terms that may change |
//! | [`local`] | a limit for all, and a limit for each key, inside of one process |
//! | [`bounded`] | the keys of a limit in bounded memory |
//! | [`clock`] | what time is asked of |
//! | [`decision`] | what a caller is told: how much is left, or when to come again |
#![cfg_attr(
    any(feature = "postgres", feature = "redis"),
    doc = "| [`shared`] | one limit over many processes, decided by a server in one step |"
)]
#![cfg_attr(feature = "tower", doc = "| [`layer`] | a limit before an HTTP service |")]
//! | [`config`], [`metrics`], [`error`] | settings, numbers and their publication, every refusal with the way out |

#![forbid(unsafe_code)]

pub mod bounded;
pub mod clock;
pub mod config;
pub mod decision;
pub mod error;
#[cfg(feature = "tower")]
pub mod layer;
pub mod local;
pub mod metrics;
mod rule;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub mod shared;

pub use bounded::KeyUsage;
pub use config::{Fallback, LimitSettings};
pub use decision::{Allowed, Refused};
pub use error::{BuildError, LimitError};
pub use local::{KeyedLimit, Limit};
pub use metrics::LimitStats;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub use shared::SharedLimit;
pub use trimtab_config::{NameError, Rate};
