//! The scheduler: lanes under one name and one budget.
//!
//! Cloning gives another handle to the same. When the last is dropped, every job that has not ended is cancelled; to let them
//! finish, [`drain`](Scheduler::drain) first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::runtime;
use trimtab_config::{Machine, check_name};

use crate::background::{self, Background, BackgroundError, BackgroundStatus};
use crate::budget::Budget;
use crate::ceiling::Ceiling;
use crate::clock::{Clock, NEVER, nanos};
use crate::config::{self, SchedulerSettings};
use crate::drain::{self, DrainReport};
use crate::error::{Cancellation, JobError, JobSite, SchedulerError};
use crate::estimate::Kinds;
use crate::handle::{Handle, JobId};
use crate::job::cell::{Cell, Join, Task};
use crate::job::head::{Fixed, Head};
use crate::job::{Cost, Job, Spec};
use crate::lane::{Executor, LANES, Lane, LaneKind, Lanes, Plan, Refusal, Room};
use crate::load::Load;
use crate::metrics::Meters;
use crate::stats::{JobStats, LaneStats, SchedulerStats};

/// A job of the memory lane that says nothing is admitted with so much.
const MEMORY_DEFAULT: u64 = 1 << 20;

/// Builds a [`Scheduler`].
#[derive(Debug)]
#[must_use = "nothing is built before build()"]
pub struct Builder {
    name: String,
    settings: SchedulerSettings,
    machine: Option<Machine>,
    runtime: Option<runtime::Handle>,
    #[cfg(feature = "process")]
    workers: Option<crate::process::Workers>,
}

impl Builder {
    /// Takes these settings. Default: those of the default profile.
    pub fn settings(mut self, settings: SchedulerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Takes this machine as given. Default: the one it runs on.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Runs io and memory jobs on this runtime. Default: the one `build` is called in.
    pub fn runtime(mut self, runtime: runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Lets worker processes run these functions; see [`process`](crate::process). Default: the process lane refuses its jobs.
    #[cfg(feature = "process")]
    pub fn workers(mut self, workers: crate::process::Workers) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Builds it. Starts no thread and no task: lanes do that with their first job.
    ///
    /// # Errors
    ///
    /// [`SchedulerError`] names a bad name, all bad settings with their paths, or the missing runtime.
    pub fn build(self) -> Result<Scheduler, SchedulerError> {
        let Self { name, settings, machine, runtime, .. } = self;
        check_name("scheduler", &name)?;
        config::check(&name, &settings)?;
        let Some(runtime) = runtime.or_else(|| runtime::Handle::try_current().ok()) else {
            return Err(SchedulerError::NoRuntime { name });
        };
        #[cfg(feature = "process")]
        if let Some(Err(problem)) = self.workers.as_ref().map(crate::process::Workers::check) {
            return Err(SchedulerError::Workers { name, problem });
        }
        let machine = machine.unwrap_or_else(Machine::detect);
        let clock = {
            let _inside = runtime.enter();
            Clock::start()
        };
        let name: Arc<str> = name.into();
        let budget = Arc::new(Budget::new(settings.budget(&machine)));
        let lanes = Arc::new(Lanes::default());
        let load = Arc::new(Load::default());
        #[cfg(feature = "process")]
        let pool = self.workers.map(|workers| crate::process::Pool::new(Arc::clone(&name), workers, &settings.workers));
        let workers = runtime.metrics().num_workers().max(1);
        let all = LaneKind::ALL.map(|kind| {
            let (runners, executor) = match kind {
                LaneKind::Cpu => {
                    let (scheduler, runtime) = (Arc::clone(&name), runtime.clone());
                    (settings.threads(&machine), Executor::Threads { scheduler, runtime, nice: settings.cpu_nice })
                }
                _ => (workers, Executor::Tasks(runtime.clone())),
            };
            Lane::new(Plan {
                kind,
                settings: settings.lane(kind),
                ceiling: settings.ceiling(kind, &machine),
                limit: settings.lane_budget(kind, &machine),
                runners,
                executor,
                clock,
                budget: Arc::clone(&budget),
                lanes: Arc::clone(&lanes),
                load: Arc::clone(&load),
                #[cfg(feature = "process")]
                pool: pool.as_ref().filter(|_| kind == LaneKind::Process).cloned(),
            })
        });
        lanes.set(all.each_ref().map(Arc::downgrade));
        let background = Arc::new(Background::new(clock, settings.background));
        let (kinds, meters) = (Kinds::default(), Meters::default());
        Ok(Scheduler(Arc::new(Inner {
            name,
            machine,
            runtime,
            clock,
            load,
            budget,
            lanes: all,
            kinds,
            background,
            meters,
        })))
    }
}

struct Inner {
    name: Arc<str>,
    machine: Machine,
    runtime: runtime::Handle,
    clock: Clock,
    load: Arc<Load>,
    budget: Arc<Budget>,
    lanes: [Arc<Lane>; LANES],
    kinds: Kinds,
    background: Arc<Background>,
    meters: Meters,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.abort(Cancellation::Dropped);
        }
    }
}

