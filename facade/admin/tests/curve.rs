//! Looking into a cache over HTTP: its curve, its order of eviction, and the memory budget over all.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use common::{app, console, get, post};
use serde_json::{Value, json};
use trimtab_admin::AdminSettings;
use trimtab_cache::{CacheSettings, MemoryBudget, PolicyKind, ShadowMode};
use trimtab_config::ByteSize;

/// A cache `a` after lookups of more keys than it has room for, and a typed one `users`.
fn busy() -> axum::Router {
    let console = console();
    let mut settings = CacheSettings::default();
    settings.max_entries = Some(200);
    settings.policy = PolicyKind::Lru;
    let cache = console.caches().create("a", settings.clone()).expect("a cache");
    for at in 0..20_000_u64 {
        let key = format!("k{}", at * at % 1_013 % 380);
        if cache.get(&key).is_none() {
            cache.put(&key, "value", None).expect("it fits");
        }
    }
    settings.shadow = ShadowMode::Off;
    settings.policy = PolicyKind::Adaptive;
    console.caches().declare("users", settings).expect("declared");
    console.caches().open::<u64, String>("users").expect("opened");
    trimtab_admin::standalone(console, AdminSettings::default())
}

fn keys(body: &Value) -> Vec<&str> {
    body["keys"].as_array().expect("keys").iter().filter_map(|one| one["key"].as_str()).collect()
}

#[tokio::test]
async fn a_busy_cache_tells_what_more_memory_would_buy() {
    let answer = get(&busy(), "/api/caches/a/curve").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["policy"], &body["choice"], &body["missing"]), (&json!("lru"), &Value::Null, &Value::Null));
    let points = body["curve"]["points"].as_array().expect("points");
    assert_eq!(points.len(), 7);
    let ratio = |at: usize| points[at]["hit_ratio"].as_f64().expect("a ratio");
    assert!(ratio(0) < ratio(3) && ratio(3) + 0.05 < ratio(5), "{body}");
    assert_eq!(body["hit_ratio"], points[3]["hit_ratio"]);
    assert!(body["sentences"][0].as_str().is_some_and(|words| words.starts_with("2× would raise hits from")), "{body}");
    assert!(
        body["sentences"][1].as_str().is_some_and(|words| words.starts_with("0.5× would lower hits from")),
        "{body}"
    );
}

#[tokio::test]
async fn without_a_curve_the_reason_is_told() {
    let app = busy();
    let body = get(&app, "/api/caches/users/curve").await.json();
    assert!(body["missing"].as_str().is_some_and(|why| why.contains("shadow")), "{body}");
    assert_eq!(body["choice"], "proven entries first, like 2Q and S3-FIFO");
    post(&app, "/api/memory/cache/new/create", "{}").await;
    let body = get(&app, "/api/caches/new/curve").await.json();
    assert!(body["missing"].as_str().is_some_and(|why| why.contains("1,000 lookups")), "{body}");
    assert_eq!(get(&app, "/api/caches/nobody/curve").await.problem(), "unknown-cache");
    assert_eq!(get(&app, "/api/caches/a/curve?x=1").await.problem(), "bad-query");
}

#[tokio::test]
async fn the_order_of_eviction_can_be_read_from_both_ends_and_explained() {
    let app = busy();
    let hottest = get(&app, "/api/caches/a/hottest?n=300").await.json();
    let coldest = get(&app, "/api/caches/a/coldest").await.json();
    assert_eq!((keys(&hottest).len(), keys(&coldest).len()), (200, 20));
    assert!(keys(&hottest)[180..].contains(&keys(&coldest)[0]), "{coldest}");
    let place = |key: &str| format!("/api/caches/a/explain?key={key}");
    let first = get(&app, &place(keys(&hottest)[0])).await.json();
    let last = get(&app, &place(keys(&coldest)[0])).await.json();
    assert!(first["safer_than"].as_f64() > Some(0.9) && last["safer_than"].as_f64() < Some(0.1), "{first} {last}");
    assert!(first["sentence"].as_str().is_some_and(|words| words.contains("the lru policy")), "{first}");
}

#[tokio::test]
async fn bad_questions_get_answers_that_help() {
    let app = busy();
    for (path, problem, says) in [
        ("/api/caches/a/hottest?n=0", "bad-query", "1 to 1000"),
        ("/api/caches/a/coldest?n=many", "bad-query", "many"),
        ("/api/caches/a/coldest?m=1", "bad-query", "known are n"),
        ("/api/caches/a/explain", "bad-query", "?key="),
        ("/api/caches/a/explain?key=", "bad-key", "0 bytes"),
        ("/api/caches/a/explain?key=nobody", "unknown-entry", "never stored"),
        ("/api/caches/users/hottest", "typed-cache", "String"),
        ("/api/caches/users/explain?key=1", "typed-cache", "String"),
    ] {
        let answer = get(&app, path).await;
        assert_eq!(answer.problem(), problem, "{path}");
        assert!(answer.text().contains(says), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_budget_is_shown_with_its_members() {
    let none = get(&app(), "/api/budget").await.json();
    assert_eq!((&none["enabled"], &none["budget"]), (&json!(false), &Value::Null));
    let console = console();
    for name in ["a", "b"] {
        console.caches().create(name, CacheSettings::default()).expect("a cache");
        let open = console.caches().get(name).expect("open");
        open.set_max_bytes(Some(ByteSize::mib(8))).expect("a limit");
    }
    let budget = Arc::new(MemoryBudget::new(ByteSize::mib(8)));
    budget.tick(&console.caches().list(), Duration::ZERO);
    let app = trimtab_admin::standalone(console.with_budget(budget), AdminSettings::default());
    let body = get(&app, "/api/budget").await.json();
    assert_eq!((&body["enabled"], &body["budget"]["total_bytes"]), (&json!(true), &json!(8 << 20)));
    let limits: Vec<_> =
        body["budget"]["members"].as_array().expect("members").iter().map(|one| &one["limit_bytes"]).collect();
    assert_eq!(limits, [&json!(4 << 20), &json!(4 << 20)]);
}
