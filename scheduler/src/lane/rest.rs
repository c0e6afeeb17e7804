//! Jobs between two tries. One that rests holds neither permit nor budget; it keeps a place in the queue for its return, so that
//! what is queued and what rests stay bounded together, by the limits of the queue and what the ceiling lets run.
//!
//! A small task waits for each, and knows it weakly: a job that is cancelled meanwhile is gone at once. If the runtime ends, so
//! does the task, and with it the job, on whatever lane.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::inner::{Inner, Phase};
use super::{After, Lane, Refusal};
use crate::budget::Budget;
use crate::clock::Nanos;
use crate::error::Cancellation;
use crate::job::Outcome;
use crate::job::cell::Task;
use crate::job::head::Head;
use crate::job::state::Cancel;

impl Inner {
    /// A try has failed, and another is to follow. An error says why it does not, and leaves the job with its owner.
    fn rest(
        &mut self,
        task: &Arc<dyn Task>,
        now: Nanos,
        budget: &Budget,
        after: &mut After,
    ) -> Result<(), Cancellation> {
        self.keep(task)?;
        let head = task.head();
        if !head.state().rest() {
            return Err(Cancellation::Asked);
        }
        self.give_back(head, budget, after);
        self.note_run(head, now, Outcome::Failed);
        self.resting += 1;
        self.promised.places += 1;
        self.promised.bytes += u64::from(head.weight);
        self.retries += 1;
        self.rouse_if_waiting(after);
        Ok(())
    }

    /// Queues a job that has rested. Nothing happens if somebody ended it meanwhile.
    fn again(&mut self, task: Arc<dyn Task>, now: Nanos, after: &mut After) {
        let head = task.head();
        if self.phase == Phase::Closed || !head.state().is_resting() {
            return;
        }
        head.renew(now);
        if !head.state().again() {
            return;
        }
        self.unrest(head);
        head.kept.store(0, Relaxed);
        self.heed(head.priority as u8);
        if self.running < self.ceiling || self.lent > 0 {
            self.rouse(after);
        }
        self.queue.push(task);
    }

    fn unrest(&mut self, head: &Head) {
        self.resting -= 1;
        self.promised.places -= 1;
        self.promised.bytes -= u64::from(head.weight);
        self.unkeep(head);
    }

    /// Strikes off a job that was ended while it rested. Its end has been published.
    fn retire_rested(&mut self, head: &Head, after: &mut After) {
        self.unrest(head);
        self.ledger.count(head.outcome());
        self.grant(after);
        self.note_empty(after);
    }
}

impl Lane {
    /// Lets a job rest whose try has failed. An error says why not, and leaves the job with its owner.
    pub(super) fn rest(self: &Arc<Self>, task: &Arc<dyn Task>, time: Duration, now: Nanos) -> Result<(), Cancellation> {
        let mut after = After::default();
        let rests = self.inner.lock().rest(task, now, &self.budget, &mut after);
        self.finish(after);
        rests?;
        let rest = Rest(Some(Arc::downgrade(task)));
        drop(self.executor.runtime().spawn(async move {
            tokio::time::sleep(time).await;
            rest.end();
        }));
        Ok(())
    }

    /// Ends a job whose claim said that it rested.
    pub(super) fn end_rested(self: &Arc<Self>, task: &Arc<dyn Task>, by: Cancellation) {
        let head = task.head();
        head.note_end(self.clock.now());
        Refusal::Cancelled(by).tell(&**task);
        let mut after = After::default();
        self.inner.lock().retire_rested(head, &mut after);
        self.finish(after);
    }
}

/// A job that rests. Dropped before its end, the runtime has ended.
struct Rest(Option<Weak<dyn Task>>);

impl Rest {
    fn end(mut self) {
        if let Some(task) = self.0.take().and_then(|task| task.upgrade()) {
            let lane = Arc::clone(task.head().lane());
            let (now, mut after) = (lane.clock.now(), After::default());
            lane.inner.lock().again(task, now, &mut after);
            lane.finish(after);
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(task) = self.0.take().and_then(|task| task.upgrade())
            && task.head().state().cancel() == Cancel::Rested
        {
            let lane = Arc::clone(task.head().lane());
            lane.end_rested(&task, Cancellation::RuntimeEnded);
        }
    }
}
