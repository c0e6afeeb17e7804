//! How much of a pool was needed, looked at from behind: the peak of each period, and what nineteen of twenty peaks fit in.
//!
//! A pool that follows its last peak closes what the next rush needs, and one that never shrinks keeps what a bad night
//! needed. The 95th percentile over the last periods does neither, and needs no tuning. Growth is the other way round:
//! by a factor, at once, when somebody waits.

/// How many periods are remembered.
const PERIODS: usize = 24;
/// The share of periods that the target must have been enough for.
const COVERED: f64 = 0.95;

/// The peaks of the last periods.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    peaks: [u32; PERIODS],
    filled: usize,
    next: usize,
    /// The peak of the present period.
    peak: u32,
}

impl Demand {
    /// So many are needed now.
    #[inline]
    pub(crate) fn see(&mut self, needed: usize) {
        self.peak = self.peak.max(needed as u32);
    }

    /// Ends a period; `still` are needed when the next one begins.
    pub(crate) fn roll(&mut self, still: usize) {
        self.peaks[self.next] = self.peak;
        self.next = (self.next + 1) % PERIODS;
        self.filled = (self.filled + 1).min(PERIODS);
        self.peak = still as u32;
    }

    /// What was enough in 95 % of the periods, the present one included.
    pub(crate) fn target(&self) -> usize {
        let mut peaks: Vec<u32> = self.peaks[..self.filled].to_vec();
        peaks.push(self.peak);
        peaks.sort_unstable();
        let rank = ((peaks.len() as f64 * COVERED).ceil() as usize).clamp(1, peaks.len());
        peaks[rank - 1] as usize
    }
}

/// How large a pool becomes that has `size` and needs at least `needed`, growing by `factor` up to `max`.
pub(crate) fn grown(size: usize, needed: usize, factor: f64, max: usize) -> usize {
    ((size as f64 * factor).ceil() as usize).max(needed).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rush_is_forgotten_and_a_habit_is_not() {
        let mut demand = Demand::default();
        for period in 0..48 {
            demand.see(if period == 30 { 40 } else { 3 });
            demand.roll(0);
            if period == 47 {
                assert_eq!(demand.target(), 3);
            }
        }
        for period in 0..24 {
            demand.see(if period % 8 == 0 { 20 } else { 3 });
            demand.roll(0);
        }
        assert_eq!(demand.target(), 20);
    }

    #[test]
    fn what_is_needed_now_counts_at_once() {
        let mut demand = Demand::default();
        demand.see(7);
        assert_eq!(demand.target(), 7);
        demand.roll(5);
        assert_eq!(demand.target(), 7);
    }

    #[test]
    fn growth_keeps_to_the_factor_and_the_limit() {
        assert_eq!(grown(0, 1, 1.5, 10), 1);
        assert_eq!(grown(4, 5, 1.5, 10), 6);
        assert_eq!(grown(9, 10, 2.0, 10), 10);
        assert_eq!(grown(3, 3, 1.0, 10), 3);
    }
}
