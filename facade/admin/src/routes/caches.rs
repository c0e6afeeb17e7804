//! Creating, listing, describing and removing caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{HeaderValue, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trimtab_cache::{AnyCache, CacheSettings, Compression, Evictions, PolicyKind};
use trimtab_config::{ByteSize, Problems, Settings};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::entries::ttl;
use super::{MIB, check_name, mib, open_cache, refused, seconds};
use crate::body::read_json;
use crate::fields::{Fields, boolean, closest, count, positive, string};
use crate::frame::kind;
use crate::params::Name;
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::{CreateBody, ProblemBody};

/// Largest `memory_limit_mb`: 16 TiB.
pub(super) const MEMORY_MAX_MIB: f64 = 16_777_216.0;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(create))
        .routes(routes!(describe, remove, super::limits::change))
        .routes(routes!(metrics))
}

/// The settings in force of a cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingsBody {
    /// Most entries; `null` for no such limit.
    max_size: Option<u64>,
    /// Time to live of entries that bring none; `null` when they do not expire.
    ttl_seconds: Option<f64>,
    /// Who has to leave when there is no room.
    policy: String,
    /// Most memory of all entries, in MiB; `null` for no such limit.
    memory_limit_mb: Option<f64>,
    /// Whether large values are kept compressed.
    enable_compression: bool,
    /// Whether the cache publishes metrics for Prometheus.
    enable_metrics: bool,
}

impl From<&CacheSettings> for SettingsBody {
    fn from(settings: &CacheSettings) -> Self {
        Self {
            max_size: settings.max_entries,
            ttl_seconds: seconds(settings.ttl),
            policy: settings.policy.to_string(),
            memory_limit_mb: settings.max_bytes.map(|bytes| mib(bytes.as_u64())),
            enable_compression: settings.compression != Compression::Off,
            enable_metrics: settings.metrics,
        }
    }
}

/// One cache: its settings and where to go on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheBody {
    /// The name.
    name: String,
    /// `bytes` for values that HTTP can read and write, `typed` for Rust values.
    kind: &'static str,
    /// Type of the keys.
    key_type: &'static str,
    /// Type of the values.
    value_type: &'static str,
    /// The settings in force.
    settings: SettingsBody,
    /// What happened so far.
    metrics: MetricsBody,
    /// Paths of related resources.
    links: BTreeMap<&'static str, String>,
}

impl CacheBody {
    pub(super) fn new(cache: &dyn AnyCache) -> Self {
        let base = format!("/api/memory/cache/{}", cache.name());
        Self {
            name: cache.name().to_owned(),
            kind: kind(cache),
            key_type: cache.key_type(),
            value_type: cache.value_type(),
            settings: (&cache.settings()).into(),
            metrics: MetricsBody::new(cache),
            links: BTreeMap::from([
                ("curve", format!("/api/caches/{}/curve", cache.name())),
                ("entries", format!("{base}/entries")),
                ("entry", format!("{base}/entry")),
                ("metrics", format!("{base}/metrics")),
                ("self", base),
            ]),
        }
    }
}

/// Entries that left a cache, by cause.
#[derive(Debug, Serialize, ToSchema)]
struct EvictionsBody {
    /// Left because `max_size` was exceeded.
    capacity: u64,
    /// Left because `memory_limit_mb` was exceeded.
    size: u64,
    /// Left because their time to live was over.
    expired: u64,
    /// Removed or cleared on request.
    explicit: u64,
    /// Overwritten by a newer value.
    replaced: u64,
    /// Given up by a shrink, to give memory back.
    shrunk: u64,
}

impl From<Evictions> for EvictionsBody {
    fn from(evictions: Evictions) -> Self {
        let Evictions { capacity, size, expired, explicit, replaced, shrunk, .. } = evictions;
        Self { capacity, size, expired, explicit, replaced, shrunk }
    }
}

/// What happened in a cache since it was created.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricsBody {
    /// Lookups that found a live entry.
    pub(crate) hits: u64,
    /// Lookups that found none.
    pub(crate) misses: u64,
    /// `hits / (hits + misses)`, from 0 to 1; 0 before the first lookup.
    hit_rate: f64,
    /// Entries now held.
    size_entries: u64,
    /// Most entries; `null` for no such limit.
    max_size: Option<u64>,
    /// Memory now held, overhead included, in MiB.
    memory_usage_mb: f64,
    /// The same in bytes.
    pub(crate) memory_usage_bytes: u64,
    /// Most memory, in MiB; `null` for no such limit.
    memory_limit_mb: Option<f64>,
    /// Who has to leave when there is no room.
    policy: String,
    /// Values stored under a key that held none.
    inserts: u64,
    /// Values stored over a live value.
    updates: u64,
    /// Values refused.
    rejected: u64,
    /// Entries that left, by cause.
    evictions: EvictionsBody,
    /// Loaders that ran to their end.
    loads: u64,
    /// Loaders that answered with an error.
    load_failures: u64,
    /// Mean time of a load; `null` before the first.
    load_mean_seconds: Option<f64>,
}

impl MetricsBody {
    pub(crate) fn new(cache: &dyn AnyCache) -> Self {
        let stats = cache.stats();
        Self {
            hits: stats.hits,
            misses: stats.misses,
            hit_rate: stats.hit_ratio(),
            size_entries: stats.entries,
            max_size: stats.max_entries,
            memory_usage_mb: mib(stats.weight_bytes),
            memory_usage_bytes: stats.weight_bytes,
            memory_limit_mb: stats.max_bytes.map(mib),
            policy: cache.settings().policy.to_string(),
            inserts: stats.inserts,
            updates: stats.updates,
            rejected: stats.rejected,
            evictions: stats.evictions.into(),
            loads: stats.loads,
            load_failures: stats.load_failures,
            load_mean_seconds: seconds(stats.load_time_mean()),
        }
    }
}

