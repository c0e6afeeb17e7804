//! Two counts that many threads add to: each thread for itself, summed on demand.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::threads;

/// In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    first: AtomicU64,
    second: AtomicU64,
}

/// Two counts.
#[derive(Debug)]
pub(crate) struct Tally {
    stripes: Box<[Stripe]>,
    /// For threads beyond the stripes.
    rest: Stripe,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).saturating_mul(4).clamp(8, 64);
        Self { stripes: (0..threads).map(|_| Stripe::default()).collect(), rest: Stripe::default() }
    }

    /// Adds to both.
    #[inline]
    pub(crate) fn add(&self, first: u64, second: u64) {
        if let Some(stripe) = threads::number().and_then(|number| self.stripes.get(number)) {
            // Only this thread writes here, so no locked instruction is needed.
            stripe.first.store(stripe.first.load(Ordering::Relaxed) + first, Ordering::Relaxed);
            stripe.second.store(stripe.second.load(Ordering::Relaxed) + second, Ordering::Relaxed);
        } else {
            self.rest.first.fetch_add(first, Ordering::Relaxed);
            self.rest.second.fetch_add(second, Ordering::Relaxed);
        }
    }

    /// Both sums.
    pub(crate) fn sums(&self) -> (u64, u64) {
        self.stripes.iter().chain([&self.rest]).fold((0, 0), |(first, second), stripe| {
            (first + stripe.first.load(Ordering::Relaxed), second + stripe.second.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let tally = Tally::new();
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| (0..100).for_each(|_| tally.add(1, 3)));
            }
        });
        assert_eq!(tally.sums(), (10_000, 30_000));
    }
}
