//! Numbers for jitter: spread well, secret to nobody.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014) over one counter whose start differs from process to process.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

static STATE: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0_u8)));

/// From 0 to 1.
pub(crate) fn fraction() -> f64 {
    let mut z = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions_fill_their_range() {
        let many: Vec<f64> = (0..10_000).map(|_| super::fraction()).collect();
        assert!(many.iter().all(|n| (0.0..1.0).contains(n)));
        let mean = many.iter().sum::<f64>() / 10_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
