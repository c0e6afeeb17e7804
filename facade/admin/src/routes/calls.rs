//! Named calls with the numbers of their manners, and the hand on their breakers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use trimtab_scheduler::{Breaker, Bulkhead, Pace, Retry, Timeout};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::read_json;
use crate::fields::{Fields, closest, string};
use crate::params::{Name, query};
use crate::parts::CallView;
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{ForceBody, ProblemBody};

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(describe)).routes(routes!(force))
}

/// A breaker. Counts are since the start.
#[derive(Debug, Serialize, ToSchema)]
struct BreakerBody {
    /// `closed`, `open`, `half_open`, `forced_open` or `forced_closed`.
    state: &'static str,
    /// How long it goes on refusing; `null` unless it is open.
    probes_in_seconds: Option<f64>,
    /// Calls that its window holds.
    window_calls: u32,
    /// Of these, failed.
    window_failed: u32,
    /// Of these, slow.
    window_slow: u32,
    /// The share of failed calls at which it opens.
    failure_rate: f64,
    /// With fewer calls in the window it never opens.
    min_calls: u32,
    /// Calls that were answered.
    calls: u64,
    /// Of these, failed.
    failed: u64,
    /// Of these, slow.
    slow: u64,
    /// Of these, dropped by their callers.
    dropped: u64,
    /// Calls refused.
    refused: u64,
    /// How often it opened.
    opened: u64,
}

impl From<&Breaker> for BreakerBody {
    fn from(breaker: &Breaker) -> Self {
        let (stats, settings) = (breaker.stats(), breaker.settings());
        Self {
            state: stats.state.as_str(),
            probes_in_seconds: stats.opens_probes_in.map(|time| time.as_secs_f64()),
            window_calls: stats.window.calls,
            window_failed: stats.window.failed,
            window_slow: stats.window.slow,
            failure_rate: settings.failure_rate.get(),
            min_calls: settings.min_calls,
            calls: stats.calls,
            failed: stats.failed,
            slow: stats.slow,
            dropped: stats.dropped,
            refused: stats.refused,
            opened: stats.opened,
        }
    }
}

/// Retries. Counts are since the start.
#[derive(Debug, Serialize, ToSchema)]
struct RetryBody {
    /// Tries after the first.
    retries: u64,
    /// Calls that worked after all.
    recovered: u64,
    /// Calls that failed after the last try.
    gave_up: u64,
    /// Calls that the budget did not let try again.
    denied: u64,
    /// Extra tries that the budget would allow now.
    budget: f64,
}

impl From<&Retry> for RetryBody {
    fn from(retry: &Retry) -> Self {
        let stats = retry.stats();
        Self {
            retries: stats.retries,
            recovered: stats.recovered,
            gave_up: stats.gave_up,
            denied: stats.denied,
            budget: stats.budget,
        }
    }
}

/// A time-out.
#[derive(Debug, Serialize, ToSchema)]
struct TimeoutBody {
    /// How long a try is given.
    limit_seconds: f64,
    /// Tries that did not end in time.
    expired: u64,
}

impl From<&Timeout> for TimeoutBody {
    fn from(timeout: &Timeout) -> Self {
        let stats = timeout.stats();
        Self { limit_seconds: stats.limit.as_secs_f64(), expired: stats.expired }
    }
}

/// A pace. Counts are since the start.
#[derive(Debug, Serialize, ToSchema)]
struct PaceBody {
    /// The rate, such as `100/s burst 20`.
    rate: String,
    /// Callers waiting.
    waiting: usize,
    /// Callers let through.
    passed: u64,
    /// Of these, those that had waited.
    waited: u64,
    /// Callers refused.
    refused: u64,
}

impl From<&Pace> for PaceBody {
    fn from(pace: &Pace) -> Self {
        let stats = pace.stats();
        let rate = stats.rate.to_string();
        Self { rate, waiting: stats.waiting, passed: stats.passed, waited: stats.waited, refused: stats.refused }
    }
}

/// A bulkhead. Counts are since the start.
#[derive(Debug, Serialize, ToSchema)]
struct BulkheadBody {
    /// The most calls at the same time.
    max: usize,
    /// Calls inside.
    in_use: usize,
    /// Callers waiting.
    waiting: usize,
    /// Callers that got in.
    acquired: u64,
    /// Of these, those that had waited.
    waited: u64,
    /// Callers refused.
    refused: u64,
}

