//! The atomics and the lock of what threads share without waiting, behind one seam, so that `tests/models.rs` can run the
//! same files under a checker that tries every interleaving.

pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU8};

pub(crate) use parking_lot::Mutex;

/// Units of a chunk of words: 4 KiB.
pub(crate) const CHUNK: usize = 1 << 10;
/// Slots of the smallest table of words.
pub(crate) const SMALLEST: usize = 16;
