//! Medians, their spread, and ratios: the only statistics used here.
//!
//! The median ignores the odd turn that an interrupt spoilt; the median absolute deviation (MAD) says how far a typical
//! turn lies from it. A ratio is taken between turns of the *same* round and the median is taken afterwards, so that
//! a slow stretch of the machine, which hits both, cancels out.

use serde::Serialize;

/// Middle and spread of some turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The median distance from the median.
    pub mad: f64,
}

impl Summary {
    /// Summarises `samples`; `None` when there are none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let middle = median(samples)?;
        let distances: Vec<f64> = samples.iter().map(|sample| (sample - middle).abs()).collect();
        Some(Self {
            median: middle,
            min: samples.iter().copied().fold(f64::INFINITY, f64::min),
            max: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mad: median(&distances)?,
        })
    }
}

/// The median; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// Median over rounds of `ours / theirs`; `None` where a round is missing or divides by zero.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() != theirs.len() || theirs.contains(&0.0) {
        return None;
    }
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}

/// Median over rounds of `ours - theirs`; `None` where a round is missing.
pub fn difference(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() != theirs.len() {
        return None;
    }
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours - theirs).collect::<Vec<_>>())
}

/// The value below which `share` (0 to 1) of the sorted samples lie, by nearest rank; `None` of nothing.
pub fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn median_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn one_spoilt_turn_moves_neither_median_nor_mad() {
        let summary = Summary::of(&[10.0, 11.0, 12.0, 13.0, 9_000.0]).unwrap();
        assert_eq!((summary.median, summary.mad), (12.0, 1.0));
        assert_eq!((summary.min, summary.max), (10.0, 9_000.0));
    }

    #[test]
    fn a_slow_round_that_hits_both_cancels_out() {
        // In the second round the machine ran at a quarter of its speed.
        assert_eq!(ratio(&[20.0, 5.0, 22.0], &[10.0, 2.5, 11.0]), Some(2.0));
    }

    #[test]
    fn ratio_needs_the_same_rounds_and_no_zero() {
        assert_eq!(ratio(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(difference(&[5.0, 7.0], &[1.0, 1.0]), Some(5.0));
    }

    #[test]
    fn percentile_is_the_nearest_rank() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(500));
        assert_eq!(percentile(&sorted, 0.999), Some(999));
        assert_eq!(percentile(&sorted, 1.0), Some(1000));
        assert_eq!(percentile(&[7], 0.0), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    proptest! {
        #[test]
        fn median_lies_between_the_extremes(samples in prop::collection::vec(-1e9..1e9, 1..50)) {
            let summary = Summary::of(&samples).unwrap();
            prop_assert!(summary.min <= summary.median && summary.median <= summary.max);
            prop_assert!(summary.mad >= 0.0);
            let below = samples.iter().filter(|sample| **sample < summary.median).count();
            prop_assert!(below * 2 <= samples.len());
        }
    }
}
