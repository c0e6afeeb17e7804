//! When to try again after a resource could not be made.
//!
//! The first failure already makes the pool careful: one attempt at a time, after a pause that doubles, with jitter so
//! that many services do not return in step. After several failures in a row the breaker is open, and callers who would
//! have to wait for a new resource are told at once. The pool itself goes on trying, so it recovers without them.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Cause;
use crate::random;

/// Failures in a row, and the pause after the last.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    retry_at: Option<Instant>,
    cause: Option<Cause>,
}

/// When it opens, and how long it pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) failures: u32,
    pub(crate) retry_min: Duration,
    pub(crate) retry_max: Duration,
}

impl Breaker {
    pub(crate) fn success(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failure(&mut self, now: Instant, cause: Cause, rule: Rule) {
        let doubled = rule.retry_min.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        // Between three and five quarters of the pause.
        let pause = doubled.min(rule.retry_max).mul_f64(0.75 + random::fraction() / 2.0);
        self.retry_at = Some(now + pause);
        self.cause = Some(cause);
    }

    /// Whether another resource may be made while so many are being made.
    pub(crate) fn allows(&self, now: Instant, creating: usize) -> bool {
        self.failures == 0 || (creating == 0 && self.retry_at.is_none_or(|at| now >= at))
    }

    /// Whether callers without hope of another resource are to be refused.
    pub(crate) fn is_open(&self, rule: Rule) -> bool {
        self.failures >= rule.failures
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(crate) fn retry_in(&self, now: Instant) -> Duration {
        self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const RULE: Rule =
        Rule { failures: 3, retry_min: Duration::from_millis(100), retry_max: Duration::from_millis(1500) };

    #[test]
    fn pauses_double_up_to_the_longest_and_success_forgets() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(breaker.allows(now, 7));
        for expected in [100, 200, 400, 800, 1500, 1500] {
            breaker.failure(now, Arc::new(std::fmt::Error), RULE);
            let pause = breaker.retry_in(now).as_millis() as f64 / f64::from(expected);
            assert!((0.74..=1.26).contains(&pause), "{pause}");
            assert_eq!(breaker.is_open(RULE), breaker.failures() >= 3);
            assert!(!breaker.allows(now, 0));
            let later = now + breaker.retry_in(now);
            assert!(breaker.allows(later, 0) && !breaker.allows(later, 1), "one attempt at a time");
        }
        breaker.success();
        assert!(breaker.allows(now, 7) && breaker.cause().is_none());
    }
}
