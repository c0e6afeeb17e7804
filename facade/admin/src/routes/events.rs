//! The stream of live events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::stream::Events;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(events))
}

/// Live events
///
/// First `hello` with the past, then a `tick` every `server.events_interval`; a slow client misses ticks.
#[utoipa::path(
    get,
    path = "/events",
    tag = "system",
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 429, description = "Too many streams are open", body = ProblemBody, content_type = "application/problem+json", headers(("retry-after" = u64)))
    )
)]
async fn events(State(app): State<Arc<App>>, uri: Uri) -> Answer<Response> {
    Events::open(&app).map_err(|problem| problem.at(&uri))
}
