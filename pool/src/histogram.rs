//! Percentiles of durations in a fixed 4 KiB: buckets whose width grows with what they hold.
//!
//! Each power of two is cut into eight buckets, so that a percentile is at most 12.5 % too high and never too low (it is
//! the upper end of its bucket). The idea is `HdrHistogram`'s; it is done again here because recording must cost an index
//! and an addition under a lock that is held anyway, and the package is many times this file.
//! [`Recent`] forgets: it answers from the present and the last period.

use std::time::Duration;

const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// Nanoseconds are cut off at 2^40, about 18 minutes.
const TOP_BITS: u32 = 40;
const BUCKETS: usize = (TOP_BITS - SUB_BITS + 1) as usize * SUB;

/// Durations, counted by size.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, max: 0 }
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << TOP_BITS) - 1);
    if nanos < SUB as u64 {
        return nanos as usize;
    }
    let exponent = nanos.ilog2();
    let within = (nanos >> (exponent - SUB_BITS)) as usize & (SUB - 1);
    (exponent - SUB_BITS + 1) as usize * SUB + within
}

/// The largest value that lands in a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let exponent = (bucket / SUB) as u32 + SUB_BITS - 1;
    let within = (bucket % SUB) as u64;
    (1 << exponent) + ((within + 1) << (exponent - SUB_BITS)) - 1
}

impl Histogram {
    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// One that took no time at all.
    #[inline]
    pub(crate) fn record_none(&mut self) {
        self.buckets[0] += 1;
        self.count += 1;
    }

    fn clear(&mut self) {
        self.buckets.fill(0);
        (self.count, self.max) = (0, 0);
    }
}

/// Durations of the present and the last period.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    pub(crate) now: Histogram,
    before: Histogram,
}

/// How long callers waited, over the last one to two periods; those who did not wait count as 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// Callers counted.
    pub count: u64,
    /// Half of them waited no longer.
    pub p50: Duration,
    /// Nine of ten waited no longer.
    pub p90: Duration,
    /// 99 of 100 waited no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Recent {
    /// Begins a new period.
    pub(crate) fn roll(&mut self) {
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
    }

    pub(crate) fn summary(&self) -> Waits {
        let count = self.now.count + self.before.count;
        let max = self.now.max.max(self.before.max);
        let percentile = |share: f64| {
            let rank = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            for (at, (a, b)) in self.now.buckets.iter().zip(self.before.buckets.iter()).enumerate() {
                seen += a + b;
                if seen >= rank {
                    return Duration::from_nanos(upper(at).min(max));
                }
            }
            Duration::from_nanos(max)
        };
        Waits {
            count,
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
            max: Duration::from_nanos(max),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_never_too_low_and_at_most_an_eighth_too_high(
            mut nanos in proptest::collection::vec(0_u64..1 << 39, 1..200)
        ) {
            let mut recent = Recent::default();
            for (at, n) in nanos.iter().enumerate() {
                if at == nanos.len() / 2 {
                    recent.roll();
                }
                recent.now.record(Duration::from_nanos(*n));
            }
            nanos.sort_unstable();
            let waits = recent.summary();
            for (share, told) in [(0.5, waits.p50), (0.9, waits.p90), (0.99, waits.p99)] {
                let exact = nanos[((nanos.len() as f64 * share).ceil() as usize).max(1) - 1];
                let told = told.as_nanos() as u64;
                prop_assert!(told >= exact && told <= exact + exact / 8 + 1, "{share}: {told} for {exact}");
            }
            prop_assert_eq!(waits.max, Duration::from_nanos(*nanos.last().unwrap()));
        }
    }

    #[test]
    fn what_is_two_periods_old_is_forgotten() {
        let mut recent = Recent::default();
        recent.now.record(Duration::from_secs(1));
        recent.roll();
        assert_eq!(recent.summary().count, 1);
        recent.roll();
        assert_eq!(recent.summary(), Waits::default());
    }
}
