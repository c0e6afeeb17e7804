//! Settings of the manners, with their defaults by profile.
//!
//! [`CallSettings`] is all of them around one kind of call, as it stands in a file under a name; each also works alone.

use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{Backoff, Duration, Problems, Profile, Rate, Settings, Share, check_name};

use super::error::SetupError;

/// The most calls in a window.
pub const WINDOW_MAX: u32 = 1 << 20;
/// The most probes of a half-open breaker.
pub const PROBES_MAX: u16 = 1_024;
/// The most permits of a semaphore or bulkhead.
pub const PERMITS_MAX: usize = 1 << 24;

macro_rules! default_for_profile {
    ($($settings:ty),*) => {$(
        impl Default for $settings {
            fn default() -> Self {
                Self::for_profile(Profile::default())
            }
        }
    )*};
}
default_for_profile!(
    BreakerSettings,
    RetrySettings,
    BudgetSettings,
    BulkheadSettings,
    HedgeSettings,
    BatchSettings,
    BalanceSettings,
    ScaleSettings
);

/// Settings of a [`Breaker`](crate::Breaker).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// How many of the last calls are looked at. Default: 50, 100 or 200 by profile.
    pub window: u32,
    /// If set, the calls of so long are looked at instead, in tenths of that time. Default: absent.
    pub window_time: Option<Duration>,
    /// With fewer calls in the window it never opens. Default: 20.
    pub min_calls: u32,
    /// It opens when so much of the window failed. Default: "50%".
    pub failure_rate: Share,
    /// A call that takes longer is slow; absent for never, which also saves two looks at the clock. Default: absent.
    pub slow_after: Option<Duration>,
    /// It opens when so much of the window was slow. Default: "100%".
    pub slow_rate: Share,
    /// How long it stays open the first time. Default: "5s".
    pub open_for: Duration,
    /// That time doubles each time its probes fail, up to this. Default: "1m".
    pub open_max: Duration,
    /// How many calls it lets in when half open, exactly. Default: 3.
    pub probes: u16,
    /// Half open for longer than this without an answer of all probes, it opens again. Default: "30s".
    pub probe_timeout: Duration,
    /// Whether a call that its caller dropped, as an outer time-out does, counts as failed. Default: true.
    pub count_dropped: bool,
}

impl Settings for BreakerSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            window: profile.pick(50, 100, 200),
            window_time: None,
            min_calls: 20,
            failure_rate: Share::percent(50),
            slow_after: None,
            slow_rate: Share::ALL,
            open_for: Duration::from_secs(5),
            open_max: Duration::from_mins(1),
            probes: 3,
            probe_timeout: Duration::from_secs(30),
            count_dropped: true,
        }
    }

    fn check(&self, problems: &mut Problems) {
        within(problems, "window", self.window, 1, WINDOW_MAX);
        within(problems, "probes", self.probes, 1, PROBES_MAX);
        if self.min_calls == 0 {
            problems.report("min_calls", 0, "must be at least 1");
        } else if self.window_time.is_none() && self.min_calls > self.window {
            problems.report(
                "min_calls",
                self.min_calls,
                format!("must be at most window, which is {}, or it never opens", self.window),
            );
        }
        for (field, share) in [("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)] {
            if share == Share::NONE {
                problems.report(field, share, "would open without any such call; use more than 0");
            }
        }
        not_zero(problems, "open_for", Some(self.open_for));
        not_zero(problems, "probe_timeout", Some(self.probe_timeout));
        not_zero(problems, "slow_after", self.slow_after);
        if let Some(time) = self.window_time
            && time.get() < StdDuration::from_millis(10)
        {
            problems.report("window_time", time, "must be at least 10ms");
        }
        if self.open_max < self.open_for {
            problems.report(
                "open_max",
                self.open_max,
                format!("must be at least open_for, which is {}", self.open_for),
            );
        }
    }
}

/// Settings of a [`Retry`](crate::Retry).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The delays; `max_retries` here says how many tries follow the first. Default: as always, with 2, 3 or 4 retries by
    /// profile.
    pub backoff: Backoff,
    /// No try begins later than this after the first failure; absent for no such limit. Default: "30s".
    pub give_up_after: Option<Duration>,
    /// Whether a call that may have had its effect may be made again. If not, only calls that certainly did not begin are
    /// retried. Default: true.
    pub idempotent: bool,
    /// How many retries all calls together may cost.
    pub budget: BudgetSettings,
}

