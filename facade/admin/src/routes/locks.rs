//! Groups of locks: what is held and waited for in this process, and taking a lock from a holder that hangs.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use trimtab_lock::{ForceError, LockListing, Locks};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::body::read_json;
use crate::fields::{Fields, boolean, closest, string};
use crate::params::{Name, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{ProblemBody, ReleaseBody};

/// Locks listed of one group.
const LISTED: usize = 1_000;
/// The longest reason, in bytes.
const REASON_MAX: usize = 500;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(describe)).routes(routes!(release))
}

/// One lock or semaphore, as this process knows it.
#[derive(Debug, Serialize, ToSchema)]
struct LockBody {
    /// Its name.
    name: String,
    /// Whether it is a semaphore; those have names of their own.
    semaphore: bool,
    /// Whether somebody in this process holds it.
    held: bool,
    /// How many in this process hold it: readers hold a lock together, and a semaphore has several permits.
    holders: usize,
    /// The line that took it; of several, the one that has held it longest, here and below.
    location: Option<String>,
    /// Since when.
    held_seconds: Option<f64>,
    /// The fencing token of its lease.
    token: Option<u64>,
    /// Callers of this process that wait for it.
    waiting: usize,
}

impl From<LockListing> for LockBody {
    fn from(lock: LockListing) -> Self {
        let longest = lock.holders.iter().max_by_key(|holder| holder.held_for);
        Self {
            semaphore: lock.semaphore,
            held: longest.is_some(),
            holders: lock.holders.len(),
            location: longest.map(|holder| holder.location.clone()),
            held_seconds: longest.map(|holder| holder.held_for.as_secs_f64()),
            token: longest.map(|holder| holder.token),
            waiting: lock.waiters.len(),
            name: lock.name,
        }
    }
}

/// One group of locks. Counts are since the start, and of this process.
#[derive(Debug, Serialize, ToSchema)]
struct GroupBody {
    /// The name.
    name: String,
    /// Where its locks are kept: `memory`, `file`, `postgres` or `redis`.
    store: String,
    /// How long a lock outlives a holder that fell silent; without meaning in memory and files.
    lease_seconds: f64,
    /// Locks held.
    held: usize,
    /// Callers waiting.
    waiting: usize,
    /// Leases so far.
    acquired: u64,
    /// Leases given back in time.
    released: u64,
    /// Leases that ended before their release.
    lost: u64,
    /// Leases that went to the next task of this process.
    hand_overs: u64,
    /// Callers whose time ran out.
    timeouts: u64,
    /// Callers refused because too many waited.
    refused: u64,
    /// Questions to the store.
    round_trips: u64,
    /// Locks and semaphores that are held or waited for here, by name, at most 1,000.
    locks: Vec<LockBody>,
}

impl From<&Locks> for GroupBody {
    fn from(locks: &Locks) -> Self {
        let (stats, settings) = (locks.stats(), locks.settings());
        // No more of it: a URL may hold a password.
        let scheme = settings.url.expose().split(':').next().unwrap_or_default();
        let store = if scheme == "postgresql" { "postgres" } else { scheme };
        Self {
            name: locks.name().to_owned(),
            store: store.to_owned(),
            lease_seconds: settings.lease.as_secs_f64(),
            held: stats.held,
            waiting: stats.waiting,
            acquired: stats.acquired,
            released: stats.released,
            lost: stats.lost,
            hand_overs: stats.hand_overs,
            timeouts: stats.timeouts,
            refused: stats.refused,
            round_trips: stats.round_trips,
            locks: locks.listing().into_iter().take(LISTED).map(LockBody::from).collect(),
        }
    }
}

/// All groups of locks.
#[derive(Debug, Serialize, ToSchema)]
struct GroupsBody {
    /// Open groups, by name.
    groups: Vec<GroupBody>,
}

