//! Jobs: those that wait and run, background tasks with their results' fate, one by its number, and cancelling.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use trimtab_scheduler::stats::JobStats;
use trimtab_scheduler::{BackgroundStatus, JobId, LaneKind, Outcome, Scheduler};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::entries::{Paging, paging};
use crate::params::Id;
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::work::blocking;

/// How many jobs of a lane a listing looks at.
const LOOKED_AT: usize = 10_000;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(background)).routes(routes!(describe, cancel))
}

/// One job.
#[derive(Debug, Serialize, ToSchema)]
struct JobBody {
    /// Its number.
    id: String,
    /// What kind of work it is: the name it was given, or `job`.
    kind: String,
    /// Where it runs; `null` for a background task that has ended.
    lane: Option<&'static str>,
    /// How important it is; `null` for a background task that has ended.
    priority: Option<&'static str>,
    /// `queued`, `running`, `resting` between two tries, or how it ended: `done`, `failed`, `panicked`, `cancelled`, `rejected`, `shed`, `expired`.
    state: &'static str,
    /// How often it was tried again; `null` for a background task that has ended.
    retries: Option<u32>,
    /// How far it is, from 0 to 1, if it says so.
    progress: Option<f64>,
    /// How long it waited, or waits, for its turn.
    waited_seconds: f64,
    /// From its start to its end, or until now.
    ran_seconds: f64,
    /// Processors that it was admitted with.
    cpu: Option<f64>,
    /// Memory that it was admitted with.
    memory_bytes: Option<u64>,
    /// Its labels.
    tags: BTreeMap<String, String>,
    /// Whether its number outlives it, and its result is kept.
    background: bool,
    /// Why it has no result, if it ended without one.
    error: Option<String>,
}

impl JobBody {
    fn open(job: JobStats) -> Self {
        Self {
            id: job.id.to_string(),
            kind: job.kind,
            lane: Some(job.lane.label()),
            priority: Some(job.priority.label()),
            state: open_state(job.resting, job.running),
            retries: Some(job.retries),
            progress: job.progress,
            waited_seconds: job.waited.as_secs_f64(),
            ran_seconds: job.ran.as_secs_f64(),
            cpu: Some(job.cpu),
            memory_bytes: Some(job.memory.as_u64()),
            tags: job.tags.into_iter().collect(),
            background: false,
            error: None,
        }
    }

    /// A background task, with what the lane knows of it while it is open.
    fn background(status: BackgroundStatus, job: Option<JobStats>) -> Self {
        let open = open_state(job.as_ref().is_some_and(|job| job.resting), status.started);
        let (lane, priority) = job.as_ref().map(|job| (job.lane.label(), job.priority.label())).unzip();
        Self {
            id: status.id.to_string(),
            kind: status.name,
            lane,
            priority,
            state: status.outcome.map_or(open, Outcome::label),
            retries: job.as_ref().map(|job| job.retries),
            progress: status.progress,
            waited_seconds: status.waited.as_secs_f64(),
            ran_seconds: status.duration.as_secs_f64(),
            cpu: job.as_ref().map(|job| job.cpu),
            memory_bytes: job.as_ref().map(|job| job.memory.as_u64()),
            tags: job.map(|job| job.tags.into_iter().collect()).unwrap_or_default(),
            background: true,
            error: status.error,
        }
    }
}

fn open_state(rests: bool, runs: bool) -> &'static str {
    match (rests, runs) {
        (true, _) => "resting",
        (_, true) => "running",
        _ => "queued",
    }
}

/// One page of jobs.
#[derive(Debug, Default, Serialize, ToSchema)]
struct JobsBody {
    /// Jobs that wait or run in all: in the lane that was asked for, or in all lanes.
    open: u64,
    /// The jobs of this page, oldest number first.
    jobs: Vec<JobBody>,
    /// What to give as `after` for the next page; `null` on the last.
    next: Option<String>,
}

fn number(id: JobId) -> u64 {
    // Numbers are shown as what they are.
    id.to_string().parse().unwrap_or(u64::MAX)
}

