//! The system as a whole: numbers, recommendations, optimisation, Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use trimtab_cache::{AnyCache, Compression, Curve};
use trimtab_monitor::{CacheEvidence, Evidence, Pressure, Recommendation, Sample, SizeEvidence, advise, prometheus};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caches::MetricsBody;
use super::mib;
use crate::console::Console;
use crate::problem::{Problem, ProblemKind};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::stream::millis;
use crate::work::heavy;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(comprehensive))
        .routes(routes!(recommendations))
        .routes(routes!(optimize))
        .routes(routes!(exposition))
        .routes(routes!(exposition_alias))
}

/// Sums over all caches, and how much of the machine is used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Global {
    /// Hits of all lookups in all caches, from 0 to 1; 0 before the first.
    pub(super) cache_hit_rate: f64,
    /// What optimisations have given back to the system since the start, in MiB.
    pub(super) memory_saved_mb: f64,
    /// How much of its resources the process uses.
    pub(super) resource_utilization: Utilization,
}

/// Shares from 0 to 1 of what the process may use; `null` when a limit is not known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Utilization {
    /// Of its cores.
    cpu: Option<f64>,
    /// Of its memory limit.
    memory: Option<f64>,
}

impl Global {
    pub(super) fn of(console: &Console) -> Self {
        let stats = console.caches().list().into_iter().map(|cache| cache.stats());
        Self::new(console, stats.map(|stats| (stats.hits, stats.misses)))
    }

    fn new(console: &Console, lookups: impl Iterator<Item = (u64, u64)>) -> Self {
        let (hits, misses) = lookups.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let sample = console.monitor().sample();
        Self {
            cache_hit_rate: if hits + misses == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 },
            memory_saved_mb: mib(console.reclaimed()),
            resource_utilization: Utilization { cpu: sample.process.cpu_quota_share, memory: sample.memory.share },
        }
    }
}

/// Everything at once.
#[derive(Debug, Serialize, ToSchema)]
struct Comprehensive {
    /// Milliseconds since 1970.
    at: u64,
    /// Metrics of every open cache, by name.
    caches: BTreeMap<String, MetricsBody>,
    /// `low`, `moderate`, `high` or `critical`.
    #[schema(value_type = String)]
    memory_pressure: Pressure,
    /// What the level rests on, in one sentence.
    memory_pressure_detail: String,
    /// Sums and shares.
    global_optimization: Global,
    /// The newest sample of process, machine and memory.
    #[schema(value_type = Object)]
    sample: Arc<Sample>,
}

/// Comprehensive metrics
#[utoipa::path(
    get,
    path = "/api/memory/metrics/comprehensive",
    tag = "system",
    responses((status = 200, description = "Everything at once", body = Comprehensive))
)]
async fn comprehensive(State(app): State<Arc<App>>) -> Json<Comprehensive> {
    let console = &app.console;
    let caches: BTreeMap<_, _> =
        console.caches().list().iter().map(|cache| (cache.name().to_owned(), MetricsBody::new(&**cache))).collect();
    let global = Global::new(console, caches.values().map(|cache| (cache.hits, cache.misses)));
    let pressure = console.monitor().pressure();
    Json(Comprehensive {
        at: millis(SystemTime::now()),
        caches,
        memory_pressure: pressure.level,
        memory_pressure_detail: pressure.explain(),
        global_optimization: global,
        sample: console.monitor().sample(),
    })
}

/// What could be better, most urgent first.
#[derive(Debug, Serialize, ToSchema)]
struct Recommendations {
    /// Only what the data support: a cache needs 1,000 lookups and a minute before anything is said about it.
    #[schema(value_type = Vec<Object>)]
    recommendations: Vec<Recommendation>,
    /// Caches that were looked at.
    caches: usize,
}

