//! Changing the limits and the policy of a running cache.
//!
//! A change is all or nothing. What the cache cannot take is found before anything is evicted: the limit that only
//! the cache itself can judge (bytes, which need a weigher) is set first, limits are lifted only after the others are
//! set, and a step that fails all the same puts the earlier ones back.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use trimtab_cache::{AnyCache, BuildError, CacheSettings};
use trimtab_config::ByteSize;
use utoipa::ToSchema;

use super::caches::{CacheBody, MEMORY_MAX_MIB, policy};
use super::entries::ttl;
use super::{MIB, mib, open_cache};
use crate::body::read_json;
use crate::fields::{Fields, count, positive};
use crate::params::Name;
use crate::problem::Problem;
use crate::router::{Answer, App};
use crate::schema::{LimitsBody, ProblemBody};
use crate::work::heavy;

/// The cache after the change, and what the change cost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    #[serde(flatten)]
    cache: CacheBody,
    /// How many entries fewer it holds than before.
    left_entries: u64,
    /// How many bytes fewer it holds than before, in MiB.
    left_mb: f64,
}

/// Change the limits or the policy of a cache
///
/// Fields that are absent stay as they are; `null` lifts a limit, but one of `max_size` and `memory_limit_mb` must stay.
/// What is then too much leaves before the answer; a new time to live counts for values stored from now on. Another policy
/// takes over all entries in their order, before a new limit lets some leave. The change lasts until the program ends, or until the settings of this cache are changed; see `PATCH /api/config`.
#[utoipa::path(
    patch,
    path = "/api/memory/cache/{name}",
    tag = "caches",
    params(("name" = String, Path, description = "Name of the cache")),
    request_body = LimitsBody,
    responses(
        (status = 200, description = "Changed; how much had to leave", body = Changed),
        (status = "4XX", description = "Refused; nothing was changed", body = ProblemBody, content_type = "application/problem+json")
    )
)]
pub(super) async fn change(State(app): State<Arc<App>>, Name(name): Name, request: Request) -> Answer<Json<Changed>> {
    let (parts, body) = request.into_parts();
    let body = read_json(&parts.headers, body, app.body_limit()).await.map_err(|problem| problem.at(&parts.uri))?;
    let cache = open_cache(&app, &name).map_err(|problem| problem.at(&parts.uri))?;
    // Evicting many values takes time that other requests should not wait for, and goes on when the client leaves.
    let shared = Arc::clone(&app);
    let work = move || {
        let _turn = shared.changing.lock();
        apply(&*cache, &body)
    };
    let changed = heavy(&app, "limits", work).await.and_then(std::convert::identity);
    changed.map(Json).map_err(|problem| problem.at(&parts.uri))
}

/// What the settings are after the change.
fn wished(fields: &mut Fields<'_>, before: &CacheSettings) -> CacheSettings {
    let mut after = before.clone();
    after.max_entries = fields.change("max_size", before.max_entries, |text| count(text, u64::from(u32::MAX) - 1));
    after.max_bytes = fields.change("memory_limit_mb", before.max_bytes, |text| {
        Ok(ByteSize::b((positive(text, "MiB", MEMORY_MAX_MIB)? * MIB) as u64))
    });
    after.ttl = fields.change("ttl_seconds", before.ttl, |text| ttl(text).map(Into::into));
    after.policy = fields.change("policy", Some(before.policy), policy).unwrap_or(before.policy);
    fields.refuse_null("policy", "must be the name of a policy, since a cache always has one; leave it out to keep it");
    for field in ["enable_compression", "enable_metrics"] {
        fields.fixed(field, "is fixed when a cache is created; leave it out, or create a cache beside this one");
    }
    after
}

