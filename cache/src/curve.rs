//! What more memory would buy: the hit ratio of a cache at other sizes and under other policies, from live traffic.
//!
//! The numbers come from miniatures that see a sample of the keys ([`policy::curve`](crate::policy)). What the cache itself
//! reaches is known exactly, and is used: the deviation of the miniature of the cache's own size from it is taken off the
//! others as far as their errors go together (a regression estimator), so the curve passes through the measured ratio.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::PolicyKind;

/// Sizes at which the cache is simulated, as multiples of its own. The two close to 1 tell whether a cliff is near.
pub const FACTORS: [f64; 7] = [0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0];
/// The place of the cache's own size.
const OWN: usize = 3;
/// Groups of sampled keys whose scatter is the error.
pub(crate) const GROUPS: usize = 16;
/// What miniatures are off by where nothing else is: the scatter of the tests against real caches, in hit ratio.
const MODEL_ERROR: f64 = 0.003;
/// What an adaptive miniature beside a fixed policy is off by: it chooses its setting from a smaller sample, and so later.
const CHOICE_ERROR: f64 = 0.015;
/// No curve before so many lookups.
const LOOKUPS_LEAST: f64 = 1_000.0;

/// How much a cache simulates beside itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ShadowMode {
    /// Nothing: no key is sampled. An adaptive cache stays with its first setting.
    Off,
    /// What the policy needs to adapt; nothing under a fixed policy.
    Policy,
    /// Also the cache at other sizes and policies, for its [curve](Curve).
    #[default]
    Full,
}

impl ShadowMode {
    /// The most of this that needs no count of hits and misses.
    pub(crate) const fn without_curve(self) -> Self {
        match self {
            Self::Full => Self::Policy,
            less => less,
        }
    }

    /// The name used in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Policy => "policy",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for ShadowMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A number that was estimated, with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Estimate {
    /// A hit ratio from 0 to 1, or a difference of two.
    pub value: f64,
    /// One standard error; two thirds of such estimates are off by less.
    pub error: f64,
}

/// The cache at one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CurvePoint {
    /// The size as a multiple of the cache's own.
    pub factor: f64,
    /// The size in entries, about.
    pub entries: u64,
    /// The size in bytes, at the mean weight of the entries now held.
    pub bytes: u64,
    /// Share of lookups that would be answered, from 0 to 1. At factor 1 it is measured, not estimated.
    pub hit_ratio: f64,
    /// Its standard error.
    pub error: f64,
}

/// The cache at its own size, under another policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PolicyPoint {
    /// The policy.
    pub policy: PolicyKind,
    /// Share of lookups that would be answered, from 0 to 1.
    pub hit_ratio: f64,
    /// Its standard error.
    pub error: f64,
}

/// The hit ratio of a cache at other sizes and policies; see [`Cache::curve`](crate::Cache::curve).
///
/// Numbers are weighted towards recent lookups: a lookup counts half after 32 more per entry of the cache, and after
/// 20,000 at least. Caches below some 30,000 entries are watched in bursts, so that the mean cost stays at a few nanoseconds
/// a lookup; what comes between the bursts is not seen, and does not count as recent.
///
/// **What the errors contain:** which keys happened to be in the sample, how far that moves a steep part of the curve, and what
/// miniatures were off by in tests. **What they leave out:** entries are taken to weigh what they weigh on the
/// average; expiry and removal act on the cache but not on the miniatures, as far as both differ between sizes; an adaptive cache is
/// simulated under the setting that its present size has chosen; a large size needs time to fill after a start; and traffic
/// changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Curve {
    /// The policy in force, under which the sizes are simulated.
    pub policy: PolicyKind,
    /// The sizes, smallest first.
    pub points: Vec<CurvePoint>,
    /// Other policies at the present size. `adaptive` stands for the setting that would be chosen.
    pub policies: Vec<PolicyPoint>,
    /// Lookups that the numbers rest on, faded ones counting less.
    pub lookups: u64,
    /// Share of the keys that is sampled, from 0 to 1.
    pub sampled: f64,
    /// Share of the sampled events that were lost because several threads came at once; corrected for.
    pub lost: f64,
}

/// What the miniatures counted.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) policy: PolicyKind,
    pub(crate) rate: f64,
    pub(crate) lookups: f64,
    pub(crate) misses: f64,
    pub(crate) lost: f64,
    pub(crate) entries: u64,
    pub(crate) weight: f64,
    pub(crate) sizes: Vec<[f64; GROUPS]>,
    pub(crate) policies: Vec<(PolicyKind, [f64; GROUPS])>,
}

