//! A generator of random numbers that gives the same ones everywhere, and Zipf's law on top of it.
//!
//! splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

/// splitmix64.
#[derive(Clone, Copy, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// Begins with `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number; all 64 bits are good.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..below`, by Lemire's multiplication; the bias is below 2⁻³² for the sizes used here.
    pub const fn below(&mut self, below: u64) -> u64 {
        ((self.next() as u128 * below as u128) >> 64) as u64
    }

    /// A number in `0.0..1.0` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// Zipf's law over `0..n`: rank r (from 1) has weight 1/rᵃ. Exact, by binary search in the cumulated weights.
#[derive(Debug)]
pub struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    /// The law over `keys` ranks with exponent `exponent`.
    pub fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=keys)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Self { cumulated }
    }

    /// The rank, from 0, that the next number of `random` falls on.
    pub fn draw(&self, random: &mut SplitMix) -> u64 {
        let total = self.cumulated.last().copied().unwrap_or(0.0);
        let point = random.unit() * total;
        self.cumulated.partition_point(|sum| *sum <= point).min(self.cumulated.len().saturating_sub(1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_numbers() {
        // First outputs for seed 1234567 of the reference implementation in C.
        let mut random = SplitMix::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn zipf_frequencies_follow_the_law() {
        let (zipf, mut random) = (Zipf::new(1_000, 1.0), SplitMix::new(7));
        let mut counts = vec![0u32; 1_000];
        for _ in 0..200_000 {
            counts[zipf.draw(&mut random) as usize] += 1;
        }
        let first = f64::from(counts[0]) / 200_000.0;
        let expected = 1.0 / (1..=1_000).map(|rank| 1.0 / f64::from(rank)).sum::<f64>();
        assert!((first - expected).abs() < 0.005, "{first} against {expected}");
        assert!((f64::from(counts[0]) / f64::from(counts[9]) - 10.0).abs() < 1.5);
    }

    #[test]
    fn below_stays_below() {
        let mut random = SplitMix::new(1);
        assert!((0..10_000).map(|_| random.below(3)).all(|number| number < 3));
    }
}
