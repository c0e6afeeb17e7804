//! Settings of the memory budget, as they stand in a file: `[budget]`, and `[budget.caches.NAME]` for single caches.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Problems, Profile, Settings};

use super::{Bounds, MemoryBudget};
use crate::error::BudgetError;

/// One memory budget over all caches that are limited by bytes.
///
/// ```
/// use trimtab_cache::BudgetSettings;
///
/// let settings: BudgetSettings =
///     serde_json::from_str(r#"{"total": "256MiB", "caches": {"users": {"min": "8MiB", "weight": 2.0}}}"#)?;
/// assert!(settings.build()?.is_some());
/// assert!(BudgetSettings::default().build()?.is_none(), "off unless a budget is set");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetSettings {
    /// Bytes of all such caches together, such as "256MiB"; absent for none, which is the default: every cache then keeps
    /// its own limit.
    pub total: Option<ByteSize>,
    /// Time between decisions, at least "1s". Default: "30s" in the minimal profile, "10s" otherwise.
    pub interval: Duration,
    /// Bounds and weights of single caches.
    pub caches: BTreeMap<String, ShareSettings>,
}

/// A cache under the budget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ShareSettings {
    /// The fewest bytes that it keeps; absent for a quarter of its own limit.
    pub min: Option<ByteSize>,
    /// The most bytes that it may get; absent for the whole budget.
    pub max: Option<ByteSize>,
    /// What a miss costs beside those of others, above 0; absent to have the time of its loads measured, in seconds.
    pub weight: Option<f64>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl BudgetSettings {
    /// The budget, if one is set.
    ///
    /// # Errors
    ///
    /// As [`MemoryBudget::set_bounds`].
    pub fn build(&self) -> Result<Option<MemoryBudget>, BudgetError> {
        let Some(total) = self.total else { return Ok(None) };
        let budget = MemoryBudget::new(total);
        budget.set_interval(*self.interval);
        for (name, share) in &self.caches {
            budget.set_bounds(name, Bounds { min: share.min, max: share.max, weight: share.weight })?;
        }
        Ok(Some(budget))
    }
}

impl Settings for BudgetSettings {
    fn for_profile(profile: Profile) -> Self {
        let interval = Duration::from_secs(profile.pick(30, 10, 10));
        Self { total: None, interval, caches: BTreeMap::new() }
    }

    fn check(&self, problems: &mut Problems) {
        if *self.interval < std::time::Duration::from_secs(1) {
            problems.report("interval", self.interval, "must be at least 1s; curves do not change faster");
        }
        if let Some(total) = self.total.filter(|total| total.as_u64() < 1 << 16) {
            problems.report("total", total, "must be at least 64KiB; leave it out for no budget");
        }
        if self.total.is_none() && !self.caches.is_empty() {
            problems.report("total", "none", "bounds of caches do nothing without a budget; set budget.total");
        }
        // Each cache alone, so that all that is wrong is told at once.
        for (name, share) in self.caches.iter().filter(|_| self.total.is_some()) {
            let alone = Self { caches: BTreeMap::from([(name.clone(), share.clone())]), ..self.clone() };
            if let Err(error) = alone.build() {
                problems.report(format!("caches.{name}"), name, error.to_string());
            }
        }
        if problems.is_empty()
            && let Err(error) = self.build()
        {
            problems.report("caches", self.caches.len(), error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        let settings: BudgetSettings = serde_json::from_str(json).unwrap();
        let mut problems = Problems::new();
        settings.check(&mut problems);
        problems
            .into_result()
            .map_or_else(|invalid| invalid.problems().iter().map(ToString::to_string).collect(), |()| Vec::new())
    }

    #[test]
    fn every_profile_is_sound_and_off() {
        for settings in Profile::ALL.map(BudgetSettings::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty() && settings.build().unwrap().is_none());
        }
    }

    #[test]
    fn impossible_budgets_are_refused_with_the_way_out() {
        for (json, says) in [
            (r#"{"caches": {"a": {}}}"#, "set budget.total"),
            (r#"{"total": "1MiB", "interval": "10ms"}"#, "at least 1s"),
            (r#"{"total": "1KiB"}"#, "at least 64KiB"),
            (r#"{"total": "1MiB", "caches": {"a": {"min": "2KiB", "max": "1KiB"}}}"#, "raise max"),
            (r#"{"total": "1MiB", "caches": {"a": {"weight": -1.0}}}"#, "above 0"),
            (r#"{"total": "1MiB", "caches": {"a": {"min": "600KiB"}, "b": {"min": "600KiB"}}}"#, "raise the budget"),
        ] {
            let found = problems(json);
            assert!(found.len() == 1 && found[0].contains(says), "{json}: {found:?}");
        }
    }
}
