//! A job in one allocation: its head, and its future or what came of it.
//!
//! Unsafe code stands in this file only. The invariant: `stage` is touched by whoever moved the [`State`] to *running*, until it
//! moves it on, and, once the state is *ended*, by the one handle. A future is polled where it lies in the `Arc`, and dropped
//! there; it is never moved after the first poll, which is what `Pin` asks.

#![allow(unsafe_code, reason = "the future lies beside its head, in one allocation; see above")]

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use super::head::{Head, Outcome};
use crate::error::JobError;

/// A job without its types: what lanes hold.
pub(crate) trait Task: Send + Sync {
    fn head(&self) -> &Head;

    /// Polls the future once. The caller owns the job, and after `Ready` has given it up: the result is published.
    fn step(self: Arc<Self>) -> Poll<Outcome>;

    /// Drops the future and publishes `error`. The caller owns the job, and has given it up after.
    fn fail(&self, outcome: Outcome, error: JobError);
}

/// A job as its handle sees it.
pub(crate) trait Join<T>: Send + Sync {
    fn head(&self) -> &Head;

    /// The result, once. Called by the one handle, after the end.
    fn take(&self) -> Option<Result<T, JobError>>;

    /// The job as lanes see it.
    fn task(self: Arc<Self>) -> Arc<dyn Task>;
}

enum Stage<F: Future> {
    Live(F),
    Ended(Result<F::Output, JobError>),
    Taken,
}

/// Tells an output that counts as a failure.
pub(crate) type Judge<T> = fn(&T) -> bool;

/// The allocation of a job.
pub(crate) struct Cell<F: Future> {
    head: Head,
    judge: Option<Judge<F::Output>>,
    stage: UnsafeCell<Stage<F>>,
}

// SAFETY: the stage is reached by one thread at a time (see the file's opening), so sending suffices.
unsafe impl<F: Future + Send> Sync for Cell<F> where F::Output: Send {}

impl<F: Future> fmt::Debug for Cell<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("head", &self.head).finish_non_exhaustive()
    }
}

impl<F: Future> Cell<F> {
    pub(crate) fn new(head: Head, future: F, judge: Option<Judge<F::Output>>) -> Self {
        Self { head, judge, stage: UnsafeCell::new(Stage::Live(future)) }
    }

    /// Puts a result where the future was. The caller owns the job.
    fn publish(&self, mut outcome: Outcome, mut result: Result<F::Output, JobError>) -> Outcome {
        // SAFETY: the caller owns the job, so nobody else reaches the stage.
        let stage = unsafe { &mut *self.stage.get() };
        // The future ends where it lies. Its destructor may panic: the place then holds `Taken`, since an assignment
        // stores its value on the way out of a panic too.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| *stage = Stage::Taken)) {
            outcome = Outcome::Panicked;
            // The result may panic as well when it is dropped.
            let late = JobError::panicked(&self.head, &*payload);
            let before = std::mem::replace(&mut result, Err(late));
            drop(catch_unwind(AssertUnwindSafe(|| drop(before))));
        }
        *stage = Stage::Ended(result);
        self.head.end(outcome);
        outcome
    }
}

impl<F> Task for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn step(self: Arc<Self>) -> Poll<Outcome> {
        let this = Arc::as_ptr(&self);
        let waker = Waker::from(self);
        // SAFETY: the waker keeps the allocation, and is dropped at the end of this function.
        let this = unsafe { &*this };
        // SAFETY: the caller owns the job, so nobody else reaches the stage.
        let stage = unsafe { &mut *this.stage.get() };
        let Stage::Live(future) = stage else {
            // Unreachable while the state machine holds; a job that ended twice is a job that ended.
            return Poll::Ready(Outcome::Cancelled);
        };
        // SAFETY: the future lies in an `Arc`, is not moved from here, and is dropped in place by `publish`.
        let future = unsafe { Pin::new_unchecked(future) };
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(&mut Context::from_waker(&waker))));
        match polled {
            Ok(Poll::Pending) => {
                // A worker process that gave no value has left word how the job ended.
                #[cfg(feature = "process")]
                if let Some((outcome, error)) = this.head.ending() {
                    return Poll::Ready(this.publish(outcome, Err(error)));
                }
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => {
                let failed = this.judge.is_some_and(|failed| failed(&output));
                let outcome = if failed { Outcome::Failed } else { Outcome::Done };
                Poll::Ready(this.publish(outcome, Ok(output)))
            }
            Err(payload) => {
                let error = JobError::panicked(&this.head, &*payload);
                // A payload may panic in its destructor.
                drop(catch_unwind(AssertUnwindSafe(|| drop(payload))));
                Poll::Ready(this.publish(Outcome::Panicked, Err(error)))
            }
        }
    }

    fn fail(&self, outcome: Outcome, error: JobError) {
        self.publish(outcome, Err(error));
    }
}

impl<F> Join<F::Output> for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn take(&self) -> Option<Result<F::Output, JobError>> {
        if !self.head.state().is_ended() {
            return None;
        }
        // SAFETY: the job has ended, so only the one handle reaches the stage.
        let stage = unsafe { &mut *self.stage.get() };
        match std::mem::replace(stage, Stage::Taken) {
            Stage::Ended(result) => Some(result),
            Stage::Live(_) | Stage::Taken => None,
        }
    }

    fn task(self: Arc<Self>) -> Arc<dyn Task> {
        self
    }
}

impl<F> Wake for Cell<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn wake(self: Arc<Self>) {
        if self.head.state().wake() {
            let lane = Arc::clone(self.head.lane());
            lane.ready(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.head.state().wake() {
            let task: Arc<dyn Task> = Arc::clone(self) as Arc<dyn Task>;
            self.head.lane().ready(task);
        }
    }
}
