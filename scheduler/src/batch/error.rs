//! Why an item got no result, with the item where it is given back.

use std::fmt;
use std::sync::Arc;

/// Why an item got no result.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError<T> {
    /// So many items wait that this one is given back.
    Full {
        /// Name of the processor.
        name: Arc<str>,
        /// The most items that may wait.
        limit: usize,
        /// The item.
        item: T,
    },
    /// The processor was closed; the item is given back.
    Closed {
        /// Name of the processor.
        name: Arc<str>,
        /// The item.
        item: T,
    },
    /// The batch went and gave no result for this item. It may have had its effect.
    Lost {
        /// Name of the processor.
        name: Arc<str>,
        /// What happened.
        loss: Loss,
    },
}

/// What happened to a batch that gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The closure panicked.
    Panicked,
    /// The runtime stopped.
    Stopped,
    /// The closure gave fewer results than it got items.
    Missing {
        /// Items.
        items: usize,
        /// Results.
        results: usize,
    },
}

impl<T> BatchError<T> {
    /// The item, if it was given back.
    pub fn into_item(self) -> Option<T> {
        match self {
            Self::Full { item, .. } | Self::Closed { item, .. } => Some(item),
            Self::Lost { .. } => None,
        }
    }
}

impl<T> fmt::Display for BatchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { name, limit, .. } => {
                write!(
                    f,
                    "batch {name:?} took no more: {limit} of {limit} items wait; come back later, or raise max_waiting"
                )
            }
            Self::Closed { name, .. } => write!(f, "batch {name:?} took no more: it is closed"),
            Self::Lost { name, loss } => {
                write!(f, "batch {name:?} gave no result: ")?;
                match loss {
                    Loss::Panicked => f.write_str("its closure panicked; see the panic's message"),
                    Loss::Stopped => f.write_str("the runtime stopped; close the batch processor before it"),
                    Loss::Missing { items, results } => {
                        write!(
                            f,
                            "its closure gave {results} results for {items} items; it must give one for each, in order"
                        )
                    }
                }
            }
        }
    }
}

impl<T> fmt::Debug for BatchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchError({self})")
    }
}

impl<T> std::error::Error for BatchError<T> {}
