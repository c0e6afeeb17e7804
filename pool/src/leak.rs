//! Who holds what since when: the ledger of leases, and the reports drawn from it.
//!
//! Each lease is entered with the line that took it (`#[track_caller]`) and the time. That is two words written under a
//! lock that is held anyway, so it is always on: `HikariCP`, whose idea this is, takes a stack trace of each lease and is
//! therefore run without. A lease that lasts longer than the limit is reported once. A guard that was forgotten and never
//! dropped is found the same way.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// A line of source.
pub type Line = &'static Location<'static>;

/// A lease that lasts longer than its limit. Reported once for each lease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Leak {
    /// Name of the pool or tracker.
    pub pool: Arc<str>,
    /// What is held: `resource`, or the kind given to a tracker.
    pub kind: Arc<str>,
    /// The line that took it.
    pub location: Line,
    /// For how long it has been held.
    pub age: Duration,
    /// The limit that it has passed.
    pub limit: Duration,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool, kind, location, age, limit } = self;
        write!(f, "\"{pool}\": a {kind} taken at {location} is held for {age:.1?}, the limit is {limit:?}")
    }
}

/// Who is told of leaks, beside the log and the metric.
pub(crate) type LeakHandler = Arc<dyn Fn(&Leak) + Send + Sync>;

/// Tells log and handler; a handler that panics costs itself only.
pub(crate) fn tell(leaks: &[Leak], handler: Option<&LeakHandler>) {
    for leak in leaks {
        tracing::warn!(
            pool = %leak.pool, kind = %leak.kind, location = %leak.location, age = ?leak.age, limit = ?leak.limit,
            "held beyond its limit: look at the location for a guard that is kept or forgotten"
        );
        if let Some(handler) = handler
            && std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(leak))).is_err()
        {
            tracing::error!(pool = %leak.pool, "the leak handler panicked");
        }
    }
}

/// Open leases by the line that took them, most first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseReport {
    /// One row for each line.
    pub locations: Vec<LeaseSite>,
}

/// The open leases of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseSite {
    /// What is held: `resource`, or the kind given to a tracker.
    pub kind: Arc<str>,
    /// The line.
    pub location: Line,
    /// Leases open now.
    pub open: usize,
    /// Those of them that were reported as leaks.
    pub leaked: usize,
    /// Age of the oldest.
    pub oldest: Duration,
}

impl LeaseReport {
    pub(crate) fn collect(leases: impl Iterator<Item = (Arc<str>, Line, Duration, bool)>) -> Self {
        let mut locations: Vec<LeaseSite> = Vec::new();
        let mut index = std::collections::HashMap::<(Arc<str>, Line), usize>::new();
        for (kind, location, age, leaked) in leases {
            let at = *index.entry((kind.clone(), location)).or_insert_with(|| {
                locations.push(LeaseSite { kind, location, open: 0, leaked: 0, oldest: Duration::ZERO });
                locations.len() - 1
            });
            let site = &mut locations[at];
            site.open += 1;
            site.leaked += usize::from(leaked);
            site.oldest = site.oldest.max(age);
        }
        locations.sort_by_key(|site| (std::cmp::Reverse(site.open), site.location.file(), site.location.line()));
        Self { locations }
    }

    /// All open leases.
    pub fn open(&self) -> usize {
        self.locations.iter().map(|site| site.open).sum()
    }

    /// Leases that were reported as leaks and are still open.
    pub fn leaked(&self) -> usize {
        self.locations.iter().map(|site| site.leaked).sum()
    }
}

impl fmt::Display for LeaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.locations.is_empty() {
            return f.write_str("nothing is held");
        }
        for (at, site) in self.locations.iter().enumerate() {
            let end = if at + 1 == self.locations.len() { "" } else { "\n" };
            let LeaseSite { kind, location, open, leaked, oldest } = site;
            write!(f, "{open} of kind {kind} by {location}, oldest for {oldest:.1?}, {leaked} beyond the limit{end}")?;
        }
        Ok(())
    }
}

/// The leases of one pool, by the slot of their resource.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    lease: Option<(Line, Instant)>,
    reported: bool,
}

impl Ledger {
    /// A slot for a new resource.
    pub(crate) fn add(&mut self) -> u32 {
        let slot = Slot { lease: None, reported: false };
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            self.slots.push(slot);
            (self.slots.len() - 1) as u32
        }
    }

    /// The resource of a slot is gone; its lease, if any, must be closed before.
    pub(crate) fn remove(&mut self, slot: u32) {
        debug_assert!(self.slots[slot as usize].lease.is_none(), "a leased resource was removed");
        self.free.push(slot);
    }

    #[inline]
    pub(crate) fn open(&mut self, slot: u32, location: Line, now: Instant) {
        self.open += 1;
        self.slots[slot as usize] = Slot { lease: Some((location, now)), reported: false };
    }

    #[inline]
    pub(crate) fn close(&mut self, slot: u32) {
        self.open -= 1;
        self.slots[slot as usize].lease = None;
    }

    /// How many leases are open.
    #[inline]
    pub(crate) fn leased(&self) -> usize {
        self.open
    }

    fn leases(&self) -> impl Iterator<Item = (Line, Instant, bool)> {
        self.slots.iter().filter_map(|slot| slot.lease.map(|(line, since)| (line, since, slot.reported)))
    }

    /// Age and line of the oldest lease.
    pub(crate) fn oldest(&self, now: Instant) -> Option<(Duration, Line)> {
        let oldest = self.leases().min_by_key(|(_, since, _)| *since);
        oldest.map(|(line, since, _)| (now.saturating_duration_since(since), line))
    }

    /// Marks leases beyond `limit` and answers those that were not marked before.
    pub(crate) fn sweep(&mut self, now: Instant, limit: Duration) -> Vec<(Line, Duration)> {
        let mut found = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| !slot.reported) {
            if let Some((line, since)) = slot.lease {
                let age = now.saturating_duration_since(since);
                if age >= limit {
                    slot.reported = true;
                    found.push((line, age));
                }
            }
        }
        found
    }

    pub(crate) fn report(&self, now: Instant, kind: &Arc<str>) -> LeaseReport {
        LeaseReport::collect(
            self.leases()
                .map(|(line, since, leaked)| (kind.clone(), line, now.saturating_duration_since(since), leaked)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_found_once_and_grouped_by_its_line() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let (here, there) = (Location::caller(), Location::caller());
        let slots: Vec<u32> = (0..3).map(|_| ledger.add()).collect();
        ledger.open(slots[0], here, start);
        ledger.open(slots[1], here, start + Duration::from_secs(5));
        ledger.open(slots[2], there, start);
        let now = start + Duration::from_secs(10);
        ledger.close(slots[2]);
        assert_eq!(ledger.sweep(now, Duration::from_secs(8)), [(here, Duration::from_secs(10))]);
        assert_eq!(ledger.sweep(now, Duration::from_secs(8)), []);
        let report = ledger.report(now, &"resource".into());
        assert_eq!((report.open(), report.leaked(), report.locations.len()), (2, 1, 1));
        assert_eq!(ledger.oldest(now), Some((Duration::from_secs(10), here)));
        assert!(report.to_string().contains("leak.rs"), "{report}");
    }
}
