//! Limits of a running cache: changed at once, whole or not at all.

mod common;

use axum::http::StatusCode;
use common::{app, console, delete, get, patch, post, put};
use serde_json::json;
use trimtab_admin::AdminSettings;
use trimtab_cache::CacheSettings;

const CACHE: &str = "/api/memory/cache/a";

async fn filled() -> axum::Router {
    let app = app();
    post(&app, "/api/memory/cache/a/create", r#"{"max_size": 100, "memory_limit_mb": 1, "ttl_seconds": 60}"#).await;
    for key in 0..50 {
        let body = json!({"key": format!("k{key}"), "value": "x".repeat(1000)});
        put(&app, "/api/memory/cache/a/entry", body.to_string()).await;
    }
    app
}

#[tokio::test]
async fn a_lower_limit_counts_what_leaves_and_the_answer_is_the_cache() {
    let app = filled().await;
    let answer = patch(&app, CACHE, r#"{"max_size": 20}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut changed = answer.json();
    assert_eq!(changed["left_entries"], 30);
    assert!(changed["left_mb"].as_f64().is_some_and(|left| left > 0.02 && left < 0.2), "{changed}");
    assert_eq!(changed["metrics"]["size_entries"], 20);
    let members = changed.as_object_mut().expect("an object");
    members.remove("left_entries");
    members.remove("left_mb");
    assert_eq!(changed, get(&app, CACHE).await.json(), "otherwise as it is described");
    assert_eq!(
        (&changed["settings"]["memory_limit_mb"], &changed["settings"]["ttl_seconds"]),
        (&json!(1.0), &json!(60.0)),
        "what is left out stays"
    );
}

#[tokio::test]
async fn null_lifts_a_limit_and_one_may_take_the_place_of_the_other() {
    let app = filled().await;
    let settings = |answer: &common::Answer| {
        let settings = answer.json()["settings"].clone();
        (settings["max_size"].clone(), settings["memory_limit_mb"].clone(), settings["ttl_seconds"].clone())
    };
    let answer = patch(&app, CACHE, r#"{"max_size": null, "ttl_seconds": null}"#).await;
    assert_eq!(settings(&answer), (json!(null), json!(1.0), json!(null)));
    let answer = patch(&app, CACHE, r#"{"max_size": 10, "memory_limit_mb": null}"#).await;
    assert_eq!(settings(&answer), (json!(10), json!(null), json!(null)));
    assert_eq!(answer.json()["left_entries"], 40);
    let answer = patch(&app, CACHE, r#"{"max_size": null, "memory_limit_mb": 0.5, "ttl_seconds": 1.5}"#).await;
    assert_eq!(settings(&answer), (json!(null), json!(0.5), json!(1.5)));
    let answer = patch(&app, CACHE, "{}").await;
    assert_eq!(settings(&answer), (json!(null), json!(0.5), json!(1.5)), "nothing asked, nothing changed");
    assert_eq!(answer.json()["left_entries"], 0);
}

#[tokio::test]
async fn the_policy_changes_and_every_entry_stays() {
    let app = filled().await;
    let before = get(&app, CACHE).await.json();
    for policy in ["arc", "LFU", "fifo", "ttl", "lru", "adaptive"] {
        let answer = patch(&app, CACHE, format!("{{\"policy\": \"{policy}\"}}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        let body = answer.json();
        assert_eq!(body["settings"]["policy"], policy.to_lowercase());
        assert_eq!(body["left_entries"], 0);
        assert_eq!(body["metrics"]["size_entries"], before["metrics"]["size_entries"], "{policy}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_nothing_changes() {
    let app = filled().await;
    let before = get(&app, CACHE).await.json();
    for (body, field, says) in [
        (r#"{"max_size": 10, "ttl_seconds": 0}"#, "ttl_seconds", "above 0"),
        (r#"{"ttl_seconds": 5, "max_size": 0}"#, "max_size", "from 1 to"),
        (r#"{"max_size": 4294967295}"#, "max_size", "from 1 to"),
        (r#"{"max_size": 10, "memory_limit_mb": 0.00001}"#, "memory_limit_mb", "one entry costs"),
        (r#"{"max_size": 10, "memory_limit_mb": 1e-9}"#, "memory_limit_mb", "less than a byte"),
        (r#"{"max_size": null, "memory_limit_mb": null}"#, "memory_limit_mb", "last limit"),
        (r#"{"max_size": 10, "max_sise": 1}"#, "max_sise", "did you mean `max_size`"),
        (r#"{"max_size": 10, "policy": "lruu"}"#, "policy", "did you mean \"lru\""),
        (r#"{"policy": null}"#, "policy", "a cache always has one"),
        (r#"{"policy": "fifo", "memory_limit_mb": 0.00001}"#, "memory_limit_mb", "one entry costs"),
        (r#"{"max_size": 10, "enable_compression": null}"#, "enable_compression", "fixed when a cache is created"),
        (r#"{"max_size": 10, "enable_metrics": false}"#, "enable_metrics", "fixed when a cache is created"),
        (r#"{"max_size": 10, "max_size": null}"#, "max_size", "more than once"),
    ] {
        let answer = patch(&app, CACHE, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields"));
        let errors = answer.json()["errors"].as_array().expect("errors").clone();
        assert_eq!(errors.len(), 1, "{body}: {errors:?}");
        assert_eq!(errors[0]["field"], field, "{body}");
        assert!(errors[0]["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{body}: {errors:?}");
        assert_eq!(get(&app, CACHE).await.json(), before, "{body}");
    }
    let all = patch(&app, CACHE, r#"{"max_size": "x", "policy": 1, "ttl": 1}"#).await.json();
    assert_eq!(all["errors"].as_array().map(Vec::len), Some(3), "{all}");
    assert_eq!(patch(&app, CACHE, "[]").await.problem(), "malformed-json");
    assert_eq!(patch(&app, CACHE, format!("{{\"x\": \"{}\"}}", "x".repeat(1 << 20))).await.problem(), "body-too-large");
    assert_eq!(patch(&app, "/api/memory/cache/b", "{}").await.problem(), "unknown-cache");
    assert_eq!(patch(&app, "/api/memory/cache/..", "{}").await.problem(), "bad-name");
}

#[tokio::test]
async fn a_typed_cache_takes_a_limit_on_entries_and_says_why_none_on_bytes() {
    let console = console();
    let caches = console.caches().clone();
    let mut settings = CacheSettings::default();
    settings.max_entries = Some(100);
    settings.max_bytes = None;
    caches.declare("users", settings.clone()).expect("declared");
    caches.declare("later", settings).expect("declared");
    let users = caches.open::<u64, String>("users").expect("opened");
    for key in 0..50 {
        users.insert(key, "Ada".into());
    }
    let app = trimtab_admin::standalone(console, AdminSettings::default());
    let users_path = "/api/memory/cache/users";

    let refused = patch(&app, users_path, r#"{"max_size": 5, "memory_limit_mb": 1}"#).await;
    assert_eq!(refused.problem(), "invalid-fields");
    assert!(refused.text().contains("String") && refused.text().contains("weigher"), "{}", refused.text());
    assert_eq!((users.len(), users.stats().max_entries), (50, Some(100)), "not even the entries");
    let last = patch(&app, users_path, r#"{"max_size": null}"#).await;
    assert_eq!(last.json()["errors"][0]["field"], "max_size");

    let answer = patch(&app, users_path, r#"{"max_size": 5}"#).await;
    assert_eq!((&answer.json()["left_entries"], users.len()), (&json!(45), 5));
    assert_eq!(patch(&app, "/api/memory/cache/later", "{}").await.problem(), "unopened-cache");
    delete(&app, users_path).await;
    assert_eq!(patch(&app, users_path, "{}").await.problem(), "unknown-cache");
}
