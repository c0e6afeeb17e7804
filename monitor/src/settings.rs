//! The monitor's settings, with the three profiles in one table.
//!
//! | | minimal | balanced | maximum |
//! |---|---|---|---|
//! | `interval` | 2 s | 1 s | 1 s |
//! | `history` | 5 min | 15 min | 1 h |
//! | `reclaim_gap` | 60 s | 30 s | 30 s |
//!
//! The pressure thresholds are the same in all: they are about safety, not about spending.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{Duration, Problems, Profile, Settings, Share};

use crate::pressure::Thresholds;

/// Shorter intervals measure mostly themselves: the kernel counts CPU time in ticks of 10 ms.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Rarer samples would let memory run out between two of them.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
/// Points in the history; each costs 8 bytes for each series.
const POINTS_MAX: u128 = 100_000;

/// How often to look, how much to remember, when memory is short.
///
/// ```
/// use trimtab_config::{Profile, Settings};
/// use trimtab_monitor::MonitorSettings;
///
/// let settings = MonitorSettings::for_profile(Profile::Minimal);
/// assert_eq!(settings.interval.to_string(), "2s");
/// assert_eq!(settings.points(), 150);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MonitorSettings {
    /// Time between two samples, 100ms to 1min. Shorter notices pressure sooner and costs more CPU.
    pub interval: Duration,
    /// How far back the history in memory goes; at most 100,000 samples.
    pub history: Duration,
    /// When memory pressure rises and falls.
    pub pressure: PressureSettings,
    /// Least time between two requests to the allocator to return memory to the system.
    pub reclaim_gap: Duration,
}

/// When memory pressure rises and falls. Shares are those of the memory limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PressureSettings {
    /// Pressure is moderate from here on.
    pub moderate: Share,
    /// Pressure is high from here on.
    pub high: Share,
    /// Pressure is critical from here on.
    pub critical: Share,
    /// A level is left this much below where it is entered, so that it does not flutter.
    pub gap: Share,
    /// How long use must stay below before the level falls.
    pub hold: Duration,
    /// Share of the last 10 s in which tasks waited for memory, from which the level is one higher. 100% ignores stalls short of that.
    pub stall: Share,
    /// Share of the machine's memory still available, below which the level is one higher. 0% ignores it.
    pub available: Share,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl Default for PressureSettings {
    fn default() -> Self {
        Self {
            moderate: Share::percent(70),
            high: Share::percent(85),
            critical: Share::percent(95),
            gap: Share::percent(5),
            hold: Duration::from_secs(10),
            stall: Share::percent(10),
            available: Share::percent(5),
        }
    }
}

impl MonitorSettings {
    /// How many samples the history keeps.
    pub fn points(&self) -> usize {
        let points = self.history.as_nanos() / self.interval.as_nanos().max(1);
        points.clamp(1, POINTS_MAX) as usize
    }
}

impl Settings for MonitorSettings {
    fn for_profile(profile: Profile) -> Self {
        let seconds = |minimal, balanced, maximum| Duration::from_secs(profile.pick(minimal, balanced, maximum));
        Self {
            interval: seconds(2, 1, 1),
            history: seconds(300, 900, 3_600),
            pressure: PressureSettings::default(),
            reclaim_gap: seconds(60, 30, 30),
        }
    }

    fn check(&self, problems: &mut Problems) {
        if !(*INTERVAL_MIN..=*INTERVAL_MAX).contains(&*self.interval) {
            problems.report("interval", self.interval, format!("must lie between {INTERVAL_MIN} and {INTERVAL_MAX}"));
        } else if self.history < self.interval {
            problems.report("history", self.history, format!("must be at least one interval ({})", self.interval));
        } else if self.history.as_nanos() / self.interval.as_nanos() > POINTS_MAX {
            problems.report(
                "history",
                self.history,
                format!(
                    "holds more than {POINTS_MAX} samples at one every {}; shorten it or lengthen the interval",
                    self.interval
                ),
            );
        }
        problems.within("pressure", |problems| self.pressure.check(problems));
    }
}

