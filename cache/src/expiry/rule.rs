//! How long values stay: from the cache's rules to the deadline of one entry.
//!
//! | rule | an entry ends … |
//! |---|---|
//! | time to live (default, computed or per entry) | so long after it was stored |
//! | time to idle | so long after its last use |
//! | adaptive time to live | twice as old as it was at its last use, within bounds |
//!
//! Whatever comes first counts. A rule that moves deadlines with use needs three numbers more for each entry; they are
//! kept beside the entries, and only by caches that have such a rule. A use moves the deadline without a lock.
//!
//! Source of the adaptive rule: the Alex file cache (V. Cate, "Alex: a global file system", 1992), which trusts a file
//! for a share of its age: what has been in use for long is likely to stay in use. Departure: age counts from the load
//! and grows by use, since a cache sees no time of last change.

use std::time::Duration;

use super::{Clock, NEVER, deadline};

/// Deadlines follow the use in steps of this share, so that a hot entry is not written on every hit.
const STEPS: u64 = 256;

/// The rules of one cache that move deadlines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Nanoseconds an entry may go unused, or [`NEVER`].
    idle: u64,
    /// Nanoseconds: the shortest and the longest life of an entry whose use decides.
    adaptive: Option<(u64, u64)>,
}

/// What a moving deadline is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// When the value was stored, if its use decides how long it lives; or [`NEVER`].
    learns_since: u64,
    /// The end that no use can move.
    limit: u64,
}

impl Span {
    pub(crate) fn limit(self) -> u64 {
        self.limit
    }

    /// Two numbers to keep beside the entry.
    pub(crate) fn to_numbers(self) -> [u64; 2] {
        [self.learns_since, self.limit]
    }

    pub(crate) fn from_numbers([learns_since, limit]: [u64; 2]) -> Self {
        Self { learns_since, limit }
    }
}

impl Default for Span {
    fn default() -> Self {
        Self { learns_since: NEVER, limit: NEVER }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self { idle: NEVER, adaptive: None }
    }
}

impl Rule {
    pub(crate) fn new(idle: Option<Duration>, adaptive: Option<(Duration, Duration)>) -> Self {
        Self {
            idle: idle.map_or(NEVER, super::nanos),
            adaptive: adaptive.map(|(min, max)| (super::nanos(min), super::nanos(max))),
        }
    }

    /// Whether a use can move a deadline at all.
    pub(crate) fn moves(&self) -> bool {
        self.idle != NEVER || self.adaptive.is_some()
    }

    /// The time an entry may go unused.
    pub(crate) fn idle(&self) -> Option<Duration> {
        (self.idle != NEVER).then(|| Duration::from_nanos(self.idle))
    }

    /// The first deadline of a value stored now. `own` was given for this value alone and replaces both the `default`
    /// and the adaptive rule. Reads the clock only if something can expire.
    #[inline]
    pub(crate) fn begin(&self, clock: &Clock, own: Option<Duration>, default: Option<Duration>) -> (u64, Span) {
        let ttl = own.or(default);
        let adaptive = self.adaptive.filter(|_| own.is_none());
        if ttl.is_none() && adaptive.is_none() && self.idle == NEVER {
            return (NEVER, Span::default());
        }
        let now = clock.now();
        let mut limit = ttl.map_or(NEVER, |ttl| deadline(now, ttl));
        let mut first = limit;
        if let Some((min, max)) = adaptive {
            limit = limit.min(now.saturating_add(max));
            first = first.min(now.saturating_add(min));
        }
        first = first.min(now.saturating_add(self.idle));
        (first, Span { learns_since: if adaptive.is_some() { now } else { NEVER }, limit })
    }

    /// The deadline after a use, never earlier than the present one.
    pub(crate) fn touched(&self, span: Span, deadline: u64, now: u64) -> u64 {
        let mut next = span.limit;
        let mut step = self.idle;
        if let Some((min, _)) = self.adaptive.filter(|_| span.learns_since != NEVER) {
            let earned = now.saturating_sub(span.learns_since).saturating_mul(2).max(min);
            next = next.min(span.learns_since.saturating_add(earned));
            step = step.min(min);
        }
        next = next.min(now.saturating_add(self.idle));
        if next > deadline && next - deadline >= step / STEPS { next } else { deadline }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);
    const S: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Clock {
        let manual = ManualClock::new();
        manual.advance(SECOND * seconds as u32);
        manual.into()
    }

    #[test]
    fn without_rules_the_clock_is_not_read() {
        let clock = Clock::from_fn(|| panic!("read"));
        assert_eq!(Rule::default().begin(&clock, None, None).0, NEVER);
    }

    #[test]
    fn idle_time_moves_with_use_up_to_the_time_to_live() {
        let rule = Rule::new(Some(10 * SECOND), None);
        let (first, span) = rule.begin(&at(0), None, Some(15 * SECOND));
        assert_eq!(first, 10 * S);
        assert_eq!(rule.touched(span, first, 3 * S), 13 * S);
        assert_eq!(rule.touched(span, 13 * S, 9 * S), 15 * S);
    }

    #[test]
    fn an_adaptive_life_doubles_with_the_age_at_use() {
        let rule = Rule::new(None, Some((4 * SECOND, 60 * SECOND)));
        let (first, span) = rule.begin(&at(100), None, None);
        assert_eq!(first, 104 * S);
        assert_eq!(rule.touched(span, first, 101 * S), 104 * S, "young uses earn nothing beyond the minimum");
        assert_eq!(rule.touched(span, first, 103 * S), 106 * S);
        assert_eq!(rule.touched(span, 106 * S, 105 * S), 110 * S);
        assert_eq!(rule.touched(span, 110 * S, 155 * S), 160 * S, "the maximum holds");
        let (own, span) = rule.begin(&at(100), Some(SECOND), None);
        assert_eq!(rule.touched(span, own, 100 * S + S / 2), own, "an own time to live does not learn");
    }

    #[test]
    fn tiny_gains_are_not_written() {
        let rule = Rule::new(Some(256 * SECOND), None);
        let (first, span) = rule.begin(&at(0), None, None);
        assert_eq!(rule.touched(span, first, S - 1), first);
        assert_eq!(rule.touched(span, first, S), first + S);
    }
}