impl Curve {
    pub(crate) fn new(counts: &Counts) -> Option<Self> {
        if counts.lookups < LOOKUPS_LEAST || counts.sizes.len() != FACTORS.len() {
            return None;
        }
        let own = &counts.sizes[OWN];
        let mut estimates: Vec<_> = counts.sizes.iter().map(|misses| regress(misses, own, counts)).collect();
        let measured = (1.0 - counts.misses / counts.lookups).clamp(0.0, 1.0);
        estimates[OWN] = Estimate { value: measured, error: 0.0 };
        let slopes: Vec<f64> = (0..FACTORS.len()).map(|at| slope(&estimates, at)).collect();
        let points =
            FACTORS.iter().zip(&estimates).zip(&slopes).enumerate().map(|(at, ((factor, estimate), slope))| {
                let entries = counts.entries as f64 * factor;
                let error = if at == OWN { 0.0 } else { widen(estimate.error, *slope, entries, counts.rate) };
                let bytes = (entries * counts.weight) as u64;
                CurvePoint { factor: *factor, entries: entries as u64, bytes, hit_ratio: estimate.value, error }
            });
        let policies = counts.policies.iter().map(|(policy, misses)| {
            let estimate = regress(misses, own, counts);
            let choice = if *policy == PolicyKind::Adaptive { CHOICE_ERROR } else { 0.0 };
            let error = widen(estimate.error, slopes[OWN], counts.entries as f64, counts.rate).hypot(choice);
            PolicyPoint { policy: *policy, hit_ratio: estimate.value, error }
        });
        Some(Self {
            policy: counts.policy,
            points: points.collect(),
            policies: policies.collect(),
            lookups: counts.lookups as u64,
            sampled: counts.rate,
            lost: counts.lost,
        })
    }

    /// The measured hit ratio of the cache as it is, over the same lookups.
    pub fn measured(&self) -> f64 {
        self.points[OWN].hit_ratio
    }

    /// The present size in bytes, at the mean weight of the entries now held.
    pub fn size_bytes(&self) -> u64 {
        self.points[OWN].bytes
    }

    /// A curve as a test wants it.
    #[cfg(test)]
    pub(crate) fn of_ratios(ratios: [f64; FACTORS.len()], error: f64, bytes: u64) -> Self {
        let points = FACTORS.iter().zip(ratios).enumerate().map(|(at, (factor, hit_ratio))| {
            let size = (bytes as f64 * factor) as u64;
            let error = if at == OWN { 0.0 } else { error };
            CurvePoint { factor: *factor, entries: size / 1024, bytes: size, hit_ratio, error }
        });
        let (policy, policies) = (PolicyKind::Adaptive, Vec::new());
        Self { policy, points: points.collect(), policies, lookups: 100_000, sampled: 0.1, lost: 0.0 }
    }

    /// The hit ratio at a multiple of the present size, from 0.25 to 4; `None` outside.
    ///
    /// Between two simulated sizes it is interpolated over the logarithm of the size, and the error then contains a quarter
    /// of the way between them: the curve may have a step there.
    pub fn at(&self, factor: f64) -> Option<Estimate> {
        let next = self.points.iter().position(|point| point.factor >= factor)?;
        let right = self.points[next];
        if right.factor <= factor {
            return Some(Estimate { value: right.hit_ratio, error: right.error });
        }
        let left = self.points[next.checked_sub(1)?];
        let way = (factor / left.factor).ln() / (right.factor / left.factor).ln();
        let rise = right.hit_ratio - left.hit_ratio;
        let between = left.error + (right.error - left.error) * way;
        let step = rise.abs() * way * (1.0 - way);
        Some(Estimate { value: left.hit_ratio + rise * way, error: between.hypot(step) })
    }

    /// What a multiple of the present size would add to the hit ratio, in points of a hundred; negative for a loss.
    ///
    /// ```
    /// use trimtab_cache::Cache;
    ///
    /// let cache = Cache::builder().max_entries(100).build()?;
    /// for round in 0..100_000_u64 {
    ///     let key = round * round % 1_013 % 180; // more keys than there is room for, not all alike
    ///     if cache.get(&key).is_none() {
    ///         cache.insert(key, ());
    ///     }
    /// }
    /// let curve = cache.curve().expect("enough lookups");
    /// let gain = curve.gain(2.0).expect("a size that is simulated");
    /// assert!(gain.value > 10.0 * gain.error && gain.value > 5.0, "{curve:?}");
    /// assert!(curve.gain(0.5).unwrap().value < 0.0);
    /// println!("{}", curve.sentence(2.0).unwrap());
    /// # Ok::<(), trimtab_cache::BuildError>(())
    /// ```
    pub fn gain(&self, factor: f64) -> Option<Estimate> {
        let there = self.at(factor)?;
        Some(Estimate { value: (there.value - self.measured()) * 100.0, error: there.error * 100.0 })
    }

