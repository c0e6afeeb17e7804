//! Who wants to know, and the queue of what to tell them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Change;
use crate::Invalid;

/// Something to tell.
pub(super) enum Event<T> {
    Changed(Change<T>),
    Refused(Arc<Invalid>),
}

type Listener<T> = Arc<dyn Fn(&Event<T>) + Send + Sync>;

pub(super) struct Listeners<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    list: Vec<(u64, Listener<T>)>,
    next_id: u64,
    queue: VecDeque<Event<T>>,
    delivering: bool,
}

impl<T: 'static> Listeners<T> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { list: Vec::new(), next_id: 0, queue: VecDeque::new(), delivering: false }) }
    }

    pub(super) fn add(self: &Arc<Self>, listener: impl Fn(&Event<T>) + Send + Sync + 'static) -> Subscription
    where
        T: Send + Sync,
    {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.list.push((id, Arc::new(listener)));
        let listeners: Weak<Self> = Arc::downgrade(self);
        Subscription { cancel: Some(Box::new(move || listeners.upgrade().into_iter().for_each(|all| all.remove(id)))) }
    }

    fn remove(&self, id: u64) {
        let mut state = self.state.lock();
        let gone = state.list.iter().position(|(known, _)| *known == id).map(|index| state.list.remove(index));
        // What the listener owns may itself hold a subscription: it is dropped with the lock released.
        drop(state);
        drop(gone);
    }

    pub(super) fn queue(&self, event: Event<T>) {
        self.state.lock().queue.push_back(event);
    }

    /// Tells everything in the queue, unless somebody is at it already: then they will.
    pub(super) fn deliver(&self) {
        let mut state = self.state.lock();
        if state.delivering {
            return;
        }
        state.delivering = true;
        while let Some(event) = state.queue.pop_front() {
            let list = state.list.clone();
            drop(state);
            for (id, listener) in &list {
                // Someone earlier in the list may have cancelled this one.
                if !self.state.lock().list.iter().any(|(known, _)| known == id) {
                    continue;
                }
                if catch_unwind(AssertUnwindSafe(|| listener(&event))).is_err() {
                    tracing::error!("a subscriber to settings panicked; the change stands and the others are told");
                }
            }
            drop(list);
            state = self.state.lock();
        }
        state.delivering = false;
    }
}

/// Keeps a listener subscribed; dropping it unsubscribes.
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    cancel: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    /// Stays subscribed for as long as the settings live.
    pub fn forever(mut self) {
        self.cancel = None;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            cancel();
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