/// All caches.
#[derive(Debug, Serialize, ToSchema)]
struct CachesBody {
    /// Open caches, by name.
    caches: Vec<CacheBody>,
    /// Names that have settings, but were not opened by the program yet.
    declared: Vec<String>,
    /// How many caches may exist when another is created over HTTP.
    limit: usize,
}

/// List caches
#[utoipa::path(
    get,
    path = "/api/memory/caches",
    tag = "caches",
    responses((status = 200, description = "All caches", body = CachesBody))
)]
async fn list(State(app): State<Arc<App>>) -> Json<CachesBody> {
    let caches: Vec<_> = app.console.caches().list().iter().map(|cache| CacheBody::new(&**cache)).collect();
    let mut declared = app.console.caches().names();
    declared.retain(|name| !caches.iter().any(|cache| cache.name == *name));
    let limit = app.settings.caches_max.min(app.console.caches().limit());
    Json(CachesBody { caches, declared, limit })
}

/// Create a cache
///
/// Fields that are absent or `null` take the defaults of the profile.
#[utoipa::path(
    post,
    path = "/api/memory/cache/{name}/create",
    tag = "caches",
    params(("name" = String, Path, description = "1 to 64 of a-z, 0-9, '_' and '-', starting with a letter or digit")),
    request_body = CreateBody,
    responses(
        (status = 201, description = "Created", body = CacheBody, headers(("location" = String, description = "The cache"))),
        (status = "4XX", description = "Refused; nothing was created", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn create(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Response> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let create = || {
        check_name(&name)?;
        let settings = settings(&app, &body)?;
        let caches = app.console.caches();
        let (count, limit) = (caches.names().len(), app.settings.caches_max);
        if count >= limit && !caches.names().contains(&name) {
            let detail = format!("{count} of {limit} caches exist; remove one, or raise server.caches_max");
            return Err(Problem::new(ProblemKind::TooManyCaches, detail).with("limit", limit));
        }
        caches.create(&name, settings).map_err(|error| refused(&error))?;
        open_cache(&app, &name)
    };
    let cache = create().map_err(|problem: Problem| problem.at(&parts.uri))?;
    tracing::info!(cache = name, "cache created over HTTP");
    let mut response = (StatusCode::CREATED, Json(CacheBody::new(&*cache))).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/memory/cache/{name}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn settings(app: &App, body: &[u8]) -> Result<CacheSettings, Problem> {
    let mut fields = Fields::parse(body)?;
    let mut settings = CacheSettings::for_bytes(app.console.settings().profile());
    let max_size = fields.optional("max_size", |text| count(text, u64::from(u32::MAX) - 1));
    settings.max_entries = max_size.or(settings.max_entries);
    let ttl = fields.optional("ttl_seconds", ttl);
    settings.ttl = ttl.map(Into::into).or(settings.ttl);
    settings.policy = fields.optional("policy", policy).unwrap_or(settings.policy);
    let memory = fields.optional("memory_limit_mb", |text| positive(text, "MiB", MEMORY_MAX_MIB));
    settings.max_bytes = memory.map(|memory| ByteSize::b((memory * MIB) as u64)).or(settings.max_bytes);
    let compress = fields.optional("enable_compression", boolean);
    settings.compression = match compress {
        Some(true) => Compression::Lz4,
        Some(false) => Compression::Off,
        None => settings.compression,
    };
    settings.metrics = fields.optional("enable_metrics", boolean).unwrap_or(settings.metrics);
    fields.finish()?;
    let mut problems = Problems::new();
    settings.check(&mut problems);
    problems.into_result().map_err(|invalid| Problem::new(ProblemKind::InvalidFields, invalid))?;
    Ok(settings)
}

pub(super) fn policy(text: &str) -> Result<PolicyKind, String> {
    let given = string(text)?;
    given.to_ascii_lowercase().parse().map_err(|_| {
        let names = PolicyKind::ALL.map(PolicyKind::as_str);
        let near = closest(&given, names).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        format!("must be one of {}, not \"{}\"{near}", names.join(", "), shorten(&given))
    })
}

/// Describe a cache
#[utoipa::path(
    get,
    path = "/api/memory/cache/{name}",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    responses(
        (status = 200, description = "The cache", body = CacheBody),
        (status = "4XX", description = "No such cache", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn describe(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<CacheBody>> {
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&uri))?;
    Ok(Json(CacheBody::new(&*cache)))
}

/// Remove a cache
///
/// The name becomes free; parts of the program that hold the cache keep using it.
#[utoipa::path(
    delete,
    path = "/api/memory/cache/{name}",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    responses(
        (status = 204, description = "Removed"),
        (status = "4XX", description = "No such cache", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn remove(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<StatusCode> {
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&uri))?;
    app.console.caches().remove(&name);
    tracing::info!(cache = name, entries = cache.len(), "cache removed over HTTP");
    // The last handle drops every value: not on a thread that answers requests.
    tokio::task::spawn_blocking(move || drop(cache));
    Ok(StatusCode::NO_CONTENT)
}

/// Metrics of a cache
#[utoipa::path(
    get,
    path = "/api/memory/cache/{name}/metrics",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    responses(
        (status = 200, description = "What happened so far", body = MetricsBody),
        (status = "4XX", description = "No such cache", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn metrics(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<MetricsBody>> {
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&uri))?;
    Ok(Json(MetricsBody::new(&*cache)))
}
