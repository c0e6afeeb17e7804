//! Memory pressure: a level that others may act on, with the evidence for it.
//!
//! The level follows the share of the memory limit that is in use, through two thresholds per level:
//! it rises at once when the share reaches `enter`, and falls only after the share has stayed below
//! `enter − gap` for the hold time. Two hints, stalls (Linux PSI) and a machine that is nearly out of
//! memory, raise the level by one step, because a share alone does not show that the kernel is
//! already reclaiming hard.
//!
//! The two-threshold rule and a slow way down are what CacheLib's memory monitor and systemd-oomd
//! do; acting on a single line makes caches shrink and grow in turn.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use trimtab_config::ByteSize;

use crate::sample::{self, MemorySample, Sample, UsedSource};

/// How short memory is.
///
/// ```
/// use trimtab_monitor::Pressure;
///
/// assert!(Pressure::Critical > Pressure::High);
/// assert_eq!(Pressure::Moderate.to_string(), "moderate");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pressure {
    /// Plenty left.
    #[default]
    Low,
    /// Filling up; a good time to stop growing.
    Moderate,
    /// Little left; caches should give back.
    High,
    /// The system may kill the process any moment; refuse what can wait.
    Critical,
}

impl Pressure {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Moderate, Self::High, Self::Critical];

    /// The level's name: `low`, `moderate`, `high` or `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    fn raised(self) -> Self {
        match self {
            Self::Low => Self::Moderate,
            Self::Moderate => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// When a level is entered and left; built from [`MonitorSettings`](crate::MonitorSettings).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Share of the limit from which pressure is moderate.
    pub moderate: f64,
    /// Share of the limit from which pressure is high.
    pub high: f64,
    /// Share of the limit from which pressure is critical.
    pub critical: f64,
    /// A level is left when the share is this much below the one that entered it.
    pub gap: f64,
    /// How long the share must stay below before the level falls.
    pub hold: Duration,
    /// Fraction of time lost to waiting for memory from which the level is raised by one step.
    pub stall: f64,
    /// Fraction of the machine's memory still available at which the level is raised by one step.
    pub available: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            moderate: 0.70,
            high: 0.85,
            critical: 0.95,
            gap: 0.05,
            hold: Duration::from_secs(10),
            stall: 0.10,
            available: 0.05,
        }
    }
}

impl Thresholds {
    fn enter(&self, level: Pressure) -> f64 {
        match level {
            Pressure::Low => f64::NEG_INFINITY,
            Pressure::Moderate => self.moderate,
            Pressure::High => self.high,
            Pressure::Critical => self.critical,
        }
    }

    /// The level that `share` asks for while `current` holds: the highest one that it enters, or
    /// that is already held and not yet left.
    fn level(&self, share: f64, current: Pressure) -> Pressure {
        Pressure::ALL
            .into_iter()
            .rev()
            .find(|&level| {
                let line = self.enter(level);
                share >= if level <= current { line - self.gap } else { line }
            })
            .unwrap_or(Pressure::Low)
    }
}

/// Something other than the share that raised the level by a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hint {
    /// None: the level follows the share alone.
    #[default]
    None,
    /// Tasks wait for memory (PSI).
    Stall,
    /// The machine as a whole has almost nothing left.
    MachineFull,
}

/// The current level and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PressureReport {
    /// The level.
    pub level: Pressure,
    /// Bytes in use, when known.
    pub used: Option<u64>,
    /// What `used` measures.
    pub used_source: UsedSource,
    /// Bytes that may be used, when known.
    pub limit: Option<u64>,
    /// Where the limit comes from, in words.
    pub limit_source: std::borrow::Cow<'static, str>,
    /// `used / limit`.
    pub share: Option<f64>,
    /// Fraction of the last ten seconds in which at least one task waited for memory.
    pub stall: Option<f64>,
    /// Bytes that the machine has left.
    pub machine_available: Option<u64>,
    /// What raised the level beyond the share, if anything did.
    pub hint: Hint,
    /// Since when the level holds; milliseconds since the Unix epoch in JSON.
    #[serde(serialize_with = "sample::unix_millis")]
    pub since: std::time::SystemTime,
    /// The level before, if it ever changed.
    pub previous: Option<Pressure>,
}

