//! Leak detection for anything: files, sessions, background jobs, cached values.
//!
//! A thing is tracked by a guard that ends with it ([`Tracker::track`]), or registered through a weak handle
//! ([`Tracker::register`]), which keeps nothing alive: a registry of strong handles would be the leak that it looks for.
//! Entries of dead things are cleaned away as new ones come, so the registry is never larger than twice what lives.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::leak::{Leak, LeakHandler, LeaseReport, Line, tell};

const SHARDS: usize = 16;
/// A shard smaller than this is not worth cleaning.
const CLEAN_FROM: usize = 64;

/// Knows what is alive, of which kind, since when, and which line made it. Clones are cheap.
///
/// ```
/// use std::sync::Arc;
/// use trimtab_pool::Tracker;
///
/// let tracker = Tracker::new("service");
/// let session = tracker.track("session"); // until it is dropped
/// let page = Arc::new("<html>".to_owned());
/// let id = tracker.register("page", &page); // as long as the page lives
/// assert_eq!(tracker.counts().into_iter().collect::<Vec<_>>(), [("page".into(), 1), ("session".into(), 1)]);
/// drop((session, page));
/// assert!(tracker.counts().is_empty());
/// assert!(!tracker.deregister(id), "it is gone already");
/// ```
#[derive(Clone)]
pub struct Tracker {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    limit: Option<Duration>,
    handler: Option<LeakHandler>,
    kinds: RwLock<HashSet<Arc<str>>>,
    shards: [Mutex<Shard>; SHARDS],
    next: AtomicU64,
    leaked: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<u64, Entry>,
    clean_at: usize,
}

struct Entry {
    kind: Arc<str>,
    location: Line,
    since: Instant,
    reported: bool,
    /// Absent for what a guard tracks.
    handle: Option<Weak<dyn Any + Send + Sync>>,
}

impl Entry {
    fn is_alive(&self) -> bool {
        self.handle.as_ref().is_none_or(|handle| handle.strong_count() > 0)
    }
}

/// What was registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrackId(u64);

/// Tracks something until it is dropped.
#[must_use = "it tracks until it is dropped"]
pub struct Tracked {
    tracker: Tracker,
    id: TrackId,
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracked").field(&self.id).finish()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.tracker.deregister(self.id);
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("name", &self.inner.name).field("counts", &self.counts()).finish()
    }
}

impl Tracker {
    /// A tracker without a limit: it counts and reports, and calls nothing a leak.
    pub fn new(name: &str) -> Self {
        Self::build(name, None, None)
    }

    /// A tracker that calls whatever lives longer than `limit` a leak, at [`sweep`](Self::sweep), once.
    pub fn with_limit(name: &str, limit: Duration, handler: impl Fn(&Leak) + Send + Sync + 'static) -> Self {
        Self::build(name, Some(limit), Some(Arc::new(handler)))
    }

