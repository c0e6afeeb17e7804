//! Leave to make one call, and what becomes of it: told how the call went, or dropped.

use std::sync::atomic::Ordering::Relaxed;

use super::Inner;
use crate::gate::Pass;
use crate::manners::CallOutcome;

/// Leave to make one call. Tell it how the call went.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts its call as dropped"]
pub struct BreakerPermit<'a> {
    pub(super) inner: &'a Inner,
    pub(super) generation: u64,
    pub(super) start: u64,
    pub(super) counted: bool,
}

impl BreakerPermit<'_> {
    /// The call worked.
    #[inline]
    pub fn success(self) {
        self.settle(CallOutcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.settle(CallOutcome::Failure);
    }

    /// The call says nothing about the far side; a probe is given back.
    pub fn ignore(self) {
        self.settle(CallOutcome::Ignored);
    }
}

impl Pass for BreakerPermit<'_> {
    #[inline]
    fn settle(mut self, outcome: CallOutcome) {
        let counted = std::mem::replace(&mut self.counted, false);
        match outcome {
            _ if !counted => {}
            CallOutcome::Ignored => self.inner.state.give_back(self.generation),
            _ => self.inner.record(self.generation, self.start, outcome == CallOutcome::Failure),
        }
    }
}

impl Drop for BreakerPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.counted {
            self.inner.dropped(self.generation, self.start);
        }
    }
}

impl Inner {
    #[cold]
    fn dropped(&self, generation: u64, start: u64) {
        self.totals.dropped.fetch_add(1, Relaxed);
        // A call that panics has failed, whatever is thought of callers who leave.
        if self.settings.count_dropped || std::thread::panicking() {
            self.record(generation, start, true);
        } else {
            self.state.give_back(generation);
        }
    }
}
