//! The atomics of the window and of the state, behind one seam, so that `tests/manners_models.rs` can run the same files under
//! a checker that tries every interleaving.

pub(crate) use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64};