    fn build(name: &str, limit: Option<Duration>, handler: Option<LeakHandler>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                limit,
                handler,
                kinds: RwLock::default(),
                shards: Default::default(),
                next: AtomicU64::new(0),
                leaked: AtomicU64::new(0),
            }),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Tracks a thing of this kind until the guard is dropped. The line of this call is kept.
    #[track_caller]
    pub fn track(&self, kind: &str) -> Tracked {
        Tracked { tracker: self.clone(), id: self.add(kind, Location::caller(), None) }
    }

    /// Registers a shared value by a weak handle. The line of this call is kept.
    #[track_caller]
    pub fn register<T: Send + Sync + 'static>(&self, kind: &str, value: &Arc<T>) -> TrackId {
        let handle: Weak<T> = Arc::downgrade(value);
        self.add(kind, Location::caller(), Some(handle))
    }

    /// Forgets a registered thing; answers whether it was known and alive.
    pub fn deregister(&self, id: TrackId) -> bool {
        self.shard(id.0).lock().entries.remove(&id.0).is_some_and(|entry| entry.is_alive())
    }

    fn add(&self, kind: &str, location: Line, handle: Option<Weak<dyn Any + Send + Sync>>) -> TrackId {
        let kind = self.kind(kind);
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(id).lock();
        if shard.entries.len() >= shard.clean_at.max(CLEAN_FROM) {
            shard.clean();
        }
        shard.entries.insert(id, Entry { kind, location, since: Instant::now(), reported: false, handle });
        TrackId(id)
    }

    /// One text for all entries of a kind.
    fn kind(&self, kind: &str) -> Arc<str> {
        if let Some(known) = self.inner.kinds.read().get(kind) {
            return known.clone();
        }
        let mut kinds = self.inner.kinds.write();
        if let Some(known) = kinds.get(kind) {
            return known.clone();
        }
        let new: Arc<str> = kind.into();
        kinds.insert(new.clone());
        new
    }

    fn shard(&self, id: u64) -> &Mutex<Shard> {
        &self.inner.shards[id as usize % SHARDS]
    }

    /// Cleans away entries of dead things; answers how many.
    pub fn clean_up(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.lock().clean()).sum()
    }

    /// What is alive, by kind.
    pub fn counts(&self) -> BTreeMap<Arc<str>, usize> {
        let mut counts = BTreeMap::new();
        for shard in &self.inner.shards {
            for entry in shard.lock().entries.values().filter(|entry| entry.is_alive()) {
                *counts.entry(entry.kind.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// Tells of everything that has lived longer than the limit and was not told of before: to the log, to the handler,
    /// and to the caller.
    pub fn sweep(&self) -> Vec<Leak> {
        let Some(limit) = self.inner.limit else { return Vec::new() };
        let now = Instant::now();
        let mut leaks = Vec::new();
        for shard in &self.inner.shards {
            for entry in shard.lock().entries.values_mut().filter(|entry| !entry.reported && entry.is_alive()) {
                let age = now.saturating_duration_since(entry.since);
                if age >= limit {
                    entry.reported = true;
                    let (pool, kind) = (self.inner.name.clone(), entry.kind.clone());
                    leaks.push(Leak { pool, kind, location: entry.location, age, limit });
                }
            }
        }
        self.inner.leaked.fetch_add(leaks.len() as u64, Ordering::Relaxed);
        tell(&leaks, self.inner.handler.as_ref());
        leaks
    }

    /// Leaks told of so far.
    pub fn leaked(&self) -> u64 {
        self.inner.leaked.load(Ordering::Relaxed)
    }

    /// What is alive, by kind and line, most first.
    pub fn report(&self) -> LeaseReport {
        let now = Instant::now();
        let mut alive = Vec::new();
        for shard in &self.inner.shards {
            let shard = shard.lock();
            let living = shard.entries.values().filter(|entry| entry.is_alive());
            alive.extend(living.map(|entry| {
                (entry.kind.clone(), entry.location, now.saturating_duration_since(entry.since), entry.reported)
            }));
        }
        LeaseReport::collect(alive.into_iter())
    }
}

impl Shard {
    fn clean(&mut self) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.is_alive());
        self.clean_at = self.entries.len() * 2;
        if self.entries.capacity() > self.clean_at.max(CLEAN_FROM) * 4 {
            self.entries.shrink_to(self.clean_at.max(CLEAN_FROM));
        }
        before - self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_outlives_the_limit_is_told_once_with_its_line() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tracker = Tracker::with_limit("files", Duration::from_secs(5), {
            let told = told.clone();
            move |leak: &Leak| told.lock().push(leak.to_string())
        });
        let kept = tracker.track("file");
        drop(tracker.track("file"));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!((tracker.sweep().len(), tracker.sweep().len(), tracker.leaked()), (1, 0, 1));
        let told = told.lock();
        assert!(told[0].starts_with("\"files\": a file taken at ") && told[0].contains("tracker.rs"), "{told:?}");
        let report = tracker.report();
        assert_eq!((report.open(), report.leaked()), (1, 1));
        drop(kept);
        assert_eq!(tracker.report().to_string(), "nothing is held");
    }

    #[test]
    fn dead_things_leave_the_registry_as_new_ones_come() {
        let tracker = Tracker::new("values");
        for round in 0..100_000_u64 {
            tracker.register("value", &Arc::new(round));
        }
        let held: usize = tracker.inner.shards.iter().map(|shard| shard.lock().entries.len()).sum();
        assert!(held <= SHARDS * CLEAN_FROM, "{held} entries");
        assert_eq!(tracker.clean_up(), held);
        let (value, other) = (Arc::new(1), Arc::new(2));
        let id = tracker.register("value", &value);
        tracker.register("value", &other);
        assert!(tracker.deregister(id) && !tracker.deregister(id));
        assert_eq!(tracker.counts().get("value"), Some(&1));
    }
}
