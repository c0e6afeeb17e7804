//! What the locks of one group share: their store, settings and counts, and the names that are in use.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::LockSettings;
use crate::error::{ForceError, StoreError};
use crate::listing::LockListing;
use crate::metrics::Counts;
use crate::mode::LeaseMode;
use crate::named::{Keeper, LockReport, Named};
use crate::store::Store;

/// Tokens of one name in memory, until it needs more.
const TOKENS: u64 = 1 << 10;

/// A lease that lasts so long has its keeper moved to a task; shorter ones never need one.
const NURSED_AFTER: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    pub(crate) settings: LockSettings,
    pub(crate) store: Store,
    pub(crate) counts: Counts,
    runtime: Option<Handle>,
    tokens: AtomicU64,
    names: Mutex<HashMap<Arc<str>, Weak<Named>>>,
    /// Semaphores in memory.
    counted: Mutex<HashMap<Arc<str>, Weak<Named>>>,
    /// Shared leases over a store, each by where it lies.
    alone: Mutex<HashMap<usize, Weak<Named>>>,
    nursery: Mutex<Nursery>,
}

#[derive(Debug, Default)]
struct Nursery {
    parked: Vec<Weak<Named>>,
    running: bool,
}

impl Group {
    pub(crate) fn new(name: Arc<str>, settings: LockSettings, store: Store, runtime: Option<Handle>) -> Self {
        let counts = Counts::new(&name, settings.metrics);
        let (names, counted, alone, nursery) = Default::default();
        Self { name, settings, store, counts, runtime, tokens: AtomicU64::new(0), names, counted, alone, nursery }
    }

    /// The next tokens of one lock in memory. A block, so that locks which are free cost their holders nothing in common.
    pub(crate) fn next_tokens(&self) -> Range<u64> {
        let first = self.tokens.fetch_add(TOKENS, Ordering::Relaxed) + 1;
        first..first.saturating_add(TOKENS)
    }

    /// The one `Named` of this name.
    pub(crate) fn named(self: &Arc<Self>, name: &str) -> Arc<Named> {
        self.one(&self.names, name, LeaseMode::Exclusive)
    }

    /// Where a lease of this mode is asked for: with all others of its name in memory, alone over a store.
    pub(crate) fn shared(self: &Arc<Self>, name: &str, mode: LeaseMode) -> Arc<Named> {
        if self.store.is_memory() {
            let names = if mode == LeaseMode::Shared { &self.names } else { &self.counted };
            return self.one(names, name, mode);
        }
        let named = Arc::new(Named::new(self.clone(), name.into(), mode));
        self.alone.lock().insert(Arc::as_ptr(&named) as usize, Arc::downgrade(&named));
        named
    }

    fn one(self: &Arc<Self>, names: &Mutex<HashMap<Arc<str>, Weak<Named>>>, name: &str, mode: LeaseMode) -> Arc<Named> {
        let mut names = names.lock();
        if let Some(named) = names.get(name).and_then(Weak::upgrade) {
            return named;
        }
        let name: Arc<str> = name.into();
        let mode = if mode == LeaseMode::Shared { LeaseMode::Exclusive } else { mode };
        let named = Arc::new(Named::new(self.clone(), name.clone(), mode));
        names.insert(name, Arc::downgrade(&named));
        named
    }

    /// A name is no longer in use, unless it came back meanwhile.
    pub(crate) fn forget(&self, named: &Named) {
        if named.mode != LeaseMode::Exclusive && !self.store.is_memory() {
            self.alone.lock().remove(&(std::ptr::from_ref(named) as usize));
            return;
        }
        let mut names = if named.counted { self.counted.lock() } else { self.names.lock() };
        if names.get(&named.name).is_some_and(|named| named.strong_count() == 0) {
            names.remove(&named.name);
        }
    }

    /// All that is known of a name here.
    pub(crate) fn known(&self, name: &str, counted: bool) -> Vec<Arc<Named>> {
        let mut all = self.all();
        all.retain(|named| *named.name == *name && named.counted == counted);
        all
    }

    /// Collected before anything else is done with them: the last handle of one may be ours, and its end takes these locks.
    fn all(&self) -> Vec<Arc<Named>> {
        let mut all: Vec<Arc<Named>> = self.names.lock().values().filter_map(Weak::upgrade).collect();
        all.extend(self.counted.lock().values().filter_map(Weak::upgrade));
        all.extend(self.alone.lock().values().filter_map(Weak::upgrade));
        all.sort_by(|a, b| (&a.name, a.counted).cmp(&(&b.name, b.counted)));
        all
    }

