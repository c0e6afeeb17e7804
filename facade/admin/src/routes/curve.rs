//! Looking into a cache: its miss-ratio curve, the order of eviction, and why an entry is where it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use trimtab_cache::{AnyCache, Curve};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{byte_cache, check_key, open_cache, seconds};
use crate::params::{Name, query};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{Answer, App, Routes};
use crate::schema::ProblemBody;
use crate::work::heavy;

/// Most keys of one list.
const KEYS_MAX: usize = 1_000;
/// Keys of a list unless asked otherwise.
const KEYS: usize = 20;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(curve))
        .routes(routes!(explain))
        .routes(routes!(hottest))
        .routes(routes!(coldest))
}

/// What other sizes and policies would bring to a cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CurveBody {
    /// Name of the cache.
    cache: String,
    /// The policy in force.
    policy: String,
    /// What the adaptive policy has chosen, in words; `null` under a fixed policy.
    choice: Option<&'static str>,
    /// Measured hit ratio over the lookups of late, from 0 to 1; `null` while there is no curve.
    hit_ratio: Option<f64>,
    /// What twice and half the size would do, in a sentence each.
    sentences: Vec<String>,
    /// Why there is no curve; `null` when there is one.
    missing: Option<&'static str>,
    /// The curve: `points` with `factor`, `entries`, `bytes`, `hit_ratio` and its standard `error`; `policies` at the present size.
    #[schema(value_type = Option<Object>)]
    curve: Option<Curve>,
}

impl CurveBody {
    pub(crate) fn new(cache: &dyn AnyCache) -> Self {
        let curve = cache.curve();
        let settings = cache.settings();
        let missing = curve.is_none().then(|| match settings.shadow.as_str() {
            "full" => "it takes 1,000 lookups and a full sample; there were too few since the start or the last great change of size",
            _ => "this cache was made with less than shadow = \"full\"",
        });
        Self {
            cache: cache.name().to_owned(),
            policy: settings.policy.to_string(),
            choice: cache.choice(),
            hit_ratio: curve.as_ref().map(Curve::measured),
            sentences: curve
                .iter()
                .flat_map(|curve| [2.0, 0.5].map(|factor| curve.sentence(factor)))
                .flatten()
                .collect(),
            missing,
            curve,
        }
    }
}