/// List jobs
///
/// Those that wait or run. Jobs that come or go between two pages may be listed or not. Of each lane the first 10,000 are
/// looked at, those that have started before those that wait.
#[utoipa::path(
    get,
    path = "/api/jobs",
    tag = "lanes",
    params(
        ("lane" = Option<String>, Query, description = "Only those of this lane"),
        ("limit" = Option<usize>, Query, description = "Most jobs on the page"),
        ("after" = Option<String>, Query, description = "`next` of the page before")
    ),
    responses(
        (status = 200, description = "A page", body = JobsBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<JobsBody>> {
    let asked = || {
        let Paging { limit, after, others } = paging(&app, &uri, &["lane"])?;
        let lanes = match others.first() {
            Some((_, name)) => vec![super::lanes::find(&app, name)?.1],
            None => LaneKind::ALL.to_vec(),
        };
        Ok((limit, after, lanes))
    };
    let (limit, after, lanes) = asked().map_err(|problem: Problem| problem.at(&uri))?;
    let Some(scheduler) = app.console.scheduler().cloned() else { return Ok(Json(JobsBody::default())) };
    // Long queues take a while to look through; not on a lane, which may be the one that is full.
    let work = move || {
        let open = lanes.iter().map(|lane| scheduler.lane_stats(*lane).ledger.open()).sum();
        let jobs = lanes.iter().flat_map(|lane| scheduler.jobs(*lane, LOOKED_AT));
        let mut jobs: Vec<_> = jobs.filter(|job| after.is_none_or(|after| number(job.id) > after)).collect();
        jobs.sort_by_key(|job| job.id);
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        let next = if more { jobs.last().map(|job| job.id.to_string()) } else { None };
        JobsBody { open, jobs: jobs.into_iter().map(JobBody::open).collect(), next }
    };
    Ok(Json(blocking(work).await))
}

/// List background tasks
///
/// Those that have not ended, and those whose results are kept.
#[utoipa::path(
    get,
    path = "/api/background",
    tag = "lanes",
    params(
        ("limit" = Option<usize>, Query, description = "Most tasks on the page"),
        ("after" = Option<String>, Query, description = "`next` of the page before")
    ),
    responses(
        (status = 200, description = "A page", body = JobsBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn background(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<JobsBody>> {
    let Paging { limit, after, .. } = paging(&app, &uri, &[]).map_err(|problem| problem.at(&uri))?;
    let Some(scheduler) = app.console.scheduler() else { return Ok(Json(JobsBody::default())) };
    let mut tasks = scheduler.background();
    let open = tasks.iter().filter(|task| task.outcome.is_none()).count() as u64;
    tasks.retain(|task| after.is_none_or(|after| number(task.id) > after));
    let more = tasks.len() > limit;
    tasks.truncate(limit);
    let next = if more { tasks.last().map(|task| task.id.to_string()) } else { None };
    Ok(Json(JobsBody { open, jobs: tasks.into_iter().map(|task| JobBody::background(task, None)).collect(), next }))
}

/// Describe a job
///
/// One that waits or runs, or a background task whose result is kept.
#[utoipa::path(
    get,
    path = "/api/jobs/{id}",
    tag = "lanes",
    params(("id" = String, Path, description = "Number of the job")),
    responses(
        (status = 200, description = "The job", body = JobBody),
        (status = "4XX", description = "No such job", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Id(id): Id, uri: Uri) -> Answer<Json<JobBody>> {
    let (_, _, job) = find(&app, &id).map_err(|problem| problem.at(&uri))?;
    Ok(Json(job))
}

/// Cancel a job
///
/// One that waits ends here and now. A future that has started is dropped at its next await. A closure cannot be interrupted:
/// it is told, and what it returns is its result. The answer is the job after that.
#[utoipa::path(
    delete,
    path = "/api/jobs/{id}",
    tag = "lanes",
    params(("id" = String, Path, description = "Number of the job")),
    responses(
        (status = 200, description = "It is cancelled, or told to end", body = JobBody),
        (status = "4XX", description = "No such job, or it has ended", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn cancel(State(app): State<Arc<App>>, Id(id): Id, uri: Uri) -> Answer<Json<JobBody>> {
    let cancel = || {
        let (scheduler, number, before) = find(&app, &id)?;
        let cancelled = if before.background { scheduler.cancel_background(number) } else { scheduler.cancel(number) };
        if !cancelled {
            let detail = format!("job {id} \"{}\" has ended, so there is nothing to cancel", before.kind);
            return Err(Problem::new(ProblemKind::JobEnded, detail));
        }
        tracing::info!(job = id, kind = before.kind, "job cancelled over HTTP");
        // One that ended by it is known no longer, unless its result is kept.
        Ok(Json(find(&app, &id).map_or(JobBody { state: Outcome::Cancelled.label(), ..before }, |(_, _, job)| job)))
    };
    cancel().map_err(|problem: Problem| problem.at(&uri))
}

fn find<'a>(app: &'a App, id: &str) -> Result<(&'a Scheduler, JobId, JobBody), Problem> {
    let unknown = || {
        let detail = format!(
            "no job has the number `{}`; /api/jobs lists those that wait or run, /api/background those whose results are kept",
            shorten(id)
        );
        Problem::new(ProblemKind::UnknownJob, detail)
    };
    let (scheduler, number) = app.console.scheduler().zip(id.parse::<JobId>().ok()).ok_or_else(unknown)?;
    let job = scheduler.job(number);
    let body = match scheduler.status(number) {
        Some(status) => JobBody::background(status, job),
        None => JobBody::open(job.ok_or_else(unknown)?),
    };
    Ok((scheduler, number, body))
}
