//! Every route, as a client uses it.

mod common;

use axum::http::{Method, StatusCode};
use common::{app, console, delete, get, post, put, request, send};
use serde_json::{Value, json};
use trimtab_admin::AdminSettings;
use trimtab_cache::CacheSettings;

/// The commands that people copy, in their order.
#[tokio::test]
async fn the_documented_commands_work_as_printed() {
    let app = app();
    let body = r#"{
    "max_size": 1000,
    "ttl_seconds": 3600,
    "policy": "adaptive",
    "memory_limit_mb": 100,
    "enable_compression": true
  }"#;
    let answer = post(&app, "/api/memory/cache/my_cache/create", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("location"), "/api/memory/cache/my_cache");
    let settings = &answer.json()["settings"];
    assert_eq!(
        *settings,
        json!({"max_size": 1000, "ttl_seconds": 3600.0, "policy": "adaptive", "memory_limit_mb": 100.0,
               "enable_compression": true, "enable_metrics": true})
    );

    let body = r#"{
    "key": "user:123",
    "value": {"name": "John", "email": "john@example.com"},
    "ttl_seconds": 1800
  }"#;
    let answer = put(&app, "/api/memory/cache/my_cache/entry", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.json()["ttl_seconds"], 1800.0);

    let answer = get(&app, "/api/memory/cache/my_cache/entry/user:123").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(answer.text(), r#"{"name":"John","email":"john@example.com"}"#);

    let metrics = get(&app, "/api/memory/cache/my_cache/metrics").await.json();
    assert_eq!((&metrics["hits"], &metrics["misses"], &metrics["size_entries"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(metrics["hit_rate"], 1.0);
    assert!(metrics["memory_usage_mb"].as_f64().is_some_and(|mib| mib > 0.0));

    let all = get(&app, "/api/memory/metrics/comprehensive").await.json();
    assert_eq!(all["caches"]["my_cache"], metrics);
    assert!(["low", "moderate", "high", "critical"].contains(&all["memory_pressure"].as_str().expect("a level")));
    assert_eq!(all["global_optimization"]["cache_hit_rate"], 1.0);
    for key in ["memory_saved_mb", "resource_utilization"] {
        assert!(!all["global_optimization"][key].is_null(), "{key}");
    }

    let advice = get(&app, "/api/memory/analysis/recommendations").await;
    assert_eq!(advice.status, StatusCode::OK);
    assert_eq!(advice.json()["caches"], 1);

    let request = request(Method::POST, "/api/memory/optimization/trigger").body(axum::body::Body::empty());
    let report = send(&app, request.expect("a request")).await;
    assert_eq!(report.status, StatusCode::OK);
    let steps = report.json()["steps"].as_array().expect("steps").clone();
    assert_eq!((steps.len(), &steps[0]["step"], &steps[1]["step"]), (2, &json!("expire:my_cache"), &json!("reclaim")));
    assert!(steps.iter().all(|step| step["freed_bytes"].is_u64() && step["took_seconds"].is_f64()));

    let health = get(&app, "/health/memory").await.json();
    assert!(["healthy", "warning", "critical"].contains(&health["status"].as_str().expect("a status")));
    for key in ["memory_pressure", "cache_hit_rate", "memory_saved_mb", "resource_utilization"] {
        assert!(!health[key].is_null(), "{key}");
    }
    assert_eq!(get(&app, "/metrics/prometheus").await.status, StatusCode::OK);
}

#[tokio::test]
async fn entries_are_replaced_listed_removed_and_cleared() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    let entry = "/api/memory/cache/a/entry";
    assert_eq!(put(&app, entry, r#"{"key": "k", "value": 1}"#).await.status, StatusCode::CREATED);
    let again = put(&app, entry, r#"{"key": "k", "value": [2, 3]}"#).await;
    assert_eq!((again.status, &again.json()["replaced"]), (StatusCode::OK, &json!(true)));
    assert_eq!(get(&app, "/api/memory/cache/a/entry/k").await.text(), "[2,3]");

    for key in ["dir/file name", "ü", "%41", "?#"] {
        let body = json!({"key": key, "value": key, "ttl_seconds": 60});
        assert_eq!(put(&app, entry, body.to_string()).await.status, StatusCode::CREATED, "{key}");
    }
    for (path, key) in [
        ("dir/file%20name", "dir/file name"),
        ("dir%2Ffile%20name", "dir/file name"),
        ("%C3%BC", "ü"),
        ("%2541", "%41"),
        ("%3F%23", "?#"),
    ] {
        assert_eq!(get(&app, &format!("{entry}/{path}")).await.json(), key, "{path}");
    }

    let mut keys = Vec::new();
    let mut path = "/api/memory/cache/a/entries?limit=2".to_owned();
    loop {
        let page = get(&app, &path).await.json();
        assert_eq!(page["size_entries"], 5);
        let entries = page["entries"].as_array().expect("entries").clone();
        assert!(entries.len() <= 2);
        for entry in entries {
            let key = entry["key"].as_str().expect("a key").to_owned();
            assert!(entry["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
            assert_eq!(entry["ttl_left_seconds"].is_null(), key == "k", "{entry}");
            keys.push(key);
        }
        match &page["next"] {
            Value::String(next) => path = format!("/api/memory/cache/a/entries?limit=2&after={next}"),
            _ => break,
        }
    }
    keys.sort();
    assert_eq!(keys, ["%41", "?#", "dir/file name", "k", "ü"]);

    assert_eq!(delete(&app, "/api/memory/cache/a/entry/dir/file%20name").await.status, StatusCode::NO_CONTENT);
    assert_eq!(delete(&app, "/api/memory/cache/a/entry/dir/file%20name").await.problem(), "unknown-entry");
    let cleared = delete(&app, "/api/memory/cache/a/entries").await;
    assert_eq!((cleared.status, &cleared.json()["removed_entries"]), (StatusCode::OK, &json!(4)));
    assert_eq!(get(&app, "/api/memory/cache/a/entry/k").await.problem(), "unknown-entry");
}

#[tokio::test]
async fn numbers_and_order_of_members_are_kept() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    let body = r#"{"key": "k", "value": {"z": 12345678901234567890123, "a": 1.10, "t": "a \" b"}}"#;
    put(&app, "/api/memory/cache/a/entry", body).await;
    let stored = get(&app, "/api/memory/cache/a/entry/k").await;
    assert_eq!(stored.text(), r#"{"z":12345678901234567890123,"a":1.10,"t":"a \" b"}"#);
    put(&app, "/api/memory/cache/a/entry", r#"{"key": "null", "value": null}"#).await;
    assert_eq!(get(&app, "/api/memory/cache/a/entry/null").await.text(), "null");
}

#[tokio::test]
async fn large_values_come_back_whole_from_compression() {
    let app = app();
    post(&app, "/api/memory/cache/a/create", r#"{"enable_compression": true}"#).await;
    let text = "trim ".repeat(20_000);
    let stored = put(&app, "/api/memory/cache/a/entry", json!({"key": "k", "value": text}).to_string()).await.json();
    assert_eq!(stored["compressed"], true, "{stored}");
    assert!(stored["stored_bytes"].as_u64() < stored["length_bytes"].as_u64());
    assert_eq!(get(&app, "/api/memory/cache/a/entry/k").await.json(), text);
}

#[tokio::test]
async fn caches_are_listed_described_and_removed() {
    let console = console();
    let users = console.caches();
    users.declare("users", CacheSettings::default()).expect("declared");
    users.declare("later", CacheSettings::default()).expect("declared");
    users.open::<u64, String>("users").expect("opened").insert(1, "Ada".into());
    let app = trimtab_admin::standalone(console, AdminSettings::default());
    post(&app, "/api/memory/cache/pages/create", r#"{"max_size": 5, "policy": "LRU"}"#).await;

    let list = get(&app, "/api/memory/caches").await.json();
    let kinds: Vec<_> =
        list["caches"].as_array().expect("caches").iter().map(|cache| (&cache["name"], &cache["kind"])).collect();
    assert_eq!(kinds, [(&json!("pages"), &json!("bytes")), (&json!("users"), &json!("typed"))]);
    assert_eq!(list["declared"], json!(["later"]));

    assert_eq!(get(&app, "/api/memory/cache/pages").await.json()["settings"]["policy"], "lru");
    assert_eq!(get(&app, "/api/memory/cache/users/metrics").await.json()["size_entries"], 1);
    assert_eq!(get(&app, "/api/memory/cache/users/entry/1").await.problem(), "typed-cache");
    assert_eq!(
        put(&app, "/api/memory/cache/later/entry", r#"{"key": "k", "value": 1}"#).await.problem(),
        "unopened-cache"
    );
    assert_eq!(delete(&app, "/api/memory/cache/users/entries").await.json()["removed_entries"], 1);
    assert_eq!(delete(&app, "/api/memory/cache/pages").await.status, StatusCode::NO_CONTENT);
    let gone = get(&app, "/api/memory/cache/pages").await;
    assert_eq!(gone.problem(), "unknown-cache");
    assert_eq!(get(&app, "/api/memory/cache/user").await.json()["suggestion"], "users");
}

#[tokio::test]
async fn settings_are_shown_explained_and_searched_by_a_near_name() {
    let app = app();
    let config = get(&app, "/api/config").await.json();
    assert_eq!((&config["profile"], &config["environment"]), (&json!("balanced"), &json!("test")));
    assert_eq!(config["settings"][0]["origin"], json!({"kind": "file", "text": "trimtab.toml:7:1"}));
    let layers = get(&app, "/api/config/explain?path=cache.sessions.ttl").await.json();
    assert_eq!(layers["layers"][1]["wins"], true);
    let unknown = get(&app, "/api/config/explain?path=cache.session.ttl").await;
    assert_eq!(
        (unknown.problem().as_str(), &unknown.json()["suggestion"]),
        ("unknown-setting", &json!("cache.sessions.ttl"))
    );
    assert_eq!(get(&app, "/api/config/explain").await.problem(), "bad-query");
    assert_eq!(get(&app, "/api/config/schema").await.json()["type"], "object");
    assert_eq!(get(&app, "/info").await.json()["program"], "trimtab");
}

#[tokio::test]
async fn health_follows_the_registry() {
    let console = console();
    let database = console.monitor().health().component("database", trimtab_monitor::Need::Ready);
    let app = trimtab_admin::standalone(console, AdminSettings::default());
    let starting = get(&app, "/health/ready").await;
    assert_eq!((starting.status, &starting.json()["ok"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert_eq!(get(&app, "/health/live").await.status, StatusCode::OK);
    database.up();
    assert_eq!(get(&app, "/health/ready").await.json(), json!({"ok": true, "reasons": []}));
}

#[tokio::test]
async fn prometheus_text_counts_requests_by_route_and_class() {
    trimtab_monitor::prometheus::install().expect("no other recorder");
    let app = app();
    post(&app, "/api/memory/cache/a/create", "{}").await;
    put(&app, "/api/memory/cache/a/entry", r#"{"key": "k", "value": 1}"#).await;
    for _ in 0..3 {
        get(&app, "/api/memory/cache/a/entry/k").await;
    }
    get(&app, "/api/memory/cache/a/entry/missing").await;
    let answer = get(&app, "/metrics").await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let value = |series: &str| -> u64 {
        let line = answer.text().lines().find(|line| line.starts_with(series)).unwrap_or_default().to_owned();
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{series}:\n{}", answer.text()))
    };
    // Other tests of this program may count into the same recorder.
    assert!(value("trimtab_admin_requests_total{route=\"entry\",class=\"2xx\"}") >= 3);
    assert!(value("trimtab_admin_requests_total{route=\"entry\",class=\"4xx\"}") >= 1);
    assert!(answer.text().contains("# HELP trimtab_admin_requests_total"));
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_a_strict_policy() {
    let app = app();
    let page = get(&app, "/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text().contains(r#"<base href="/">"#));
    let mut files = 0;
    for link in page.text().split(['"']).filter(|part| part.starts_with("dashboard/")) {
        let file = get(&app, &format!("/{link}")).await;
        assert_eq!(file.status, StatusCode::OK, "{link}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let again = request(Method::GET, &format!("/{link}")).header("if-none-match", file.header("etag"));
        assert_eq!(
            send(&app, again.body(axum::body::Body::empty()).expect("a request")).await.status,
            StatusCode::NOT_MODIFIED
        );
        assert!(!file.text().contains("eval("), "{link}");
        files += 1;
    }
    assert!(files >= 6);
    assert!(!page.text().contains("http://") && !page.text().contains("https://"), "nothing from elsewhere");
    assert_eq!(get(&app, "/dashboard/nothing.js").await.problem(), "no-such-route");
}

#[tokio::test]
async fn mounted_below_a_prefix_the_page_and_the_entries_are_found() {
    let inner = trimtab_admin::router(console(), AdminSettings::default());
    let app = axum::Router::new().nest("/admin", inner).fallback(|| async { "mine" });
    assert!(get(&app, "/admin").await.text().contains(r#"<base href="/admin/">"#));
    let missing = get(&app, "/admin/api/memory/cache/none/entry/k").await;
    assert_eq!(missing.problem(), "unknown-cache");
    assert_eq!(get(&app, "/elsewhere").await.text(), "mine");
}
