//! Percentiles of durations in fixed space: buckets whose width grows with what they hold, and that forget.
//!
//! Each power of two is cut into four buckets, so a percentile is at most 25 % too high and never too low. Recording is an index
//! and an addition, done under a lock that is held anyway. Counts are halved whenever they reach a bound, so that the answer
//! follows the present. The idea is `HdrHistogram`'s, with the forgetting of a frequency sketch.

use std::time::Duration;

use crate::clock::Nanos;

const SUB_BITS: u32 = 2;
/// Nanoseconds are cut off at 2^42, about 73 minutes.
const TOP_BITS: u32 = 42;
const BUCKETS: usize = ((TOP_BITS - SUB_BITS + 1) as usize) << SUB_BITS;
/// When so many were counted, all counts are halved.
const HALVE: u32 = 1 << 16;

/// Durations, counted by size.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u32; BUCKETS]>,
    count: u32,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0 }
    }
}

fn bucket(nanos: Nanos) -> usize {
    let nanos = nanos.min((1 << TOP_BITS) - 1);
    if nanos < 1 << SUB_BITS {
        return nanos as usize;
    }
    let exponent = nanos.ilog2();
    let within = (nanos >> (exponent - SUB_BITS)) as usize & ((1 << SUB_BITS) - 1);
    (((exponent - SUB_BITS + 1) as usize) << SUB_BITS) + within
}

/// The largest value that lands in a bucket.
fn upper(bucket: usize) -> Nanos {
    if bucket < 1 << SUB_BITS {
        return bucket as Nanos;
    }
    let exponent = (bucket >> SUB_BITS) as u32 + SUB_BITS - 1;
    let within = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    (1 << exponent) + ((within + 1) << (exponent - SUB_BITS)) - 1
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&mut self, nanos: Nanos) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        if self.count >= HALVE {
            self.count = 0;
            for bucket in self.buckets.iter_mut() {
                *bucket /= 2;
                self.count += *bucket;
            }
        }
    }

    /// The value that so large a share of the recorded does not exceed.
    fn quantile(&self, share: f64) -> Nanos {
        let rank = (f64::from(self.count) * share).ceil().max(1.0) as u32;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index);
            }
        }
        0
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let of = |share| Duration::from_nanos(self.quantile(share));
        Quantiles { p50: of(0.5), p90: of(0.9), p99: of(0.99) }
    }
}

/// How long something took lately: the last 30,000 to 60,000 times. At most 25 % too high, never too low.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_too_low_and_at_most_a_quarter_too_high() {
        for nanos in (0..40).flat_map(|shift| [1_u64 << shift, (1 << shift) + 1, (1 << shift) * 7 / 4]) {
            let top = upper(bucket(nanos));
            assert!(top >= nanos && top - nanos <= nanos / 4, "{nanos} counts as {top}");
        }
    }

    #[test]
    fn the_present_outweighs_the_past() {
        let mut histogram = Histogram::default();
        for _ in 0..HALVE {
            histogram.record(1_000);
        }
        for _ in 0..HALVE {
            histogram.record(1_000_000);
        }
        assert!(histogram.quantiles().p50 >= Duration::from_millis(1), "{:?}", histogram.quantiles());
    }
}
