//! Lanes of the scheduler: what runs, what waits, what happened; and their ceilings, to be seen and set.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use trimtab_scheduler::config::CEILING_MAX;
use trimtab_scheduler::stats::{KindStats, Quantiles};
use trimtab_scheduler::{LaneKind, LaneStats, Ledger, Priority, Scheduler, SchedulerStats};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::read_json;
use crate::fields::{Fields, closest, count};
use crate::params::{Name, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{CeilingBody, ProblemBody};

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(describe, set))
}

/// Times in seconds: half, nine tenths and 99 of 100 were no longer, lately.
#[derive(Debug, Serialize, ToSchema)]
struct TimesBody {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl From<Quantiles> for TimesBody {
    fn from(times: Quantiles) -> Self {
        let Quantiles { p50, p90, p99, .. } = times;
        Self { p50: p50.as_secs_f64(), p90: p90.as_secs_f64(), p99: p99.as_secs_f64() }
    }
}

/// Jobs that wait, by priority.
#[derive(Debug, Serialize, ToSchema)]
struct QueuedBody {
    critical: usize,
    high: usize,
    normal: usize,
    low: usize,
    background: usize,
}

/// The books of a lane since the start: every submitted job ends in exactly one row.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerBody {
    /// Jobs handed in.
    submitted: u64,
    /// Jobs that returned.
    done: u64,
    /// Jobs that returned what counts as a failure.
    failed: u64,
    /// Jobs that panicked.
    panicked: u64,
    /// Jobs that were cancelled.
    cancelled: u64,
    /// Jobs that were not taken.
    rejected: u64,
    /// Jobs that gave way to more important ones.
    shed: u64,
    /// Jobs that could not be started in time.
    expired: u64,
}

impl From<Ledger> for LedgerBody {
    fn from(ledger: Ledger) -> Self {
        let Ledger { submitted, done, failed, panicked, cancelled, rejected, shed, expired, .. } = ledger;
        Self { submitted, done, failed, panicked, cancelled, rejected, shed, expired }
    }
}

/// One lane.
#[derive(Debug, Serialize, ToSchema)]
struct LaneBody {
    /// `io`, `cpu`, `memory` and further kinds.
    name: &'static str,
    /// How many jobs may run at the same time.
    ceiling: u32,
    /// How the ceiling is found: `fixed`, `aimd`, `gradient` or a rule of the program's own.
    rule: &'static str,
    /// Jobs that have started.
    running: u32,
    /// Jobs that wait for their turn.
    queued: usize,
    /// The same by priority.
    queued_by_priority: QueuedBody,
    /// Bytes that they hold.
    queued_bytes: u64,
    /// Jobs that wait for their next try, and hold nothing meanwhile.
    resting: usize,
    /// Tries after the first of a job, since the start.
    retries: u64,
    /// Callers who wait for a place in the queue.
    callers_waiting: usize,
    /// Processors that the running jobs were admitted with, by their estimates.
    cpu_used: f64,
    /// The most that may be.
    cpu_limit: f64,
    /// Memory that the running jobs were admitted with, by their estimates.
    memory_used_bytes: u64,
    /// The most that may be.
    memory_limit_bytes: u64,
    /// From the submission to the start.
    wait_seconds: TimesBody,
    /// From the start to the end.
    run_seconds: TimesBody,
    /// What became of all jobs.
    jobs: LedgerBody,
}

impl From<&LaneStats> for LaneBody {
    fn from(lane: &LaneStats) -> Self {
        let by = |priority: Priority| lane.queued_by_priority[priority as usize];
        Self {
            name: lane.lane.label(),
            ceiling: lane.ceiling,
            rule: lane.rule,
            running: lane.running,
            queued: lane.queued,
            resting: lane.resting,
            retries: lane.retries,
            queued_by_priority: QueuedBody {
                critical: by(Priority::Critical),
                high: by(Priority::High),
                normal: by(Priority::Normal),
                low: by(Priority::Low),
                background: by(Priority::Background),
            },
            queued_bytes: lane.queued_bytes.as_u64(),
            callers_waiting: lane.callers_waiting,
            cpu_used: lane.cpu_used,
            cpu_limit: lane.cpu_limit,
            memory_used_bytes: lane.memory_used.as_u64(),
            memory_limit_bytes: lane.memory_limit.as_u64(),
            wait_seconds: lane.waits.into(),
            run_seconds: lane.runs.into(),
            jobs: lane.ledger.into(),
        }
    }
}

/// What jobs of one kind took.
#[derive(Debug, Serialize, ToSchema)]
struct KindBody {
    /// The name that jobs were given.
    name: String,
    /// Jobs that ended.
    ended: u64,
    /// Of these, failed.
    failed: u64,
    /// From start to end, the mean of late.
    run_seconds: f64,
    /// Processors that they took.
    cpu: f64,
    /// Memory that they took, where it is counted.
    memory_bytes: Option<u64>,
    /// Whether what was declared is off by more than half.
    off: bool,
}

impl From<&KindStats> for KindBody {
    fn from(kind: &KindStats) -> Self {
        Self {
            name: kind.name.clone(),
            ended: kind.ended,
            failed: kind.failed,
            run_seconds: kind.run.as_secs_f64(),
            cpu: kind.cpu,
            memory_bytes: kind.memory.map(trimtab_config::ByteSize::as_u64),
            off: kind.off,
        }
    }
}

