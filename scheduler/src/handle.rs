//! A handle: await the result, look at the job, cancel it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::error::JobError;
use crate::job::cell::{Join, Task};
use crate::job::{Priority, Status};
use crate::lane::{LaneKind, runner};

/// The number of a job, unique in its scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct JobId(pub(crate) u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One submitted job. Awaiting it gives the result, once.
///
/// A future that nobody has begun to run when its handle is awaited may be polled by the awaiting task itself, which saves
/// two changes of tasks; it then sees that task's task-locals and tracing span.
///
/// Dropping it detaches: the job goes on. [`cancel_on_drop`](Self::cancel_on_drop) changes that.
///
/// # Cancel safety
///
/// `&mut handle` may be awaited inside `select!` or `timeout` and again later; nothing is lost.
///
/// # Panics
///
/// Polling it again after it gave its result panics.
#[must_use = "a handle that is dropped detaches its job; say `let _ = …` if that is meant"]
pub struct Handle<T> {
    job: Arc<dyn Join<T>>,
    cancel_on_drop: bool,
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("job", self.job.head()).finish_non_exhaustive()
    }
}

impl<T> Handle<T> {
    pub(crate) fn new(job: Arc<dyn Join<T>>) -> Self {
        Self { job, cancel_on_drop: false }
    }

    pub(crate) fn task(&self) -> Arc<dyn Task> {
        Arc::clone(&self.job).task()
    }

    /// The job's number.
    pub fn id(&self) -> JobId {
        JobId(self.job.head().id.load(Relaxed))
    }

    /// What kind of work it is: its name, or `job`.
    pub fn kind(&self) -> &str {
        self.job.head().kind_name()
    }

    /// Where it runs.
    pub fn lane(&self) -> LaneKind {
        self.job.head().lane().kind()
    }

    /// How important it is.
    pub fn priority(&self) -> Priority {
        self.job.head().priority
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.job.head().status()
    }

    /// Whether it has ended, in whatever way.
    pub fn is_ended(&self) -> bool {
        self.job.head().state().is_ended()
    }

    /// How far it is, from 0 to 1, if it says so through a [`JobContext`](crate::JobContext).
    pub fn progress(&self) -> Option<f64> {
        self.job.head().extra.as_ref().and_then(|extra| extra.progress())
    }

    /// How often it was tried again; see [`Job::io_retry`](crate::Job::io_retry).
    pub fn retries(&self) -> u32 {
        self.job.head().retries()
    }

    /// How long it waited for its turn; until now, if it still does.
    pub fn waited(&self) -> Duration {
        self.job.head().waited()
    }

    /// From its start to its end, or until now; zero if it has not started.
    pub fn duration(&self) -> Duration {
        self.job.head().ran()
    }

    /// Cancels the job. True if it ended by this, or will after the poll it is in; false if it had ended before.
    ///
    /// A queued job ends here and now. A future that has started is dropped at its next await. A closure cannot be
    /// interrupted: it is told through its [`JobContext`](crate::JobContext), and what it returns is its result.
    pub fn cancel(&self) -> bool {
        let head = self.job.head();
        if head.state().is_ended() {
            return false;
        }
        head.lane().cancel(&self.task())
    }

    /// Lets the job go on without a handle.
    pub fn detach(mut self) {
        self.cancel_on_drop = false;
    }

    /// Cancels the job when the handle is dropped before it has ended.
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }
}

impl<T> Future for Handle<T> {
    type Output = Result<T, JobError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let head = self.job.head();
        // An awaited job gives way like any other future that is always ready; short ones count a quarter, since giving way
        // costs more than they do.
        if runner::is_short() {
            head.lane().help(head, || self.task());
            ready!(head.poll_ended(context));
        } else {
            let progress = ready!(tokio::task::coop::poll_proceed(context));
            head.lane().help(head, || self.task());
            ready!(head.poll_ended(context));
            progress.made_progress();
        }
        Poll::Ready(self.job.take().expect("a handle gives its result once"))
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.cancel();
        }
    }
}
