//! Who wants to know that an entry left, and why.
//!
//! A listener is called for every entry that leaves, by the thread that made it leave, after all locks are released. It
//! gets references, so a cache without a listener pays one branch for each entry that leaves, and one with a
//! listener pays no clone that the listener does not make itself.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::Cause;

type Callback<K, V> = Box<dyn Fn(&K, &V, Cause) + Send + Sync>;

/// A listener, and how often it panicked.
pub(crate) struct Listener<K, V> {
    call: Callback<K, V>,
    panics: AtomicU64,
}

impl<K, V> Listener<K, V> {
    pub(crate) fn new(call: impl Fn(&K, &V, Cause) + Send + Sync + 'static) -> Self {
        Self { call: Box::new(call), panics: AtomicU64::new(0) }
    }

    /// Tells that an entry left. No lock of the cache may be held. A panic is counted and goes no further: the operation
    /// that made the entry leave has already happened.
    pub(crate) fn tell(&self, key: &K, value: &V, cause: Cause) {
        if catch_unwind(AssertUnwindSafe(|| (self.call)(key, value, cause))).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

impl<K, V> fmt::Debug for Listener<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("panics", &self.panics()).finish_non_exhaustive()
    }
}
