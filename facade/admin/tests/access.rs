//! Who may read and write: token, host, origin, peer.

mod common;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, StatusCode};
use common::{Answer, app, console, request, send};
use trimtab_admin::AdminSettings;
use trimtab_config::{Problems, Settings};

const TOKEN: &str = "correct-horse-battery-staple";

fn with_token() -> AdminSettings {
    AdminSettings { token: Some(TOKEN.into()), ..AdminSettings::default() }
}

async fn create(app: &Router, headers: &[(&str, &str)], peer: Option<[u8; 4]>) -> Answer {
    let mut request = request(Method::POST, "/api/memory/cache/a/create").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(peer) = peer {
        request = request.extension(ConnectInfo(SocketAddr::from((peer, 4000))));
    }
    send(app, request.body(Body::from("{}")).expect("a request")).await
}

#[tokio::test]
async fn with_a_token_every_write_needs_it_and_reads_do_not() {
    let app = trimtab_admin::standalone(console(), with_token());
    let document = serde_json::to_value(trimtab_admin::openapi()).expect("JSON");
    let mut writes = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys().filter(|method| *method != "get") {
            let path = path.replace("{name}", "a").replace("{key}", "k").replace("{id}", "1");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let answer = send(&app, request(method, &path).body(Body::empty()).expect("a request")).await;
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (StatusCode::UNAUTHORIZED, "unauthorized"),
                "{path}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            writes += 1;
        }
    }
    let of_parts = 3 * usize::from(cfg!(feature = "scheduler")) + usize::from(cfg!(feature = "lock"));
    assert_eq!(writes, 13 + of_parts);
    for wrong in ["Bearer wrong-wrong-wrong-wrong", "Basic abc", "Bearer", "Bearer ", &format!("Bearer {TOKEN}x")] {
        assert_eq!(create(&app, &[("authorization", wrong)], None).await.problem(), "unauthorized", "{wrong}");
    }
    assert_eq!(create(&app, &[("authorization", &format!("bearer {TOKEN}"))], None).await.status, StatusCode::CREATED);
    assert_eq!(common::get(&app, "/api/memory/caches").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn guessing_is_slowed_by_peer() {
    let app = trimtab_admin::standalone(console(), with_token());
    let right = format!("Bearer {TOKEN}");
    for _ in 0..10 {
        assert_eq!(
            create(&app, &[("authorization", "Bearer wrong")], Some([10, 0, 0, 1])).await.problem(),
            "unauthorized"
        );
    }
    let refused = create(&app, &[("authorization", &right)], Some([10, 0, 0, 1])).await;
    assert_eq!(refused.problem(), "too-many-attempts", "not even heard");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=7).contains(&seconds)));
    assert_eq!(create(&app, &[("authorization", &right)], Some([10, 0, 0, 2])).await.status, StatusCode::CREATED);
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    assert_eq!(create(&app, &[("authorization", &right)], Some([10, 0, 0, 1])).await.problem(), "cache-exists");
}

#[tokio::test]
async fn protected_reads_need_the_token_but_health_and_the_page_do_not() {
    let settings = AdminSettings { protect_reads: true, ..with_token() };
    let app = trimtab_admin::standalone(console(), settings);
    for path in [
        "/api/config",
        "/api/config/patches",
        "/metrics",
        "/events",
        "/api/memory/caches",
        "/api/memory/cache/a/entry/k",
        "/info",
    ] {
        assert_eq!(common::get(&app, path).await.problem(), "unauthorized", "{path}");
    }
    for path in ["/", "/dashboard/app.js", "/health/live", "/health/memory", "/openapi.json"] {
        assert_eq!(common::get(&app, path).await.status, StatusCode::OK, "{path}");
    }
    let request = request(Method::GET, "/info").header("authorization", format!("Bearer {TOKEN}"));
    assert_eq!(send(&app, request.body(Body::empty()).expect("a request")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_rebound_name_reads_and_writes_nothing() {
    let app = app();
    for path in ["/", "/api/config", "/api/memory/cache/a/entry/k", "/events", "/health/live"] {
        for host in ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"] {
            let request = request(Method::GET, path).header("host", host).body(Body::empty());
            assert_eq!(send(&app, request.expect("a request")).await.problem(), "forbidden-host", "{host} {path}");
        }
    }
    for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"] {
        let request = request(Method::GET, "/api/config").header("host", host).body(Body::empty());
        assert_eq!(send(&app, request.expect("a request")).await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn writes_for_another_sites_page_are_refused() {
    let app = app();
    let host = ("host", "localhost:8000");
    for origin in ["https://evil.example", "http://localhost:3000", "null", "http://127.0.0.1:8000"] {
        assert_eq!(create(&app, &[host, ("origin", origin)], None).await.problem(), "cross-site", "{origin}");
    }
    assert_eq!(create(&app, &[host, ("sec-fetch-site", "cross-site")], None).await.problem(), "cross-site");
    let own = [host, ("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")];
    assert_eq!(create(&app, &own, None).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn mounted_elsewhere_a_write_without_token_must_come_from_this_machine() {
    let app = trimtab_admin::router(console(), AdminSettings::default());
    assert_eq!(create(&app, &[], None).await.problem(), "remote-write");
    assert_eq!(create(&app, &[("host", "localhost")], Some([10, 0, 0, 9])).await.problem(), "remote-write");
    assert_eq!(create(&app, &[], Some([127, 0, 0, 1])).await.status, StatusCode::CREATED);

    let app = trimtab_admin::router(console(), with_token());
    let headers = [("authorization", &*format!("Bearer {TOKEN}")), ("host", "service.example")];
    assert_eq!(create(&app, &headers, None).await.status, StatusCode::CREATED);
}

fn problems(settings: &AdminSettings) -> Vec<String> {
    let mut problems = Problems::new();
    settings.check(&mut problems);
    problems.iter().map(|problem| problem.path().to_owned()).collect()
}

#[test]
fn every_address_but_loopback_needs_a_token() {
    let at = |address: &str, token: Option<&str>| AdminSettings {
        address: address.parse().expect("an address"),
        token: token.map(Into::into),
        ..AdminSettings::default()
    };
    for address in ["0.0.0.0:8000", "[::]:8000", "192.168.1.5:80", "[2001:db8::1]:80"] {
        assert_eq!(problems(&at(address, None)), ["address"], "{address}");
        assert!(problems(&at(address, Some(TOKEN))).is_empty(), "{address}");
    }
    for address in ["127.0.0.1:0", "127.8.8.8:1", "[::1]:8000"] {
        assert!(problems(&at(address, None)).is_empty(), "{address}");
    }
    for token in ["short", "has a space in the middle", &"x".repeat(257), "sixteen-chars-ü-and-more"] {
        assert!(problems(&at("127.0.0.1:1", Some(token))).contains(&"token".to_owned()), "{token}");
    }
}

#[test]
fn unusable_settings_are_all_reported() {
    let settings = AdminSettings {
        hosts: vec!["http://x".into()],
        protect_reads: true,
        events_max: 0,
        page_max: 0,
        history: 1,
        body_max: trimtab_config::ByteSize::b(0),
        ..AdminSettings::default()
    };
    let found = problems(&settings);
    for path in ["hosts", "hosts.0", "protect_reads", "events_max", "page_max", "history", "body_max"] {
        assert!(found.contains(&path.to_owned()), "{path}: {found:?}");
    }
    for profile in trimtab_config::Profile::ALL {
        assert!(problems(&AdminSettings::for_profile(profile)).is_empty());
    }
}
