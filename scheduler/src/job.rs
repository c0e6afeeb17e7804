//! A job: work, and what the scheduler should know about it.
//!
//! Where it runs is said by how it is made: [`Job::io`] and [`Job::memory`] take a future, [`Job::cpu`] a closure,
//! `Job::process` (feature `process`) the name of a function. The rest
//! is optional: how important it is, what it costs, when it stops mattering, what kind of work it is.

pub(crate) mod attempts;
pub(crate) mod cell;
pub(crate) mod head;
pub(crate) mod state;

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use trimtab_config::ByteSize;

use crate::lane::LaneKind;
use crate::retry::{Classify, Retry};
pub use attempts::Attempts;
use cell::Judge;
pub use head::{Outcome, Status};

/// How important a job is: what is more important starts first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// What somebody waits for.
    High,
    /// What most jobs are.
    #[default]
    Normal,
    /// What can wait.
    Low,
    /// What nobody waits for.
    Background,
}

impl Priority {
    /// From the most important to the least.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Normal, Self::Low, Self::Background];

    /// As a label: `critical`, `high`, `normal`, `low`, `background`.
    pub fn label(self) -> &'static str {
        ["critical", "high", "normal", "low", "background"][self as usize]
    }
}

/// What a job takes while it runs: a share of processors, and memory. An estimate, of which admission is made.
///
/// ```
/// use trimtab_config::ByteSize;
/// use trimtab_scheduler::Cost;
///
/// let render = Cost::cpu(0.8).with_memory(ByteSize::mib(100));
/// assert_eq!(render.to_string(), "0.80 cpu, 100MiB");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    milli: u32,
    memory: u64,
}

impl Cost {
    /// Nothing worth counting.
    pub const NONE: Self = Self { milli: 0, memory: 0 };

    /// So many processors, in steps of a thousandth; not a number and negative numbers count as 0.
    pub fn cpu(cores: f64) -> Self {
        Self { milli: (cores * 1000.0).round() as u32, memory: 0 }
    }

    /// So many bytes.
    pub fn memory(bytes: ByteSize) -> Self {
        Self { milli: 0, memory: bytes.as_u64() }
    }

    /// The same with so many bytes.
    pub fn with_memory(self, bytes: ByteSize) -> Self {
        Self { memory: bytes.as_u64(), ..self }
    }

    /// Processors.
    pub fn cores(self) -> f64 {
        f64::from(self.milli) / 1000.0
    }

    /// Bytes.
    pub fn bytes(self) -> ByteSize {
        ByteSize::b(self.memory)
    }

    pub(crate) const fn raw(milli: u32, memory: u64) -> Self {
        Self { milli, memory }
    }

    pub(crate) const fn milli(self) -> u32 {
        self.milli
    }

    pub(crate) const fn memory_bytes(self) -> u64 {
        self.memory
    }

    pub(crate) const fn is_none(self) -> bool {
        self.milli == 0 && self.memory == 0
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_add(other.milli), memory: self.memory.saturating_add(other.memory) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { milli: self.milli.saturating_sub(other.milli), memory: self.memory.saturating_sub(other.memory) }
    }

    pub(crate) const fn fits(self, budget: Self) -> bool {
        self.milli <= budget.milli && self.memory <= budget.memory
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} cpu, {}", self.cores(), self.bytes())
    }
}

/// How long a job that failed rests before it is tried again.
#[derive(Debug, Default)]
struct Rest {
    wanted: Option<Duration>,
    deadline: Option<Instant>,
}

/// What only some jobs have; shared by the job, its handle and its [`JobContext`].
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Thousandths, plus one; 0 for "nothing said".
    progress: AtomicU32,
    cancelled: AtomicBool,
    retries: AtomicU32,
    /// What a try that failed asks the lane for, and until when there may be another.
    rest: Mutex<Rest>,
    tags: Mutex<Vec<(Cow<'static, str>, String)>>,
    #[cfg(feature = "process")]
    pub(crate) process: Option<Box<crate::process::Link>>,
}

impl Extra {
    /// For a job of a worker process.
    #[cfg(feature = "process")]
    pub(crate) fn for_process() -> Self {
        Self { process: Some(Box::default()), ..Self::default() }
    }

    pub(crate) fn progress(&self) -> Option<f64> {
        self.progress.load(Relaxed).checked_sub(1).map(|steps| f64::from(steps) / 1e6)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub(crate) fn retries(&self) -> u32 {
        self.retries.load(Relaxed)
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.rest.lock().deadline = deadline;
    }

    /// Asks the lane for a rest, unless the job's deadline comes before it is over.
    fn ask_rest(&self, delay: Duration) -> bool {
        let mut rest = self.rest.lock();
        let in_time = rest.deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > delay);
        if in_time {
            rest.wanted = Some(delay);
        }
        in_time
    }

