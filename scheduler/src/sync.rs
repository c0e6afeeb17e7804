//! The atomics and the lock of what threads share without waiting, behind one seam, so that `tests/models.rs` can run the same
//! files under a checker that tries every interleaving.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

pub(crate) use parking_lot::Mutex;
