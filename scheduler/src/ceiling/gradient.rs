//! Follows latency: the ratio of what jobs take without load to what they take now says how far the ceiling is beyond the knee.
//!
//! With `n` jobs running and a latency of `base / ratio`, about `n × (1 - ratio)` of them do not work but wait for one another
//! inside the service. The ceiling aims at a few such waiters, the square root of the ceiling: none would mean that the service
//! idles now and then, many that latency is spent for nothing. That is TCP Vegas' rule (Brakmo and Peterson 1995) with the
//! smoothing of Netflix' gradient. The latency without load is the least seen, but it may have changed: where going down by a
//! third makes nothing faster, the present latency is that without load; and now and then it is measured again by going down
//! for some windows.

use super::{Ceiling, Window};

/// The ceiling goes so far towards its aim with each window.
const SMOOTHING: f64 = 0.3;
/// A window changes the ceiling by so much at most, either way.
const STEP: f64 = 1.5;
/// The latency without load is measured again after so many windows.
const PROBE: u32 = 60;
/// The service is given so long, in windows, to come down before a probe measures.
const SETTLE: u32 = 2;

/// Going down to this share…
const FALL: f64 = 0.7;
/// … and still taking so much of the time: then it is not the load that takes it.
const AS_SLOW: f64 = 0.9;

/// See the module's description.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gradient {
    /// Seconds without load; 0 before the first window.
    base: f64,
    windows: u32,
    /// The ceiling before a probe.
    before: u32,
    /// Windows that the probe still lasts.
    probing: u32,
    /// Ceiling and latency where going down began; zeros while it does not go down.
    fall: (f64, f64),
}

impl Ceiling for Gradient {
    fn update(&mut self, now: u32, window: &Window) -> u32 {
        let latency = window.latency.as_secs_f64().max(1e-9);
        if self.probing > 0 {
            self.probing -= 1;
            if self.probing > 0 {
                return now;
            }
            self.base = latency;
            return self.before;
        }
        if window.failed * 10 > window.ended {
            return now - now.div_ceil(10);
        }
        self.base = if self.base == 0.0 { latency } else { self.base.min(latency) };
        let ceiling = f64::from(now);
        if self.fall.0 > 0.0 && ceiling <= self.fall.0 * FALL {
            if latency >= self.fall.1 * AS_SLOW {
                self.base = latency;
            }
            self.fall = (0.0, 0.0);
        }
        let waiting = ceiling * (1.0 - self.base / latency).max(0.0);
        let room = ceiling.sqrt().max(2.0);
        self.windows += 1;
        if self.windows >= PROBE && now > 1 {
            self.windows = 0;
            if waiting > room / 2.0 {
                (self.before, self.probing) = (now, SETTLE);
                return now.div_ceil(2);
            }
        }
        let aim = (ceiling - waiting + room).clamp(ceiling / STEP, ceiling * STEP);
        let next = ceiling + SMOOTHING * (aim - ceiling);
        if next >= ceiling {
            self.fall = (0.0, 0.0);
        } else if self.fall.0 == 0.0 {
            self.fall = (ceiling, latency);
        }
        if next > ceiling { next.ceil() as u32 } else { next.floor().max(1.0) as u32 }
    }

    fn label(&self) -> &'static str {
        "gradient"
    }
}