    /// Takes what a try asked for, which counts as another one from now on.
    pub(crate) fn take_rest(&self) -> Option<Duration> {
        let wanted = self.rest.lock().wanted.take();
        self.retries.fetch_add(u32::from(wanted.is_some()), Relaxed);
        wanted
    }

    pub(crate) fn tags(&self) -> Vec<(Cow<'static, str>, String)> {
        self.tags.lock().clone()
    }
}

/// What running work can tell the scheduler, and ask it. Given by [`Job::io_with`], [`Job::cpu_with`] and
/// [`Job::memory_with`].
#[derive(Debug, Clone)]
pub struct JobContext(Arc<Extra>);

impl JobContext {
    /// Says how far the work is, from 0 to 1; the handle and the admin page show it.
    pub fn progress(&self, share: f64) {
        self.0.progress.store((share.clamp(0.0, 1.0) * 1e6) as u32 + 1, Relaxed);
    }

    /// Whether somebody asked to cancel the job. A closure cannot be interrupted: it should look here now and then.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// How often the job was tried before: 0 in its first try.
    pub fn retries(&self) -> u32 {
        self.0.retries()
    }
}

/// What a job asks for beside its work.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) lane: LaneKind,
    pub(crate) priority: Priority,
    pub(crate) name: Option<Cow<'static, str>>,
    pub(crate) cost: Option<Cost>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) weight: u32,
    pub(crate) extra: Option<Arc<Extra>>,
}

/// Work to submit. `F` is its future; closures become one.
///
/// ```
/// use std::time::Duration;
/// use trimtab_scheduler::{Cost, Job, Priority};
///
/// let job = Job::cpu(|| (1..=20_u64).product::<u64>())
///     .name("factorial")
///     .priority(Priority::High)
///     .cost(Cost::cpu(0.8))
///     .deadline(Duration::from_secs(2));
/// # let _ = job;
/// ```
#[must_use = "a job does nothing until it is submitted"]
pub struct Job<F: Future> {
    pub(crate) work: F,
    pub(crate) judge: Option<Judge<F::Output>>,
    pub(crate) spec: Spec,
}

impl<F: Future> fmt::Debug for Job<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl<F: Future> Job<F> {
    pub(crate) fn on(lane: LaneKind, work: F, extra: Option<Arc<Extra>>) -> Self {
        let spec = Spec { lane, priority: Priority::Normal, name: None, cost: None, deadline: None, weight: 0, extra };
        Self { work, judge: None, spec }
    }

    /// Says what kind of work this is. Kinds are counted, and their costs learned, by this name; it should come from a small
    /// closed set. At most 256 kinds are told apart.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// Says how important it is. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.spec.priority = priority;
        self
    }

    /// Says what it takes while it runs. Without this the lane's default counts, or what was learned of its kind.
    pub fn cost(mut self, cost: Cost) -> Self {
        self.spec.cost = Some(cost);
        self
    }

    /// Says when it stops mattering, counted from the submission. Among jobs of one priority, the earliest deadline goes
    /// first; a job that cannot start in time is [`Expired`](Outcome::Expired). A job that has started is not interrupted.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.spec.deadline = Some(after);
        self
    }

    /// Says how many bytes it holds while it is queued, beyond the size of the future itself; counts against the limit of
    /// the queue.
    pub fn holds(mut self, bytes: ByteSize) -> Self {
        self.spec.weight = u32::try_from(bytes.as_u64()).unwrap_or(u32::MAX);
        self
    }

    /// Adds a label for people: shown where jobs are listed, nowhere counted.
    pub fn tag(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.spec.extra.get_or_insert_default().tags.lock().push((key.into(), value.into()));
        self
    }
}

impl<F, T, E> Job<F>
where
    F: Future<Output = Result<T, E>>,
{
    /// Counts an `Err` as a failure: in the numbers, and for a ceiling that adapts.
    pub fn fallible(mut self) -> Self {
        self.judge = Some(Result::is_err);
        self
    }
}

impl Job<std::future::Ready<()>> {
    /// Work that waits more than it computes, on tokio's workers.
    pub fn io<F: Future>(future: F) -> Job<F> {
        Job::on(LaneKind::Io, future, None)
    }

