//! Numbers to choose by: spread well, secret to nobody.
//!
//! `xorshift64*` (Vigna 2016) with a state for each thread, so that choosers share nothing. A seed can be handed in for tests.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// The next state, which is never zero if the last one was not.
fn step(mut x: u64) -> u64 {
    x ^= x >> 12;
    x ^= x << 25;
    x ^ (x >> 27)
}

/// A number from the thread's own state.
pub(crate) fn next() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8) | 1);
    }
    // While the thread's locals are taken down any number will do.
    STATE
        .try_with(|state| {
            let x = step(state.get());
            state.set(x);
            x.wrapping_mul(0x2545_F491_4F6C_DD1D)
        })
        .unwrap_or(0)
}

/// From 0 to `n`, without `n`; `n` must not be 0. Multiplies instead of dividing (Lemire 2019), whose bias is below `n / 2^32`.
pub(crate) fn below(random: u32, n: usize) -> usize {
    ((u64::from(random) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_limit_fill_it_evenly() {
        let mut counts = [0_u32; 8];
        for _ in 0..80_000 {
            counts[below((next() >> 32) as u32, 8)] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}