impl PressureReport {
    /// Before anything was measured: low, with nothing known.
    pub fn unknown() -> Self {
        Self::from_memory(&MemorySample::default(), None, std::time::SystemTime::now())
    }

    fn from_memory(memory: &MemorySample, available: Option<u64>, at: std::time::SystemTime) -> Self {
        Self {
            level: Pressure::Low,
            used: memory.used,
            used_source: memory.used_source,
            limit: memory.limit,
            limit_source: memory.limit_source.clone(),
            share: memory.share,
            stall: memory.stall.map(|stall| stall.some),
            machine_available: available,
            hint: Hint::None,
            since: at,
            previous: None,
        }
    }

    /// One sentence for a log line or a page.
    ///
    /// ```
    /// use std::time::Instant;
    /// use trimtab_monitor::{MemorySample, PressureGauge, Sample, Thresholds};
    ///
    /// let mut gauge = PressureGauge::new(Thresholds::default());
    /// let mut sample = Sample::empty();
    /// sample.memory = MemorySample::of(90 << 20, 100 << 20);
    /// let text = gauge.observe(Instant::now(), &sample).explain();
    /// assert!(text.starts_with("memory pressure is high: 90MiB of 100MiB in use (90.0 %)"));
    /// ```
    pub fn explain(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = format!("memory pressure is {}: ", self.level);
        match (self.used, self.limit, self.share) {
            (Some(used), Some(limit), Some(share)) => {
                let _ = write!(
                    text,
                    "{} of {} in use ({:.1} %), {}, limit: {}",
                    ByteSize::b(used).rounded(),
                    ByteSize::b(limit).rounded(),
                    share * 100.0,
                    self.used_source.as_str(),
                    self.limit_source,
                );
            }
            _ => text.push_str("neither use nor limit is known"),
        }
        match (self.hint, self.stall, self.machine_available) {
            (Hint::Stall, Some(stall), _) => {
                let _ =
                    write!(text, "; raised because tasks waited for memory {:.0} % of the last 10 s", stall * 100.0);
            }
            (Hint::MachineFull, _, Some(left)) => {
                let _ = write!(text, "; raised because the machine has only {} left", ByteSize::b(left).rounded());
            }
            _ => {}
        }
        text
    }
}

/// Turns samples into a level with hysteresis. Pure: time comes in as an argument.
///
/// [`Monitor`](crate::Monitor) owns one; use it alone where you take samples yourself.
#[derive(Debug)]
pub struct PressureGauge {
    thresholds: Thresholds,
    level: Pressure,
    since: Option<std::time::SystemTime>,
    previous: Option<Pressure>,
    hint: Hint,
    /// Since when the level asked for is below the held one, and the highest asked for since then.
    falling: Option<(Instant, Pressure)>,
}

