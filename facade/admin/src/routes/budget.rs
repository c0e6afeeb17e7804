//! The memory budget over all caches: who has what, and every move with its reasons.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use trimtab_cache::{BudgetState, MemoryBudget};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::router::{App, Routes};

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(budget))
}

/// The memory budget.
#[derive(Debug, Serialize, ToSchema)]
struct BudgetBody {
    /// Whether there is a budget; without one every cache keeps the limit it was given.
    enabled: bool,
    /// The latest decisions in a sentence each, newest first.
    sentences: Vec<String>,
    /// `total_bytes`, `free_bytes`, `members` with limit, bounds and cost of a miss, `left_out` with reasons, and `decisions`.
    #[schema(value_type = Option<Object>)]
    budget: Option<BudgetState>,
}

/// Memory budget
///
/// Limits of the caches under the budget, and what was moved between them and why.
#[utoipa::path(
    get,
    path = "/api/budget",
    tag = "system",
    responses((status = 200, description = "The budget and its latest decisions", body = BudgetBody))
)]
async fn budget(State(app): State<Arc<App>>) -> Json<BudgetBody> {
    let budget = app.console.budget().map(MemoryBudget::state);
    let decisions = budget.iter().flat_map(|budget| &budget.decisions);
    Json(BudgetBody { enabled: budget.is_some(), sentences: decisions.map(ToString::to_string).collect(), budget })
}