impl PressureSettings {
    /// The same as plain numbers, for a [`PressureGauge`](crate::PressureGauge).
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            moderate: self.moderate.get(),
            high: self.high.get(),
            critical: self.critical.get(),
            gap: self.gap.get(),
            hold: self.hold.get(),
            stall: self.stall.get(),
            available: self.available.get(),
        }
    }

    fn check(&self, problems: &mut Problems) {
        if self.moderate <= Share::NONE {
            problems.report("moderate", self.moderate, "must be above 0%");
        }
        for (name, value, below, bound) in
            [("high", self.high, "moderate", self.moderate), ("critical", self.critical, "high", self.high)]
        {
            if value <= bound {
                problems.report(name, value, format!("must be above {below} ({bound})"));
            }
        }
        // A level that is left below where the one under it is entered would skip that one.
        let steps = [self.moderate.get(), self.high.get() - self.moderate.get(), self.critical.get() - self.high.get()];
        let narrowest = steps.into_iter().fold(f64::INFINITY, f64::min);
        if narrowest > 0.0 && self.gap.get() > narrowest {
            let remedy =
                format!("must be at most {:.0}%, the distance between the closest two levels", narrowest * 100.0);
            problems.report("gap", self.gap, remedy);
        }
        if self.stall <= Share::NONE {
            problems.report("stall", self.stall, "must be above 0%; 100% switches the hint off");
        }
        if self.available > Share::percent(50) {
            problems.report(
                "available",
                self.available,
                "must be at most 50%: a machine that is half free is not short of memory",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(settings: &MonitorSettings) -> Vec<String> {
        let mut problems = Problems::new();
        settings.check(&mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_profile_passes_its_own_rules() {
        for profile in Profile::ALL {
            assert_eq!(problems(&MonitorSettings::for_profile(profile)), [""; 0]);
        }
        assert_eq!(PressureSettings::default().thresholds(), Thresholds::default());
    }

    type Mistake = fn(&mut MonitorSettings);

    #[test]
    fn each_mistake_is_reported_with_path_and_remedy() {
        let table: [(Mistake, &str, &str); 10] = [
            (|s| s.interval = Duration::from_millis(10), "interval", "must lie between 100ms and 1m"),
            (|s| s.interval = Duration::from_hours(1), "interval", "must lie between"),
            (|s| s.history = Duration::from_millis(500), "history", "must be at least one interval (1s)"),
            (|s| s.history = Duration::from_hours(100), "history", "holds more than 100000 samples"),
            (|s| s.pressure.moderate = Share::NONE, "pressure.moderate", "must be above 0%"),
            (|s| s.pressure.high = Share::percent(60), "pressure.high", "must be above moderate (70%)"),
            (|s| s.pressure.critical = Share::percent(85), "pressure.critical", "must be above high (85%)"),
            (|s| s.pressure.gap = Share::percent(20), "pressure.gap", "must be at most 10%"),
            (|s| s.pressure.stall = Share::NONE, "pressure.stall", "must be above 0%"),
            (|s| s.pressure.available = Share::ALL, "pressure.available", "must be at most 50%"),
        ];
        for (mistake, path, remedy) in table {
            let mut settings = MonitorSettings::default();
            mistake(&mut settings);
            let found = problems(&settings).join("\n");
            assert!(found.starts_with(path) && found.contains(remedy), "{found:?}: {path}, {remedy}");
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_str::<MonitorSettings>(r#"{"intervall": "1s"}"#).expect_err("misspelt");
        assert!(error.to_string().contains("intervall"));
        let settings: MonitorSettings =
            serde_json::from_str(r#"{"pressure": {"high": "80%"}}"#).expect("partial is fine");
        assert_eq!(settings.pressure.high, Share::percent(80));
        assert_eq!(settings.interval, MonitorSettings::default().interval);
    }
}
