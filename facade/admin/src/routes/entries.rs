//! Writing, removing and listing entries.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trimtab_cache::PutError;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{byte_cache, check_key, mib, open_cache, seconds};
use crate::body::read_json;
use crate::fields::{Fields, positive, string};
use crate::params::{Name, NameKey, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{EntryBody, ProblemBody};
use crate::value::compact;

/// Longest time to live: a hundred years.
pub(crate) const TTL_MAX_SECONDS: f64 = 3_153_600_000.0;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(put)).routes(routes!(remove)).routes(routes!(list, clear))
}

/// An entry that was stored.
#[derive(Debug, Serialize, ToSchema)]
struct StoredEntry {
    /// Name of the cache.
    cache: String,
    /// The key.
    key: String,
    /// Whether an older value was replaced.
    replaced: bool,
    /// Length of the value as it will be answered.
    length_bytes: usize,
    /// Bytes in which it is kept, which compression can make fewer; `null` when the cache has evicted it already.
    stored_bytes: Option<usize>,
    /// Whether it is kept compressed.
    compressed: bool,
    /// Time to live; `null` when it does not expire.
    ttl_seconds: Option<f64>,
}

/// Put an entry
///
/// The value may be any JSON; it is answered as it was sent, without its insignificant white space.
#[utoipa::path(
    put,
    path = "/api/memory/cache/{name}/entry",
    tag = "entries",
    params(("name" = String, Path, description = "Name of the cache")),
    request_body = EntryBody,
    responses(
        (status = 201, description = "Stored under a new key", body = StoredEntry),
        (status = 200, description = "Stored in place of an older value", body = StoredEntry),
        (status = "4XX", description = "Refused; nothing was stored", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn put(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.entry_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let cache = byte_cache(&app, &name).map_err(|problem| problem.at(&parts.uri))?;
    let (key, value, ttl) = entry(&app, &body).map_err(|problem| problem.at(&parts.uri))?;
    let (replaced, length) = (cache.contains(&key), value.len());
    cache.put(&key, value, ttl).map_err(|error| too_heavy(&error).at(&parts.uri))?;
    let info = cache.info(&key);
    let stored = StoredEntry {
        cache: name,
        replaced,
        length_bytes: length,
        stored_bytes: info.map(|info| info.stored_bytes),
        compressed: info.is_some_and(|info| info.compressed),
        ttl_seconds: seconds(ttl.or(cache.cache().ttl())),
        key,
    };
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(stored)).into_response())
}

/// Reads and checks `{key, value, ttl_seconds}`.
fn entry(app: &App, body: &[u8]) -> Result<(String, Vec<u8>, Option<Duration>), Problem> {
    let mut fields = Fields::parse(body)?;
    let key = fields.required("key", string);
    let value = fields.required("value", compact);
    let ttl = fields.optional("ttl_seconds", ttl);
    fields.finish()?;
    let (Some(key), Some(value)) = (key, value) else {
        // `finish` refuses every body in which a required field is missing or wrong.
        return Err(Problem::new(ProblemKind::InvalidFields, "`key` and `value` are required"));
    };
    check_key(app, &key)?;
    Ok((key, value, ttl))
}

/// A time to live in seconds.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = Duration::from_secs_f64(positive(text, "seconds", TTL_MAX_SECONDS)?);
    if ttl.is_zero() { Err("is less than a nanosecond; use at least 0.001".to_owned()) } else { Ok(ttl) }
}

fn too_heavy(error: &PutError) -> Problem {
    let kind = match error {
        PutError::Key { .. } => ProblemKind::BadKey,
        _ => ProblemKind::EntryTooLarge,
    };
    Problem::new(kind, error)
}

