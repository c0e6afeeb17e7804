//! Advice from evidence: what to change, why, and the numbers behind it.
//!
//! Pure functions over plain numbers; nothing is measured here. A recommendation appears only when
//! the data carry it: below [`MIN_REQUESTS`] requests or [`MIN_UPTIME`] a hit ratio says nothing, and
//! silence is the right answer. Where data show the direction but not the size of a step, the
//! proposal is one doubling or halving, and the text says that it is a step.

mod cache;
mod evidence;
mod memory;
mod sizes;

use std::time::Duration;

use serde::Serialize;

pub use self::evidence::{CacheEvidence, Evidence, MemoryEvidence, SizeEvidence};

/// Fewer requests to a cache than this give no advice about it.
pub const MIN_REQUESTS: u64 = 1_000;
/// A cache younger than this gives no advice: it is still warming up.
pub const MIN_UPTIME: Duration = Duration::from_secs(60);

/// How soon someone should act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Could be better.
    Info,
    /// Costs something now, or soon will.
    Warning,
    /// The service is at risk.
    Critical,
}

impl Severity {
    /// The name, lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A measured or derived number that a finding rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Number {
    /// What it is: `hit_ratio`, `evicted_for_space`.
    pub name: &'static str,
    /// How much: bytes, counts, seconds or a ratio, as the name says.
    pub value: f64,
}

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Recommendation {
    /// Which rule speaks: stable, for filters and dashboards.
    pub id: &'static str,
    /// How soon to act.
    pub severity: Severity,
    /// What it is about: `cache users`, `memory`.
    pub subject: String,
    /// What was found, with its numbers, in one or two sentences.
    pub finding: String,
    /// The numbers of the finding, for machines.
    pub numbers: Vec<Number>,
    /// The setting to change, as its path.
    pub setting: String,
    /// Its value now, when known.
    pub current: Option<String>,
    /// The value to try, where the data support one.
    pub proposed: Option<String>,
    /// What to do, in one sentence.
    pub advice: String,
}

/// Everything that the evidence supports, most urgent first, then by subject.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use trimtab_monitor::{CacheEvidence, Evidence, advise};
///
/// let users = CacheEvidence {
///     name: "users".into(),
///     uptime: Duration::from_secs(3_600),
///     hits: 40_000,
///     misses: 60_000,
///     inserts: 60_000,
///     evicted_for_space: 50_000,
///     entries: 10_000,
///     max_entries: Some(10_000),
///     ..CacheEvidence::default()
/// };
/// let advice = advise(&Evidence { caches: vec![users], memory: None });
/// assert_eq!(advice[0].setting, "cache.users.max_entries");
/// assert_eq!(advice[0].proposed.as_deref(), Some("20000"));
/// ```
pub fn advise(evidence: &Evidence) -> Vec<Recommendation> {
    let mut all = Vec::new();
    if let Some(memory) = &evidence.memory {
        memory::advise(memory, &evidence.caches, &mut all);
    }
    // More memory for caches is no advice while there is none to give.
    let short = evidence.memory.as_ref().is_some_and(MemoryEvidence::is_short);
    for cache in &evidence.caches {
        cache::advise(cache, short, &mut all);
    }
    all.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| (&a.subject, a.id).cmp(&(&b.subject, b.id))));
    all
}

fn numbers<const N: usize>(list: [(&'static str, f64); N]) -> Vec<Number> {
    list.map(|(name, value)| Number { name, value }).to_vec()
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// Rounds up to two digits, so that a proposal reads like a decision and not like a measurement.
fn round_up(value: u64) -> u64 {
    let digits = value.checked_ilog10().unwrap_or(0);
    let unit = 10_u64.pow(digits.saturating_sub(1));
    value.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_round_up_to_two_digits() {
        for (value, wanted) in [(0, 0), (7, 7), (42, 42), (101, 110), (1_249, 1_300), (u64::MAX, u64::MAX)] {
            assert_eq!(round_up(value), wanted, "{value}");
        }
    }

    #[test]
    fn no_evidence_no_advice() {
        assert_eq!(advise(&Evidence::default()), []);
        assert_eq!(advise(&Evidence { caches: vec![CacheEvidence::default()], memory: None }), []);
    }
}
