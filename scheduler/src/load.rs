//! How loaded the machine is, as a number that somebody outside measures: the scheduler does not.
//!
//! It counts for a while only: whoever measures may stop, and a number of yesterday must not hold ceilings down.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Nanos;

/// A number counts for so long.
const FRESH: Nanos = 10_000_000_000;

/// The last number, and when it came.
#[derive(Debug, Default)]
pub(crate) struct Load {
    bits: AtomicU64,
    since: AtomicU64,
}

impl Load {
    pub(crate) fn set(&self, load: f64, now: Nanos) {
        self.bits.store(load.to_bits(), Relaxed);
        self.since.store(now, Relaxed);
    }

    /// The number, if it still counts.
    pub(crate) fn get(&self, now: Nanos) -> Option<f64> {
        let since = self.since.load(Relaxed);
        let fresh = since > 0 && now.saturating_sub(since) <= FRESH;
        fresh.then(|| f64::from_bits(self.bits.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_forgotten_when_nobody_renews_it() {
        let load = Load::default();
        assert_eq!(load.get(5), None);
        load.set(0.7, 5);
        assert_eq!(load.get(5 + FRESH), Some(0.7));
        assert_eq!(load.get(6 + FRESH), None);
    }
}