    /// What a multiple of the present size would do, in a sentence; `None` outside of 0.25 to 4.
    pub fn sentence(&self, factor: f64) -> Option<String> {
        let there = self.at(factor)?;
        let (now, then) = (self.measured() * 100.0, there.value * 100.0);
        let error = (there.error * 100.0).ceil().max(1.0);
        Some(if (then - now).abs() <= 2.0 * there.error * 100.0 {
            format!("{factor}\u{d7} would change hits by no more than can be measured ({now:.0} %, \u{b1}{error:.0})")
        } else if then > now {
            format!("{factor}\u{d7} would raise hits from {now:.0} % to {then:.0} % (\u{b1}{error:.0})")
        } else {
            format!("{factor}\u{d7} would lower hits from {now:.0} % to {then:.0} % (\u{b1}{error:.0})")
        })
    }

    /// The corners of the upper hull, as factor and hit ratio: what could be had by sharing out memory well, without cliffs.
    pub fn hull(&self) -> Vec<(f64, f64)> {
        let mut hull: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        for point in &self.points {
            let next = (point.factor, point.hit_ratio);
            let under = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) * (next.0 - a.0) <= (next.1 - a.1) * (b.0 - a.0);
            while hull.len() >= 2 && under(hull[hull.len() - 2], hull[hull.len() - 1]) {
                hull.pop();
            }
            hull.push(next);
        }
        hull
    }
}

/// The hit ratio of a miniature, corrected by what is known of the cache itself, with the error of sampling.
fn regress(misses: &[f64; GROUPS], own: &[f64; GROUPS], counts: &Counts) -> Estimate {
    let mean = |groups: &[f64; GROUPS]| groups.iter().sum::<f64>() / GROUPS as f64;
    let (mean_there, mean_own) = (mean(misses), mean(own));
    let (mut both, mut square) = (0.0, 0.0);
    for (there, own) in misses.iter().zip(own) {
        both += (there - mean_there) * (own - mean_own);
        square += (own - mean_own).powi(2);
    }
    let beta = if square > 0.0 { (both / square).clamp(0.0, 2.0) } else { 0.0 };
    // Misses expected among all lookups for one that was seen among the sampled keys.
    let each = 1.0 / (counts.rate * counts.lookups * (1.0 - counts.lost).max(0.01));
    let deviation = mean_own * GROUPS as f64 * each - counts.misses / counts.lookups;
    let miss_ratio = mean_there * GROUPS as f64 * each - beta * deviation;
    let residuals = misses.iter().zip(own).map(|(there, own)| (there - mean_there - beta * (own - mean_own)).powi(2));
    // Two degrees of freedom went into the mean and the slope; a full sample has no error of sampling.
    let variance = residuals.sum::<f64>() * GROUPS as f64 / (GROUPS - 2) as f64 * (1.0 - counts.rate);
    Estimate { value: (1.0 - miss_ratio).clamp(0.0, 1.0), error: variance.sqrt() * each }
}

/// The steeper slope beside a point, in hit ratio for each e-fold of size.
fn slope(estimates: &[Estimate], at: usize) -> f64 {
    let between = |left: usize, right: usize| {
        let rise = estimates[right].value - estimates[left].value;
        rise.abs() / (FACTORS[right] / FACTORS[left]).ln()
    };
    let left = if at > 0 { between(at - 1, at) } else { 0.0 };
    let right = if at + 1 < FACTORS.len() { between(at, at + 1) } else { 0.0 };
    left.max(right)
}

/// The error of sampling, with that of the size: a sample holds more or fewer keys than its share, which moves the curve sideways.
fn widen(error: f64, slope: f64, entries: f64, rate: f64) -> f64 {
    let sideways = slope * ((1.0 - rate) / (entries * rate).max(1.0)).sqrt();
    (error.powi(2) + sideways.powi(2) + MODEL_ERROR.powi(2)).sqrt()
}
