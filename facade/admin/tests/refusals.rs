//! Bad input: a clear problem with a 4xx status, nothing half-applied, no panic.

mod common;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use common::{app, console, delete, get, post, put, request, send};
use proptest::prelude::*;
use serde_json::json;
use trimtab_admin::AdminSettings;

#[tokio::test]
async fn every_mistake_in_a_body_is_reported_and_nothing_is_created() {
    let app = app();
    let body =
        r#"{"max_size": 0, "ttl_second": 5, "policy": "adaptiv", "memory_limit_mb": -1, "enable_compression": "yes"}"#;
    let answer = post(&app, "/api/memory/cache/a/create", body).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields"));
    let errors = answer.json()["errors"].as_array().expect("errors").clone();
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(
        answer.text().contains("did you mean `ttl_seconds`") && answer.text().contains("did you mean \\\"adaptive\\\"")
    );
    assert_eq!(get(&app, "/api/memory/cache/a").await.problem(), "unknown-cache");
}

#[tokio::test]
async fn unusable_numbers_are_refused() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    for ttl in ["0", "-1", "1e999", "1e300", "\"1\"", "[]", "1e-12"] {
        let answer = post(&app, "/api/memory/cache/b/create", format!(r#"{{"ttl_seconds": {ttl}}}"#)).await;
        assert_eq!(answer.problem(), if ttl == "1e999" { answer.problem() } else { "invalid-fields".into() }, "{ttl}");
        assert!(answer.status.is_client_error(), "{ttl}");
        let answer =
            put(&app, "/api/memory/cache/a/entry", format!(r#"{{"key": "k", "value": 1, "ttl_seconds": {ttl}}}"#))
                .await;
        assert!(answer.status.is_client_error(), "{ttl}");
    }
    for (field, value) in [
        ("max_size", "18446744073709551616"),
        ("max_size", "1.5"),
        ("memory_limit_mb", "1e18"),
        ("memory_limit_mb", "0.0000001"),
    ] {
        let answer = post(&app, "/api/memory/cache/b/create", format!(r#"{{"{field}": {value}}}"#)).await;
        assert!(answer.status.is_client_error(), "{field} {value}: {}", answer.text());
        answer.problem();
    }
    for broken in ["NaN", "{\"ttl_seconds\": NaN}", "{\"a\": 1", "", "[]", "\"x\"", "{\"a\" 1}"] {
        let answer = post(&app, "/api/memory/cache/b/create", broken).await;
        assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::BAD_REQUEST, "malformed-json"), "{broken}");
        assert!(answer.json()["line"].is_u64() && answer.json()["column"].is_u64());
    }
    assert_eq!(get(&app, "/api/memory/cache/b").await.problem(), "unknown-cache");
    assert_eq!(get(&app, "/api/memory/cache/a/entry/k").await.problem(), "unknown-entry");
}

#[tokio::test]
async fn names_that_could_be_paths_are_refused_on_every_route() {
    let app = app();
    let long = "x".repeat(300);
    for name in
        ["..", "%2e%2e", "a%2Fb", "..%2F..%2Fetc%2Fpasswd", "A", "_a", "a%20b", "%00", "caf%C3%A9", long.as_str()]
    {
        assert_eq!(post(&app, &format!("/api/memory/cache/{name}/create"), "{}").await.problem(), "bad-name", "{name}");
        for path in ["", "/metrics", "/entries", "/entry/k"] {
            assert_eq!(
                get(&app, &format!("/api/memory/cache/{name}{path}")).await.problem(),
                "bad-name",
                "{name}{path}"
            );
        }
        assert_eq!(delete(&app, &format!("/api/memory/cache/{name}")).await.problem(), "bad-name", "{name}");
    }
    for path in ["/api/memory/cache/%ff/entry/k", "/api/memory/cache/%ff", "/api/memory/cache/a/entry/%ff"] {
        let answer = get(&app, path).await;
        assert!(["bad-path", "unknown-cache"].contains(&answer.problem().as_str()), "{path}");
    }
}

#[tokio::test]
async fn keys_are_bounded() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    for (length, status) in [(0, 400), (1, 201), (256, 201), (257, 400), (100_000, 400)] {
        let body = json!({"key": "k".repeat(length), "value": 1});
        assert_eq!(put(&app, "/api/memory/cache/a/entry", body.to_string()).await.status.as_u16(), status, "{length}");
    }
    assert_eq!(get(&app, &format!("/api/memory/cache/a/entry/{}", "k".repeat(300))).await.problem(), "bad-key");
    assert_eq!(delete(&app, &format!("/api/memory/cache/a/entry/{}", "k".repeat(300))).await.problem(), "bad-key");
}

#[tokio::test]
async fn duplicates_and_too_many_caches_are_refused() {
    let settings = AdminSettings { caches_max: 2, ..AdminSettings::default() };
    let app = trimtab_admin::standalone(console(), settings);
    for (name, problem) in [("a", ""), ("b", ""), ("a", "cache-exists"), ("c", "too-many-caches")] {
        let answer = post(&app, &format!("/api/memory/cache/{name}/create"), "{}").await;
        if problem.is_empty() {
            assert_eq!(answer.status, StatusCode::CREATED);
        } else {
            assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::CONFLICT, problem));
        }
    }
    delete(&app, "/api/memory/cache/a").await;
    assert_eq!(post(&app, "/api/memory/cache/c/create", "{}").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", r#"{"memory_limit_mb": 0.01}"#).await;
    let huge = format!(r#"{{"key": "k", "value": "{}"}}"#, "x".repeat(10 << 20));
    assert_eq!(put(&app, "/api/memory/cache/a/entry", huge.clone()).await.problem(), "body-too-large");
    assert_eq!(post(&app, "/api/memory/cache/b/create", huge).await.problem(), "body-too-large");
    let heavy = json!({"key": "k", "value": "x".repeat(20_000)}).to_string();
    assert_eq!(put(&app, "/api/memory/cache/a/entry", heavy).await.problem(), "entry-too-large");
    let deep = format!(r#"{{"key": "k", "value": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(put(&app, "/api/memory/cache/a/entry", deep).await.problem(), "invalid-fields");
    let binary = b"{\"key\": \"k\", \"value\": \"\xff\xfe\"}".to_vec();
    assert_eq!(put(&app, "/api/memory/cache/a/entry", binary).await.problem(), "malformed-json");
    for media in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let request = request(Method::PUT, "/api/memory/cache/a/entry").header("content-type", media);
        let answer = send(&app, request.body(Body::from(r#"{"key": "k", "value": 1}"#)).expect("a request")).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type")
        );
    }
    assert_eq!(get(&app, "/api/memory/cache/a").await.json()["metrics"]["size_entries"], 0);
}

#[tokio::test]
async fn queries_are_checked() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    for query in ["limit=0", "limit=-1", "limit=1001", "limit=x", "after=x", "limti=1", "limit=1&limit=2", "after=%ff"]
    {
        assert_eq!(get(&app, &format!("/api/memory/cache/a/entries?{query}")).await.problem(), "bad-query", "{query}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = app();
    assert_eq!(get(&app, "/nothing").await.problem(), "no-such-route");
    assert_eq!(get(&app, "/api/memory/cache/a/entry/").await.problem(), "no-such-route");
    let answer = delete(&app, "/api/memory/caches").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed"));
    assert_eq!(answer.header("allow"), "GET,HEAD");
    for kind in get(&app, "/problems").await.json().as_array().expect("kinds") {
        let path = kind["type"].as_str().expect("a path");
        assert_eq!(get(&app, path).await.json(), *kind);
    }
    assert_eq!(get(&app, "/problems/unknown-cash").await.problem(), "unknown-problem");
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::PUT),
        Just(Method::POST),
        Just(Method::DELETE),
        Just(Method::PATCH),
        Just(Method::HEAD)
    ]
}

/// Paths near the real ones: the interesting mistakes are one step away.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        prop::sample::select(vec![
            "api",
            "memory",
            "cache",
            "caches",
            "a",
            "entry",
            "entries",
            "create",
            "metrics",
            "config",
            "explain",
            "problems",
            "dashboard",
            "optimization",
            "trigger",
            "health",
            "%2e%2e",
            "..",
            "%",
            "%ff",
            "k",
            "openapi.json",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9%._~:@!$&'()*+,;=-]{0,12}",
    ];
    let query = prop_oneof![Just(String::new()), "\\?[a-z=&%0-9+]{0,20}".prop_map(|query| query)];
    let known = prop::sample::select(vec![
        "/api/memory/cache/a/create",
        "/api/memory/cache/a/entry",
        "/api/memory/cache/a/entry/k",
        "/api/memory/cache/a/entries",
        "/api/memory/cache/a",
        "/api/config",
        "/api/config/patch",
    ])
    .prop_map(str::to_owned);
    let built = prop::collection::vec(part, 0..7).prop_map(|parts| format!("/{}", parts.join("/")));
    (prop_oneof![known, built], query).prop_map(|(path, query)| path + &query)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let field = prop::sample::select(vec![
        "max_size",
        "ttl_seconds",
        "policy",
        "memory_limit_mb",
        "enable_compression",
        "key",
        "value",
        "x",
    ]);
    let value = prop_oneof![
        any::<f64>().prop_map(|n| format!("{n:e}")),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
        prop::sample::select(vec!["null", "true", "[]", "{}", "1e999", "\"\\ud800\"", "\"lru\""])
            .prop_map(str::to_owned),
    ];
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec((field, value), 0..6).prop_map(|fields| {
            let members: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("{{{}}}", members.join(", ")).into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent: an answer below 500, and a problem whenever it is a refusal.
    #[test]
    fn no_request_is_answered_by_a_server_error(requests in prop::collection::vec((method(), path(), body(), any::<bool>()), 1..5)) {
        thread_local!(static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"));
        RUNTIME.with(|runtime| runtime.block_on(async {
            let app = app();
            for (method, path, body, json) in requests {
                // Streams have no end; they have a test of their own.
                if path.starts_with("/events") {
                    continue;
                }
                let mut request = Request::builder().method(method.clone()).uri(&path);
                if json {
                    request = request.header("content-type", "application/json");
                }
                let Ok(request) = request.body(Body::from(body)) else { continue };
                let answer = send(&app, request).await;
                prop_assert!(answer.status.as_u16() < 500, "{method} {path}: {}", answer.text());
                if answer.status.is_client_error() && method != Method::HEAD {
                    answer.problem();
                }
            }
            Ok(())
        }))?;
    }
}
