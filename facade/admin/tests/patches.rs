//! Settings changed at run time: whole or not at all, and taken back.

mod common;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use common::{app, delete, get, patch, request, send};
use serde_json::{Value, json};
use trimtab_admin::{AdminSettings, Console, SettingLayer, SettingLeaf, SettingsView};
use trimtab_config::Profile;

fn leaf(config: &Value, path: &str) -> (Value, Value) {
    let settings = config["settings"].as_array().expect("settings");
    let leaf = settings.iter().find(|leaf| leaf["path"] == path).expect("the setting");
    (leaf["value"].clone(), leaf["origin"]["kind"].clone())
}

#[tokio::test]
async fn a_patch_shows_its_changes_and_is_taken_back() {
    let app = app();
    let answer = patch(&app, "/api/config", r#"{"monitor": {"interval": "2s"}, "log": {"level": "debug"}}"#).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut changes = answer.json()["changes"].as_array().expect("changes").clone();
    changes.sort_by_key(|change| change["path"].to_string());
    let origin = json!({"kind": "patch", "text": "run-time patch"});
    assert_eq!(
        changes,
        [
            json!({"path": "log.level", "old": "info", "new": "debug", "origin": origin, "restart": true}),
            json!({"path": "monitor.interval", "old": "1s", "new": "2s", "origin": origin, "restart": false}),
        ]
    );
    assert_eq!(answer.json()["restart_needed"], true);
    assert_eq!(leaf(&get(&app, "/api/config").await.json(), "monitor.interval"), (json!("2s"), json!("patch")));
    assert_eq!(get(&app, "/api/config/patches").await.json()["patches"].as_object().map(serde_json::Map::len), Some(2));

    let back = delete(&app, "/api/config/patch?path=monitor.interval").await;
    assert_eq!((back.status, &back.json()["restart_needed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(back.json()["changes"][0]["new"], "1s");
    assert_eq!(leaf(&get(&app, "/api/config").await.json(), "monitor.interval"), (json!("1s"), json!("profile")));
    assert_eq!(delete(&app, "/api/config/patch?path=").await.json()["changes"][0]["path"], "log.level");
    assert_eq!(get(&app, "/api/config/patches").await.json(), json!({"patches": {}}));
}

#[tokio::test]
async fn every_problem_of_a_patch_is_listed_and_nothing_changes() {
    let app = app();
    let before = get(&app, "/api/config").await.json();
    let body = r#"{"monitor": {"intervall": "1s", "interval": "never"}, "log": {"level": "debug"}}"#;
    let refused = patch(&app, "/api/config", body).await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid-settings"));
    let mut problems = refused.json()["problems"].as_array().expect("problems").clone();
    problems.sort_by_key(|problem| problem["path"].to_string());
    let origin = json!({"kind": "patch", "text": "run-time patch"});
    assert_eq!(
        problems,
        [
            json!({"path": "monitor.interval", "message": "must be a duration", "value": "\"never\"", "origin": origin}),
            json!({"path": "monitor.intervall", "message": "unknown setting", "origin": origin, "suggestion": "monitor.interval"}),
        ]
    );
    assert_eq!((&refused.json()["problems_total"], &refused.json()["instance"]), (&json!(2), &json!("/api/config")));
    assert_eq!(get(&app, "/api/config").await.json(), before);

    let many: serde_json::Map<_, _> = (0..5000).map(|n| (format!("x{n}"), json!(1))).collect();
    let refused = patch(&app, "/api/config", Value::from(many).to_string()).await;
    assert_eq!((refused.problem().as_str(), &refused.json()["problems_total"]), ("invalid-settings", &json!(5000)));
    assert_eq!(refused.json()["problems"].as_array().map(Vec::len), Some(16));
    let long = patch(&app, "/api/config", json!({"x".repeat(40_000): 1}).to_string()).await;
    assert_eq!(long.problem(), "invalid-settings", "and short, however long the name");
}

#[tokio::test]
async fn what_is_no_partial_tree_is_refused() {
    let app = app();
    for body in ["", "{", "{\"a\": }", "NaN"] {
        let refused = patch(&app, "/api/config", body).await;
        assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::BAD_REQUEST, "malformed-json"), "{body}");
        assert!(refused.json()["line"].is_u64());
    }
    for body in ["[]", "1", "null", "\"x\"", "true"] {
        assert_eq!(patch(&app, "/api/config", body).await.problem(), "invalid-settings", "{body}");
    }
    let deep = format!("{}1{}", "{\"a\":".repeat(500), "}".repeat(500));
    assert_eq!(patch(&app, "/api/config", deep).await.problem(), "malformed-json");
    let huge = json!({"a": "x".repeat(2 << 20)}).to_string();
    assert_eq!(patch(&app, "/api/config", huge).await.problem(), "body-too-large");
    assert_eq!(patch(&app, "/api/config?dry=1", "{}").await.problem(), "bad-query");
    let form = request(Method::PATCH, "/api/config").header("content-type", "text/plain").body(Body::from("{}"));
    assert_eq!(send(&app, form.expect("a request")).await.problem(), "unsupported-media-type");
    assert_eq!(patch(&app, "/api/config", "{}").await.json(), json!({"changes": [], "restart_needed": false}));

    assert_eq!(delete(&app, "/api/config/patch").await.problem(), "bad-query");
    assert_eq!(delete(&app, "/api/config/patch?pat=x").await.problem(), "bad-query");
    let nothing = delete(&app, "/api/config/patch?path=monitor.interval").await;
    assert_eq!(nothing.problem(), "invalid-settings");
    assert_eq!(nothing.json()["problems"][0]["message"], "no patch has set this");
}

/// Only what every view must have.
struct Fixed;

impl SettingsView for Fixed {
    fn profile(&self) -> Profile {
        Profile::Balanced
    }
    fn environment(&self) -> String {
        "test".to_owned()
    }
    fn leaves(&self) -> Vec<SettingLeaf> {
        Vec::new()
    }
    fn explain(&self, _: &str) -> Option<Vec<SettingLayer>> {
        None
    }
    fn schema(&self) -> Value {
        Value::Null
    }
}

#[tokio::test]
async fn settings_that_never_change_say_so() {
    let monitor = trimtab_monitor::Monitor::builder().start().expect("a monitor");
    let console = Console::new(trimtab_cache::Caches::new(), monitor, std::sync::Arc::new(Fixed), "test", "0");
    let app = trimtab_admin::standalone(console, AdminSettings::default());
    for answer in [
        patch(&app, "/api/config", r#"{"a": 1}"#).await,
        delete(&app, "/api/config/patch?path=a").await,
        delete(&app, "/api/config/patch?path=").await,
    ] {
        assert_eq!(answer.problem(), "invalid-settings");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("do not change while it runs")));
    }
    assert_eq!(get(&app, "/api/config/patches").await.json(), json!({"patches": {}}));
}
