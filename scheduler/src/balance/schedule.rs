//! Turns by weight, spread evenly: the smooth weighted round robin of nginx, worked out once for a set of workers.
//!
//! Each round every worker gains its weight, the richest is chosen and pays the sum of all. With weights 5, 1, 1 that gives
//! `a a b a c a a` where a naive one gives `a a a a a b c`. The result repeats after as many turns as the weights add up to, so
//! that a choice is one addition and one look into a table.

/// The longest table. Weights that add up to more are scaled down; a worker keeps at least one turn.
const LONGEST: u64 = 4_096;

/// Indexes of workers, turn by turn.
pub(super) fn schedule(weights: &[u32]) -> Box<[u32]> {
    let divisor = weights.iter().copied().filter(|weight| *weight > 0).fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from((*weight).max(1) / divisor).max(1)).collect();
    let sum: u64 = weights.iter().sum();
    if sum > LONGEST {
        for weight in &mut weights {
            *weight = (*weight * LONGEST / sum).max(1);
        }
    }
    let sum: i64 = weights.iter().map(|weight| *weight as i64).sum();
    let mut credit = vec![0_i64; weights.len()];
    (0..sum)
        .map(|_| {
            let mut richest = 0;
            for (index, weight) in weights.iter().enumerate() {
                credit[index] += *weight as i64;
                if credit[index] > credit[richest] {
                    richest = index;
                }
            }
            credit[richest] -= sum;
            richest as u32
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn turns_are_spread() {
        assert_eq!(*schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*schedule(&[200, 100]), [0, 1, 0]);
        assert!(schedule(&[]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(7),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn each_gets_turns_by_weight(weights in prop::collection::vec(1_u32..50, 1..20)) {
            let turns = schedule(&weights);
            for (index, weight) in weights.iter().enumerate() {
                let got = turns.iter().filter(|turn| **turn == index as u32).count();
                let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
                prop_assert_eq!(got as u64 * sum, turns.len() as u64 * u64::from(*weight));
            }
        }
    }
}
