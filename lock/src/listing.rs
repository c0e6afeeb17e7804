//! Who holds and who waits in this process, as plain data for a page or an answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::Duration;

use crate::mode::LeaseMode;

/// One lock or semaphore that is in use in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct LockListing {
    /// Its name.
    pub name: String,
    /// Whether it is a semaphore; those have names of their own.
    pub semaphore: bool,
    /// Who holds it here.
    pub holders: Vec<ListedHolder>,
    /// Who waits for it here.
    pub waiters: Vec<ListedWaiter>,
}

impl LockListing {
    pub(crate) fn new(name: &str, semaphore: bool) -> Self {
        Self { name: name.to_owned(), semaphore, holders: Vec::new(), waiters: Vec::new() }
    }
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ListedHolder {
    /// How it is held.
    pub mode: LeaseMode,
    /// Its token.
    pub token: u64,
    /// Since when.
    pub held_for: Duration,
    /// How much longer it is certain without another word from the store; none where it ends with its holder.
    pub remaining: Option<Duration>,
    /// The line that took it.
    pub location: String,
}

/// One caller who waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct ListedWaiter {
    /// How it wants to hold it.
    pub mode: LeaseMode,
    /// Since when.
    pub waited_for: Duration,
    /// When it gives up.
    pub leaves_in: Duration,
    /// The line that asks.
    pub location: String,
}
