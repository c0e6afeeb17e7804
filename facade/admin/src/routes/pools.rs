//! Listing and describing pools, who holds what, and letting go of what is idle.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use trimtab_config::Share;
use trimtab_pool::{AnyPool, LeaseSite, PoolNumbers, PoolsError};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::params::{Name, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::work::heavy;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(describe)).routes(routes!(trim))
}

/// Open leases of one line of source.
#[derive(Debug, Serialize, ToSchema)]
struct SiteBody {
    /// File, line and column that took them.
    location: String,
    /// Leases open now.
    open: usize,
    /// Those of them that last longer than the limit.
    leaked: usize,
    /// Age of the oldest.
    oldest_seconds: f64,
}

impl From<&LeaseSite> for SiteBody {
    fn from(site: &LeaseSite) -> Self {
        Self {
            location: site.location.to_string(),
            open: site.open,
            leaked: site.leaked,
            oldest_seconds: site.oldest.as_secs_f64(),
        }
    }
}

/// One pool in numbers; what a kind of pool does not have is 0.
#[derive(Debug, Serialize, ToSchema)]
struct PoolBody {
    /// The name.
    name: String,
    /// `resources`, `objects`, `buffers` or `words`.
    kind: &'static str,
    /// Type of what it keeps.
    item_type: &'static str,
    /// Kept even when nobody asks.
    min_size: usize,
    /// The most; bytes for a buffer pool.
    max_size: usize,
    /// What the demand of the last periods asks for.
    wanted: usize,
    /// In callers' hands.
    in_use: usize,
    /// Ready for the next caller.
    idle: usize,
    /// Callers waiting.
    waiting: usize,
    /// Being made.
    creating: usize,
    /// Bytes held, where the pool knows.
    memory_usage_bytes: usize,
    /// Given out so far.
    acquired: u64,
    /// Made so far.
    created: u64,
    /// Come back so far.
    recycled: u64,
    /// Dropped so far as broken or not worth keeping.
    discarded: u64,
    /// Dropped so far because fewer were needed, for age, or for disuse.
    trimmed: u64,
    /// Attempts to make one that failed.
    create_failures: u64,
    /// Callers whose time ran out.
    timeouts: u64,
    /// Callers refused at once.
    refused: u64,
    /// Leases reported as held too long.
    leaked: u64,
    /// Bytes that an interner did not store again.
    saved_bytes: u64,
    /// The share of requests that needed nothing new, 0 to 1.
    reuse_ratio: f64,
    /// Half of the callers waited no longer lately.
    wait_p50_seconds: f64,
    /// 99 of 100 callers waited no longer lately.
    wait_p99_seconds: f64,
    /// Open leases by the line that took them, most first, at most 20.
    leases: Vec<SiteBody>,
}

impl PoolBody {
    fn new(pool: &dyn AnyPool) -> Self {
        let numbers: PoolNumbers = pool.numbers();
        let seconds = |time: Duration| time.as_secs_f64();
        Self {
            name: pool.name().to_owned(),
            kind: pool.kind().as_str(),
            item_type: pool.item_type(),
            min_size: numbers.min,
            max_size: numbers.max,
            wanted: numbers.wanted,
            in_use: numbers.in_use,
            idle: numbers.idle,
            waiting: numbers.waiting,
            creating: numbers.creating,
            memory_usage_bytes: numbers.bytes,
            acquired: numbers.acquired,
            created: numbers.created,
            recycled: numbers.recycled,
            discarded: numbers.discarded,
            trimmed: numbers.trimmed + numbers.expired,
            create_failures: numbers.create_failures,
            timeouts: numbers.timeouts,
            refused: numbers.refused,
            leaked: numbers.leaked,
            saved_bytes: numbers.saved_bytes,
            reuse_ratio: numbers.reuse_ratio,
            wait_p50_seconds: seconds(numbers.wait_p50),
            wait_p99_seconds: seconds(numbers.wait_p99),
            leases: pool.report().locations.iter().take(20).map(SiteBody::from).collect(),
        }
    }
}

/// All pools.
#[derive(Debug, Serialize, ToSchema)]
struct PoolsBody {
    /// Open pools, by name.
    pools: Vec<PoolBody>,
    /// Names that have settings, but were not opened by the program yet.
    declared: Vec<String>,
}

/// What a trim freed.
#[derive(Debug, Serialize, ToSchema)]
struct TrimmedBody {
    /// Resources, objects, buffers or words let go.
    objects: usize,
    /// Bytes given back, where the pool knows.
    bytes: usize,
    /// The pool after it.
    pool: PoolBody,
}

/// List pools
#[utoipa::path(
    get,
    path = "/api/pools",
    tag = "pools",
    responses((status = 200, description = "All pools", body = PoolsBody))
)]
async fn list(State(app): State<Arc<App>>) -> Json<PoolsBody> {
    let pools: Vec<_> = app.console.pools().list().iter().map(|pool| PoolBody::new(&**pool)).collect();
    let mut declared = app.console.pools().declared();
    declared.retain(|name| !pools.iter().any(|pool| pool.name == *name));
    Json(PoolsBody { pools, declared })
}

/// Describe a pool
#[utoipa::path(
    get,
    path = "/api/pools/{name}",
    tag = "pools",
    params(("name" = String, Path, description = "Name of the pool")),
    responses(
        (status = 200, description = "The pool", body = PoolBody),
        (status = "4XX", description = "No such pool", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<PoolBody>> {
    let pool = find(&app, &name).map_err(|problem| problem.at(&uri))?;
    Ok(Json(PoolBody::new(&*pool)))
}

/// Let go of idle objects
///
/// Never below the pool's least; the coldest go first.
#[utoipa::path(
    post,
    path = "/api/pools/{name}/trim",
    tag = "pools",
    params(
        ("name" = String, Path, description = "Name of the pool"),
        ("share" = Option<String>, Query, description = "Share of what is idle, such as `50%`; without it all of it")
    ),
    responses(
        (status = 200, description = "What it freed", body = TrimmedBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn trim(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<TrimmedBody>> {
    let wanted = || {
        let pairs = query(&uri, &["share"])?;
        let share = pairs.first().map_or(Ok(Share::ALL), |(_, share)| {
            share.parse().map_err(|error: trimtab_config::ParseUnitError| {
                Problem::new(ProblemKind::BadQuery, format!("share `{}`: {error}", shorten(share)))
            })
        })?;
        Ok((find(&app, &name)?, share))
    };
    let (pool, share) = wanted().map_err(|problem: Problem| problem.at(&uri))?;
    let work = move || {
        let trimmed = pool.trim_idle(share);
        TrimmedBody { objects: trimmed.objects, bytes: trimmed.bytes, pool: PoolBody::new(&*pool) }
    };
    let body = heavy(&app, "trim", work).await.map_err(|problem| problem.at(&uri))?;
    tracing::info!(pool = name, objects = body.objects, bytes = body.bytes, "pool trimmed over HTTP");
    Ok(Json(body))
}

fn find(app: &App, name: &str) -> Result<Arc<dyn AnyPool>, Problem> {
    app.console.pools().find(name).map_err(|error| {
        let problem = Problem::new(ProblemKind::UnknownPool, &error);
        match error {
            PoolsError::Unknown { suggestion: Some(near), .. } => problem.with("suggestion", near),
            _ => problem,
        }
    })
}
