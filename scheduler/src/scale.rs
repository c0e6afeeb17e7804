//! The auto-scaler: how many workers a load wants, between bounds, without nervousness.
//!
//! A plain rule that can be tested: aim at a load for each worker, act only when the load has stayed outside of a band for a while,
//! never by more than a factor at once. After a step the load of each worker lies at the target, inside of the band, so that no
//! step is taken back by the next one. Growing is quick and shrinking slow, since too few workers hurt more than too many.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};

use crate::manners::SetupError;
use crate::manners::config::{ScaleSettings, check};

/// A change of size, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Workers so far.
    pub from: u32,
    /// Workers wanted.
    pub to: u32,
    /// The load of each worker that led to it.
    pub load: f64,
    /// For how long the load had been outside of the band.
    pub lasted: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, load, lasted } = self;
        write!(f, "from {from} to {to} workers: each had a load of {load:.2}, out of the band for {lasted:.1?}")
    }
}

/// Decides on the number of workers.
///
/// ```
/// use std::time::Duration;
/// use trimtab_scheduler::{ScaleSettings, Scaler};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let mut scaler = Scaler::new("resizers", ScaleSettings::default())?;
/// assert_eq!(scaler.observe(1.4), None, "too early to tell");
/// tokio::time::advance(Duration::from_secs(5)).await;
/// let step = scaler.observe(1.4).unwrap();
/// assert_eq!(step.to_string(), "from 1 to 2 workers: each had a load of 1.40, out of the band for 5.0s");
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Scaler {
    settings: ScaleSettings,
    size: u32,
    /// Since when the load is above the band (`true`) or below.
    outside: Option<(bool, Instant)>,
}

impl Scaler {
    /// A scaler that begins with the fewest workers.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn new(name: &str, settings: ScaleSettings) -> Result<Self, SetupError> {
        check("scaler", name, &settings)?;
        Ok(Self { size: settings.min, settings, outside: None })
    }

    /// Workers wanted.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Tells how many workers there are, if that is not what was wanted: some have died, or could not be made.
    pub fn set_size(&mut self, size: u32) {
        self.size = size;
    }

    /// Looks at the load of each worker: the work that there is, divided by what all of them can do. Busy time per time, or
    /// queue and calls out per capacity; above 1 work is left over. A load that is no number is not looked at.
    pub fn observe(&mut self, load: f64) -> Option<Step> {
        if !load.is_finite() || load < 0.0 {
            return None;
        }
        let Self { size, ref settings, .. } = *self;
        let now = Instant::now();
        // Outside of the bounds no load has to prove anything.
        if size < settings.min || size > settings.max {
            return Some(self.step(size.clamp(settings.min, settings.max), load, Duration::ZERO));
        }
        let above = load > settings.grow_above;
        let below = load < settings.shrink_below;
        if !(above || below) {
            self.outside = None;
            return None;
        }
        let since = match self.outside {
            Some((was_above, since)) if was_above == above => since,
            _ => now,
        };
        self.outside = Some((above, since));
        let patience = if above { settings.grow_after } else { settings.shrink_after };
        let lasted = now - since;
        if lasted < patience.get() {
            return None;
        }
        let exact = f64::from(size) * load / settings.target;
        let (least, most) = (f64::from(size) / settings.step_max, f64::from(size) * settings.step_max);
        // Rounded up, so that each of them has the target at most; a step up is a step.
        let wanted = exact.clamp(least, most).ceil() as u32;
        let to = wanted.clamp(settings.min, settings.max);
        let to = if above { to.max(size) } else { to.min(size) };
        (to != size).then(|| self.step(to, load, lasted))
    }

    fn step(&mut self, to: u32, load: f64, lasted: Duration) -> Step {
        let from = std::mem::replace(&mut self.size, to);
        self.outside = None;
        Step { from, to, load, lasted }
    }

    /// Looks at the load every so often and changes the number of workers, for ever.
    ///
    /// `change` makes or ends workers and tells how many there are now, which need not be what was wanted.
    ///
    /// # Cancel safety
    ///
    /// Drop the future to stop. A change that is under way is dropped with it.
    pub async fn run<Fut>(mut self, every: Duration, mut load: impl FnMut() -> f64, mut change: impl FnMut(Step) -> Fut)
    where
        Fut: Future<Output = u32>,
    {
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(step) = self.observe(load()) {
                tracing::info!(from = step.from, to = step.to, load = step.load, "scaling");
                let size = change(step).await;
                self.set_size(size);
            }
        }
    }
}