/// Miss-ratio curve
///
/// Live, from miniatures of the cache that see a sample of its keys.
#[utoipa::path(
    get,
    path = "/api/caches/{name}/curve",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    responses(
        (status = 200, description = "Hit ratios at other sizes and policies, with their errors", body = CurveBody),
        (status = "4XX", description = "No such cache", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn curve(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<CurveBody>> {
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&uri))?;
    query(&uri, &[]).map_err(|problem| problem.at(&uri))?;
    heavy(&app, "curve", move || CurveBody::new(&*cache)).await.map(Json).map_err(|problem| problem.at(&uri))
}

/// Why an entry is where it is.
#[derive(Debug, Serialize, ToSchema)]
struct ExplanationBody {
    /// Name of the cache.
    cache: String,
    /// The key.
    key: String,
    /// The policy in force.
    policy: String,
    /// Part of the policy's order that the entry is in.
    segment: &'static str,
    /// Estimated uses of late, if the policy counts them.
    frequency: Option<u32>,
    /// Share of the entries that would be evicted before this one, from 0 to 1.
    safer_than: f64,
    /// Bytes that the entry counts.
    weight_bytes: u64,
    /// Time until it expires; `null` if it does not.
    ttl_seconds: Option<f64>,
    /// All of it in a sentence.
    sentence: String,
}

/// Explain an entry
///
/// Says where a key stands in the order of eviction. Counts as no use. Only caches whose keys are texts can be asked.
#[utoipa::path(
    get,
    path = "/api/caches/{name}/explain",
    tag = "caches",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("key" = String, Query, description = "The key")
    ),
    responses(
        (status = 200, description = "Where the entry stands, and why", body = ExplanationBody),
        (status = "4XX", description = "No such cache or entry, or a cache of Rust values", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn explain(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<ExplanationBody>> {
    let work = {
        let (app, uri) = (Arc::clone(&app), uri.clone());
        move || {
            let cache = byte_cache(&app, &name)?;
            let Some((_, key)) = query(&uri, &["key"])?.pop() else {
                return Err(Problem::new(
                    ProblemKind::BadQuery,
                    "`key` is missing; add ?key=… with the key to explain",
                ));
            };
            check_key(&app, &key)?;
            let Some(explanation) = cache.cache().explain(key.as_str()) else {
                let detail = format!(
                    "the cache `{name}` holds nothing under `{}`: it was never stored, was evicted, or has expired",
                    shorten(&key)
                );
                return Err(Problem::new(ProblemKind::UnknownEntry, detail));
            };
            Ok(ExplanationBody {
                cache: name,
                key,
                policy: explanation.policy.to_string(),
                segment: explanation.segment,
                frequency: explanation.frequency,
                safer_than: explanation.safer_than,
                weight_bytes: explanation.weight_bytes,
                ttl_seconds: seconds(explanation.ttl_left),
                sentence: explanation.to_string(),
            })
        }
    };
    let explained = heavy(&app, "explain", work).await.and_then(std::convert::identity);
    explained.map(Json).map_err(|problem| problem.at(&uri))
}

/// A key in the order of eviction.
#[derive(Debug, Serialize, ToSchema)]
struct RankedBody {
    /// The key.
    key: String,
    /// Bytes that the entry counts.
    weight_bytes: u64,
    /// Time until it expires; `null` if it does not.
    ttl_seconds: Option<f64>,
}

/// Some keys in the order of eviction.
#[derive(Debug, Serialize, ToSchema)]
struct RankingBody {
    /// Name of the cache.
    cache: String,
    /// The keys.
    keys: Vec<RankedBody>,
}

/// Hottest keys
///
/// The keys that would be kept longest, first. Counts as no use; takes time in proportion to the entries.
#[utoipa::path(
    get,
    path = "/api/caches/{name}/hottest",
    tag = "caches",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("n" = Option<usize>, Query, description = "How many, 1 to 1,000; 20 if absent")
    ),
    responses(
        (status = 200, description = "Keys, the one that would be kept longest first", body = RankingBody),
        (status = "4XX", description = "No such cache, or a cache of Rust values", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn hottest(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<RankingBody>> {
    ranking(app, name, uri, true).await
}

/// Coldest keys
///
/// The keys that would leave next, first. Counts as no use; takes time in proportion to the entries.
#[utoipa::path(
    get,
    path = "/api/caches/{name}/coldest",
    tag = "caches",
    params(
        ("name" = String, Path, description = "Name of the cache"),
        ("n" = Option<usize>, Query, description = "How many, 1 to 1,000; 20 if absent")
    ),
    responses(
        (status = 200, description = "Keys, the one that would leave next first", body = RankingBody),
        (status = "4XX", description = "No such cache, or a cache of Rust values", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn coldest(State(app): State<Arc<App>>, Name(name): Name, uri: Uri) -> Answer<Json<RankingBody>> {
    ranking(app, name, uri, false).await
}

async fn ranking(app: Arc<App>, name: String, uri: Uri, hottest: bool) -> Answer<Json<RankingBody>> {
    let work = {
        let (app, uri) = (Arc::clone(&app), uri.clone());
        move || {
            let cache = byte_cache(&app, &name)?;
            let most = match query(&uri, &["n"])?.pop() {
                None => KEYS,
                Some((_, given)) => {
                    given.parse().ok().filter(|most| (1..=KEYS_MAX).contains(most)).ok_or_else(|| {
                        let detail =
                            format!("`n` must be a whole number from 1 to {KEYS_MAX}, not `{}`", shorten(&given));
                        Problem::new(ProblemKind::BadQuery, detail)
                    })?
                }
            };
            let cache = cache.cache();
            let ranked = if hottest { cache.hottest(most) } else { cache.coldest(most) };
            let keys = ranked.into_iter().map(|(key, info)| RankedBody {
                key: key.into(),
                weight_bytes: info.weight_bytes,
                ttl_seconds: seconds(info.ttl_left),
            });
            Ok(RankingBody { cache: name, keys: keys.collect() })
        }
    };
    let ranked = heavy(&app, "ranking", work).await.and_then(std::convert::identity);
    ranked.map(Json).map_err(|problem: Problem| problem.at(&uri))
}
