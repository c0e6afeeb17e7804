//! Clocks and deadlines.
//!
//! A deadline is a number of nanoseconds on the cache's own monotonic clock, so a jump of the wall clock changes
//! nothing. Time is handed in: the default clock is `std::time::Instant`, tests take a [`ManualClock`] or any closure,
//! for example over tokio's pausable clock. A cache whose entries cannot expire never reads its clock on a hit.
//!
//! Deadlines that have passed are found through an ordered set per shard: the cost is one small tree node per entry
//! *that can expire*, and removal of expired entries touches nothing else. Where a use moves deadlines, the set is
//! allowed to lag behind: an entry found there too early is noted again under its real deadline.
//!
//! An entry is never returned from its deadline on. Deadlines that move with use ([`time_to_idle`], [`adaptive_ttl`])
//! do so in steps of a 256th of the idle time or of the shortest life, so an entry may end that much early, never late.
//!
//! [`time_to_idle`]: crate::CacheBuilder::time_to_idle
//! [`adaptive_ttl`]: crate::CacheBuilder::adaptive_ttl

pub(crate) mod rule;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The deadline of an entry that does not expire.
pub(crate) const NEVER: u64 = u64::MAX;

/// A monotonic source of time: how long ago an arbitrary, fixed moment was.
///
/// ```
/// use std::time::Duration;
/// use trimtab_cache::{Cache, Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().max_entries(10).ttl(Duration::from_secs(1)).clock(clock.clone()).build()?;
/// cache.insert("a", 1);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get("a"), None);
/// # Ok::<(), trimtab_cache::BuildError>(())
/// ```
///
/// With tokio's clock, which tests can pause:
///
/// ```
/// # use trimtab_cache::Clock;
/// let start = tokio::time::Instant::now();
/// let clock = Clock::from_fn(move || start.elapsed());
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Instant),
    Function(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Clock {
    /// The system's monotonic clock.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// A clock that answers `elapsed()`, which must not run backwards.
    pub fn from_fn(elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(elapsed)))
    }

    /// Time since the clock's own beginning.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System(start) => start.elapsed(),
            Source::Function(elapsed) => elapsed(),
        }
    }

    /// Nanoseconds since the clock's own beginning; stops one short of [`NEVER`] after 584 years.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.elapsed())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::System(_) => f.write_str("Clock::system"),
            Source::Function(_) => f.write_str("Clock::from_fn"),
        }
    }
}

/// A clock that moves only when told to, for tests. Clones share the time.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time forward; stops at the end of time instead of wrapping.
    pub fn advance(&self, by: Duration) {
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_add(nanos(by)).min(NEVER - 1)));
    }
}

impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self::from_fn(move || Duration::from_nanos(manual.0.load(Ordering::SeqCst)))
    }
}

/// Whole nanoseconds, at most one short of [`NEVER`].
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER).min(NEVER - 1)
}

/// The moment `ttl` from now; a time to live beyond the clock's range (584 years) means never.
pub(crate) fn deadline(now: u64, ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos()).map_or(NEVER, |ttl| now.saturating_add(ttl))
}

/// The deadlines of one shard, soonest first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Each entry that can expire, under its deadline or, where deadlines move, under an earlier one.
    noted: BTreeSet<(u64, u32)>,
    /// By token, and only where deadlines move: under what each entry is noted.
    under: Option<Vec<u64>>,
}

impl Deadlines {
    /// Deadlines of a shard where a use can move them, or not.
    pub(crate) fn new(moving: bool) -> Self {
        Self { noted: BTreeSet::new(), under: moving.then(Vec::new) }
    }

    /// Notes the deadline of an entry; an entry that never expires costs nothing.
    #[inline]
    pub(crate) fn set(&mut self, token: u32, deadline: u64) {
        if deadline != NEVER {
            self.note(token, deadline);
        }
    }

    fn note(&mut self, token: u32, deadline: u64) {
        self.noted.insert((deadline, token));
        if let Some(under) = &mut self.under {
            let index = token as usize;
            if index >= under.len() {
                under.resize(index + 1, NEVER);
            }
            under[index] = deadline;
        }
    }

    /// Forgets the deadline of an entry.
    #[inline]
    pub(crate) fn unset(&mut self, token: u32, deadline: u64) {
        if deadline != NEVER {
            self.forget(token, deadline);
        }
    }

    fn forget(&mut self, token: u32, deadline: u64) {
        self.noted.remove(&(self.noted_under(token, deadline), token));
    }

    /// Notes an entry anew that was due by its note, but not by its deadline.
    pub(crate) fn renote(&mut self, token: u32, deadline: u64) {
        self.unset(token, deadline);
        self.set(token, deadline);
    }

    /// Gives back memory; all tokens are below `tokens`.
    pub(crate) fn trim(&mut self, tokens: usize) {
        if let Some(under) = &mut self.under {
            under.truncate(tokens);
            under.shrink_to_fit();
        }
    }

    /// Lets an entry go by another token.
    pub(crate) fn rename(&mut self, old: u32, new: u32, deadline: u64) {
        if deadline != NEVER {
            // A use may have moved the deadline since it was noted.
            let noted = self.noted_under(old, deadline);
            self.noted.remove(&(noted, old));
            self.set(new, noted);
        }
    }

    fn noted_under(&self, token: u32, deadline: u64) -> u64 {
        self.under.as_ref().and_then(|under| under.get(token as usize)).copied().unwrap_or(deadline)
    }

    /// Whether no entry of the shard can expire.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    /// The entry noted longest ago, if its note has passed.
    pub(crate) fn due(&self, now: u64) -> Option<u32> {
        self.noted.first().filter(|(deadline, _)| *deadline <= now).map(|(_, token)| *token)
    }

    /// How many entries can expire; for the validator.
    pub(crate) fn len(&self) -> usize {
        self.noted.len()
    }

    /// Whether this deadline, or an earlier one where they move, is noted; for the validator.
    pub(crate) fn holds(&self, token: u32, deadline: u64) -> bool {
        let noted = self.noted_under(token, deadline);
        noted <= deadline && self.noted.contains(&(noted, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_to_live_beyond_the_clock_means_never() {
        assert_eq!(deadline(5, Duration::MAX), NEVER);
        assert_eq!(deadline(u64::MAX - 3, Duration::from_nanos(10)), NEVER);
        assert_eq!(deadline(5, Duration::from_nanos(10)), 15);
    }

    #[test]
    fn manual_clock_stops_at_the_end_of_time() {
        let manual = ManualClock::new();
        let clock = Clock::from(manual.clone());
        manual.advance(Duration::MAX);
        manual.advance(Duration::MAX);
        assert_eq!(clock.now(), NEVER - 1);
    }

    #[test]
    fn only_passed_deadlines_are_due_soonest_first() {
        let mut deadlines = Deadlines::default();
        deadlines.set(1, 30);
        deadlines.set(2, 10);
        deadlines.set(3, NEVER);
        assert_eq!(deadlines.len(), 2);
        assert_eq!(deadlines.due(9), None);
        assert_eq!(deadlines.due(10), Some(2));
        deadlines.unset(2, 10);
        assert_eq!(deadlines.due(29), None);
        assert!(deadlines.holds(1, 30));
    }
}
