//! Work that is tried again: as a future, all tries of a job, one after the other.
//!
//! After a try that failed it asks the job's lane for a rest, through what job and lane share, and is pending. The lane polls
//! it again when the rest is over and the job has its turn, and the next try begins.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{Extra, Job, JobContext};
use crate::lane::LaneKind;
use crate::manners::CallError;
use crate::retry::{Classify, Retry, Tries, Verdict};

pin_project! {
    /// All tries of a job; made by [`Job::io_retry`] and its like.
    pub struct Attempts<W, F, C> {
        work: W,
        retry: Retry<C>,
        extra: Arc<Extra>,
        // From the first failure on.
        tries: Option<Tries>,
        #[pin]
        attempt: Option<F>,
    }
}

impl<W, F, C> fmt::Debug for Attempts<W, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("retry", &self.retry).field("tries", &self.tries).finish_non_exhaustive()
    }
}

type Panic = Box<dyn Any + Send>;

impl<W, F, C, T, E> Attempts<W, F, C>
where
    W: FnMut(JobContext) -> F,
    F: Future<Output = Result<T, E>>,
    C: Classify<E>,
{
    pub(super) fn job(lane: LaneKind, retry: &Retry<C>, work: W) -> Job<Self>
    where
        C: Clone,
    {
        let extra = Arc::new(Extra::default());
        let (retry, shared) = (retry.clone(), Arc::clone(&extra));
        Job::on(lane, Self { work, retry, extra: shared, tries: None, attempt: None }, Some(extra)).fallible()
    }

    /// Begins a try, or goes on with it. What it leaves behind is dropped when it ends.
    fn poll_attempt(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.as_mut().project();
        if this.attempt.is_none() {
            if this.tries.is_some() {
                this.retry.retried();
            } else {
                this.retry.begin();
            }
            let attempt = (this.work)(JobContext(Arc::clone(this.extra)));
            this.attempt.set(Some(attempt));
        }
        let Some(attempt) = this.attempt.as_mut().as_pin_mut() else { return Poll::Pending };
        let result = ready!(attempt.poll(context));
        this.attempt.set(None);
        Poll::Ready(result)
    }

    /// The same, where a panic is a way to fail.
    fn catch_attempt(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Result<T, E>, Panic>> {
        match catch_unwind(AssertUnwindSafe(|| self.as_mut().poll_attempt(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                // Its destructor may panic as well, which says no more than the first panic did.
                drop(catch_unwind(AssertUnwindSafe(|| self.project().attempt.set(None))));
                Poll::Ready(Err(panic))
            }
        }
    }

    /// Asks for another try. True if the lane will come back.
    fn rests(self: Pin<&mut Self>, verdict: Verdict) -> bool {
        let this = self.project();
        // What is to be cancelled need not be tried again, and keeps the result that it has.
        if this.extra.is_cancelled() {
            return false;
        }
        let Some(delay) = this.retry.next(this.tries, verdict) else { return false };
        let rests = this.extra.ask_rest(delay);
        if !rests {
            this.retry.gave_up();
        }
        rests
    }
}

impl<W, F, C, T, E> Future for Attempts<W, F, C>
where
    W: FnMut(JobContext) -> F,
    F: Future<Output = Result<T, E>>,
    C: Classify<E>,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = if self.retry.of_panics() {
            ready!(self.as_mut().catch_attempt(context))
        } else {
            Ok(ready!(self.as_mut().poll_attempt(context)))
        };
        match result {
            Ok(Ok(value)) => {
                if self.tries.is_some() {
                    self.retry.recovered();
                }
                Poll::Ready(Ok(value))
            }
            Ok(Err(error)) => {
                let failed = CallError::Failed(error);
                let verdict = self.retry.verdict(&failed);
                let rests = self.rests(verdict);
                match failed {
                    CallError::Failed(error) if !rests => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                }
            }
            Err(panic) => {
                if !self.rests(Verdict::Again(None)) {
                    resume_unwind(panic);
                }
                // What was thrown may throw again when it is dropped.
                drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
                Poll::Pending
            }
        }
    }
}