    /// All names of locks in use, in their order.
    pub(crate) fn report(&self) -> Vec<LockReport> {
        let mut reports: Vec<LockReport> = Vec::new();
        for named in self.all() {
            let mut report = named.report();
            if named.mode != LeaseMode::Exclusive {
                // Over a store: one lease of several.
                report.shared += usize::from(report.holder.take().is_some());
                report.token = None;
            }
            match reports.last_mut().filter(|last| last.name == report.name) {
                Some(last) => {
                    last.shared += report.shared;
                    last.waiting += report.waiting;
                    if report.holder.is_some() {
                        (last.holder, last.token) = (report.holder, report.token);
                    }
                }
                None => reports.push(report),
            }
        }
        reports
    }

    /// Who holds and who waits.
    pub(crate) fn list(&self) -> Vec<LockListing> {
        let mut listings: Vec<LockListing> = Vec::new();
        for named in self.all() {
            let (holders, waiters) = named.list();
            let same = |last: &LockListing| last.name == *named.name && last.semaphore == named.counted;
            if !listings.last().is_some_and(same) {
                listings.push(LockListing::new(&named.name, named.counted));
            }
            let Some(listing) = listings.last_mut() else { continue };
            listing.holders.extend(holders);
            listing.waiters.extend(waiters);
        }
        listings.retain(|listing| !(listing.holders.is_empty() && listing.waiters.is_empty()));
        listings
    }

    /// Takes a name from all who hold it in this process; how many.
    pub(crate) fn force(&self, name: &str, counted: bool, reason: &str) -> usize {
        let forced = self.known(name, counted).iter().map(Named::force).sum();
        self.audit(name, forced, reason);
        forced
    }

    /// Takes a name from all who hold it here, or else in any process.
    pub(crate) async fn force_everywhere(&self, name: &str, counted: bool, reason: &str) -> Result<usize, ForceError> {
        let here = self.known(name, counted).iter().map(Named::force).sum();
        let forced = if here > 0 { here } else { self.force_elsewhere(name, counted).await? };
        self.audit(name, forced, reason);
        Ok(forced)
    }

    async fn force_elsewhere(&self, name: &str, counted: bool) -> Result<usize, ForceError> {
        self.store.force(name, counted).await.map_err(|StoreError { what, cause, .. }| {
            let (group, name) = (self.name.clone(), name.into());
            if self.store.kind() == "file" {
                let what = "the kernel gives a file's lock back with its process only; end that process";
                return ForceError::Unsupported { group, name, store: "file", what };
            }
            ForceError::Unavailable { group, name, what, cause }
        })
    }

    fn audit(&self, name: &str, forced: usize, reason: &str) {
        if forced > 0 {
            self.counts.forced.fetch_add(forced as u64, Ordering::Relaxed);
            tracing::warn!(
                target: "trimtab_lock::audit", group = %self.name, lock = name, forced, reason, "a lock was taken from its holder"
            );
        }
    }

    /// Gives a keeper a task of its own.
    pub(crate) fn run(&self, keeper: Keeper) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(keeper));
        }
    }

    /// Sees to it that a lease that lasts is renewed.
    pub(crate) fn nurse(self: &Arc<Self>, named: &Arc<Named>) {
        let mut nursery = self.nursery.lock();
        let known = nursery.parked.last().is_some_and(|last| std::ptr::eq(last.as_ptr(), Arc::as_ptr(named)));
        if !known {
            nursery.parked.push(Arc::downgrade(named));
        }
        let Some(runtime) = self.runtime.as_ref().filter(|_| !nursery.running) else { return };
        nursery.running = true;
        let group = Arc::downgrade(self);
        drop(runtime.spawn(async move {
            loop {
                tokio::time::sleep(NURSED_AFTER).await;
                let Some(group) = group.upgrade() else { return };
                let parked = {
                    let mut nursery = group.nursery.lock();
                    if nursery.parked.is_empty() {
                        nursery.running = false;
                        return;
                    }
                    std::mem::take(&mut nursery.parked)
                };
                for named in parked.iter().filter_map(Weak::upgrade) {
                    named.run_parked();
                }
            }
        }));
    }
}
