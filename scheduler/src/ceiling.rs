//! How many jobs of a lane run at the same time: fixed, or found from what the lane measures.
//!
//! A lane closes a [`Window`] about ten times a second and asks its [`Ceiling`] for the next value. A window in which less than
//! half the ceiling was used says nothing about it and is not shown ("frozen when idle"); otherwise a quiet night would raise
//! the ceiling to its maximum, and the morning's rush would find it there.

mod aimd;
mod gradient;

use std::fmt;
use std::time::Duration;

pub use aimd::Aimd;
pub use gradient::Gradient;

use crate::clock::{Nanos, duration};
use crate::config::{Adaptation, LaneSettings};
use crate::job::Outcome;
use crate::load::Load;

/// A window lasts so long at least…
const WINDOW: Nanos = 100_000_000;
/// … and holds so many ends at least.
const ENDS: u64 = 8;

/// What a lane measured since the ceiling was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Window {
    /// How long it lasted.
    pub elapsed: Duration,
    /// Jobs that ended after they ran.
    pub ended: u64,
    /// Those of them that failed or panicked.
    pub failed: u64,
    /// From start to end, on the average.
    pub latency: Duration,
    /// The shortest of them.
    pub latency_min: Duration,
    /// In the queue, on the average.
    pub queued: Duration,
    /// The most that ran at the same time.
    pub peak: u32,
    /// How loaded the machine is, if somebody says so: [`Scheduler::set_load`](crate::Scheduler::set_load). 1 for full.
    pub load: Option<f64>,
}

/// Finds the ceiling of a lane. Implement it for a rule of your own, and hand it to
/// [`Scheduler::set_rule`](crate::Scheduler::set_rule).
pub trait Ceiling: Send + fmt::Debug {
    /// The next ceiling, judged by a window in which the lane was busy. `now` is the present one; the lane keeps the answer
    /// inside its bounds.
    fn update(&mut self, now: u32, window: &Window) -> u32;

    /// As a label: `fixed`, `aimd`, `gradient`.
    fn label(&self) -> &'static str;

    /// Whether it changes at all. Those that do are lowered where the machine is loaded beyond the lane's `load_max`.
    fn adapts(&self) -> bool {
        true
    }
}

/// Stays where it is put.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fixed;

impl Ceiling for Fixed {
    fn update(&mut self, now: u32, _: &Window) -> u32 {
        now
    }

    fn label(&self) -> &'static str {
        "fixed"
    }

    fn adapts(&self) -> bool {
        false
    }
}

/// The rule that the settings ask for.
pub(crate) fn rule(settings: &LaneSettings) -> Box<dyn Ceiling> {
    match settings.adaptation {
        Adaptation::Fixed => Box::new(Fixed),
        Adaptation::Aimd => Box::new(Aimd::new(settings.latency_max.get())),
        Adaptation::Gradient => Box::new(Gradient::default()),
    }
}

/// Asks a rule for the next ceiling. Where the machine is loaded beyond `load_max`, whoever loads it, it goes down by a tenth;
/// close to that, it does not rise.
pub(crate) fn next(rule: &mut dyn Ceiling, now: u32, window: &Window, load_max: f64) -> u32 {
    let next = rule.update(now, window);
    match window.load {
        Some(load) if rule.adapts() && load > load_max => next.min(now - now.div_ceil(10)),
        Some(load) if rule.adapts() && load > load_max * CLOSE => next.min(now),
        _ => next,
    }
}

/// Close to the highest load.
const CLOSE: f64 = 0.95;

/// A window that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    since: Nanos,
    ended: u64,
    failed: u64,
    latency: Nanos,
    latency_min: Nanos,
    queued: Nanos,
    peak: u32,
}

impl Gathering {
    pub(crate) fn started(&mut self, running: u32) {
        self.peak = self.peak.max(running);
    }

    pub(crate) fn ended(&mut self, queued: Nanos, latency: Nanos, outcome: Outcome) {
        self.latency_min = if self.ended == 0 { latency } else { self.latency_min.min(latency) };
        self.ended += 1;
        self.failed += u64::from(matches!(outcome, Outcome::Failed | Outcome::Panicked));
        self.latency += latency;
        self.queued += queued;
    }

    /// The window, if it is complete; a new one begins with `running` jobs.
    pub(crate) fn close(&mut self, now: Nanos, running: u32, load: &Load) -> Option<Window> {
        if self.ended < ENDS || now.saturating_sub(self.since) < WINDOW {
            return None;
        }
        let window = Window {
            elapsed: duration(now - self.since),
            ended: self.ended,
            failed: self.failed,
            latency: duration(self.latency / self.ended),
            latency_min: duration(self.latency_min),
            queued: duration(self.queued / self.ended),
            peak: self.peak,
            load: load.get(now),
        };
        *self = Self { since: now, peak: running, ..Self::default() };
        Some(window)
    }
}

#[cfg(test)]
mod tests;
