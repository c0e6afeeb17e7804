//! Who gives how much when several caches shrink together, as a function of what each would lose.
//!
//! A cache with a curve is cut into four quarters. The first to go is the quarter, or run of quarters, that costs the fewest hits
//! for each byte; runs let a cliff be seen from the flat land before it. Rates are lookups since the start times hit ratio, so a busy
//! cache loses more by the same curve. Caches without a curve pay their even part first.
//!
//! Source: as the budget's, A. Cidon et al., "Cliffhanger", NSDI 2016, run backwards.

/// One cache.
#[derive(Debug, Clone)]
pub(super) struct Stake {
    pub(super) bytes: f64,
    /// Hits that it would lose at three quarters, at half and at a quarter of its bytes; `None` if that is not known.
    pub(super) losses: Option<[f64; 3]>,
}

/// The share that each keeps, so that together they keep `share` of their bytes.
pub(super) fn shares(stakes: &[Stake], share: f64) -> Vec<f64> {
    let mut kept: Vec<f64> = stakes.iter().map(|stake| if stake.losses.is_some() { 1.0 } else { share }).collect();
    let known: f64 = stakes.iter().filter(|stake| stake.losses.is_some()).map(|stake| stake.bytes).sum();
    let mut wanted = known * (1.0 - share);
    while wanted > 0.0 {
        let cheapest = stakes.iter().enumerate().filter_map(|(at, stake)| Some((at, next(stake, kept[at])?)));
        let Some((at, (_, way))) = cheapest.min_by(|(_, (one, _)), (_, (other, _))| one.total_cmp(other)) else {
            break;
        };
        let bytes = (way * stakes[at].bytes).min(wanted);
        kept[at] -= bytes / stakes[at].bytes;
        wanted -= bytes;
    }
    if wanted > 0.0 && known > 0.0 {
        // All are down to a quarter, below which nothing is known of them.
        stakes.iter().zip(&mut kept).filter(|(stake, _)| stake.losses.is_some()).for_each(|(_, kept)| *kept = share);
    }
    kept
}

/// The cheapest way down for a cache that keeps so much: what a byte costs, and the share to give.
fn next(stake: &Stake, kept: f64) -> Option<(f64, f64)> {
    let losses = stake.losses.filter(|_| stake.bytes > 0.0)?;
    let points = [(1.0, 0.0), (0.75, losses[0]), (0.5, losses[1]), (0.25, losses[2])];
    let (here, paid) = points.into_iter().rev().find(|(share, _)| *share >= kept - 1e-9)?;
    let ways = points.into_iter().filter(|(share, _)| *share < here).map(|(share, loss)| {
        let cost = (loss - paid).max(0.0) / ((here - share) * stake.bytes);
        (cost, kept - share)
    });
    ways.min_by(|one, other| one.0.total_cmp(&other.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stake(bytes: f64, losses: impl Into<Option<[f64; 3]>>) -> Stake {
        Stake { bytes, losses: losses.into() }
    }

    #[test]
    fn who_loses_least_for_a_byte_gives_first() {
        let kept = shares(&[stake(100.0, [10.0, 20.0, 30.0]), stake(100.0, [1.0, 2.0, 50.0])], 0.75);
        assert_eq!(kept, [1.0, 0.5]);
        let kept = shares(&[stake(100.0, [10.0, 20.0, 30.0]), stake(100.0, [1.0, 2.0, 50.0])], 0.5);
        assert_eq!(kept, [0.5, 0.5], "beyond its cliff the second would lose more");
    }

    #[test]
    fn without_curves_all_give_alike_and_below_a_quarter_too() {
        assert_eq!(shares(&[stake(10.0, None), stake(90.0, None)], 0.3), [0.3, 0.3]);
        assert_eq!(shares(&[stake(10.0, [1.0, 2.0, 3.0]), stake(90.0, None)], 0.1), [0.1, 0.1]);
        assert_eq!(shares(&[stake(0.0, [1.0, 2.0, 3.0])], 0.5), [1.0], "there is nothing to give");
        assert!(shares(&[], 0.5).is_empty());
    }

    proptest! {
        #[test]
        fn together_they_keep_what_was_asked(
            stakes in prop::collection::vec((1.0..1e9_f64, prop::option::of([0.0..1e6_f64, 0.0..1e6, 0.0..1e6])), 1..8),
            share in 0.0..=1.0_f64,
        ) {
            let stakes: Vec<_> = stakes
                .into_iter()
                .map(|(bytes, losses)| {
                    let losses = losses.map(|mut losses| { losses.sort_by(f64::total_cmp); losses });
                    Stake { bytes, losses }
                })
                .collect();
            let kept = shares(&stakes, share);
            prop_assert!(kept.iter().all(|kept| (-1e-9..=1.0).contains(kept)));
            let total: f64 = stakes.iter().map(|stake| stake.bytes).sum();
            let sum: f64 = stakes.iter().zip(&kept).map(|(stake, kept)| stake.bytes * kept).sum();
            prop_assert!((sum - total * share).abs() <= total * 1e-6, "{sum} of {total} at {share}");
        }
    }
}