impl Settings for RetrySettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            backoff: Backoff { max_retries: profile.pick(2, 3, 4), ..Backoff::for_profile(profile) },
            give_up_after: Some(Duration::from_secs(30)),
            idempotent: true,
            budget: BudgetSettings::for_profile(profile),
        }
    }

    fn check(&self, problems: &mut Problems) {
        problems.within("backoff", |problems| self.backoff.check(problems));
        problems.within("budget", |problems| self.budget.check(problems));
        not_zero(problems, "give_up_after", self.give_up_after);
    }
}

/// Settings of a [`Budget`](crate::Budget): how much extra load second tries may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetSettings {
    /// Extra tries allowed as a share of calls. Default: "20%".
    pub share: Share,
    /// Extra tries allowed per second whatever the number of calls, so that a service with few calls can retry. Default: 5.
    pub per_second: u32,
    /// The most extra tries that can be saved up. Default: 100.
    pub burst: u32,
}

impl Settings for BudgetSettings {
    fn for_profile(_: Profile) -> Self {
        Self { share: Share::percent(20), per_second: 5, burst: 100 }
    }

    fn check(&self, problems: &mut Problems) {
        within(problems, "burst", self.burst, 1, 1_000_000);
        within(problems, "per_second", self.per_second, 0, 1_000_000);
    }
}

/// Settings of a [`Bulkhead`](crate::Bulkhead).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BulkheadSettings {
    /// The most calls at the same time. Default: 16, 64 or 256 by profile.
    pub max: u32,
    /// The most callers that wait for room; further ones are refused at once. Default: 64, 256 or 1,024 by profile.
    pub max_waiting: u32,
    /// How long a caller waits for room; absent for as long as it likes. Default: "1s".
    pub max_wait: Option<Duration>,
}

impl Settings for BulkheadSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            max: profile.pick(16, 64, 256),
            max_waiting: profile.pick(64, 256, 1_024),
            max_wait: Some(Duration::from_secs(1)),
        }
    }

    fn check(&self, problems: &mut Problems) {
        within(problems, "max", self.max, 1, PERMITS_MAX as u32);
        not_zero(problems, "max_wait", self.max_wait);
    }
}

/// Settings of a [`Hedge`](crate::Hedge).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HedgeSettings {
    /// A second try begins when the first has not answered within this; choose what 95 % of the calls keep. Default: "100ms".
    pub after: Duration,
    /// How many second tries all calls together may cost. Default: 10 % of the calls and one each second.
    pub budget: BudgetSettings,
}

impl Settings for HedgeSettings {
    fn for_profile(_: Profile) -> Self {
        Self {
            after: Duration::from_millis(100),
            budget: BudgetSettings { share: Share::percent(10), per_second: 1, burst: 10 },
        }
    }

    fn check(&self, problems: &mut Problems) {
        problems.within("budget", |problems| self.budget.check(problems));
    }
}

/// Settings of a [`Batcher`](crate::Batcher).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// The most items of a batch. Default: 100.
    pub max_items: u32,
    /// The most bytes of a batch, where items are weighed; one that is heavier goes alone. Default: "1MiB".
    pub max_bytes: trimtab_config::ByteSize,
    /// How long the first item of a batch waits for others; 0 for no longer than a turn of the runtime. Default: "5ms".
    pub max_wait: Duration,
    /// The most batches in work at the same time; while so many are, the next one grows. Default: 1, 2 or 4 by profile.
    pub concurrency: u32,
    /// The most items that wait; further ones are given back to their callers. Default: 10,000.
    pub max_waiting: u32,
}

impl Settings for BatchSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            max_items: 100,
            max_bytes: trimtab_config::ByteSize::mib(1),
            max_wait: Duration::from_millis(5),
            concurrency: profile.pick(1, 2, 4),
            max_waiting: 10_000,
        }
    }

    fn check(&self, problems: &mut Problems) {
        within(problems, "max_items", self.max_items, 1, WINDOW_MAX);
        within(problems, "concurrency", self.concurrency, 1, 1_024);
        within(problems, "max_waiting", self.max_waiting, 1, 1 << 24);
        if self.max_bytes.is_zero() {
            problems.report("max_bytes", self.max_bytes, "must be more than 0");
        }
    }
}

