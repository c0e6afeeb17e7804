//! The atomics and the lock of what threads share without waiting, behind one seam, so that `tests/models.rs` can run the
//! same files under a checker that tries every interleaving.

pub(crate) use std::hint::spin_loop as pause;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

pub(crate) use parking_lot::{Mutex, MutexGuard};

pub(crate) use crate::fence;

/// Units of a chunk of words: 4 KiB.
pub(crate) const CHUNK: usize = 1 << 10;
/// Objects in the seat of one thread.
pub(crate) const SLOTS: usize = 4;
/// A seat that met no thief for so many takes of its owner is quiet again: a fence for all costs about a hundred takes.
pub(crate) const CALM: u32 = 4_096;
/// Looks at a seat whose owner is inside, before the thief goes elsewhere.
pub(crate) const PATIENCE: u32 = 64;
/// Slots of the smallest table of words.
pub(crate) const SMALLEST: usize = 16;
/// Looks at the lock of a pool in use before the thread gives up its processor.
pub(crate) const SPINS: u32 = 128;
