//! Health: of memory, for people and dashboards; live and ready, for orchestrators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trimtab_monitor::{MemoryStatus, Pressure, Verdict};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::system::{Global, Utilization};
use crate::router::{App, Routes};

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(memory)).routes(routes!(live)).routes(routes!(ready))
}

/// How memory is.
#[derive(Debug, Serialize, ToSchema)]
struct MemoryBody {
    /// `healthy`, `warning` or `critical`.
    #[schema(value_type = String)]
    status: MemoryStatus,
    /// `low`, `moderate`, `high` or `critical`.
    #[schema(value_type = String)]
    memory_pressure: Pressure,
    /// Hits of all lookups in all caches, from 0 to 1.
    cache_hit_rate: f64,
    /// What optimisations have given back to the system since the start, in MiB.
    memory_saved_mb: f64,
    /// How much of its resources the process uses.
    resource_utilization: Utilization,
    /// What the status rests on, in one sentence.
    detail: String,
}

/// Health of memory
///
/// Always 200: pressure is no failure. For a status that orchestrators act on, see `/health/ready`.
#[utoipa::path(
    get,
    path = "/health/memory",
    tag = "health",
    responses((status = 200, description = "How memory is", body = MemoryBody))
)]
async fn memory(State(app): State<Arc<App>>) -> Json<MemoryBody> {
    let health = app.console.monitor().memory_health();
    let Global { cache_hit_rate, memory_saved_mb, resource_utilization } = Global::of(&app.console);
    Json(MemoryBody {
        status: health.status,
        memory_pressure: health.memory_pressure,
        cache_hit_rate,
        memory_saved_mb,
        resource_utilization,
        detail: health.detail,
    })
}

/// A verdict.
#[derive(Debug, Serialize, ToSchema)]
struct VerdictBody {
    /// Yes or no.
    ok: bool,
    /// Why not; empty when `ok`.
    reasons: Vec<String>,
}

fn verdict(verdict: Verdict) -> Response {
    let status = if verdict.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(VerdictBody { ok: verdict.ok, reasons: verdict.reasons })).into_response()
}

/// Liveness
///
/// 503 when only a restart helps.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "health",
    responses(
        (status = 200, description = "Do not restart", body = VerdictBody),
        (status = 503, description = "Restart", body = VerdictBody)
    )
)]
async fn live(State(app): State<Arc<App>>) -> Response {
    verdict(app.console.monitor().health().live())
}

/// Readiness
///
/// 503 while starting, draining, or without a component that requests need.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "health",
    responses(
        (status = 200, description = "Send requests", body = VerdictBody),
        (status = 503, description = "Send none", body = VerdictBody)
    )
)]
async fn ready(State(app): State<Arc<App>>) -> Response {
    verdict(app.console.monitor().health().ready())
}