/// Worker processes. Counts are since the start.
#[derive(Debug, Serialize, ToSchema)]
struct WorkersBody {
    /// Processes that there are.
    alive: usize,
    /// Of these, without work.
    idle: usize,
    /// Processes that were started.
    started: u64,
    /// Starts that failed.
    start_failures: u64,
    /// Processes that died of their jobs, or of somebody else.
    crashed: u64,
    /// Processes killed since their job took too long.
    timed_out: u64,
    /// Processes killed since their job was cancelled.
    cancelled: u64,
    /// Processes that were replaced, or had nothing to do.
    retired: u64,
}

#[cfg(feature = "process")]
impl From<trimtab_scheduler::process::WorkerStats> for WorkersBody {
    fn from(stats: trimtab_scheduler::process::WorkerStats) -> Self {
        let trimtab_scheduler::process::WorkerStats { alive, idle, started, start_failures, .. } = stats;
        let trimtab_scheduler::process::WorkerStats { crashed, timed_out, cancelled, retired, .. } = stats;
        Self { alive, idle, started, start_failures, crashed, timed_out, cancelled, retired }
    }
}

/// All lanes.
#[derive(Debug, Default, Serialize, ToSchema)]
struct LanesBody {
    /// The lanes; none where the program has no scheduler.
    lanes: Vec<LaneBody>,
    /// Processors that running jobs were admitted with, in all lanes.
    cpu_used: f64,
    /// The most that may be.
    cpu_limit: f64,
    /// Memory that running jobs were admitted with, in all lanes.
    memory_used_bytes: u64,
    /// The most that may be.
    memory_limit_bytes: u64,
    /// Background tasks that have not ended.
    background_open: usize,
    /// Background tasks whose results are kept.
    background_kept: usize,
    /// What jobs of each kind took, the most frequent first, at most 50.
    kinds: Vec<KindBody>,
    /// The processes of the lane `process`, where the program has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<WorkersBody>,
}

impl From<SchedulerStats> for LanesBody {
    fn from(mut stats: SchedulerStats) -> Self {
        stats.kinds.sort_by_key(|kind| std::cmp::Reverse(kind.ended));
        Self {
            lanes: stats.lanes.iter().map(LaneBody::from).collect(),
            cpu_used: stats.cpu_used,
            cpu_limit: stats.cpu_limit,
            memory_used_bytes: stats.memory_used.as_u64(),
            memory_limit_bytes: stats.memory_limit.as_u64(),
            background_open: stats.background_open,
            background_kept: stats.background_kept,
            kinds: stats.kinds.iter().take(50).map(KindBody::from).collect(),
            workers: None,
        }
    }
}

/// List lanes
#[utoipa::path(
    get,
    path = "/api/lanes",
    tag = "lanes",
    responses(
        (status = 200, description = "All lanes, and what they take together", body = LanesBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<LanesBody>> {
    query(&uri, &[]).map_err(|problem| problem.at(&uri))?;
    let scheduler = app.console.scheduler();
    let body = scheduler.map(|scheduler| LanesBody::from(scheduler.stats())).unwrap_or_default();
    #[cfg(feature = "process")]
    let body = LanesBody { workers: scheduler.and_then(Scheduler::worker_stats).map(WorkersBody::from), ..body };
    Ok(Json(body))
}

/// Describe a lane
#[utoipa::path(
    get,
    path = "/api/lanes/{name}",
    tag = "lanes",
    params(("name" = String, Path, description = "`io`, `cpu`, `memory` or `process`")),
    responses(
        (status = 200, description = "The lane", body = LaneBody),
        (status = "4XX", description = "No such lane", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<LaneBody>> {
    let (scheduler, lane) = find(&app, &name).map_err(|problem| problem.at(&uri))?;
    Ok(Json((&scheduler.lane_stats(lane)).into()))
}

/// Set the ceiling of a lane
///
/// Within the bounds of its settings: the answer says what it is now. Jobs that run go on; a rule that adapts goes on from
/// there. It lasts until the program ends or the settings of the scheduler change; see `PATCH /api/config`.
#[utoipa::path(
    patch,
    path = "/api/lanes/{name}",
    tag = "lanes",
    params(("name" = String, Path, description = "`io`, `cpu`, `memory` or `process`")),
    request_body = CeilingBody,
    responses(
        (status = 200, description = "The lane, with the ceiling that it has now", body = LaneBody),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn set(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Json<LaneBody>> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let set = || {
        let (scheduler, lane) = find(&app, &name)?;
        let mut fields = Fields::parse(&body)?;
        let ceiling = fields.required("ceiling", |text| count(text, CEILING_MAX.into()));
        let now = fields.finish_with(|| {
            let ceiling = ceiling.and_then(|ceiling| u32::try_from(ceiling).ok()).unwrap_or(1);
            Ok(scheduler.set_ceiling(lane, ceiling))
        })?;
        tracing::info!(lane = name, asked = ceiling, now, "ceiling of a lane set over HTTP");
        Ok(Json((&scheduler.lane_stats(lane)).into()))
    };
    set().map_err(|problem: Problem| problem.at(&parts.uri))
}

/// The lane of this name.
pub(super) fn find<'a>(app: &'a App, name: &str) -> Result<(&'a Scheduler, LaneKind), Problem> {
    let Some(scheduler) = app.console.scheduler() else {
        return Err(Problem::new(ProblemKind::UnknownLane, "this program shows no scheduler, so there are no lanes"));
    };
    if let Some(lane) = LaneKind::ALL.into_iter().find(|lane| lane.label() == name) {
        return Ok((scheduler, lane));
    }
    let known = LaneKind::ALL.map(LaneKind::label);
    let near = closest(name, known);
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no lane `{}`{hint} Lanes are {}", shorten(name), known.join(", "));
    let problem = Problem::new(ProblemKind::UnknownLane, detail);
    Err(match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    })
}
