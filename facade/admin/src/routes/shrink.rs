//! Shrinking a cache on request: what is regretted least leaves, and the memory goes back to the system.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use trimtab_config::Share;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::open_cache;
use super::system::reclaim;
use crate::body::read_json;
use crate::fields::Fields;
use crate::params::Name;
use crate::problem::{Problem, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{ProblemBody, ShrinkBody};
use crate::work::heavy;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(shrink))
}

/// What a shrink brought.
#[derive(Debug, Serialize, ToSchema)]
struct ShrunkBody {
    /// Name of the cache.
    cache: String,
    /// What was to be kept, from 0 to 1.
    share: f64,
    /// Entries that left.
    freed_entries: u64,
    /// What they weighed, overhead included.
    freed_bytes: u64,
    /// Entries that are left.
    entries: u64,
    /// Bytes that are left.
    bytes: u64,
    /// Bytes by which resident memory fell when the allocator was asked for free pages; 0 if it was asked too lately.
    returned_bytes: u64,
    /// The same in words.
    reclaim: String,
    /// How long all of it took.
    took_seconds: f64,
}

/// Shrink a cache
///
/// Evicts what the policy would give up next until the share is left, makes the tables of the cache smaller, and asks the
/// allocator to give free memory back to the system, which it does at most once in `monitor.reclaim_gap`. Limits stay as they
/// are, so the cache may fill again. It goes on when the client leaves.
#[utoipa::path(
    post,
    path = "/api/caches/{name}/shrink",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    request_body = ShrinkBody,
    responses(
        (status = 200, description = "Done; how much was given up", body = ShrunkBody),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn shrink(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Json<ShrunkBody>> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&parts.uri))?;
    let shared = Arc::clone(&app);
    let work = move || -> Result<ShrunkBody, Problem> {
        let share = read(&body)?;
        let started = Instant::now();
        let freed = cache.shrink_to(share);
        let step = reclaim(&shared.console, &shared.reclaimer);
        tracing::info!(cache = cache.name(), %share, freed.entries, freed.bytes, "a cache was shrunk over HTTP");
        Ok(ShrunkBody {
            cache: name,
            share: share.get(),
            freed_entries: freed.entries,
            freed_bytes: freed.bytes,
            entries: cache.len(),
            bytes: cache.weight(),
            returned_bytes: step.freed_bytes,
            reclaim: step.detail,
            took_seconds: started.elapsed().as_secs_f64(),
        })
    };
    let done = heavy(&app, "shrink", work).await.and_then(std::convert::identity);
    done.map(Json).map_err(|problem| problem.at(&parts.uri))
}

fn read(body: &[u8]) -> Result<Share, Problem> {
    let mut fields = Fields::parse(body)?;
    let share = fields.required("share", |text| {
        let refused = || format!("must be a number from 0, nothing stays, to 1, all stays, not {}", shorten(text));
        let number = serde_json::from_str::<f64>(text).map_err(|_| refused())?;
        Share::new(number).map_err(|_| refused())
    });
    fields.finish_with(|| Ok(share.unwrap_or(Share::ALL)))
}
