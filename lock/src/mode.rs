//! How a lease is held: alone, together with others, or as one of so many.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a lease is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseMode {
    /// Alone.
    Exclusive,
    /// Together with other readers.
    Shared,
    /// As one of the permits of a semaphore.
    Permit {
        /// How many there are, by the word of the one who asked.
        of: u32,
    },
}

#[cfg(feature = "redis")]
impl LeaseMode {
    /// How many go together: -1 for one alone, 0 for any number.
    pub(crate) fn room(self) -> i64 {
        match self {
            Self::Exclusive => -1,
            Self::Shared => 0,
            Self::Permit { of } => i64::from(of),
        }
    }
}