impl From<&Bulkhead> for BulkheadBody {
    fn from(bulkhead: &Bulkhead) -> Self {
        let stats = bulkhead.stats();
        Self {
            max: stats.limit,
            in_use: stats.in_use,
            waiting: stats.waiting,
            acquired: stats.acquired,
            waited: stats.waited,
            refused: stats.refused,
        }
    }
}

/// One call; a manner that its settings do not name is `null`.
#[derive(Debug, Serialize, ToSchema)]
struct CallBody {
    /// The name.
    name: String,
    /// How failed calls are made again.
    retry: Option<RetryBody>,
    /// How long a try may take.
    timeout: Option<TimeoutBody>,
    /// When it stops calling.
    breaker: Option<BreakerBody>,
    /// How often it may be called.
    pace: Option<PaceBody>,
    /// How many calls at the same time.
    bulkhead: Option<BulkheadBody>,
}

impl From<CallView> for CallBody {
    fn from(call: CallView) -> Self {
        let (retry, timeout, breaker, pace, bulkhead) = call.chain.parts();
        Self {
            retry: retry.map(Into::into),
            timeout: timeout.map(Into::into),
            breaker: breaker.map(Into::into),
            pace: pace.map(Into::into),
            bulkhead: bulkhead.map(Into::into),
            name: call.name,
        }
    }
}

/// All calls.
#[derive(Debug, Serialize, ToSchema)]
struct CallsBody {
    /// Open calls, by name.
    calls: Vec<CallBody>,
}

/// List calls
#[utoipa::path(
    get,
    path = "/api/calls",
    tag = "lanes",
    responses(
        (status = 200, description = "All calls with their manners", body = CallsBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<CallsBody>> {
    query(&uri, &[]).map_err(|problem| problem.at(&uri))?;
    Ok(Json(CallsBody { calls: app.console.calls().into_iter().map(CallBody::from).collect() }))
}

/// Describe a call
#[utoipa::path(
    get,
    path = "/api/calls/{name}",
    tag = "lanes",
    params(("name" = String, Path, description = "Name of the call")),
    responses(
        (status = 200, description = "The call with its manners", body = CallBody),
        (status = "4XX", description = "No such call", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<CallBody>> {
    find(&app, &name).map(|call| Json(call.into())).map_err(|problem| problem.at(&uri))
}

/// Force a breaker
///
/// `open` refuses all calls; `closed` lets all in and counts none; `automatic` takes either back, or ends a pause, with an empty
/// window. It lasts until it is taken back, the program ends, or the breaker's settings change.
#[utoipa::path(
    post,
    path = "/api/calls/{name}/breaker",
    tag = "lanes",
    params(("name" = String, Path, description = "Name of the call")),
    request_body = ForceBody,
    responses(
        (status = 200, description = "The call after it", body = CallBody),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn force(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Json<CallBody>> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let force = || {
        let call = find(&app, &name)?;
        let (_, _, breaker, ..) = call.chain.parts();
        let Some(breaker) = breaker else {
            let detail = format!("the call `{name}` has no breaker; give it one with call.{name}.breaker");
            return Err(Problem::new(ProblemKind::UnknownCall, detail));
        };
        let mut fields = Fields::parse(&body)?;
        let state = fields.required("state", wish);
        fields.finish_with(|| {
            match state {
                Some(Wish::Open) => breaker.force_open(),
                Some(Wish::Closed) => breaker.force_closed(),
                Some(Wish::Automatic) | None => breaker.automatic(),
            }
            Ok(())
        })?;
        tracing::info!(call = name, ?state, "breaker forced over HTTP");
        Ok(Json(call.into()))
    };
    force().map_err(|problem: Problem| problem.at(&parts.uri))
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Open,
    Closed,
    Automatic,
}

fn wish(text: &str) -> Result<Wish, String> {
    match string(text)?.as_str() {
        "open" => Ok(Wish::Open),
        "closed" => Ok(Wish::Closed),
        "automatic" => Ok(Wish::Automatic),
        other => Err(format!("must be open, closed or automatic, not {}", shorten(other))),
    }
}

fn find(app: &App, name: &str) -> Result<CallView, Problem> {
    let mut calls = app.console.calls();
    if let Some(at) = calls.iter().position(|call| call.name == name) {
        return Ok(calls.swap_remove(at));
    }
    let near = closest(name, calls.iter().map(|call| call.name.as_str()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no open call `{}`{hint} All of them are at /api/calls", shorten(name));
    let problem = Problem::new(ProblemKind::UnknownCall, detail);
    Err(match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    })
}
