//! Every refusal of this crate: what was tried, on which limit, and the next step.
//!
//! Being over a limit is no failure of anything, so it is data: [`Refused`] says when to come again.

use std::error::Error;
use std::sync::Arc;

use thiserror::Error;
use trimtab_config::{Invalid, NameError};

use crate::decision::Refused;

/// What a server answered, kept where several callers must be told of it.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why a limit could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Settings that make no limit.
    #[error("limit \"{name}\" cannot be built; {problems}")]
    Settings {
        /// The limit.
        name: String,
        /// All of them.
        problems: Invalid,
    },
    /// No server, or one that is not compiled in.
    #[error(
        "limit \"{name}\" is to be shared over \"{scheme}\", which is not known here; use redis://… or postgres://…, \
         and turn on the feature of that name"
    )]
    Scheme {
        /// The limit.
        name: String,
        /// What stands before the colon.
        scheme: String,
    },
    /// The server refused.
    #[error("limit \"{name}\" cannot use its server: {what}")]
    Server {
        /// The limit.
        name: String,
        /// What was tried, and the remedy.
        what: String,
        /// The answer.
        #[source]
        cause: Option<Cause>,
    },
}

/// Why a call does not pass.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Over the limit.
    #[error("limit \"{limit}\" is reached; come again in {:?}", .refused.retry_after)]
    Refused {
        /// The limit.
        limit: Arc<str>,
        /// When to come again.
        refused: Refused,
    },
    /// A weight that can never pass.
    #[error(
        "limit \"{limit}\" never lets {asked} pass at once, its burst is {burst}; ask for less, or raise the burst"
    )]
    TooMuch {
        /// The limit.
        limit: Arc<str>,
        /// The weight asked for.
        asked: u32,
        /// The most permits at once.
        burst: u32,
    },
    /// The server of a shared limit is away, and nothing passes without it.
    #[error("limit \"{limit}\" cannot be asked, and lets nothing pass meanwhile (fallback = \"closed\"): {what}")]
    Unavailable {
        /// The limit.
        limit: Arc<str>,
        /// What was tried.
        what: Arc<str>,
        /// The answer.
        #[source]
        cause: Option<Cause>,
    },
}

impl LimitError {
    /// When to come again, if that can help.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Refused { refused, .. } => Some(refused.retry_after),
            _ => None,
        }
    }
}