/// Lanes for jobs. See the [crate's documentation](crate).
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler with the settings of the default profile.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::build`].
    pub fn new(name: impl Into<String>) -> Result<Self, SchedulerError> {
        Self::builder(name).build()
    }

    /// Begins a scheduler of this name.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            settings: SchedulerSettings::default(),
            machine: None,
            runtime: None,
            #[cfg(feature = "process")]
            workers: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Submits a job. Never waits: where the queue is full, the refusal is the job's result
    /// ([`JobError::Full`]), with the time after which to try again.
    ///
    /// # Complexity
    ///
    /// One allocation; the lane's lock twice, once here and once when the job has run; three looks at the clock. With a
    /// [name](Job::name), a look into the table of kinds and two locks of its row.
    ///
    /// ```
    /// use trimtab_scheduler::{Job, Priority, Scheduler};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = Scheduler::new("app")?;
    /// let answer = scheduler.submit(Job::io(async { 6 * 7 }).priority(Priority::High)).await?;
    /// assert_eq!(answer, 42);
    /// # Ok(()) }
    /// ```
    pub fn submit<F>(&self, job: Job<F>) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.enter(job, None)
    }

    /// Submits a job if there is a place for it now, and gives it back if not.
    ///
    /// # Errors
    ///
    /// [`Refused`] holds the reason and the job. Refusals of this kind are not in the ledger, since nothing was submitted.
    /// The settings' `when_full = "shed"` does not apply.
    pub fn try_submit<F>(&self, job: Job<F>) -> Result<Handle<F::Output>, Refused<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let cost = self.cost(&job.spec);
        match self.lane(job.spec.lane).try_room(cost, weight(&job)) {
            Ok(room) => Ok(self.enter(job, Some(room))),
            Err(refusal) => Err(refused(refusal, job, cost)),
        }
    }

    /// Submits a job as soon as there is a place for it. Callers are served in the order they came.
    ///
    /// # Errors
    ///
    /// [`Refused`] when the job can never be taken: it asks for more than there is, or the scheduler closes.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future drops the job, which was not submitted; the place goes to the next caller.
    pub async fn submit_wait<F>(&self, job: Job<F>) -> Result<Handle<F::Output>, Refused<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let cost = self.cost(&job.spec);
        match self.lane(job.spec.lane).room(cost, weight(&job)).await {
            Ok(room) => Ok(self.enter(job, Some(room))),
            Err(refusal) => Err(refused(refusal, job, cost)),
        }
    }

    fn lane(&self, kind: LaneKind) -> &Arc<Lane> {
        &self.0.lanes[kind as usize]
    }

    fn default_cost(kind: LaneKind) -> Cost {
        match kind {
            LaneKind::Io => Cost::NONE,
            LaneKind::Cpu => Cost::raw(1000, 0),
            LaneKind::Memory => Cost::raw(0, MEMORY_DEFAULT),
            #[cfg(feature = "process")]
            LaneKind::Process => Cost::raw(1000, 0),
        }
    }

    fn cost(&self, spec: &Spec) -> Cost {
        let default = Self::default_cost(spec.lane);
        match &spec.name {
            Some(name) => self.0.kinds.get(name).estimate(spec.cost, default),
            None => spec.cost.unwrap_or(default),
        }
    }

    fn enter<F>(&self, job: Job<F>, room: Option<Room>) -> Handle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let weight = weight(&job);
        let Job { work, judge, spec } = job;
        let lane = self.lane(spec.lane);
        #[cfg(feature = "process")]
        if let Some(link) = spec.extra.as_ref().and_then(|extra| extra.process.as_ref())
            && let Some(pool) = lane.pool()
        {
            link.bind(pool);
        }
        let default = Self::default_cost(spec.lane);
        let kind = spec.name.map(|name| self.0.kinds.get(&name));
        let cost = match &kind {
            Some(kind) => kind.estimate(spec.cost, default),
            None => spec.cost.unwrap_or(default),
        };
        let head = Head::new(Fixed {
            lane: Arc::clone(lane),
            priority: spec.priority,
            weight,
            cost,
            deadline: spec.deadline.map_or(NEVER, nanos),
            kind,
            extra: spec.extra,
        });
        let cell = Arc::new(Cell::new(head, work, judge));
        let handle = Handle::new(Arc::clone(&cell) as Arc<dyn Join<F::Output>>);
        lane.submit(cell, room);
        handle
    }

    /// Submits a job whose number outlives every handle. It counts as the kind `name`, unless it has one; its result is kept
    /// as long as the settings say.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trimtab_scheduler::{Job, Scheduler};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let scheduler = Scheduler::new("app")?;
    /// let id = scheduler.submit_background("export", Job::cpu(|| vec![1, 2, 3]));
    /// let rows = scheduler.wait::<Vec<i32>>(id, Duration::from_secs(5)).await?;
    /// assert_eq!(*rows, [1, 2, 3]);
    /// assert!(scheduler.status(id).is_some_and(|status| status.outcome.is_some()));
    /// # Ok(()) }
    /// ```
    pub fn submit_background<F>(&self, name: impl Into<String>, mut job: Job<F>) -> JobId
    where
        F: Future + Send + 'static,
        F::Output: Send + Sync + 'static,
    {
        let name = name.into();
        job.spec.name.get_or_insert_with(|| name.clone().into());
        let handle = self.submit(background::keeping(job));
        self.0.background.add(&self.0.runtime, name, handle)
    }

    /// Where a background task stands; `None` if it is not known, or no longer.
    pub fn status(&self, id: JobId) -> Option<BackgroundStatus> {
        self.0.background.status(id)
    }

    /// The result of a background task, as soon as there is one, and at most after `time`. Any number of callers may ask,
    /// any number of times.
    ///
    /// # Errors
    ///
    /// [`BackgroundError`] says whether it is unknown, not ready, ended without a result, or of another type.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the result stays where it is.
    pub async fn wait<T: Send + Sync + 'static>(&self, id: JobId, time: Duration) -> Result<Arc<T>, BackgroundError> {
        self.0.background.wait(id, time).await
    }

    /// All background tasks that have not ended or whose results are kept, in the order of their numbers.
    pub fn background(&self) -> Vec<BackgroundStatus> {
        self.0.background.list()
    }

    /// Cancels a background task, like [`Handle::cancel`].
    pub fn cancel_background(&self, id: JobId) -> bool {
        self.0.background.cancel(id)
    }

    /// Publishes the numbers of all lanes; see [`metrics`](crate::metrics). To be called before each scrape.
    pub fn publish_metrics(&self) {
        self.0.meters.publish(&self.stats());
        #[cfg(feature = "process")]
        if let Some(pool) = self.lane(LaneKind::Process).pool() {
            pool.publish_metrics();
        }
    }

    /// The worker processes in numbers; `None` where the scheduler has none.
    #[cfg(feature = "process")]
    pub fn worker_stats(&self) -> Option<crate::process::WorkerStats> {
        self.lane(LaneKind::Process).pool().map(|pool| pool.stats())
    }

    /// Takes no more jobs, waits up to `time` for those there are, cancels the rest, and says what became of them.
    ///
    /// # Cancel safety
    ///
    /// If this future is dropped, the lanes stay closed to newcomers, and their jobs go on.
    pub async fn drain(&self, time: Duration) -> DrainReport {
        drain::drain(&self.0.lanes, time).await
    }

    /// Cancels the queued or running job of this number. False if there is none.
    ///
    /// # Complexity
    ///
    /// Looks through the lane. [`Handle::cancel`] does not.
    pub fn cancel(&self, id: JobId) -> bool {
        let Some(lane) = self.0.lanes.get((id.0 & 3) as usize) else { return false };
        lane.find(id.0).is_some_and(|task| lane.cancel(&task))
    }

    /// At most `limit` jobs of a lane that are queued or running, those that have started first. A future that is being
    /// polled at this moment for its first time is not among them.
    pub fn jobs(&self, lane: LaneKind, limit: usize) -> Vec<JobStats> {
        self.lane(lane).jobs(limit).iter().map(|task| job_stats(&**task)).collect()
    }

    /// The queued or running job of this number; `None` if there is none.
    ///
    /// # Complexity
    ///
    /// Looks through the lane. Asking its [`Handle`] does not.
    pub fn job(&self, id: JobId) -> Option<JobStats> {
        let lane = self.0.lanes.get((id.0 & 3) as usize)?;
        lane.find(id.0).map(|task| job_stats(&*task))
    }

    /// Sets the ceiling of a lane, within its bounds; returns what it is now. Jobs that run go on. A rule that adapts goes on
    /// from there.
    pub fn set_ceiling(&self, lane: LaneKind, ceiling: u32) -> u32 {
        self.lane(lane).set_ceiling(ceiling)
    }

    /// Lets this rule find the ceiling of a lane from now on.
    pub fn set_rule(&self, lane: LaneKind, rule: impl Ceiling + 'static) {
        self.lane(lane).set_rule(Box::new(rule));
    }

    /// Says how loaded the machine is: 0 for idle, 1 for full; the ceilings that adapt go down beyond their lane's `load_max`,
    /// whoever loads it. To be called about once a second by whoever measures; a number counts for 10 s. Not a number is
    /// ignored.
    pub fn set_load(&self, load: f64) {
        if !load.is_nan() {
            self.0.load.set(load, self.0.clock.now());
        }
    }

    /// Takes over changed settings while jobs run: ceilings, budgets, queues, patience and rules. The number of threads
    /// and their nice value stay.
    ///
    /// # Errors
    ///
    /// [`SchedulerError::Settings`] names everything that is wrong; then nothing changes.
    pub fn apply(&self, settings: &SchedulerSettings) -> Result<(), SchedulerError> {
        config::check(&self.0.name, settings)?;
        let machine = &self.0.machine;
        let wake = self.0.budget.set_total(settings.budget(machine));
        for lane in &self.0.lanes {
            let kind = lane.kind();
            let limit = settings.lane_budget(kind, machine);
            lane.apply(settings.lane(kind), settings.ceiling(kind, machine), limit);
        }
        self.0.background.apply(&settings.background);
        #[cfg(feature = "process")]
        if let Some(pool) = self.lane(LaneKind::Process).pool() {
            pool.apply(&settings.workers);
        }
        if let Some(kind) = wake {
            self.lane(kind).nudge();
        }
        Ok(())
    }

    /// One lane in numbers.
    pub fn lane_stats(&self, lane: LaneKind) -> LaneStats {
        self.lane(lane).stats()
    }

    /// A process lane without workers is not there, until somebody asks for it.
    #[cfg(feature = "process")]
    fn shows(&self, lane: &LaneStats) -> bool {
        lane.lane != LaneKind::Process || self.lane(LaneKind::Process).pool().is_some() || lane.ledger.submitted > 0
    }

    /// Everything in numbers.
    pub fn stats(&self) -> SchedulerStats {
        let (limit, used, peak) = self.0.budget.usage();
        let (background_open, background_kept) = self.0.background.counts();
        let lanes = self.0.lanes.iter().map(Lane::stats);
        #[cfg(feature = "process")]
        let lanes = lanes.filter(|lane| self.shows(lane));
        SchedulerStats {
            background_open,
            background_kept,
            name: self.0.name.to_string(),
            lanes: lanes.collect(),
            cpu_used: used.cores(),
            cpu_peak: peak.cores(),
            cpu_limit: limit.cores(),
            memory_used: used.bytes(),
            memory_peak: peak.bytes(),
            memory_limit: limit.bytes(),
            kinds: self.0.kinds.stats(),
        }
    }
}