/// How a [`Balancer`](crate::Balancer) chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Policy {
    /// By turns, each as often as its weight says, spread evenly.
    Weighted,
    /// The one with the fewest calls out for its weight, of all.
    LeastLoaded,
    /// The less loaded of two drawn at random.
    TwoChoices,
    /// The one of two drawn at random that is expected to answer sooner: the recent worst of its answer times, fading, times
    /// the calls it has out.
    #[default]
    PeakEwma,
}

/// Settings of a [`Balancer`](crate::Balancer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceSettings {
    /// How it chooses. Default: `peak_ewma`.
    pub policy: Policy,
    /// How fast a slow answer is forgotten (to 37 %). `peak_ewma` only. Default: "10s".
    pub decay: Duration,
    /// So many failures in a row eject a worker; 0 for never. Default: 5.
    pub eject_after: u32,
    /// How long it is ejected the first time; twice, thrice … as long when it fails again. Default: "10s".
    pub eject_for: Duration,
    /// The longest ejection. Default: "5m".
    pub eject_max: Duration,
    /// The most of the workers that may be ejected; beyond it the others stay, however bad. Default: "50%".
    pub eject_share: Share,
    /// A worker that is new or comes back gets a share of its calls that grows from a tenth to all within this time; 0 for
    /// all at once. Default: "10s".
    pub slow_start: Duration,
}

impl Settings for BalanceSettings {
    fn for_profile(_: Profile) -> Self {
        Self {
            policy: Policy::PeakEwma,
            decay: Duration::from_secs(10),
            eject_after: 5,
            eject_for: Duration::from_secs(10),
            eject_max: Duration::from_mins(5),
            eject_share: Share::percent(50),
            slow_start: Duration::from_secs(10),
        }
    }

    fn check(&self, problems: &mut Problems) {
        not_zero(problems, "decay", Some(self.decay));
        not_zero(problems, "eject_for", Some(self.eject_for));
        if self.eject_max < self.eject_for {
            problems.report(
                "eject_max",
                self.eject_max,
                format!("must be at least eject_for, which is {}", self.eject_for),
            );
        }
    }
}

/// Settings of a [`Scaler`](crate::Scaler).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScaleSettings {
    /// The fewest workers. Default: 1.
    pub min: u32,
    /// The most workers. Default: 4, 16 or 64 by profile.
    pub max: u32,
    /// The load of each worker that is aimed at, where 1 is all that it can do. Default: 0.7.
    pub target: f64,
    /// Above this load it grows. Default: 0.85.
    pub grow_above: f64,
    /// Below this load it shrinks. Default: 0.5.
    pub shrink_below: f64,
    /// For so long the load must stay above. Default: "5s".
    pub grow_after: Duration,
    /// For so long the load must stay below. Default: "1m".
    pub shrink_after: Duration,
    /// The most that one step multiplies or divides by. Default: 2.
    pub step_max: f64,
}

impl Settings for ScaleSettings {
    fn for_profile(profile: Profile) -> Self {
        Self {
            min: 1,
            max: profile.pick(4, 16, 64),
            target: 0.7,
            grow_above: 0.85,
            shrink_below: 0.5,
            grow_after: Duration::from_secs(5),
            shrink_after: Duration::from_mins(1),
            step_max: 2.0,
        }
    }

    fn check(&self, problems: &mut Problems) {
        if self.min > self.max {
            problems.report("min", self.min, format!("must be at most max, which is {}", self.max));
        }
        within(problems, "max", self.max, 1, WINDOW_MAX);
        for (field, value) in
            [("target", self.target), ("grow_above", self.grow_above), ("shrink_below", self.shrink_below)]
        {
            if !(value.is_finite() && value > 0.0) {
                problems.report(field, value, "must be a number above 0");
            }
        }
        // Written so that a number that is none is refused too.
        let ordered = self.shrink_below < self.target && self.target < self.grow_above;
        if !ordered {
            problems.report(
                "target",
                self.target,
                format!(
                    "must lie between shrink_below, which is {}, and grow_above, which is {}: the gap between them is what \
                     keeps the size calm",
                    self.shrink_below, self.grow_above
                ),
            );
        }
        if !(self.step_max.is_finite() && self.step_max > 1.0) {
            problems.report("step_max", self.step_max, "must be a number above 1");
        }
    }
}

