//! A system to show, and a client without a network.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;
use trimtab_admin::{AdminSettings, Console, SettingChange, SettingLayer, SettingLeaf, SettingsView};
use trimtab_cache::Caches;
use trimtab_config::{Origin, Problem, Profile};
use trimtab_monitor::Monitor;

/// Settings as the assembled system would show them.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Patched leaves, latest first.
    patched: Mutex<Vec<(String, Value)>>,
}

impl View {
    fn originals() -> Vec<SettingLeaf> {
        let leaf = |path: &str, value: Value, origin: Origin| SettingLeaf { path: path.to_owned(), value, origin };
        let file = |line| Origin::File { path: Arc::new("trimtab.toml".into()), line, column: 1 };
        let balanced = || Origin::Profile(Profile::Balanced);
        vec![
            leaf("cache.sessions.max_entries", json!(5000), file(7)),
            leaf("cache.sessions.policy", json!("lru"), file(8)),
            leaf("cache.sessions.ttl", json!("30m"), Origin::Variable { name: "TRIMTAB__CACHE__SESSIONS__TTL".into() }),
            leaf("log.level", json!("info"), Origin::Default),
            leaf("memory.limit", json!("auto"), Origin::Default),
            leaf("monitor.history", json!("15m"), balanced()),
            leaf("monitor.interval", json!("1s"), balanced()),
            leaf("monitor.pressure.critical", json!("95%"), balanced()),
            leaf(
                "monitor.pressure.high",
                json!("80%"),
                Origin::Machine { reason: "2 GiB limit of the control group".into() },
            ),
            leaf("server.address", json!("127.0.0.1:8000"), Origin::Default),
            leaf("server.entry_max", json!("1MiB"), balanced()),
            leaf("server.token", json!("********"), Origin::Variable { name: "TRIMTAB__SERVER__TOKEN".into() }),
        ]
    }
}

/// The leaves of a partial tree.
fn flatten(prefix: &str, tree: &Value, out: &mut Vec<(String, Value)>) {
    match tree {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(&path, value, out);
            }
        }
        leaf => out.push((prefix.to_owned(), leaf.clone())),
    }
}

impl SettingsView for View {
    fn profile(&self) -> Profile {
        Profile::Balanced
    }

    fn environment(&self) -> String {
        "test".to_owned()
    }

    fn leaves(&self) -> Vec<SettingLeaf> {
        let mut leaves = Self::originals();
        for (path, value) in self.patched.lock().iter() {
            for leaf in leaves.iter_mut().filter(|leaf| leaf.path == *path) {
                leaf.value = value.clone();
                leaf.origin = Origin::Patch;
            }
        }
        leaves
    }

    fn explain(&self, path: &str) -> Option<Vec<SettingLayer>> {
        let leaf = self.leaves().into_iter().find(|leaf| leaf.path == path)?;
        let default = SettingLayer { origin: Origin::Default, value: json!("default"), wins: false };
        Some(vec![default, SettingLayer { origin: leaf.origin, value: leaf.value, wins: true }])
    }

    fn schema(&self) -> Value {
        json!({"type": "object"})
    }

    fn patch(&self, patch: Value) -> Result<Vec<SettingChange>, Vec<Problem>> {
        let (mut wished, mut problems, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        flatten("", &patch, &mut wished);
        let leaves = self.leaves();
        for (path, value) in &wished {
            let problem = match leaves.iter().find(|leaf| leaf.path == *path) {
                None => Problem::new(path, "unknown setting").with_suggestion("monitor.interval"),
                Some(_) if *value == json!("never") => Problem::new(path, "must be a duration").with_value(value),
                Some(leaf) => {
                    let (old, new) = (Some(leaf.value.clone()), Some(value.clone()));
                    let restart = path.starts_with("log");
                    changes.push(SettingChange { path: path.clone(), old, new, origin: Origin::Patch, restart });
                    continue;
                }
            };
            problems.push(problem.with_origin(Origin::Patch));
        }
        if problems.is_empty() {
            let mut patched = self.patched.lock();
            patched.retain(|(path, _)| !wished.iter().any(|(wish, _)| wish == path));
            patched.extend(wished);
            return Ok(changes);
        }
        Err(problems)
    }

    fn reset(&self, path: &str) -> Result<Vec<SettingChange>, Vec<Problem>> {
        let before = self.leaves();
        let mut patched = self.patched.lock();
        let (taken, kept) = patched.drain(..).partition::<Vec<_>, _>(|(known, _)| path.is_empty() || known == path);
        *patched = kept;
        drop(patched);
        if taken.is_empty() && !path.is_empty() {
            return Err(vec![Problem::new(path, "no patch has set this").with_origin(Origin::Patch)]);
        }
        let pairs = before.into_iter().zip(self.leaves()).filter(|(old, new)| old.value != new.value);
        let change = |(old, new): (SettingLeaf, SettingLeaf)| SettingChange {
            path: new.path,
            old: Some(old.value),
            new: Some(new.value),
            origin: new.origin,
            restart: false,
        };
        Ok(pairs.map(change).collect())
    }

    fn patches(&self) -> Value {
        self.patched.lock().iter().cloned().collect::<serde_json::Map<_, _>>().into()
    }
}

/// A console over real parts.
pub(crate) fn console() -> Console {
    let monitor = Monitor::builder().start().expect("a monitor");
    Console::new(Caches::new(), monitor, Arc::new(View::default()), "trimtab", "0.1.0")
}

/// The API as on a loopback listener of its own, with default settings.
pub(crate) fn app() -> Router {
    trimtab_admin::standalone(console(), AdminSettings::default())
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The last part of the problem's type, after checks that hold for every problem.
    #[track_caller]
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{body}");
        assert!(self.bytes.len() < 8192, "a problem is short");
        body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).expect("a kind").to_owned()
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.expect("a router never fails");
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a body").to_vec();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

pub(crate) fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, request(Method::GET, path).body(Body::empty()).expect("a request")).await
}

pub(crate) async fn delete(app: &Router, path: &str) -> Answer {
    send(app, request(Method::DELETE, path).body(Body::empty()).expect("a request")).await
}

pub(crate) async fn with_json(app: &Router, method: Method, path: &str, body: impl Into<Body>) -> Answer {
    let request = request(method, path).header("content-type", "application/json").body(body.into());
    send(app, request.expect("a request")).await
}

pub(crate) async fn post(app: &Router, path: &str, body: impl Into<Body>) -> Answer {
    with_json(app, Method::POST, path, body).await
}

pub(crate) async fn patch(app: &Router, path: &str, body: impl Into<Body>) -> Answer {
    with_json(app, Method::PATCH, path, body).await
}

pub(crate) async fn put(app: &Router, path: &str, body: impl Into<Body>) -> Answer {
    with_json(app, Method::PUT, path, body).await
}