/// Remove an entry
#[utoipa::path(
    delete,
    path = "/api/memory/cache/{name}/entry/{*key}",
    tag = "entries",
    params(("name" = String, Path, description = "Name of the cache"), ("key" = String, Path, description = "Key of the entry")),
    responses(
        (status = 204, description = "Removed"),
        (status = "4XX", description = "No such cache or entry", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn remove(State(app): State<Arc<App>>, NameKey(name, key): NameKey, uri: Uri) -> Answer<StatusCode> {
    let remove = || {
        let cache = byte_cache(&app, &name)?;
        check_key(&app, &key)?;
        if cache.remove(&key) {
            return Ok(StatusCode::NO_CONTENT);
        }
        let detail = format!("the cache `{name}` has no entry `{}`, so nothing was removed", shorten(&key));
        Err(Problem::new(ProblemKind::UnknownEntry, detail))
    };
    remove().map_err(|problem: Problem| problem.at(&uri))
}

/// One entry of a listing.
#[derive(Debug, Serialize, ToSchema)]
struct Listed {
    /// The key.
    key: String,
    /// Bytes that the entry counts, key and overhead included.
    bytes: u64,
    /// Time until it expires; `null` when it does not.
    ttl_left_seconds: Option<f64>,
}

/// One page of a listing.
#[derive(Debug, Serialize, ToSchema)]
struct Page {
    /// Name of the cache.
    cache: String,
    /// Entries that the cache holds in all.
    size_entries: u64,
    /// The entries of this page, in no particular order.
    entries: Vec<Listed>,
    /// What to give as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// List entries
///
/// Entries that come or go between two pages may be listed or not; all others are listed once.
#[utoipa::path(
    get,
    path = "/api/memory/cache/{name}/entries",
    tag = "entries",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("limit" = Option<usize>, Query, description = "Most entries on the page"),
        ("after" = Option<String>, Query, description = "`next` of the page before")
    ),
    responses(
        (status = 200, description = "A page", body = Page),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<Page>> {
    let list = || {
        let cache = byte_cache(&app, &name)?;
        let Paging { limit, after, .. } = paging(&app, &uri, &[])?;
        let page = cache.cache().keys_with_info(after, limit);
        let entries = page.items.into_iter().map(|(key, info)| Listed {
            key: key.into(),
            bytes: info.weight_bytes,
            ttl_left_seconds: seconds(info.ttl_left),
        });
        let entries = entries.collect();
        let size_entries = cache.cache().len();
        Ok(Json(Page { cache: name, size_entries, entries, next: page.next.map(|next| next.to_string()) }))
    };
    list().map_err(|problem: Problem| problem.at(&uri))
}

/// Which part of a listing is asked for.
pub(super) struct Paging {
    /// The most on the page.
    pub(super) limit: usize,
    /// Where the page before ended.
    pub(super) after: Option<u64>,
    /// The other parameters.
    #[cfg_attr(not(feature = "scheduler"), allow(dead_code, reason = "for jobs"))]
    pub(super) others: Vec<(String, String)>,
}

/// Reads `limit`, `after` and the parameters that a route has beside them.
pub(super) fn paging(app: &App, uri: &Uri, others: &[&'static str]) -> Result<Paging, Problem> {
    let known: Vec<_> = ["limit", "after"].iter().chain(others).copied().collect();
    let (mut limit, mut after, mut rest) = (app.settings.page_default, None, Vec::new());
    for (name, value) in query(uri, &known)? {
        let wrong = |rule: String| {
            let detail = format!("`{name}` must be {rule}, not `{}`", shorten(&value));
            Problem::new(ProblemKind::BadQuery, detail)
        };
        if name == "limit" {
            let max = app.settings.page_max;
            let parsed = value.parse().ok().filter(|limit| (1..=max).contains(limit));
            limit = parsed.ok_or_else(|| wrong(format!("a whole number from 1 to {max} (server.page_max)")))?;
        } else if name == "after" {
            after = Some(value.parse().map_err(|_| wrong("the `next` of a page before".to_owned()))?);
        } else {
            rest.push((name, value));
        }
    }
    Ok(Paging { limit, after, others: rest })
}

/// What clearing a cache removed.
#[derive(Debug, Serialize, ToSchema)]
struct Cleared {
    /// Name of the cache.
    cache: String,
    /// Entries that were removed.
    removed_entries: u64,
    /// Bytes that they counted, in MiB.
    freed_mb: f64,
}

/// Clear a cache
///
/// Removes every entry, also of a cache with Rust values; the cache stays.
#[utoipa::path(
    delete,
    path = "/api/memory/cache/{name}/entries",
    tag = "entries",
    params(("name" = String, Path, description = "Name of the cache")),
    responses(
        (status = 200, description = "Cleared", body = Cleared),
        (status = "4XX", description = "No such cache", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn clear(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<Cleared>> {
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&uri))?;
    let (entries, bytes) = (cache.len(), cache.weight());
    // Dropping many values takes time that other requests should not wait for.
    let cleared = tokio::task::spawn_blocking(move || {
        cache.clear();
        (cache.len(), cache.weight())
    });
    let (entries_left, bytes_left) = cleared.await.unwrap_or((0, 0));
    tracing::info!(cache = name, entries, "cache cleared over HTTP");
    Ok(Json(Cleared {
        cache: name,
        removed_entries: entries.saturating_sub(entries_left),
        freed_mb: mib(bytes.saturating_sub(bytes_left)),
    }))
}