impl PressureGauge {
    /// A gauge at [`Pressure::Low`].
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, level: Pressure::Low, since: None, previous: None, hint: Hint::None, falling: None }
    }

    /// The level held now.
    pub fn level(&self) -> Pressure {
        self.level
    }

    /// Takes other thresholds from the next observation on; the level held is kept until then.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Feeds one sample. A sample without a share keeps the level: not knowing is no reason to relax.
    pub fn observe(&mut self, now: Instant, sample: &Sample) -> PressureReport {
        if let Some(share) = sample.memory.share.filter(|share| share.is_finite()) {
            self.hint = self.hint(sample, share);
            // A hint holds the level that it raised, so the share is compared with the level below it.
            let mut wanted = self.thresholds.level(share, self.level);
            if self.hint != Hint::None {
                wanted = wanted.max(self.thresholds.level(share, Pressure::Low).raised());
            }
            self.step(now, wanted, sample.at);
        }
        let mut report = PressureReport::from_memory(&sample.memory, sample.machine.memory_available, sample.at);
        report.level = self.level;
        report.hint = self.hint;
        report.since = *self.since.get_or_insert(sample.at);
        report.previous = self.previous;
        report
    }

    fn step(&mut self, now: Instant, wanted: Pressure, at: std::time::SystemTime) {
        if wanted >= self.level {
            self.falling = None;
            if wanted > self.level {
                self.change(wanted, at);
            }
            return;
        }
        let (start, highest) = *self.falling.get_or_insert((now, wanted));
        let highest = highest.max(wanted);
        if now.saturating_duration_since(start) >= self.thresholds.hold {
            self.change(highest, at);
            self.falling = None;
        } else {
            self.falling = Some((start, highest));
        }
    }

    fn change(&mut self, level: Pressure, at: std::time::SystemTime) {
        self.previous = Some(self.level);
        self.level = level;
        self.since = Some(at);
    }

    /// A hint counts only when giving memory back can help, that is from half of the moderate
    /// threshold on, and is left at half of the stall (twice the available) that entered it.
    fn hint(&self, sample: &Sample, share: f64) -> Hint {
        if share < self.thresholds.moderate / 2.0 {
            return Hint::None;
        }
        let stall_line = if self.hint == Hint::Stall { self.thresholds.stall / 2.0 } else { self.thresholds.stall };
        if sample.memory.stall.is_some_and(|stall| stall.some >= stall_line) {
            return Hint::Stall;
        }
        let available_line =
            if self.hint == Hint::MachineFull { self.thresholds.available * 2.0 } else { self.thresholds.available };
        match (sample.machine.memory_available, sample.machine.memory_total) {
            (Some(left), Some(total)) if total > 0 && left as f64 / total as f64 <= available_line => Hint::MachineFull,
            _ => Hint::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::Stall;

    fn sample(share: f64) -> Sample {
        let mut sample = Sample::empty();
        sample.memory = MemorySample::of((share * 1e9) as u64, 1_000_000_000);
        sample
    }

    fn gauge() -> (PressureGauge, Instant) {
        (PressureGauge::new(Thresholds::default()), Instant::now())
    }

    #[test]
    fn each_level_is_entered_at_its_threshold_at_once() {
        for (share, level) in [
            (0.69, Pressure::Low),
            (0.70, Pressure::Moderate),
            (0.85, Pressure::High),
            (0.95, Pressure::Critical),
            (3.0, Pressure::Critical),
        ] {
            let (mut gauge, now) = gauge();
            assert_eq!(gauge.observe(now, &sample(share)).level, level, "{share}");
        }
    }

    #[test]
    fn level_falls_only_after_the_hold_time_below_the_lower_line() {
        let (mut gauge, now) = gauge();
        gauge.observe(now, &sample(0.90));
        let second = Duration::from_secs(1);
        // Inside the band: never falls.
        assert_eq!(gauge.observe(now + 100 * second, &sample(0.81)).level, Pressure::High);
        // Below the band: falls after ten seconds.
        assert_eq!(gauge.observe(now + 101 * second, &sample(0.60)).level, Pressure::High);
        assert_eq!(gauge.observe(now + 110 * second, &sample(0.60)).level, Pressure::High);
        let report = gauge.observe(now + 111 * second, &sample(0.60));
        assert_eq!((report.level, report.previous), (Pressure::Low, Some(Pressure::High)));
    }

    #[test]
    fn a_return_into_the_band_starts_the_hold_time_again() {
        let (mut gauge, now) = gauge();
        let second = Duration::from_secs(1);
        gauge.observe(now, &sample(0.90));
        gauge.observe(now + second, &sample(0.50));
        gauge.observe(now + 9 * second, &sample(0.82));
        assert_eq!(gauge.observe(now + 12 * second, &sample(0.50)).level, Pressure::High);
        assert_eq!(gauge.observe(now + 22 * second, &sample(0.50)).level, Pressure::Low);
    }

    #[test]
    fn level_falls_to_the_highest_seen_during_the_hold_time() {
        let (mut gauge, now) = gauge();
        let second = Duration::from_secs(1);
        gauge.observe(now, &sample(0.99));
        gauge.observe(now + second, &sample(0.20));
        gauge.observe(now + 5 * second, &sample(0.75));
        assert_eq!(gauge.observe(now + 11 * second, &sample(0.20)).level, Pressure::Moderate);
    }

    #[test]
    fn a_sample_without_share_keeps_the_level() {
        let (mut gauge, now) = gauge();
        gauge.observe(now, &sample(0.99));
        let report = gauge.observe(now + Duration::from_secs(1_000), &Sample::empty());
        assert_eq!(report.level, Pressure::Critical);
        assert!(report.explain().contains("neither use nor limit is known"));
    }

    #[test]
    fn stalls_raise_by_one_step_and_hold_until_they_halve() {
        let (mut gauge, now) = gauge();
        let second = Duration::from_secs(1);
        let with = |share, some| {
            let mut sample = sample(share);
            sample.memory.stall = Some(Stall { some, full: 0.0 });
            sample
        };
        let report = gauge.observe(now, &with(0.75, 0.12));
        assert_eq!((report.level, report.hint), (Pressure::High, Hint::Stall));
        assert!(report.explain().contains("tasks waited for memory 12 %"));
        assert_eq!(gauge.observe(now + 60 * second, &with(0.75, 0.06)).level, Pressure::High);
        gauge.observe(now + 61 * second, &with(0.75, 0.04));
        let report = gauge.observe(now + 71 * second, &with(0.75, 0.04));
        assert_eq!((report.level, report.hint), (Pressure::Moderate, Hint::None));
        // A process that holds next to nothing cannot help by giving it back.
        let (mut gauge, now) = self::gauge();
        assert_eq!(gauge.observe(now, &with(0.10, 0.99)).level, Pressure::Low);
    }

    #[test]
    fn a_machine_without_memory_raises_by_one_step() {
        let (mut gauge, now) = gauge();
        let mut sample = sample(0.5);
        sample.machine.memory_total = Some(1 << 30);
        sample.machine.memory_available = Some(10 << 20);
        let report = gauge.observe(now, &sample);
        assert_eq!((report.level, report.hint), (Pressure::Moderate, Hint::MachineFull));
        assert!(report.explain().ends_with("the machine has only 10MiB left"));
    }

    fn band(level: Pressure) -> (f64, f64) {
        match level {
            Pressure::Low => (0.0, 0.6999),
            Pressure::Moderate => (0.6501, 0.8499),
            Pressure::High => (0.8001, 0.9499),
            Pressure::Critical => (0.9001, 2.0),
        }
    }

    proptest! {
        /// Whatever the share does between the line that leaves a level and the one that enters the
        /// next, for however long: the level stays.
        #[test]
        fn level_never_changes_inside_its_band(
            level in prop::sample::select(Pressure::ALL.to_vec()),
            walk in prop::collection::vec((0.0..1.0_f64, 0_u64..120), 1..80),
        ) {
            let (mut gauge, mut now) = gauge();
            let (low, high) = band(level);
            gauge.observe(now, &sample(high));
            prop_assert_eq!(gauge.level(), level);
            for (position, seconds) in walk {
                now += Duration::from_secs(seconds);
                let report = gauge.observe(now, &sample(low + position * (high - low)));
                prop_assert_eq!(report.level, level);
            }
        }

        /// Against any walk: never below what the share enters, never above what was entered within
        /// the walk, and two falls are at least the hold time apart from the rise before.
        #[test]
        fn level_is_never_below_what_the_share_enters(walk in prop::collection::vec((0.0..1.2_f64, 0_u64..30), 1..80)) {
            let thresholds = Thresholds::default();
            let (mut gauge, mut now) = gauge();
            let mut above_since = now;
            for (share, seconds) in walk {
                now += Duration::from_secs(seconds);
                let before = gauge.level();
                let report = gauge.observe(now, &sample(share));
                prop_assert!(report.level >= thresholds.level((share * 1e9).floor() / 1e9, Pressure::Low));
                if thresholds.level((share * 1e9).floor() / 1e9, before) >= before {
                    above_since = now;
                }
                if report.level < before {
                    prop_assert!(now - above_since >= thresholds.hold);
                }
            }
        }
    }
}