    /// Like [`Job::io`], with a [`JobContext`].
    pub fn io_with<F: Future>(work: impl FnOnce(JobContext) -> F) -> Job<F> {
        let extra = Arc::new(Extra::default());
        Job::on(LaneKind::Io, work(JobContext(Arc::clone(&extra))), Some(extra))
    }

    /// Work that computes, on threads of its own, so that tokio's workers keep serving.
    pub fn cpu<C, T>(closure: C) -> Job<Closure<C>>
    where
        C: FnOnce() -> T,
    {
        Job::on(LaneKind::Cpu, Closure(Some(closure)), None)
    }

    /// Like [`Job::cpu`], with a [`JobContext`].
    pub fn cpu_with<C, T>(closure: C) -> Job<Closure<impl FnOnce() -> T>>
    where
        C: FnOnce(JobContext) -> T,
    {
        let extra = Arc::new(Extra::default());
        let context = JobContext(Arc::clone(&extra));
        Job::on(LaneKind::Cpu, Closure(Some(move || closure(context))), Some(extra))
    }

    /// Work that needs much memory, on tokio's workers; it starts when the memory it asks for is free.
    pub fn memory<F: Future>(future: F) -> Job<F> {
        Job::on(LaneKind::Memory, future, None)
    }

    /// Like [`Job::memory`], with a [`JobContext`].
    pub fn memory_with<F: Future>(work: impl FnOnce(JobContext) -> F) -> Job<F> {
        let extra = Arc::new(Extra::default());
        Job::on(LaneKind::Memory, work(JobContext(Arc::clone(&extra))), Some(extra))
    }

    /// Work like that of [`Job::io`], tried again while `retry` allows it. `work` makes the future of each try.
    ///
    /// Between two tries the job *rests*: it holds no permit and no budget, then queues again with its priority, as one that
    /// has just come. It stays one job with one result, that of its last try, and an `Err` of that is a failure. It is not
    /// tried again where the rest would outlast its [`deadline`](Job::deadline), nor once somebody asked to cancel it.
    /// Panics end it, unless [`Retry::panics`] says otherwise. [`Status`], times and learned costs are those of the try.
    ///
    /// The back-off, the limit of time and the shared budget are those of the [`Retry`], which also counts. The runtime
    /// must have its clock (`enable_time`): without, a job that would rest is cancelled.
    ///
    /// ```
    /// use trimtab_scheduler::{Job, Retry, RetrySettings, Scheduler};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = Scheduler::new("app")?;
    /// let retry = Retry::new("feed", RetrySettings::default())?;
    /// let feed = scheduler.submit(Job::io_retry(&retry, |context| async move {
    ///     if context.retries() < 2 { Err("busy") } else { Ok(7) }
    /// }));
    /// assert_eq!(feed.await?, Ok(7));
    /// # Ok(()) }
    /// ```
    pub fn io_retry<W, F, T, E, C>(retry: &Retry<C>, work: W) -> Job<Attempts<W, F, C>>
    where
        W: FnMut(JobContext) -> F,
        F: Future<Output = Result<T, E>>,
        C: Classify<E> + Clone,
    {
        Attempts::job(LaneKind::Io, retry, work)
    }

    /// Like [`Job::io_retry`], for closures as in [`Job::cpu`].
    #[expect(clippy::type_complexity, reason = "a closure around the caller's has no name that an alias could give")]
    pub fn cpu_retry<W, T, E, C>(
        retry: &Retry<C>,
        mut work: W,
    ) -> Job<Attempts<impl FnMut(JobContext) -> Ready<Result<T, E>> + use<W, T, E, C>, Ready<Result<T, E>>, C>>
    where
        W: FnMut(JobContext) -> Result<T, E>,
        C: Classify<E> + Clone,
    {
        Attempts::job(LaneKind::Cpu, retry, move |context| ready(work(context)))
    }

    /// Like [`Job::io_retry`], for futures as in [`Job::memory`].
    pub fn memory_retry<W, F, T, E, C>(retry: &Retry<C>, work: W) -> Job<Attempts<W, F, C>>
    where
        W: FnMut(JobContext) -> F,
        F: Future<Output = Result<T, E>>,
        C: Classify<E> + Clone,
    {
        Attempts::job(LaneKind::Memory, retry, work)
    }
}

/// A closure as a future that is ready at once.
#[derive(Debug)]
pub struct Closure<C>(Option<C>);

// The closure is taken out to be called, and never pinned.
impl<C> Unpin for Closure<C> {}

impl<C, T> Future for Closure<C>
where
    C: FnOnce() -> T,
{
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<T> {
        match self.0.take() {
            Some(closure) => Poll::Ready(closure()),
            None => Poll::Pending,
        }
    }
}
