//! Rate limits: what is allowed, and what was refused.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use trimtab_limit::{Fallback, KeyUsage};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::fields::closest;
use crate::params::{Name, query};
use crate::parts::LimitView;
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;

/// Keys shown of one limit.
const TOP: usize = 10;
const TOP_MAX: usize = 1_000;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(describe))
}

/// The server of a shared limit.
#[derive(Debug, Serialize, ToSchema)]
struct ServerBody {
    /// `redis` or `postgres`.
    kind: String,
    /// Permits that one question brings.
    leased: u32,
    /// What decides while it is away: `open`, `closed` or `local`.
    fallback: &'static str,
    /// Questions to it so far.
    questions: u64,
    /// Calls that the fallback decided.
    away: u64,
}

/// One limit. Counts are since the start, and of this process.
#[derive(Debug, Serialize, ToSchema)]
struct LimitBody {
    /// The name.
    name: String,
    /// `all` for one limit for all callers, `keyed` for one for each key, `shared` for one over a server.
    kind: &'static str,
    /// What is allowed, such as `100/s burst 20`.
    rate: String,
    /// Permits that come back in a second.
    permits_per_second: f64,
    /// The most permits at once.
    burst: u32,
    /// Calls over the limit.
    refused: u64,
    /// Keys remembered; 0 for one limit for all.
    keys: usize,
    /// The most keys that are remembered.
    keys_max: u32,
    /// Calls of newcomers that shared one bucket, for want of room.
    crowded: u64,
    /// The server of a shared limit.
    server: Option<ServerBody>,
    /// The busiest keys that are remembered, where one limit is described; `null` in lists, and for limits without keys of text.
    usage: Option<Vec<UsageBody>>,
}

/// What one key used since it is remembered.
#[derive(Debug, Serialize, ToSchema)]
struct UsageBody {
    /// The key.
    key: String,
    /// Permits spent.
    permits: u64,
    /// Calls refused.
    refused: u64,
}

impl From<LimitView> for LimitBody {
    fn from(limit: LimitView) -> Self {
        let LimitView { name, kind, settings, stats, .. } = limit;
        let server = settings.url.as_ref().map(|url| {
            // No more of it: a URL may hold a password.
            let scheme = url.expose().split(':').next().unwrap_or_default();
            ServerBody {
                kind: if scheme.starts_with("postgres") { "postgres" } else { "redis" }.to_owned(),
                leased: settings.leased,
                fallback: match settings.fallback {
                    Fallback::Open => "open",
                    Fallback::Closed => "closed",
                    Fallback::Local => "local",
                },
                questions: stats.questions,
                away: stats.away,
            }
        });
        let rate = settings.rate;
        Self {
            name,
            kind,
            permits_per_second: f64::from(rate.permits().get()) / rate.period().as_secs_f64(),
            rate: rate.to_string(),
            burst: rate.burst().get(),
            refused: stats.refused,
            keys: stats.keys,
            keys_max: settings.keys_max,
            crowded: stats.crowded,
            server,
            usage: None,
        }
    }
}

/// All limits.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsListBody {
    /// Open limits, by name.
    limits: Vec<LimitBody>,
}

/// List rate limits
#[utoipa::path(
    get,
    path = "/api/limits",
    tag = "limits",
    responses(
        (status = 200, description = "All limits", body = LimitsListBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<LimitsListBody>> {
    query(&uri, &[]).map_err(|problem| problem.at(&uri))?;
    Ok(Json(LimitsListBody { limits: app.console.limits().into_iter().map(LimitBody::from).collect() }))
}

/// Describe a rate limit
///
/// With the keys that used it most, by permits spent and calls refused; all remembered keys are looked at for it.
#[utoipa::path(
    get,
    path = "/api/limits/{name}",
    tag = "limits",
    params(
        ("name" = String, Path, description = "Name of the limit"),
        ("top" = Option<usize>, Query, description = "How many of the busiest keys, at most 1,000; 10 if left out")
    ),
    responses(
        (status = 200, description = "The limit", body = LimitBody),
        (status = "4XX", description = "No such limit", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<LimitBody>> {
    let describe = || {
        let top = top(&uri)?;
        let limit = find(&app, &name)?;
        let usage = limit.usage.as_ref().map(|usage| {
            usage(top).into_iter().map(|KeyUsage { key, permits, refused, .. }| UsageBody { key, permits, refused })
        });
        let usage = usage.map(Iterator::collect);
        Ok(Json(LimitBody { usage, ..limit.into() }))
    };
    describe().map_err(|problem: Problem| problem.at(&uri))
}

/// How many keys are asked for.
fn top(uri: &Uri) -> Result<usize, Problem> {
    let Some((_, given)) = query(uri, &["top"])?.pop() else { return Ok(TOP) };
    given.parse().ok().filter(|top| (1..=TOP_MAX).contains(top)).ok_or_else(|| {
        let detail = format!("`top` must be a whole number from 1 to {TOP_MAX}, not `{}`", shorten(&given));
        Problem::new(ProblemKind::BadQuery, detail)
    })
}

fn find(app: &App, name: &str) -> Result<LimitView, Problem> {
    let mut limits = app.console.limits();
    if let Some(at) = limits.iter().position(|limit| limit.name == name) {
        return Ok(limits.swap_remove(at));
    }
    let near = closest(name, limits.iter().map(|limit| limit.name.as_str()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no open limit `{}`{hint} All of them are at /api/limits", shorten(name));
    let problem = Problem::new(ProblemKind::UnknownLimit, detail);
    Err(match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    })
}
