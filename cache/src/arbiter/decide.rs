//! The decision of the arbiter, as a function of evidence: which cache loses least and which gains most.
//!
//! For every pair of caches and every size that the receiver's curve knows above its own, what the receiver would gain by
//! going there is held against what the donor would lose by paying for it, both in cost of misses a second. Comparing
//! whole ways instead of first steps sees over the flat land before a cliff. The way that is best for each byte is gone by
//! one bounded step; the next decision looks again.
//!
//! Within the nearest simulated size a donor's loss is interpolated, unless the curve falls faster there than below: then
//! a cliff may lie anywhere between, and the whole fall is charged.
//!
//! Source: A. Cidon et al., "Cliffhanger", NSDI 2016 (climbing by marginal gains); N. Beckmann and D. Sanchez, "Talus",
//! HPCA 2015 (hulls). Departure: curves come from miniatures and have errors, so noise moves no memory.

use crate::curve::{Curve, Estimate};

/// A gain has to be so many times the loss.
const MARGIN: f64 = 1.25;
/// And to be ahead of it by so many standard errors.
const SURE: f64 = 2.0;
/// And to raise the receiver's hit ratio by this much, or it is not worth the evictions.
const LEAST: f64 = 0.002;
/// At most this share of the donor goes in one step.
const DONOR_STEP: f64 = 0.1;
/// Smaller steps are not made.
const STEP_LEAST: u64 = 4096;
/// Sizes of the receiver that are considered: those that are simulated, and some between, since a donor's spare room may
/// reach only so far.
const GOALS: [f64; 6] = [1.25, 1.5, 1.75, 2.0, 3.0, 4.0];
/// The nearest simulated sizes below the own.
const NEAR: f64 = 0.8;
const FAR: f64 = 0.5;

/// What is known of one cache.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// Cost of misses a second if every lookup missed.
    pub(crate) stake: f64,
    pub(crate) curve: Option<Curve>,
    /// Bytes of the limit that it does not use, and will not soon.
    pub(crate) spare: u64,
    /// Whether it may give, and get.
    pub(crate) may_give: bool,
    pub(crate) may_get: bool,
}

/// A step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Proposal {
    /// `None` for room that no cache has.
    pub(crate) from: Option<usize>,
    pub(crate) to: usize,
    /// Bytes of this step, and of the whole way.
    pub(crate) bytes: u64,
    pub(crate) way: u64,
    /// Gain and loss of the whole way, in hit ratio of the receiver and of the donor.
    pub(crate) gain: Estimate,
    pub(crate) loss: Estimate,
    /// The same in cost a second, with the error of the difference.
    pub(crate) saved: f64,
    pub(crate) paid: f64,
    pub(crate) error: f64,
}

const NOTHING: Estimate = Estimate { value: 0.0, error: 0.0 };

impl Standing {
    /// The bytes that the curve speaks of: fewer than the limit where entries are limited too.
    fn size(&self, curve: &Curve) -> f64 {
        let size = curve.size_bytes() as f64;
        if size < 0.9 * self.limit as f64 { size.max(1.0) } else { self.limit as f64 }
    }

    /// What more bytes would add to the hit ratio.
    fn gain(&self, more: u64) -> Option<Estimate> {
        let curve = self.curve.as_ref()?;
        let size = self.size(curve);
        if size < self.limit as f64 {
            // Another limit binds; bytes would change nothing.
            return None;
        }
        let there = curve.at((size + more as f64) / size)?;
        Some(Estimate { value: there.value - curve.measured(), error: there.error })
    }

    /// What fewer bytes would take off the hit ratio; `None` where that is not known.
    fn loss(&self, fewer: u64) -> Option<Estimate> {
        if fewer <= self.spare {
            return Some(NOTHING);
        }
        let curve = self.curve.as_ref()?;
        let factor = (self.limit - fewer) as f64 / self.size(curve);
        if factor >= 1.0 {
            return Some(NOTHING);
        }
        let there = if factor > NEAR && falls_near(curve) { curve.at(NEAR) } else { curve.at(factor) }?;
        Some(Estimate { value: (curve.measured() - there.value).max(0.0), error: there.error })
    }
}

/// Whether a curve falls clearly faster just below its own size than further down: good curves fall faster further down.
fn falls_near(curve: &Curve) -> bool {
    let (Some(near), Some(far)) = (curve.at(NEAR), curve.at(FAR)) else { return true };
    let (first, second) = ((curve.measured() - near.value) / (1.0 - NEAR), (near.value - far.value) / (NEAR - FAR));
    first > 1.5 * second.max(0.0) + SURE * near.error
}

/// The best step, if one is worth it. `free` are bytes that nobody has, `step` is the most that moves at once.
pub(crate) fn propose(members: &[Standing], free: u64, step: u64) -> Option<Proposal> {
    let mut best: Option<(f64, Proposal)> = None;
    for (to, receiver) in members.iter().enumerate().filter(|(_, member)| member.may_get) {
        let room = receiver.max.saturating_sub(receiver.limit);
        let others = members.iter().enumerate().filter(|(from, donor)| *from != to && donor.may_give);
        for donor in std::iter::once(None).chain(others.map(Some)) {
            for goal in GOALS {
                let way = ((receiver.limit as f64 * (goal - 1.0)) as u64).min(room);
                let proposal = weigh(to, receiver, donor, way, free, step);
                if let Some(proposal) = proposal {
                    let worth = (proposal.saved - proposal.paid) / proposal.way as f64;
                    if best.as_ref().is_none_or(|(known, _)| worth > *known) {
                        best = Some((worth, proposal));
                    }
                }
            }
        }
    }
    best.map(|(_, proposal)| proposal)
}

