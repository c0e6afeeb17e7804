//! Locks and rate limits over HTTP: what is held and waited for, taking a lock from its holder, what limits allowed and refused.
#![cfg(all(feature = "lock", feature = "limit"))]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, StatusCode};
use common::{console, get, post, request, send};
use serde_json::{Value, json};
use trimtab_admin::{AdminSettings, LimitView, Usage};
use trimtab_limit::{KeyedLimit, LimitSettings};
use trimtab_lock::{Locks, Loss};

#[tokio::test]
async fn locks_are_listed_with_their_holders_and_taken_with_a_reason() {
    let locks = Locks::memory("jobs").expect("locks");
    let listed = locks.clone();
    let app = trimtab_admin::standalone(console().with_locks(move || vec![listed.clone()]), AdminSettings::default());
    let lease = locks.acquire("nightly", Duration::ZERO).await.expect("a lease");
    let line = line!() - 1;
    let waiting = tokio::spawn(locks.acquire("nightly", Duration::from_secs(60)));
    while locks.stats().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let body = get(&app, "/api/locks").await.json();
    let group = &body["groups"][0];
    assert_eq!((&group["name"], &group["store"], &group["held"]), (&json!("jobs"), &json!("memory"), &json!(1)));
    let lock = &group["locks"][0];
    assert_eq!((&lock["name"], &lock["held"], &lock["waiting"]), (&json!("nightly"), &json!(true), &json!(1)));
    assert_eq!(lock["token"], lease.token());
    let location = lock["location"].as_str().expect("a location");
    assert!(location.contains(&format!("tests/locks.rs:{line}:")), "{location}");

    let body = json!({"lock": "nightly", "reason": "the holder hangs"}).to_string();
    let taken = post(&app, "/api/locks/jobs/release", body.clone()).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    assert_eq!(lease.lost().await, Loss::Forced, "the holder is told");
    let next = waiting.await.expect("no panic").expect("the next has it");
    assert!(next.token() > lease.token());
    next.release().await.expect("in time");
    let free = post(&app, "/api/locks/jobs/release", body).await;
    assert_eq!((free.status, free.problem().as_str()), (StatusCode::CONFLICT, "lock-free"));
    assert_eq!(get(&app, "/api/locks/jobs").await.json()["locks"], json!([]));

    // Readers hold a lock together, and a semaphore of the same name is something else.
    let permits = locks.semaphore("nightly", 2).expect("a semaphore");
    let (one, two) = (locks.read("nightly", Duration::ZERO).await, locks.read("nightly", Duration::ZERO).await);
    let permit = permits.acquire(Duration::ZERO).await.expect("a permit");
    let listed = get(&app, "/api/locks/jobs").await.json()["locks"].clone();
    let shown: Vec<_> =
        listed.as_array().expect("locks").iter().map(|lock| (&lock["semaphore"], &lock["holders"])).collect();
    assert_eq!(shown, [(&json!(false), &json!(2)), (&json!(true), &json!(1))]);
    let body = json!({"lock": "nightly", "semaphore": true, "reason": "stuck"}).to_string();
    assert_eq!(post(&app, "/api/locks/jobs/release", body).await.status, StatusCode::OK);
    assert_eq!(permit.lost().await, Loss::Forced);
    let (one, two) = (one.expect("a reader"), two.expect("another"));
    assert!(!one.is_lost() && !two.is_lost(), "they are told nothing");
    drop((one, two));

    // In this process are all who hold a lock in memory; over files nobody else's is taken.
    let body = json!({"lock": "nightly", "everywhere": true, "reason": "stuck"}).to_string();
    assert_eq!(post(&app, "/api/locks/jobs/release", body.clone()).await.problem(), "lock-free");
    let lease = locks.acquire("nightly", Duration::ZERO).await.expect("a lease");
    assert_eq!(post(&app, "/api/locks/jobs/release", body).await.status, StatusCode::OK);
    assert_eq!(lease.lost().await, Loss::Forced);

    for body in
        [r#"{"lock": "nightly"}"#, r#"{"lock": "nightly", "reason": " "}"#, r#"{"lok": "nightly", "reason": "x"}"#]
    {
        let wrong = post(&app, "/api/locks/jobs/release", body).await;
        assert_eq!((wrong.status, wrong.problem().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields"));
    }
    let unknown = get(&app, "/api/locks/job").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (StatusCode::NOT_FOUND, "unknown-lock-group"));
    assert_eq!(unknown.json()["suggestion"], "jobs");
}

#[tokio::test]
async fn limits_are_listed_with_what_they_refused_and_no_url_gets_out() {
    let logins: KeyedLimit<String> =
        KeyedLimit::new("logins", "5/m burst 1".parse().expect("a rate")).expect("a limit");
    let _ = (logins.check(&"ada".to_owned()), logins.check(&"ada".to_owned()));
    let list = {
        let logins = logins.clone();
        let mut far = LimitSettings::of("100/s".parse().expect("a rate"));
        far.url = Some("redis://:hunter2@localhost".to_owned().into());
        move || {
            let (settings, stats) = (logins.settings().clone(), logins.stats());
            let counted = logins.clone();
            let usage: Option<Usage> = Some(Arc::new(move |top| counted.usage(top)));
            vec![
                LimitView { name: "logins".to_owned(), kind: "keyed", settings, stats, usage },
                LimitView { name: "far".to_owned(), kind: "shared", settings: far.clone(), stats, usage: None },
            ]
        }
    };
    let app = trimtab_admin::standalone(console().with_limits(list), AdminSettings::default());
    let answer = get(&app, "/api/limits").await;
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    let body = answer.json();
    let (logins, far) = (&body["limits"][0], &body["limits"][1]);
    assert_eq!((&logins["rate"], &logins["burst"]), (&json!("5/m burst 1"), &json!(1)));
    assert_eq!((&logins["refused"], &logins["keys"], &logins["server"]), (&json!(1), &json!(1), &Value::Null));
    assert_eq!((&far["server"]["kind"], &far["server"]["fallback"]), (&json!("redis"), &json!("local")));
    assert_eq!(logins["usage"], Value::Null, "lists do not look at all keys");
    let logins = get(&app, "/api/limits/logins").await.json();
    assert_eq!(
        (&logins["name"], &logins["usage"]),
        (&json!("logins"), &json!([{"key": "ada", "permits": 1, "refused": 1}]))
    );
    assert_eq!(get(&app, "/api/limits/far?top=3").await.json()["usage"], Value::Null);
    for wrong in ["/api/limits/logins?top=0", "/api/limits/logins?top=1001", "/api/limits/logins?top=x"] {
        assert_eq!(get(&app, wrong).await.problem(), "bad-query");
    }
    let unknown = get(&app, "/api/limits/login").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (StatusCode::NOT_FOUND, "unknown-limit"));
}

#[tokio::test]
async fn each_peer_has_its_own_allowance_and_the_page_none() {
    let limit: KeyedLimit<IpAddr> = KeyedLimit::new("admin", "1/m burst 2".parse().expect("a rate")).expect("a limit");
    let app = trimtab_admin::standalone(console().with_peer_limit(limit), AdminSettings::default());
    let ask = |path: &'static str, peer: [u8; 4]| {
        let request = request(Method::GET, path).extension(ConnectInfo(SocketAddr::from((peer, 1))));
        let (app, request) = (app.clone(), request.body(Body::empty()).expect("a request"));
        async move { send(&app, request).await }
    };
    let (one, other) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    assert_eq!(ask("/api/pools", one).await.status, StatusCode::OK);
    assert_eq!(ask("/api/pools", one).await.status, StatusCode::OK);
    let refused = ask("/api/pools", one).await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-requests"));
    let after: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=61).contains(&after) && refused.text().contains("limit.admin.rate"), "{after}: {}", refused.text());
    assert_eq!(ask("/api/pools", other).await.status, StatusCode::OK, "others are not punished");
    for path in ["/", "/dashboard/app.js", "/health/live", "/events"] {
        assert_eq!(ask_head(&app, path, one).await, StatusCode::OK, "{path}");
    }
}

/// The status alone: a stream has no end.
async fn ask_head(app: &axum::Router, path: &str, peer: [u8; 4]) -> StatusCode {
    use tower::ServiceExt;
    let request = request(Method::GET, path).extension(ConnectInfo(SocketAddr::from((peer, 1))));
    app.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer").status()
}
