//! Settings changed while the program runs, and taken back.
//!
//! A patch is a partial tree that lies over every other source until it is taken back or the program ends. It is whole
//! or not at all: a refusal lists everything that is wrong, and nothing changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use serde::Serialize;
use serde_json::{Value, json};
use trimtab_config::Problem as Fault;
use utoipa::ToSchema;

use crate::body::read_json;
use crate::console::SettingChange;
use crate::params::query;
use crate::problem::{Problem, ProblemKind, shorten_to};
use crate::router::{Answer, App};
use crate::schema::ProblemBody;
use crate::work::blocking;

/// What a patch or its taking back has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChangesBody {
    /// The settings that changed: `path`, `old`, `new` (secrets masked), `origin`, and whether they wait for a `restart`.
    #[schema(value_type = Vec<Object>)]
    changes: Vec<SettingChange>,
    /// Whether one of them takes effect only after a restart.
    restart_needed: bool,
}

impl ChangesBody {
    fn new(what: &str, changes: Vec<SettingChange>) -> Self {
        let restart_needed = changes.iter().any(|change| change.restart);
        tracing::info!(changed = changes.len(), restart_needed, "settings {what} over HTTP");
        Self { changes, restart_needed }
    }
}

/// Change settings at run time
///
/// The body is a partial tree of settings, such as `{"cache": {"users": {"max_entries": 5000}}}`; `null` empties an
/// optional setting. It lies over every other source until it is taken back or the program ends; earlier patches stay.
#[utoipa::path(
    patch,
    path = "/api/config",
    tag = "config",
    request_body(content = Object, description = "A partial tree of settings", example = json!({"monitor": {"interval": "2s"}})),
    responses(
        (status = 200, description = "What changed; empty when all of it was so already", body = ChangesBody),
        (status = "4XX", description = "Refused, nothing changed; `problems` lists every mistake with `path`, `message`, `origin`, `suggestion`", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn patch(State(app): State<Arc<App>>, request: Request) -> Answer<Json<ChangesBody>> {
    let (parts, body) = request.into_parts();
    let patch = async {
        query(&parts.uri, &[])?;
        let body = read_json(&parts.headers, body, app.body_limit()).await?;
        let tree = tree(&body)?;
        // Caches that become smaller evict before this returns.
        let console = app.console.clone();
        let changes = blocking(move || console.settings().patch(tree)).await.map_err(|faults| refused(&faults))?;
        Ok(Json(ChangesBody::new("patched", changes)))
    };
    patch.await.map_err(|problem: Problem| problem.at(&parts.uri))
}

/// The body as a tree; anything but an object is no partial tree.
fn tree(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |error: &serde_json::Error| {
        Problem::new(
            ProblemKind::MalformedJson,
            format!("{error}; send one JSON object with a partial tree of settings"),
        )
        .with("line", error.line())
        .with("column", error.column())
    };
    match serde_json::from_slice(body).map_err(|error| malformed(&error))? {
        tree @ Value::Object(_) => Ok(tree),
        other => {
            let kind = match other {
                Value::Array(_) => "an array",
                Value::String(_) => "a text",
                Value::Null => "null",
                _ => "a single value",
            };
            let fault = Fault::new(
                "",
                format!("a patch is a table of settings, not {kind}; send {{\"section\": {{\"setting\": value}}}}"),
            );
            Err(refused(&[fault]))
        }
    }
}

/// Take back a patch
///
/// What patches said about the setting or table at `path` is forgotten, and the other sources decide again. An empty
/// `path` takes back all patches.
#[utoipa::path(
    delete,
    path = "/api/config/patch",
    tag = "config",
    params(("path" = String, Query, description = "Path of the setting or table, such as `cache.users`; empty for all patches")),
    responses(
        (status = 200, description = "What changed", body = ChangesBody),
        (status = "4XX", description = "Refused, nothing changed", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn reset(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<ChangesBody>> {
    let reset = async {
        let Some((_, path)) = query(&uri, &["path"])?.pop() else {
            let detail = "the parameter `path` is missing; give the path of a patched setting, or an empty one (`?path=`) to take back every patch";
            return Err(Problem::new(ProblemKind::BadQuery, detail));
        };
        let console = app.console.clone();
        let changes = blocking(move || console.settings().reset(&path)).await.map_err(|faults| refused(&faults))?;
        Ok(Json(ChangesBody::new("reset", changes)))
    };
    reset.await.map_err(|problem| problem.at(&uri))
}

/// All patches so far.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PatchesBody {
    /// One tree, with the latest value of each patched setting; secrets masked.
    #[schema(value_type = Object)]
    patches: Value,
}

/// Patches so far
#[utoipa::path(
    get,
    path = "/api/config/patches",
    tag = "config",
    responses((status = 200, description = "All patches as one tree", body = PatchesBody))
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<PatchesBody> {
    Json(PatchesBody { patches: app.console.settings().patches() })
}

/// Every mistake as one problem, the first few of many.
fn refused(faults: &[Fault]) -> Problem {
    /// A patch of thousands of unknown names is answered with its first few.
    const SHOWN: usize = 16;
    let listed: Vec<Value> = faults
        .iter()
        .take(SHOWN)
        .map(|fault| {
            let mut one = json!({"path": shorten_to(fault.path(), 160), "message": shorten_to(fault.message(), 320)});
            if let Some(value) = fault.value() {
                one["value"] = shorten_to(value, 80).into();
            }
            if let Some(origin) = fault.origin() {
                one["origin"] = serde_json::to_value(origin).unwrap_or_default();
            }
            if let Some(suggestion) = fault.suggestion() {
                one["suggestion"] = shorten_to(suggestion, 160).into();
            }
            one
        })
        .collect();
    let first = faults.first().map(|fault| shorten_to(&fault.to_string(), 480)).unwrap_or_default();
    let detail = match faults.len() {
        0 | 1 => format!("nothing was changed: {first}"),
        many => format!("nothing was changed, {many} problems were found; the first: {first}"),
    };
    Problem::new(ProblemKind::InvalidSettings, detail).with("problems", listed).with("problems_total", faults.len())
}
