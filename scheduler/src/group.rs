//! Jobs that belong together: submit many, take results as they come, cancel the rest by dropping.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};

use crate::error::JobError;
use crate::handle::{Handle, JobId};
use crate::job::Job;
use crate::scheduler::Scheduler;

/// A set of jobs with results of one type, in the order in which they end.
///
/// Dropping it cancels those that have not ended; [`detach_all`](Self::detach_all) lets them go on.
///
/// ```
/// use trimtab_scheduler::{Group, Job, Scheduler};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let scheduler = Scheduler::new("app")?;
/// let mut group = Group::new();
/// for n in 1..=4_u64 {
///     group.submit(&scheduler, Job::cpu(move || n * n));
/// }
/// let mut sum = 0;
/// while let Some((_, square)) = group.next().await {
///     sum += square?;
/// }
/// assert_eq!(sum, 30);
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct Group<T> {
    jobs: FuturesUnordered<Member<T>>,
}

impl<T> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("open", &self.jobs.len()).finish()
    }
}

/// A handle that says whose result it gives.
struct Member<T>(Option<Handle<T>>);

impl<T> Future for Member<T> {
    type Output = (JobId, Result<T, JobError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &mut self.0 else { return Poll::Pending };
        let id = handle.id();
        Pin::new(handle).poll(context).map(|result| (id, result))
    }
}

impl<T> Group<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { jobs: FuturesUnordered::new() }
    }

    /// Submits a job into the group. A refusal is its result, like any other end.
    pub fn submit<F>(&mut self, scheduler: &Scheduler, job: Job<F>) -> JobId
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.add(scheduler.submit(job))
    }

    /// Takes a job into the group.
    pub fn add(&mut self, handle: Handle<T>) -> JobId {
        let id = handle.id();
        self.jobs.push(Member(Some(handle.cancel_on_drop())));
        id
    }

    /// Jobs whose results were not taken yet.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether every result was taken.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The next result, and whose it is; `None` when there are no more.
    ///
    /// # Cancel safety
    ///
    /// A result that was not returned stays in the group.
    pub async fn next(&mut self) -> Option<(JobId, Result<T, JobError>)> {
        std::future::poll_fn(|context| Pin::new(&mut self.jobs).poll_next(context)).await
    }

    /// Waits for all, and gives the results in the order in which the jobs ended.
    pub async fn join(mut self) -> Vec<(JobId, Result<T, JobError>)> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(one) = self.next().await {
            all.push(one);
        }
        all
    }

    /// Cancels all that have not ended. Their results come like the others.
    pub fn cancel_all(&self) {
        for Member(handle) in &self.jobs {
            if let Some(handle) = handle {
                handle.cancel();
            }
        }
    }

    /// Lets all jobs go on without the group.
    pub fn detach_all(mut self) {
        for member in &mut self.jobs {
            if let Some(handle) = member.0.take() {
                handle.detach();
            }
        }
    }
}
