//! Live events: the past first, then ticks, bounded and ended in order.

mod common;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use common::{console, get, request};
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;
use trimtab_admin::AdminSettings;
use trimtab_cache::CacheSettings;

async fn open(app: &Router) -> BodyDataStream {
    let request = request(Method::GET, "/events").body(Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("an answer");
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"text/event-stream".parse().expect("a value"))
    );
    response.into_body().into_data_stream()
}

/// The next event's name and data; comments are passed over.
async fn event(stream: &mut BodyDataStream) -> Option<(String, Value)> {
    loop {
        let chunk = stream.next().await?.expect("no error");
        let text = String::from_utf8(chunk.to_vec()).expect("text");
        assert!(text.ends_with("\n\n"), "whole events");
        let Some(rest) = text.strip_prefix("event: ") else { continue };
        let (name, data) = rest.split_once("\ndata: ").expect("an event");
        return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
    }
}

fn settings() -> AdminSettings {
    AdminSettings { events_interval: Duration::from_millis(500).into(), events_max: 2, ..AdminSettings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_past_and_goes_on_with_ticks() {
    let console = console();
    let cache = console.caches().create("pages", CacheSettings::default()).expect("a cache");
    let app = trimtab_admin::standalone(console, settings());
    cache.put("k", "1", None).expect("fits");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut stream = open(&app).await;
    let (name, hello) = event(&mut stream).await.expect("the first event");
    assert_eq!((name.as_str(), &hello["info"]["profile"]), ("hello", &Value::from("balanced")));
    assert_eq!(hello["access"]["token_required"], false);
    let past = hello["history"]["system"].as_array().expect("points").len();
    assert!(past >= 5, "the past was recorded while nobody listened: {past}");
    assert_eq!(hello["frame"]["caches"][0]["entries"], 1);

    cache.get("k");
    let (name, tick) = event(&mut stream).await.expect("a tick");
    assert_eq!(name, "tick");
    let pages = &tick["caches"][0];
    assert_eq!((&pages["name"], &pages["hits"], &pages["kind"]), (&"pages".into(), &1.into(), &"bytes".into()));
    assert_eq!(pages["point"].as_array().expect("a point").len(), 11);
    assert!(tick["pressure"]["explanation"].is_string() && tick["health"]["ready"]["ok"] == true);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_give_their_place_back() {
    let app = trimtab_admin::standalone(console(), settings());
    let (first, _second) = (open(&app).await, open(&app).await);
    let refused = get(&app, "/events").await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-streams"));
    assert!(!refused.header("retry-after").is_empty());
    drop(first);
    let mut third = open(&app).await;
    assert_eq!(event(&mut third).await.expect("an event").0, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_misses_ticks_and_goes_on() {
    let app = trimtab_admin::standalone(console(), settings());
    let mut stream = open(&app).await;
    event(&mut stream).await.expect("hello");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let (_, first) = event(&mut stream).await.expect("the oldest tick that was kept");
    let mut kept = 1;
    while tokio::time::timeout(Duration::from_millis(1), event(&mut stream)).await.is_ok() {
        kept += 1;
    }
    assert!(kept <= 5, "{kept} of 60 ticks waited for the client");
    assert!(first["at"].is_u64());
    assert_eq!(event(&mut stream).await.expect("it goes on").0, "tick");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_that_it_is_alive() {
    let quiet = AdminSettings { events_interval: Duration::from_secs(60).into(), ..settings() };
    let app = trimtab_admin::standalone(console(), quiet);
    let mut stream = open(&app).await;
    event(&mut stream).await.expect("hello");
    let started = tokio::time::Instant::now();
    loop {
        let chunk = stream.next().await.expect("no end").expect("no error");
        if chunk.starts_with(b":") {
            break;
        }
    }
    assert!(started.elapsed() <= Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn closing_the_console_ends_streams_and_refuses_new_ones() {
    let console = console();
    let app = trimtab_admin::standalone(console.clone(), settings());
    let mut stream = open(&app).await;
    event(&mut stream).await.expect("hello");
    console.close();
    while event(&mut stream).await.is_some() {}
    assert_eq!(get(&app, "/events").await.problem(), "too-many-streams");
}
