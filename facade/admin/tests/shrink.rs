//! Shrinking a cache over HTTP.

mod common;

use axum::http::StatusCode;
use common::{app, get, post, put};
use serde_json::json;

const SHRINK: &str = "/api/caches/a/shrink";

async fn filled() -> axum::Router {
    let app = app();
    post(&app, "/api/memory/cache/a/create", r#"{"max_size": 100, "memory_limit_mb": 1}"#).await;
    for key in 0..50 {
        let body = json!({"key": format!("k{key}"), "value": "x".repeat(1000)});
        put(&app, "/api/memory/cache/a/entry", body.to_string()).await;
    }
    app
}

#[tokio::test]
async fn a_shrink_tells_what_left_and_limits_stay() {
    let app = filled().await;
    let before = get(&app, "/api/memory/cache/a").await.json();
    let answer = post(&app, SHRINK, r#"{"share": 0.25}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["cache"], &body["share"]), (&json!("a"), &json!(0.25)));
    assert_eq!((&body["freed_entries"], &body["entries"]), (&json!(38), &json!(12)));
    assert!(body["freed_bytes"].as_u64().is_some_and(|bytes| bytes > 38_000), "{body}");
    let after = get(&app, "/api/memory/cache/a").await.json();
    assert_eq!(after["settings"], before["settings"]);
    assert_eq!(after["metrics"]["size_entries"], 12);
    let metrics = get(&app, "/api/memory/cache/a/metrics").await;
    assert!(metrics.text().contains("\"shrunk\":38"), "{}", metrics.text());
}

#[tokio::test]
async fn a_share_of_all_and_of_nothing_are_what_they_say() {
    let app = filled().await;
    assert_eq!(post(&app, SHRINK, r#"{"share": 1}"#).await.json()["freed_entries"], 0);
    assert_eq!(post(&app, SHRINK, r#"{"share": 0}"#).await.json()["freed_entries"], 50);
}

#[tokio::test]
async fn what_is_no_share_changes_nothing_and_says_what_is_one() {
    let app = filled().await;
    for body in [
        r#"{"share": 1.5}"#,
        r#"{"share": -0.1}"#,
        r#"{"share": "25%"}"#,
        r#"{"share": null}"#,
        "{}",
        r#"{"shrae": 1}"#,
    ] {
        let answer = post(&app, SHRINK, body).await;
        assert!(answer.status.is_client_error(), "{body}: {}", answer.status);
        assert!(answer.text().contains("share"), "{body}: {}", answer.text());
    }
    assert_eq!(get(&app, "/api/memory/cache/a").await.json()["metrics"]["size_entries"], 50);
    let unknown = post(&app, "/api/caches/b/shrink", r#"{"share": 0.5}"#).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