/// Recommendations
#[utoipa::path(
    get,
    path = "/api/memory/analysis/recommendations",
    tag = "system",
    responses(
        (status = 200, description = "What could be better, with its numbers", body = Recommendations),
        (status = 503, description = "The lane takes no work now", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn recommendations(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<Recommendations>> {
    let shared = Arc::clone(&app);
    let advice = heavy(&app, "advice", move || recommend(&shared)).await;
    advice.map(Json).map_err(|problem| problem.at(&uri))
}

fn recommend(app: &App) -> Recommendations {
    let caches: Vec<_> = app.console.caches().list().iter().map(|cache| evidence(app, &**cache)).collect();
    let count = caches.len();
    let evidence = Evidence { caches, memory: Some(app.console.monitor().memory_evidence()) };
    Recommendations { recommendations: advise(&evidence), caches: count }
}

fn evidence(app: &App, cache: &dyn AnyCache) -> CacheEvidence {
    let (stats, settings, curve) = (cache.stats(), cache.settings(), cache.curve());
    let at = |factor| {
        let there = curve.as_ref()?.at(factor)?;
        Some(SizeEvidence { hit_ratio: there.value, error: there.error })
    };
    CacheEvidence {
        name: cache.name().to_owned(),
        policy: settings.policy.to_string(),
        uptime: app.events.age(cache.name()),
        hits: stats.hits,
        misses: stats.misses,
        inserts: stats.inserts,
        rejected: stats.rejected,
        evicted_for_space: stats.evictions.for_room(),
        expired: stats.evictions.expired,
        entries: stats.entries,
        max_entries: stats.max_entries,
        weight: stats.weight_bytes,
        max_bytes: stats.max_bytes,
        ttl: settings.ttl.map(Into::into),
        compressed: settings.compression != Compression::Off,
        twice: at(2.0),
        half: at(0.5),
        measured: curve.as_ref().map(Curve::measured),
    }
}

/// One step of an optimisation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepBody {
    /// `expire:<cache>` or `reclaim`.
    step: String,
    /// What it did, in words.
    pub(super) detail: String,
    /// Bytes that it gave back.
    pub(super) freed_bytes: u64,
    /// How long it took.
    took_seconds: f64,
}

/// What an optimisation did.
#[derive(Debug, Serialize, ToSchema)]
struct Optimized {
    /// The steps, in the order in which they were taken.
    steps: Vec<StepBody>,
    /// Bytes that expired entries held.
    expired_bytes: u64,
    /// Bytes that went back to the system; those of expired entries may be among them.
    returned_bytes: u64,
    /// How long all of it took.
    took_seconds: f64,
}

/// Trigger an optimisation
///
/// Removes expired entries of every cache, then asks the allocator to give free memory back to the system. No live
/// entry is lost. It goes on when the client leaves; one runs at a time.
#[utoipa::path(
    post,
    path = "/api/memory/optimization/trigger",
    tag = "system",
    responses(
        (status = 200, description = "Done; each step says what it freed", body = Optimized),
        (status = 409, description = "One is running", body = ProblemBody, content_type = "application/problem+json", headers(("retry-after" = u64)))
    )
)]
async fn optimize(State(app): State<Arc<App>>, uri: Uri) -> Answer<Json<Optimized>> {
    let running = || {
        let detail = "an optimisation is running; wait for its end, a second one would find nothing to do";
        Problem::new(ProblemKind::OptimizationRunning, detail).retry_after(1).at(&uri)
    };
    let turn = Turn::take(&app.optimizing).ok_or_else(running)?;
    let (console, reclaimer) = (app.console.clone(), Arc::clone(&app.reclaimer));
    // A blocking task of its own: it holds locks and the allocator, and ends its turn even if the client has gone.
    let work = move || {
        let _turn = turn;
        let started = Instant::now();
        let mut steps: Vec<_> = console.caches().list().iter().map(|cache| expire(&**cache)).collect();
        let expired_bytes = steps.iter().map(|step| step.freed_bytes).sum();
        let reclaimed = reclaim(&console, &reclaimer);
        let returned_bytes = reclaimed.freed_bytes;
        steps.push(reclaimed);
        tracing::info!(expired_bytes, returned_bytes, "optimisation triggered over HTTP");
        Optimized { steps, expired_bytes, returned_bytes, took_seconds: started.elapsed().as_secs_f64() }
    };
    heavy(&app, "optimise", work).await.map(Json).map_err(|problem| problem.at(&uri))
}

/// The right to run the one optimisation; given back when dropped.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(running: &Arc<AtomicBool>) -> Option<Self> {
        (!running.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(running)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Longest time that is spent on the expired entries of one cache: new ones may expire as fast as old ones are removed.
const EXPIRE_TIME: Duration = Duration::from_secs(2);

fn expire(cache: &dyn AnyCache) -> StepBody {
    let (started, before) = (Instant::now(), cache.weight());
    let mut removed = 0;
    loop {
        let some = cache.expire();
        removed += some;
        if some == 0 || started.elapsed() > EXPIRE_TIME {
            break;
        }
    }
    StepBody {
        step: format!("expire:{}", cache.name()),
        detail: format!("removed {removed} expired entries, {} live ones stay", cache.len()),
        freed_bytes: if removed == 0 { 0 } else { before.saturating_sub(cache.weight()) },
        took_seconds: started.elapsed().as_secs_f64(),
    }
}

pub(super) fn reclaim(console: &Console, reclaimer: &trimtab_monitor::Reclaimer) -> StepBody {
    let started = Instant::now();
    let (detail, freed_bytes) = match reclaimer.reclaim() {
        Ok(done) => {
            console.add_reclaimed(done.freed);
            let detail =
                format!("resident memory went from {:.1} to {:.1} MiB", mib(done.rss_before), mib(done.rss_after));
            (detail, done.freed)
        }
        Err(error) => (error.to_string(), 0),
    };
    StepBody { step: "reclaim".to_owned(), detail, freed_bytes, took_seconds: started.elapsed().as_secs_f64() }
}

/// Prometheus metrics
#[utoipa::path(
    get,
    path = "/metrics/prometheus",
    tag = "system",
    responses((status = 200, description = "Text exposition 0.0.4", body = String, content_type = "text/plain"))
)]
async fn exposition(State(app): State<Arc<App>>) -> Response {
    let console = app.console.clone();
    // Never on the lane: whoever scrapes wants to know above all why a lane is full.
    let render = tokio::task::spawn_blocking(move || {
        console.caches().publish_metrics();
        console.publish_parts();
        match prometheus::installed() {
            Some(prometheus) => prometheus.render(),
            // Valid text without a sample: a scrape that finds nothing should say why.
            None => "# This program installed no Prometheus recorder: call trimtab_monitor::prometheus::install() first in main.\n".to_owned(),
        }
    });
    let text = render.await.unwrap_or_default();
    ([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response()
}

/// Prometheus metrics, at the usual path
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "Text exposition 0.0.4", body = String, content_type = "text/plain"))
)]
async fn exposition_alias(app: State<Arc<App>>) -> Response {
    exposition(app).await
}