fn weight<F: Future>(job: &Job<F>) -> u32 {
    (size_of::<Cell<F>>() as u32).saturating_add(job.spec.weight)
}

fn job_stats(task: &dyn Task) -> JobStats {
    let head = task.head();
    let tags = head.extra.as_ref().map(|extra| extra.tags()).unwrap_or_default();
    JobStats {
        id: JobId(head.id.load(Relaxed)),
        kind: head.kind_name().to_owned(),
        lane: head.lane().kind(),
        priority: head.priority,
        running: !head.state().is_queued() && !head.state().is_resting(),
        resting: head.state().is_resting(),
        retries: head.retries(),
        waited: head.waited(),
        ran: head.ran(),
        progress: head.extra.as_ref().and_then(|extra| extra.progress()),
        cpu: head.cost.cores(),
        memory: head.cost.bytes(),
        tags: tags.into_iter().map(|(key, value)| (key.into_owned(), value)).collect(),
    }
}

/// A job that was not taken, and why.
pub struct Refused<F: Future> {
    /// The job, to try again with.
    pub job: Job<F>,
    /// Why it was not taken, and when it may be.
    pub error: JobError,
}

fn refused<F: Future>(refusal: Refusal, job: Job<F>, cost: Cost) -> Refused<F> {
    let kind = job.spec.name.as_deref().unwrap_or("job").into();
    let error = refusal.error(JobSite { lane: job.spec.lane, kind }, cost);
    Refused { job, error }
}

impl<F: Future> fmt::Debug for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<F: Future> fmt::Display for Refused<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<F: Future> std::error::Error for Refused<F> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