/// The first step of a way that one donor pays for, beside what nobody has; `None` if the way is not worth it.
fn weigh(
    to: usize,
    receiver: &Standing,
    donor: Option<(usize, &Standing)>,
    way: u64,
    free: u64,
    step: u64,
) -> Option<Proposal> {
    // A donor may not reach the goal; then the question is what as much as it has would do.
    let most = donor.map_or(free, |(_, donor)| donor.limit.saturating_sub(donor.min));
    let way = if donor.is_some() { way.min(free.saturating_add(most)) } else { way };
    let gain = receiver.gain(way).filter(|gain| gain.value >= LEAST)?;
    let (loss, stake, most) = match donor {
        // What nobody has costs nothing, even where it ends before the goal.
        None => (NOTHING, 0.0, free),
        Some((_, donor)) => {
            let paid = way.saturating_sub(free).clamp(STEP_LEAST.min(most), most);
            (donor.loss(paid)?, donor.stake, most.min((donor.limit as f64 * DONOR_STEP) as u64))
        }
    };
    let bytes = way.min(step).min(most);
    let (saved, paid) = (gain.value * receiver.stake, loss.value * stake);
    let error = (gain.error * receiver.stake).hypot(loss.error * stake);
    let worth_it = saved > MARGIN * paid && saved - paid > SURE * error && bytes >= STEP_LEAST;
    let from = donor.map(|(from, _)| from);
    worth_it.then_some(Proposal { from, to, bytes, way, gain, loss, saved, paid, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 20;

    fn standing(stake: f64, ratios: [f64; 7]) -> Standing {
        let curve = Some(Curve::of_ratios(ratios, 0.005, LIMIT));
        Standing { limit: LIMIT, min: 0, max: 8 * LIMIT, stake, curve, spare: 0, may_give: true, may_get: true }
    }

    const CONCAVE: [f64; 7] = [0.3, 0.45, 0.56, 0.6, 0.64, 0.72, 0.8];
    const FLAT: [f64; 7] = [0.5; 7];
    /// All or nothing at twice the size.
    const BEFORE_A_CLIFF: [f64; 7] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.95, 0.95];
    const ON_A_CLIFF: [f64; 7] = [0.0, 0.0, 0.0, 0.95, 0.95, 0.95, 0.95];

    #[test]
    fn bytes_go_from_where_they_are_worth_nothing_to_where_they_are_worth_something() {
        let step = propose(&[standing(1.0, FLAT), standing(1.0, CONCAVE)], 0, LIMIT / 50).unwrap();
        assert_eq!((step.from, step.to, step.bytes), (Some(0), 1, LIMIT / 50));
        assert!(step.saved > step.paid);
    }

    #[test]
    fn equals_exchange_nothing_and_costs_tip_the_scales() {
        assert_eq!(propose(&[standing(1.0, CONCAVE), standing(1.0, CONCAVE)], 0, LIMIT), None);
        let step = propose(&[standing(5.0, CONCAVE), standing(1.0, CONCAVE)], 0, LIMIT).unwrap();
        assert_eq!((step.from, step.to), (Some(1), 0));
    }

    #[test]
    fn a_cliff_ahead_is_seen_across_flat_land_and_nobody_is_pushed_over_one() {
        let mut flat = standing(1.0, FLAT);
        flat.limit = 4 * LIMIT;
        flat.curve = Some(Curve::of_ratios(FLAT, 0.005, 4 * LIMIT));
        let step = propose(&[flat, standing(1.0, BEFORE_A_CLIFF)], 0, LIMIT).unwrap();
        assert_eq!((step.from, step.to, step.way), (Some(0), 1, LIMIT));
        assert_eq!(propose(&[standing(1.0, ON_A_CLIFF), standing(1.0, CONCAVE)], 0, LIMIT / 50), None);
    }

    #[test]
    fn a_cliff_between_two_simulated_sizes_is_reached_with_spare_room() {
        // What is left to the donor is worth as much as all that the receiver can gain, so only its spare room may go.
        let mut donor = standing(1.0, [0.95; 7]);
        donor.spare = LIMIT / 5 * 4;
        let step = propose(&[donor.clone(), standing(1.0, BEFORE_A_CLIFF)], 0, LIMIT / 50).unwrap();
        assert_eq!((step.from, step.to, step.loss.value), (Some(0), 1, 0.0));
        donor.spare = LIMIT / 5;
        donor.curve = Some(Curve::of_ratios(ON_A_CLIFF, 0.005, LIMIT));
        assert_eq!(propose(&[donor, standing(1.0, BEFORE_A_CLIFF)], 0, LIMIT / 50), None);
    }

    #[test]
    fn room_that_nobody_has_goes_first_and_unsure_gains_go_nowhere() {
        let step = propose(&[standing(1.0, CONCAVE), standing(1.0, CONCAVE)], LIMIT, LIMIT).unwrap();
        assert_eq!(step.from, None);
        let mut unsure = standing(1.0, CONCAVE);
        unsure.curve = Some(Curve::of_ratios(CONCAVE, 0.2, LIMIT));
        assert_eq!(propose(&[standing(1.0, FLAT), unsure], LIMIT, LIMIT), None);
    }

    #[test]
    fn bounds_and_rests_are_kept() {
        let (mut donor, mut receiver) = (standing(1.0, FLAT), standing(1.0, CONCAVE));
        donor.min = LIMIT;
        assert_eq!(propose(&[donor.clone(), receiver.clone()], 0, LIMIT), None);
        donor.min = 0;
        receiver.max = LIMIT;
        assert_eq!(propose(&[donor.clone(), receiver.clone()], 0, LIMIT), None);
        receiver.max = 2 * LIMIT;
        donor.may_give = false;
        assert_eq!(propose(&[donor, receiver], 0, LIMIT), None);
    }
}
