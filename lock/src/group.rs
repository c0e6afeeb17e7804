//! What the locks of one group share: their store, settings and counts, and the names that are in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::config::LockSettings;
use crate::metrics::Counts;
use crate::named::{Keeper, LockReport, Named};
use crate::store::Store;

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
        let (names, nursery) = (Mutex::default(), Mutex::default());
        Self { name, settings, store, counts, runtime, tokens: AtomicU64::new(0), names, nursery }
    }

    /// The next token of locks in memory.
    pub(crate) fn next_token(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The one `Named` of this name.
    pub(crate) fn named(self: &Arc<Self>, name: &str) -> Arc<Named> {
        let mut names = self.names.lock();
        if let Some(named) = names.get(name).and_then(Weak::upgrade) {
            return named;
        }
        let name: Arc<str> = name.into();
        let named = Arc::new(Named::new(self.clone(), name.clone()));
        names.insert(name, Arc::downgrade(&named));
        named
    }

    /// A name is no longer in use, unless it came back meanwhile.
    pub(crate) fn forget(&self, name: &str) {
        let mut names = self.names.lock();
        if names.get(name).is_some_and(|named| named.strong_count() == 0) {
            names.remove(name);
        }
    }

    /// The name, if it is in use.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Named>> {
        self.names.lock().get(name).and_then(Weak::upgrade)
    }

    /// All names in use, in their order.
    pub(crate) fn report(&self) -> Vec<LockReport> {
        // Collected first: the last handle of a name may be ours, and its end takes the lock of the names.
        let named: Vec<Arc<Named>> = self.names.lock().values().filter_map(Weak::upgrade).collect();
        let mut reports: Vec<LockReport> = named.iter().map(|named| named.report()).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
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
