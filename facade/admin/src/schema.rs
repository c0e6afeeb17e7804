//! Request and error bodies as the OpenAPI document shows them.
//!
//! Bodies are read field by field (see `fields`), errors are written by hand (see `problem`); these types describe
//! both, and the tests send what they describe.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A cache to be created. Every field may be left out or `null`; unknown fields are refused.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"max_size": 1000, "ttl_seconds": 3600, "policy": "adaptive", "memory_limit_mb": 100, "enable_compression": true}))]
pub(crate) struct CreateBody {
    /// Most entries.
    #[schema(minimum = 1)]
    max_size: Option<u64>,
    /// Time to live of entries that bring none.
    #[schema(exclusive_minimum = 0)]
    ttl_seconds: Option<f64>,
    /// Who has to leave when there is no room: `adaptive`, `lru`, `lfu`, `fifo`, `ttl` or `arc`.
    policy: Option<String>,
    /// Most memory of all entries, overhead included, in MiB.
    #[schema(exclusive_minimum = 0)]
    memory_limit_mb: Option<f64>,
    /// Whether large values are kept compressed (lz4), where that makes them smaller.
    enable_compression: Option<bool>,
    /// Whether the cache publishes metrics for Prometheus.
    enable_metrics: Option<bool>,
}

/// Limits to be changed, or the policy. A field that is left out stays; `null` lifts a limit. Unknown fields are refused.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"max_size": 2000, "memory_limit_mb": 64, "ttl_seconds": null}))]
pub(crate) struct LimitsBody {
    /// Most entries.
    #[schema(minimum = 1)]
    max_size: Option<u64>,
    /// Most memory of all entries, overhead included, in MiB.
    #[schema(exclusive_minimum = 0)]
    memory_limit_mb: Option<f64>,
    /// Time to live of entries that bring none, for those stored from now on.
    #[schema(exclusive_minimum = 0)]
    ttl_seconds: Option<f64>,
    /// Who has to leave when there is no room: `adaptive`, `lru`, `lfu`, `fifo`, `ttl` or `arc`. Entries stay; `null` is refused.
    policy: Option<String>,
}

/// How far a cache is to shrink. Unknown fields are refused.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"share": 0.25}))]
pub(crate) struct ShrinkBody {
    /// What to keep of the bytes, or of the entries where none are counted: from 0, nothing, to 1, all of it.
    #[schema(minimum = 0, maximum = 1)]
    share: f64,
}

/// A ceiling to be set. Unknown fields are refused.
#[cfg(feature = "scheduler")]
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"ceiling": 32}))]
pub(crate) struct CeilingBody {
    /// How many jobs may run at the same time.
    #[schema(minimum = 1)]
    ceiling: u32,
}

/// What a breaker is to do. Unknown fields are refused.
#[cfg(feature = "scheduler")]
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"state": "automatic"}))]
pub(crate) struct ForceBody {
    /// `open` refuses all calls, `closed` lets all in and counts none, `automatic` takes that back, with an empty window.
    state: String,
}

/// A lock to be taken from its holder. Unknown fields are refused.
#[cfg(feature = "lock")]
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"lock": "invoices/2026-11", "reason": "the holder hangs, ticket 4711"}))]
pub(crate) struct ReleaseBody {
    /// Name of the lock.
    lock: String,
    /// Whether a semaphore is meant, which has a name of its own.
    #[serde(default)]
    semaphore: bool,
    /// Whether it is taken from holders in other processes too, if nobody holds it here. Over PostgreSQL that ends the holder's
    /// session; over Redis the holder is told at its next renewal; over files it is refused.
    #[serde(default)]
    everywhere: bool,
    /// Why, for the log.
    reason: String,
}

/// An entry to be stored.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"key": "user:123", "value": {"name": "John", "email": "john@example.com"}, "ttl_seconds": 1800}))]
pub(crate) struct EntryBody {
    /// The key: any text of 1 to `server.key_max` bytes.
    key: String,
    /// The value: any JSON, nested at most 128 levels.
    value: Value,
    /// Time to live; the cache's own when left out or `null`.
    #[schema(exclusive_minimum = 0)]
    ttl_seconds: Option<f64>,
}

/// An error, as RFC 9457 has it; further members depend on the kind.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// Path of the description of the kind.
    r#type: String,
    /// The same sentence for every occurrence of the kind.
    title: String,
    /// The status of the answer.
    status: u16,
    /// What was tried, on what, against which limit, and what to do next.
    detail: String,
    /// The path on which it happened.
    instance: Option<String>,
}