fn apply(cache: &dyn AnyCache, body: &[u8]) -> Result<Changed, Problem> {
    let mut fields = Fields::parse(body)?;
    let before = cache.settings();
    let after = wished(&mut fields, &before);
    if fields.is_sound() && after.max_entries.is_none() && after.max_bytes.is_none() {
        let last = if before.max_bytes.is_some() { Step::Bytes } else { Step::Entries };
        fields.error(
            last.field(),
            "is the last limit of this cache, which cannot be without one; set max_size or memory_limit_mb with it",
        );
    }
    fields
        .finish_with(|| {
            let (entries, weight) = (cache.len(), cache.weight());
            // Before anything leaves: the policy that was asked for decides what. It cannot fail, so it is put back if limits do.
            cache.set_policy(after.policy);
            set(cache, &before, &after).map_err(|(field, error)| {
                cache.set_policy(before.policy);
                (field, explain(cache, &error))
            })?;
            Ok((entries, weight))
        })
        .map(|(entries, weight)| {
            let left_entries = entries.saturating_sub(cache.len());
            tracing::info!(
                cache = cache.name(),
                max_entries = after.max_entries,
                max_bytes = after.max_bytes.map(ByteSize::as_u64),
                policy = after.policy.as_str(),
                left_entries,
                "limits or policy of a cache changed over HTTP"
            );
            Changed { cache: CacheBody::new(cache), left_entries, left_mb: mib(weight.saturating_sub(cache.weight())) }
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Bytes,
    Entries,
    Ttl,
}

impl Step {
    const ALL: [Self; 3] = [Self::Bytes, Self::Entries, Self::Ttl];

    fn field(self) -> &'static str {
        match self {
            Self::Bytes => "memory_limit_mb",
            Self::Entries => "max_size",
            Self::Ttl => "ttl_seconds",
        }
    }

    fn changes(self, from: &CacheSettings, to: &CacheSettings) -> bool {
        match self {
            Self::Bytes => from.max_bytes != to.max_bytes,
            Self::Entries => from.max_entries != to.max_entries,
            Self::Ttl => from.ttl != to.ttl,
        }
    }

    /// Whether it puts a limit rather than lifting one.
    fn limits(self, to: &CacheSettings) -> bool {
        match self {
            Self::Bytes => to.max_bytes.is_some(),
            Self::Entries => to.max_entries.is_some(),
            Self::Ttl => to.ttl.is_some(),
        }
    }

    fn run(self, cache: &dyn AnyCache, to: &CacheSettings) -> Result<(), BuildError> {
        match self {
            Self::Bytes => cache.set_max_bytes(to.max_bytes),
            Self::Entries => cache.set_max_entries(to.max_entries),
            Self::Ttl => cache.set_ttl(to.ttl.map(Into::into)),
        }
    }
}

/// Brings the cache from one to the other, or leaves it as it was.
fn set(cache: &dyn AnyCache, from: &CacheSettings, to: &CacheSettings) -> Result<(), (&'static str, BuildError)> {
    let mut steps: Vec<_> = Step::ALL.into_iter().filter(|step| step.changes(from, to)).collect();
    // Stable: bytes stay first among those that put a limit.
    steps.sort_by_key(|step| Reverse(step.limits(to)));
    for (at, step) in steps.iter().enumerate() {
        let Err(error) = step.run(cache, to) else { continue };
        for done in steps[..at].iter().rev() {
            if let Err(error) = done.run(cache, from) {
                tracing::error!(cache = cache.name(), %error, "a limit could not be put back");
            }
        }
        return Err((step.field(), error));
    }
    Ok(())
}

/// What the cache refuses, in the words of this API.
fn explain(cache: &dyn AnyCache, error: &BuildError) -> String {
    match error {
        BuildError::WeigherMissing { .. } => format!(
            "limits bytes, but this cache holds Rust values of type {} and was built without a weigher that says how many bytes one owns; limit max_size, or build the cache with a weigher",
            cache.value_type()
        ),
        BuildError::SmallerThanOneEntry { max_bytes, overhead, .. } => {
            format!("is {max_bytes} bytes, but one entry costs {overhead} before its content; raise it")
        }
        BuildError::Zero { .. } => "is less than a byte; raise it".to_owned(),
        error => format!("is refused: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use trimtab_cache::{Caches, PolicyKind};

    use super::*;

    fn settings(max_entries: Option<u64>, max_bytes: Option<u64>) -> CacheSettings {
        let mut settings = CacheSettings::default();
        settings.max_entries = max_entries;
        settings.max_bytes = max_bytes.map(ByteSize::b);
        settings
    }

    fn limits(cache: &dyn AnyCache) -> (Option<u64>, Option<u64>) {
        let settings = cache.settings();
        (settings.max_entries, settings.max_bytes.map(ByteSize::as_u64))
    }

    #[test]
    fn the_page_offers_every_policy() {
        let names = PolicyKind::ALL.map(|kind| format!("'{kind}'")).join(", ");
        let script = include_str!("../dashboard/app.js");
        assert!(script.contains(&format!("const POLICIES = [{names}];")), "POLICIES lists {names}");
    }

    #[test]
    fn one_limit_takes_the_place_of_the_other_in_both_directions() {
        let caches = Caches::new();
        caches.create("a", settings(Some(10), None)).expect("a cache");
        let cache = caches.get("a").expect("open");
        for to in [settings(None, Some(1 << 20)), settings(Some(5), None)] {
            set(&*cache, &cache.settings(), &to).expect("never without a limit on the way");
            assert_eq!(limits(&*cache), (to.max_entries, to.max_bytes.map(ByteSize::as_u64)));
        }
    }

    #[test]
    fn a_step_that_fails_puts_the_earlier_ones_back() {
        let caches = Caches::new();
        caches.create("a", settings(Some(10), Some(1 << 20))).expect("a cache");
        let cache = caches.get("a").expect("open");
        // The route checks this before; here the second step is the one that fails.
        let (field, error) =
            set(&*cache, &cache.settings(), &settings(Some(0), Some(1 << 21))).expect_err("nothing fits into 0");
        assert_eq!(field, "max_size");
        assert!(matches!(error, BuildError::Zero { .. }));
        assert_eq!(limits(&*cache), (Some(10), Some(1 << 20)));
    }
}