/// What stands around one kind of call; what is absent does not.
///
/// From outside inwards: the retries, a time-out for each try, the breaker, the pace, the bulkhead. So retries wait outside of
/// all limits, a try's wait for room counts against its time-out, and the breaker sees each try.
///
/// ```
/// use trimtab_scheduler::{CallError, CallSettings, Chain};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let settings: CallSettings = serde_json::from_str(
///     r#"{"timeout": "250ms", "breaker": {"failure_rate": "25%"}, "retry": {}, "bulkhead": {"max": 32}}"#)?;
/// let payments = Chain::from_settings("payments", &settings)?;
/// assert_eq!(payments.call(|| async { Ok::<_, std::io::Error>(7) }).await?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub struct CallSettings {
    /// How failed calls are made again. Default: absent, they are not.
    pub retry: Option<RetrySettings>,
    /// How long one try may take. Default: absent, for ever.
    pub timeout: Option<Duration>,
    /// When to stop calling. Default: absent.
    pub breaker: Option<BreakerSettings>,
    /// How often it may be called, such as "100/s burst 20". Default: absent.
    pub pace: Option<Rate>,
    /// How many calls at the same time. Default: absent.
    pub bulkhead: Option<BulkheadSettings>,
}

impl Settings for CallSettings {
    /// Nothing: a profile cannot know what a call may cost.
    fn for_profile(_: Profile) -> Self {
        Self::default()
    }

    fn check(&self, problems: &mut Problems) {
        if let Some(retry) = &self.retry {
            problems.within("retry", |problems| retry.check(problems));
        }
        if let Some(breaker) = &self.breaker {
            problems.within("breaker", |problems| breaker.check(problems));
        }
        if let Some(bulkhead) = &self.bulkhead {
            problems.within("bulkhead", |problems| bulkhead.check(problems));
        }
        not_zero(problems, "timeout", self.timeout);
    }
}

fn not_zero(problems: &mut Problems, field: &str, value: Option<Duration>) {
    if value.is_some_and(|value| value.is_zero()) {
        problems.report(field, Duration::ZERO, "must be more than 0; where it can be left out, that means never");
    }
}

fn within<N: PartialOrd + std::fmt::Display + Copy>(problems: &mut Problems, field: &str, value: N, min: N, max: N) {
    if value < min || value > max {
        problems.report(field, value, format!("must be from {min} to {max}"));
    }
}

/// Checks the name and the settings of a `what`.
pub(crate) fn check(what: &'static str, name: &str, settings: &impl Settings) -> Result<(), SetupError> {
    check_name(what, name)?;
    let mut problems = Problems::new();
    problems.within(&format!("{what}.{name}"), |problems| settings.check(problems));
    problems.into_result().map_err(|problems| SetupError::Settings { what, name: name.to_owned(), problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound<S: Settings + PartialEq + std::fmt::Debug>() {
        for settings in Profile::ALL.map(S::for_profile) {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<S>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn every_profile_is_sound_and_survives_json() {
        sound::<BreakerSettings>();
        sound::<RetrySettings>();
        sound::<BudgetSettings>();
        sound::<BulkheadSettings>();
        sound::<HedgeSettings>();
        sound::<BatchSettings>();
        sound::<BalanceSettings>();
        sound::<ScaleSettings>();
        sound::<CallSettings>();
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_their_paths() {
        let settings = CallSettings {
            timeout: Some(Duration::ZERO),
            breaker: Some(BreakerSettings { window: 10, failure_rate: Share::NONE, ..BreakerSettings::default() }),
            bulkhead: Some(BulkheadSettings { max: 0, ..BulkheadSettings::default() }),
            ..CallSettings::default()
        };
        let error = check("call", "orders", &settings).unwrap_err().to_string();
        for path in [
            "call.orders.timeout",
            "call.orders.breaker.failure_rate",
            "call.orders.breaker.min_calls",
            "call.orders.bulkhead.max",
        ] {
            assert!(error.contains(path), "{path} is missing in: {error}");
        }
    }

    #[test]
    fn a_scaler_without_a_gap_is_refused() {
        let settings = ScaleSettings { shrink_below: 0.9, target: f64::NAN, ..ScaleSettings::default() };
        assert!(check("scaler", "workers", &settings).unwrap_err().to_string().contains("keeps the size calm"));
    }
}