/// List groups of locks
///
/// What other processes hold is not known here.
#[utoipa::path(
    get,
    path = "/api/locks",
    tag = "locks",
    responses(
        (status = 200, description = "All groups, with what is held and waited for", body = GroupsBody),
        (status = "4XX", description = "Refused", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<GroupsBody>> {
    query(&uri, &[]).map_err(|problem| problem.at(&uri))?;
    Ok(Json(GroupsBody { groups: app.console.locks().iter().map(GroupBody::from).collect() }))
}

/// Describe a group of locks
#[utoipa::path(
    get,
    path = "/api/locks/{name}",
    tag = "locks",
    params(("name" = String, Path, description = "Name of the group")),
    responses(
        (status = 200, description = "The group", body = GroupBody),
        (status = "4XX", description = "No such group", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<GroupBody>> {
    find(&app, &name).map(|locks| Json((&locks).into())).map_err(|problem| problem.at(&uri))
}

/// Take a lock from its holder
///
/// Its holders in this process are told that the lease is lost; work under `with_lock` is stopped. A semaphore loses all its permits.
/// With `everywhere`, holders in other processes lose it too, if nobody holds it here. The reason goes to the log as an event of the
/// target `trimtab_lock::audit`.
#[utoipa::path(
    post,
    path = "/api/locks/{name}/release",
    tag = "locks",
    params(("name" = String, Path, description = "Name of the group")),
    request_body = ReleaseBody,
    responses(
        (status = 200, description = "Taken; the group after it", body = GroupBody),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "The store did not answer; it may have happened or not", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn release(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Json<GroupBody>> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let release = async {
        let locks = find(&app, &name)?;
        let Wanted { lock, semaphore, everywhere, reason } = wanted(&body)?;
        // Of how many a permit is one does not matter to who takes all.
        let permits = semaphore.then(|| locks.semaphore(&lock, 1).ok()).flatten();
        let was_held = match (&permits, everywhere) {
            (Some(permits), true) => permits.force_release_everywhere(&reason).await.map_err(|error| kept(&error))? > 0,
            (Some(permits), false) => permits.force_release(&reason),
            (None, _) if semaphore => false,
            (None, true) => locks.force_release_everywhere(&lock, &reason).await.map_err(|error| kept(&error))? > 0,
            (None, false) => locks.force_release(&lock, &reason),
        };
        if !was_held {
            let (kind, lock) = (if semaphore { "semaphore" } else { "lock" }, shorten(&lock));
            let detail = if everywhere {
                format!("nobody holds the {kind} `{lock}` of `{name}`")
            } else {
                format!(
                    "nobody in this process holds the {kind} `{lock}` of `{name}`; see GET /api/locks/{name}, or take it `everywhere`"
                )
            };
            return Err(Problem::new(ProblemKind::LockFree, detail));
        }
        Ok(Json((&locks).into()))
    };
    release.await.map_err(|problem: Problem| problem.at(&parts.uri))
}

/// What a request to take a lock says.
struct Wanted {
    lock: String,
    semaphore: bool,
    everywhere: bool,
    reason: String,
}

fn wanted(body: &[u8]) -> Result<Wanted, Problem> {
    let mut fields = Fields::parse(body)?;
    let (lock, reason) = (fields.required("lock", string), fields.required("reason", reason));
    let semaphore = fields.optional("semaphore", boolean).unwrap_or_default();
    let everywhere = fields.optional("everywhere", boolean).unwrap_or_default();
    fields.finish()?;
    Ok(Wanted { lock: lock.unwrap_or_default(), semaphore, everywhere, reason: reason.unwrap_or_default() })
}

/// Why a lock was not taken from another process.
fn kept(error: &ForceError) -> Problem {
    let kind = match error {
        ForceError::Unsupported { .. } => ProblemKind::LockKept,
        _ => ProblemKind::LockStoreAway,
    };
    Problem::new(kind, error.to_string())
}

fn reason(text: &str) -> Result<String, String> {
    let reason = string(text)?;
    if reason.trim().is_empty() || reason.len() > REASON_MAX {
        return Err(format!("must say why, in 1 to {REASON_MAX} bytes: it goes to the log"));
    }
    Ok(reason)
}

fn find(app: &App, name: &str) -> Result<Locks, Problem> {
    let mut groups = app.console.locks();
    if let Some(at) = groups.iter().position(|locks| locks.name() == name) {
        return Ok(groups.swap_remove(at));
    }
    let near = closest(name, groups.iter().map(Locks::name));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no open group of locks `{}`{hint} All of them are at /api/locks", shorten(name));
    let problem = Problem::new(ProblemKind::UnknownLockGroup, detail);
    Err(match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    })
}
