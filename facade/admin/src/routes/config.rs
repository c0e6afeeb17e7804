//! Effective settings, each with its origin.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::console::{SettingLayer, SettingLeaf};
use crate::fields::closest;
use crate::params::query;
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(effective, super::patches::patch))
        .routes(routes!(super::patches::reset))
        .routes(routes!(super::patches::list))
        .routes(routes!(explain))
        .routes(routes!(schema))
        .routes(routes!(info))
}

/// The settings in effect.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigBody {
    /// The profile in effect.
    profile: &'static str,
    /// The environment in effect.
    environment: String,
    /// Every setting: `path`, `value` (secrets masked) and `origin` with `kind` and `text`.
    #[schema(value_type = Vec<Object>)]
    settings: Vec<SettingLeaf>,
}

/// Effective settings
#[utoipa::path(
    get,
    path = "/api/config",
    tag = "config",
    responses((status = 200, description = "Every setting with its origin", body = ConfigBody))
)]
async fn effective(State(app): State<Arc<App>>) -> Json<ConfigBody> {
    let settings = app.console.settings();
    Json(ConfigBody {
        profile: settings.profile().name(),
        environment: settings.environment(),
        settings: settings.leaves(),
    })
}

/// What every layer says about one setting.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainBody {
    /// The setting.
    path: String,
    /// The layers that say something, lowest first: `origin`, `value` and whether it `wins`.
    #[schema(value_type = Vec<Object>)]
    layers: Vec<SettingLayer>,
}

/// Explain a setting
#[utoipa::path(
    get,
    path = "/api/config/explain",
    tag = "config",
    params(("path" = String, Query, description = "Path of the setting, such as `cache.users.max_bytes`")),
    responses(
        (status = 200, description = "What every layer says", body = ExplainBody),
        (status = "4XX", description = "No such setting", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn explain(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<ExplainBody>> {
    let explain = || {
        let Some((_, path)) = query(&uri, &["path"])?.pop() else {
            let detail = "the parameter `path` is missing; give the path of a setting, such as `memory.limit`";
            return Err(Problem::new(ProblemKind::BadQuery, detail));
        };
        match app.console.settings().explain(&path) {
            Some(layers) => Ok(Json(ExplainBody { path, layers })),
            None => Err(unknown(&app, &path)),
        }
    };
    explain().map_err(|problem| problem.at(&uri))
}

fn unknown(app: &App, path: &str) -> Problem {
    let leaves = app.console.settings().leaves();
    let near = closest(path, leaves.iter().map(|leaf| leaf.path.as_str()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no setting `{}`{hint} All of them are at /api/config", shorten(path));
    let problem = Problem::new(ProblemKind::UnknownSetting, detail);
    match near {
        Some(near) => problem.with("suggestion", near),
        None => problem,
    }
}

/// JSON schema of the settings
#[utoipa::path(
    get,
    path = "/api/config/schema",
    tag = "config",
    responses((status = 200, description = "JSON schema, for editors and checks", body = Object))
)]
async fn schema(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.console.settings().schema())
}

/// What is running.
#[derive(Debug, Serialize, ToSchema)]
struct InfoBody {
    /// Name of the program.
    program: String,
    /// Version of the program.
    version: String,
    /// Version of this API.
    api_version: &'static str,
    /// The profile in effect.
    profile: &'static str,
    /// The environment in effect.
    environment: String,
    /// How long the process has been running.
    uptime_seconds: f64,
    /// Whether writes need a token.
    token_required: bool,
    /// Whether reads need it too.
    reads_protected: bool,
}

/// What is running
#[utoipa::path(
    get,
    path = "/info",
    tag = "config",
    responses((status = 200, description = "Program, version, profile", body = InfoBody))
)]
async fn info(State(app): State<Arc<App>>) -> Json<InfoBody> {
    let (console, settings) = (&app.console, app.console.settings());
    Json(InfoBody {
        program: console.program().to_owned(),
        version: console.version().to_owned(),
        api_version: env!("CARGO_PKG_VERSION"),
        profile: settings.profile().name(),
        environment: settings.environment(),
        uptime_seconds: console.monitor().sample().uptime.as_secs_f64(),
        token_required: app.guard.needs_token(),
        reads_protected: app.guard.protects_reads(),
    })
}
