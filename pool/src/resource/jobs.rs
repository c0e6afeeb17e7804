//! The pool's own tasks: make, check, recycle and close a resource, and the keeper that watches the clock.
//!
//! Whatever a manager does, each job reports exactly one event to the rules: a [`Flight`] that is dropped without a
//! result (a panic, the end of the runtime) reports the failure itself, so no slot is ever lost.

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::core::{Core, Entry, Job};
use super::shared::Shared;
use crate::error::{Cause, ManagerFault};
use crate::manager::Manager;

/// What a job reports when it ends without a result.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Create,
    /// With the slot of its resource.
    Check(&'static str, u32),
    Close,
}

/// A job under way.
struct Flight<M: Manager> {
    shared: Arc<Shared<M>>,
    lost: Option<Lost>,
}

impl<M: Manager> Flight<M> {
    fn new(shared: Arc<Shared<M>>, lost: Lost) -> Self {
        Self { shared, lost: Some(lost) }
    }

    /// It has a result, which the caller reports.
    fn landed(mut self) -> Arc<Shared<M>> {
        self.lost = None;
        self.shared.clone()
    }
}

impl<M: Manager> Drop for Flight<M> {
    fn drop(&mut self) {
        let Some(lost) = self.lost else { return };
        let now = Instant::now();
        let step = match lost {
            Lost::Create => "create",
            Lost::Check(step, _) => step,
            Lost::Close => "close",
        };
        tracing::error!(pool = %self.shared.name, step, "a step of the manager ended without an answer");
        match lost {
            Lost::Create => {
                let cause = Arc::new(ManagerFault::Ended { pool: self.shared.name.clone(), step });
                self.shared.event(|core| core.create_failed(cause, now));
            }
            Lost::Check(_, slot) => self.shared.event(|core| core.check_lost(slot, now)),
            Lost::Close => self.shared.event(|core| core.closed(now)),
        }
        self.shared.changed.notify_waiters();
    }
}

pub(super) fn start<M: Manager>(shared: &Arc<Shared<M>>, job: Job<M::Resource>) {
    match job {
        Job::Create => drop(shared.runtime.spawn(create(Flight::new(shared.clone(), Lost::Create)))),
        Job::Check(entry) => {
            let flight = Flight::new(shared.clone(), Lost::Check("check", Core::slot(&entry)));
            drop(shared.runtime.spawn(check(flight, entry, false)));
        }
        Job::Close(entry) => {
            let flight = Flight::new(shared.clone(), Lost::Close);
            drop(shared.runtime.spawn(close(flight, entry)));
        }
    }
}

pub(super) fn recycle<M: Manager>(shared: &Arc<Shared<M>>, entry: Box<Entry<M::Resource>>) {
    let flight = Flight::new(shared.clone(), Lost::Check("recycle", Core::slot(&entry)));
    drop(shared.runtime.spawn(check(flight, entry, true)));
}

/// The manager's answer, or that there was none in time.
async fn within<T, E>(
    name: &Arc<str>,
    step: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Cause>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| Arc::new(error) as Cause),
        Err(_) => Err(Arc::new(ManagerFault::TimedOut { pool: name.clone(), step, limit })),
    }
}

async fn create<M: Manager>(flight: Flight<M>) {
    let generation = flight.shared.core().generation();
    let limit = flight.shared.steps.lock().create;
    let made = within(&flight.shared.name, "create", limit, flight.shared.manager.create()).await;
    let shared = flight.landed();
    let now = Instant::now();
    match made {
        Ok(resource) => {
            let failures = shared.core().breaker().failures();
            if failures > 0 {
                tracing::info!(pool = %shared.name, failures, "resources can be made again");
            }
            shared.event(|core| core.created(resource, generation, now));
        }
        Err(cause) => {
            tracing::debug!(pool = %shared.name, error = %cause, "a resource could not be made");
            let (before, opens) = {
                let core = shared.core();
                (core.breaker().failures(), core.limits.breaker.failures)
            };
            if before + 1 == opens {
                tracing::warn!(pool = %shared.name, failures = opens, error = %cause, "no resource can be made: look at the far side");
            }
            shared.event(|core| core.create_failed(cause, now));
        }
    }
    shared.changed.notify_waiters();
}

async fn check<M: Manager>(flight: Flight<M>, mut entry: Box<Entry<M::Resource>>, recycle: bool) {
    let limit = flight.shared.steps.lock().check;
    let (name, manager) = (&flight.shared.name, &flight.shared.manager);
    let well = if recycle {
        within(name, "recycle", limit, manager.recycle(&mut entry.resource)).await
    } else {
        within(name, "check", limit, manager.check(&mut entry.resource)).await
    };
    let shared = flight.landed();
    let now = Instant::now();
    match well {
        Ok(()) => shared.event(|core| core.checked(entry, now)),
        Err(error) => {
            tracing::debug!(pool = %shared.name, %error, "a resource failed its check and is closed");
            shared.event(|core| core.check_failed(entry, now));
        }
    }
}

async fn close<M: Manager>(flight: Flight<M>, entry: Box<Entry<M::Resource>>) {
    let limit = flight.shared.steps.lock().close;
    if timeout(limit, flight.shared.manager.close(entry.resource)).await.is_err() {
        tracing::debug!(pool = %flight.shared.name, ?limit, "closing a resource took too long and was left");
    }
    let shared = flight.landed();
    shared.event(|core| core.closed(Instant::now()));
    shared.changed.notify_waiters();
}

/// Looks at the pool whenever something is due, until the pool is gone.
pub(super) async fn keep<M: Manager>(pool: Weak<Shared<M>>, call: Arc<Notify>) {
    while let Some(next) = pool.upgrade().and_then(|shared| shared.look()) {
        // An end of the time-out is as good as a call.
        let _ = timeout_at(next, call.notified()).await;
    }
}
