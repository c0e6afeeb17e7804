//! The routes, by group. Each file holds the handlers of one group; what they answer is declared beside them, and
//! the OpenAPI document is generated from both.

mod budget;
mod caches;
#[cfg(feature = "scheduler")]
mod calls;
mod config;
mod curve;
mod entries;
mod entry;
mod events;
mod health;
#[cfg(feature = "scheduler")]
mod jobs;
#[cfg(feature = "scheduler")]
mod lanes;
mod limits;
#[cfg(feature = "lock")]
mod locks;
mod page;
mod patches;
mod pools;
#[cfg(feature = "limit")]
mod rates;
mod shrink;
pub(crate) mod snapshots;
mod system;

use std::sync::Arc;

use trimtab_cache::{AnyCache, ByteCache, CachesError};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::fields::closest;
use crate::metrics::Group;
use crate::problem::{Problem, ProblemKind};
use crate::router::{App, Routes};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "trimtab",
        description = "Caches, memory and health of one process. Errors are `application/problem+json` (RFC 9457); their kinds are listed at `/problems`. When a token is set, every write carries `Authorization: Bearer <token>`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(crate::schema::ProblemBody)),
    tags(
        (name = "caches", description = "Named caches"),
        (name = "entries", description = "Entries of caches whose values are JSON"),
        (name = "pools", description = "Pools of resources, objects, buffers and words"),
        (name = "lanes", description = "Lanes of the scheduler, their jobs, and calls with their breakers; where the program has them"),
        (name = "locks", description = "Groups of locks; where the program has them"),
        (name = "limits", description = "Rate limits; where the program has them"),
        (name = "system", description = "Numbers, recommendations, optimisation"),
        (name = "health", description = "Health"),
        (name = "config", description = "Effective settings, their origin, and changes at run time"),
        (name = "page", description = "The dashboard, and documents about this API")
    )
)]
struct Document;

/// The frame of the document, to which the routes are added.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}

/// Every route, by group.
pub(crate) fn all() -> Vec<(Group, Routes)> {
    vec![
        (Group::Page, page::routes()),
        (Group::Health, health::routes()),
        (Group::Caches, caches::routes()),
        (Group::Caches, curve::routes()),
        (Group::Caches, snapshots::routes()),
        (Group::Caches, shrink::routes()),
        (Group::System, budget::routes()),
        (Group::Entries, entries::routes()),
        (Group::Entry, entry::routes()),
        (Group::System, system::routes().merge(pools::routes())),
        #[cfg(feature = "scheduler")]
        (Group::Lanes, lanes::routes().merge(jobs::routes()).merge(calls::routes())),
        #[cfg(feature = "lock")]
        (Group::Locks, locks::routes()),
        #[cfg(feature = "limit")]
        (Group::Limits, rates::routes()),
        (Group::Config, config::routes()),
        (Group::Events, events::routes()),
    ]
}

/// The open cache of this name.
fn open_cache(app: &App, name: &str) -> Result<Arc<dyn AnyCache>, Problem> {
    match app.console.caches().get(name) {
        Some(cache) => Ok(cache),
        None => Err(no_cache(app, name)),
    }
}

/// The open cache of this name, whose values are bytes.
fn byte_cache(app: &App, name: &str) -> Result<ByteCache, Problem> {
    let cache = open_cache(app, name)?;
    cache.as_bytes().cloned().ok_or_else(|| typed(&*cache))
}

fn typed(cache: &dyn AnyCache) -> Problem {
    let detail = format!(
        "the cache `{}` holds Rust values of type {}, which HTTP cannot carry; read them in the program, or create a cache of JSON beside it",
        cache.name(),
        cache.value_type()
    );
    Problem::new(ProblemKind::TypedCache, detail)
}

/// Why there is no open cache of this name. Cold: the misspelt, the unknown, the merely declared.
#[cold]
fn no_cache(app: &App, name: &str) -> Problem {
    if let Err(problem) = check_name(name) {
        return problem;
    }
    let caches = app.console.caches();
    if caches.declared(name).is_some() {
        let detail = format!(
            "the cache `{name}` has settings, but the program has not opened it yet; only it knows the type of its values"
        );
        return Problem::new(ProblemKind::UnopenedCache, detail);
    }
    let names = caches.names();
    let near = closest(name, names.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no cache `{name}`{hint}; create it by POST to /api/memory/cache/{name}/create");
    let problem = Problem::new(ProblemKind::UnknownCache, detail);
    match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    }
}

/// The naming rule of caches, checked here so that a lookup of `..` is a bad name and not an unknown one.
fn check_name(name: &str) -> Result<(), Problem> {
    trimtab_config::check_name("cache", name).map_err(|error| Problem::new(ProblemKind::BadName, error.to_string()))
}

fn check_key(app: &App, key: &str) -> Result<(), Problem> {
    let max = app.settings.key_max.as_u64().min(trimtab_cache::bytes::KEY_MAX as u64);
    if !key.is_empty() && key.len() as u64 <= max {
        return Ok(());
    }
    let detail = format!(
        "the key has {} bytes, allowed are 1 to {max}; shorten it (a hash will do), or raise server.key_max",
        key.len()
    );
    Err(Problem::new(ProblemKind::BadKey, detail).with("limit_bytes", max))
}

/// What the registry refuses, as a problem.
fn refused(error: &CachesError) -> Problem {
    let kind = match error {
        CachesError::Name(_) => ProblemKind::BadName,
        CachesError::Duplicate { .. } => ProblemKind::CacheExists,
        CachesError::Unknown { .. } => ProblemKind::UnknownCache,
        CachesError::Mistyped { .. } | CachesError::CompressionOnTyped { .. } => ProblemKind::TypedCache,
        CachesError::TooMany { .. } => ProblemKind::TooManyCaches,
        _ => ProblemKind::InvalidFields,
    };
    Problem::new(kind, error)
}

/// An optional number of seconds.
fn seconds(span: Option<impl Into<std::time::Duration>>) -> Option<f64> {
    span.map(|span| span.into().as_secs_f64())
}

const MIB: f64 = 1_048_576.0;

/// Bytes as MiB, rounded to whole bytes' worth of digits.
fn mib(bytes: u64) -> f64 {
    (bytes as f64 / MIB * 1e6).round() / 1e6
}
