//! Additive increase, multiplicative decrease: the rule by which TCP shares a line (Jacobson 1988, Chiu and Jain 1989).
//!
//! Up by one for each window in which all went well, down by a tenth when jobs fail or are slower than they may be. It needs a
//! latency to hold against, and finds the highest ceiling that keeps it. The first steps double, as TCP's slow start does.

use std::time::Duration;

use super::{Ceiling, Window};

/// Of the jobs of a window, so many hundredths may fail without a word.
const TOLERATED: u64 = 1;

/// See the module's description.
#[derive(Debug, Clone, Copy)]
pub struct Aimd {
    latency_max: Duration,
    /// No window has gone wrong yet.
    slow_start: bool,
}

impl Aimd {
    /// Holds the average latency of a window at or below `latency_max`.
    pub fn new(latency_max: Duration) -> Self {
        Self { latency_max, slow_start: true }
    }
}

impl Ceiling for Aimd {
    fn update(&mut self, now: u32, window: &Window) -> u32 {
        let wrong = window.failed * 100 > window.ended * TOLERATED || window.latency > self.latency_max;
        if wrong {
            self.slow_start = false;
            now - now.div_ceil(10)
        } else if self.slow_start {
            now.saturating_mul(2)
        } else {
            now.saturating_add(1)
        }
    }

    fn label(&self) -> &'static str {
        "aimd"
    }
}
