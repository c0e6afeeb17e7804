//! Lanes, jobs and calls over HTTP: listed, described, changed, cancelled, forced; and what is refused.
#![cfg(feature = "scheduler")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use common::{Answer, console, delete, get, patch, post};
use serde_json::{Value, json};
use tokio::sync::Notify;
use trimtab_admin::{AdminSettings, CallView};
use trimtab_scheduler::{BreakerSettings, CallSettings, Chain, Job, JobError, LaneKind, Priority, Scheduler};

fn app(scheduler: &Scheduler) -> Router {
    trimtab_admin::standalone(console().with_scheduler(scheduler.clone()), AdminSettings::default())
}

#[track_caller]
fn refused(answer: &Answer, status: StatusCode, kind: &str) -> Value {
    assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{}", answer.text());
    answer.json()
}

/// Waits until so many jobs are in the books: a result is handed over before its job is struck off them.
async fn counted(scheduler: &Scheduler, jobs: u64) {
    let is_counted = || {
        let stats = scheduler.stats();
        stats.kinds.iter().map(|kind| kind.ended).sum::<u64>() >= jobs
            && stats.lanes.iter().all(|lane| lane.running == 0)
    };
    while !is_counted() {
        tokio::task::yield_now().await;
    }
}

#[cfg(feature = "process")]
fn workers() -> trimtab_scheduler::Workers {
    let workers = trimtab_scheduler::Workers::new().register("double", |n: u32| 2 * n);
    workers.arguments(["--exact", "worker", "--nocapture", "--test-threads=1"]).silent()
}

#[cfg(feature = "process")]
#[test]
fn worker() {
    // Does something only where this program was started as a worker.
    workers().serve();
}

#[cfg(feature = "process")]
#[tokio::test]
async fn the_lane_of_processes_is_listed_with_its_workers() {
    let scheduler = Scheduler::builder("app").workers(workers()).build().expect("a scheduler");
    let app = app(&scheduler);
    assert_eq!(scheduler.submit(Job::process::<_, u32>("double", 21_u32)).await.expect("done"), 42);
    counted(&scheduler, 1).await;
    let body = get(&app, "/api/lanes").await.json();
    assert_eq!((&body["lanes"][3]["name"], &body["lanes"][3]["jobs"]["done"]), (&json!("process"), &json!(1)));
    let workers = &body["workers"];
    assert_eq!((&workers["alive"], &workers["started"], &workers["crashed"]), (&json!(1), &json!(1), &json!(0)));
    let set = patch(&app, "/api/lanes/process", r#"{"ceiling": 1}"#).await;
    assert_eq!((set.status, &set.json()["ceiling"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn lanes_are_listed_and_their_ceilings_set_within_their_bounds() {
    let scheduler = Scheduler::new("app").expect("a scheduler");
    let app = app(&scheduler);
    scheduler.submit(Job::cpu(|| ()).name("render")).await.expect("done");
    counted(&scheduler, 1).await;
    let body = get(&app, "/api/lanes").await.json();
    let names: Vec<_> = body["lanes"].as_array().expect("lanes").iter().map(|lane| lane["name"].clone()).collect();
    assert_eq!(names, ["io", "cpu", "memory"].map(Value::from), "without workers there is no lane of processes");
    let kind = &body["kinds"][0];
    assert_eq!((&kind["name"], &kind["ended"], &kind["failed"]), (&json!("render"), &json!(1), &json!(0)));

    let lane = get(&app, "/api/lanes/cpu").await.json();
    assert_eq!((&lane["jobs"]["submitted"], &lane["jobs"]["done"]), (&json!(1), &json!(1)));
    let set = patch(&app, "/api/lanes/io", r#"{"ceiling": 7}"#).await;
    assert_eq!((set.status, &set.json()["ceiling"]), (StatusCode::OK, &json!(7)));
    assert_eq!(scheduler.lane_stats(LaneKind::Io).ceiling, 7);
    let most = patch(&app, "/api/lanes/io", r#"{"ceiling": 1000000}"#).await.json();
    assert_eq!(most["ceiling"], scheduler.lane_stats(LaneKind::Io).ceiling, "the answer says what it is now");
    assert!(most["ceiling"].as_u64().expect("a number") < 1_000_000);

    let near = refused(&get(&app, "/api/lanes/cpus").await, StatusCode::NOT_FOUND, "unknown-lane");
    assert_eq!(near["suggestion"], "cpu");
    for body in [r#"{"ceiling": 0}"#, r#"{"ceiling": "many"}"#, r#"{"celing": 1}"#, "{}"] {
        refused(&patch(&app, "/api/lanes/io", body).await, StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields");
    }
    refused(&get(&app, "/api/lanes?lane=io").await, StatusCode::BAD_REQUEST, "bad-query");
}

#[tokio::test]
async fn jobs_are_paged_described_and_cancelled() {
    let scheduler = Scheduler::new("app").expect("a scheduler");
    let app = app(&scheduler);
    scheduler.set_ceiling(LaneKind::Io, 1);
    let go = Arc::new(Notify::new());
    let wait = || {
        let go = Arc::clone(&go);
        async move { go.notified().await }
    };
    let first = scheduler.submit(Job::io(wait()).name("first").tag("picture", "7"));
    while scheduler.lane_stats(LaneKind::Io).running == 0 || scheduler.jobs(LaneKind::Io, 1).is_empty() {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> =
        (0..4).map(|_| scheduler.submit(Job::io(wait()).name("other").priority(Priority::Low))).collect();

    let page = get(&app, "/api/jobs?lane=io&limit=3").await.json();
    assert_eq!((&page["open"], page["jobs"].as_array().map(Vec::len)), (&json!(5), Some(3)), "{page}");
    assert_eq!((&page["jobs"][0]["state"], &page["jobs"][0]["tags"]["picture"]), (&json!("running"), &json!("7")));
    assert_eq!((&page["jobs"][1]["state"], &page["jobs"][1]["priority"]), (&json!("queued"), &json!("low")));
    let next = page["next"].as_str().expect("more");
    let rest = get(&app, &format!("/api/jobs?after={next}")).await.json();
    assert_eq!((rest["jobs"].as_array().map(Vec::len), &rest["next"]), (Some(2), &Value::Null), "{rest}");
    assert_eq!(get(&app, "/api/jobs?lane=cpu").await.json()["jobs"], json!([]));

    let last = others.last().expect("four").id();
    let shown = get(&app, &format!("/api/jobs/{last}")).await.json();
    assert_eq!((&shown["kind"], &shown["lane"], &shown["state"]), (&json!("other"), &json!("io"), &json!("queued")));
    let cancelled = delete(&app, &format!("/api/jobs/{last}")).await;
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (StatusCode::OK, &json!("cancelled")));
    refused(&delete(&app, &format!("/api/jobs/{last}")).await, StatusCode::NOT_FOUND, "unknown-job");
    let running = delete(&app, &format!("/api/jobs/{}", first.id())).await;
    assert_eq!(running.status, StatusCode::OK, "{}", running.text());
    assert!(matches!(first.await, Err(JobError::Cancelled(..))));
    for _ in 0..4 {
        go.notify_one();
    }
    refused(&get(&app, "/api/jobs/seven").await, StatusCode::NOT_FOUND, "unknown-job");
    refused(&get(&app, "/api/jobs?lane=gpu").await, StatusCode::NOT_FOUND, "unknown-lane");
    refused(&get(&app, "/api/jobs?limit=0").await, StatusCode::BAD_REQUEST, "bad-query");
}

#[tokio::test]
async fn a_background_task_is_known_by_its_number_after_its_end() {
    let scheduler = Scheduler::new("app").expect("a scheduler");
    let app = app(&scheduler);
    let done = scheduler.submit_background("export", Job::cpu(|| 7));
    let broken = scheduler.submit_background("import", Job::cpu(|| -> u8 { panic!("oh") }));
    let stuck = scheduler.submit_background("sync", Job::io(std::future::pending::<()>()));
    for id in [done, broken] {
        let _ = scheduler.wait::<i32>(id, Duration::from_secs(60)).await;
    }
    let page = get(&app, "/api/background").await.json();
    assert_eq!(page["open"], 1, "{page}");
    let kinds: Vec<_> = page["jobs"].as_array().expect("jobs").iter().map(|job| job["kind"].clone()).collect();
    assert_eq!(kinds.len(), 3, "{page}");
    let shown = get(&app, &format!("/api/jobs/{done}")).await.json();
    assert_eq!((&shown["state"], &shown["background"]), (&json!("done"), &json!(true)));
    let shown = get(&app, &format!("/api/jobs/{broken}")).await.json();
    assert_eq!(shown["state"], "panicked");
    assert!(shown["error"].as_str().is_some_and(|why| why.contains("oh")), "{shown}");
    refused(&delete(&app, &format!("/api/jobs/{done}")).await, StatusCode::CONFLICT, "job-ended");
    let cancelled = delete(&app, &format!("/api/jobs/{stuck}")).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text());
    let _ = scheduler.wait::<()>(stuck, Duration::from_secs(60)).await;
    assert_eq!(get(&app, &format!("/api/jobs/{stuck}")).await.json()["state"], "cancelled");
}

#[tokio::test]
async fn calls_show_their_manners_and_breakers_are_forced_and_let_go() {
    let settings = CallSettings {
        timeout: Some(Duration::from_millis(250).into()),
        breaker: Some(BreakerSettings { min_calls: 1, ..BreakerSettings::default() }),
        ..CallSettings::default()
    };
    let orders = Chain::from_settings("orders", &settings).expect("a chain");
    let plain = Chain::from_settings("plain", &CallSettings::default()).expect("a chain");
    let list = {
        let (orders, settings) = (orders.clone(), settings.clone());
        move || {
            let view = |name: &str, settings: &CallSettings, chain| CallView {
                name: name.to_owned(),
                settings: settings.clone(),
                chain,
            };
            vec![view("orders", &settings, orders.clone()), view("plain", &CallSettings::default(), plain.clone())]
        }
    };
    let app = trimtab_admin::standalone(console().with_calls(list), AdminSettings::default());
    let _ = orders.call(|| async { Err::<(), _>("down") }).await;
    let body = get(&app, "/api/calls").await.json();
    let call = &body["calls"][0];
    assert_eq!((&call["breaker"]["state"], &call["breaker"]["failed"]), (&json!("open"), &json!(1)));
    assert!(call["breaker"]["probes_in_seconds"].as_f64().is_some_and(|wait| wait > 0.0), "{call}");
    assert_eq!((&call["timeout"]["limit_seconds"], &call["retry"]), (&json!(0.25), &Value::Null));

    for (wish, state) in [("closed", "forced_closed"), ("open", "forced_open"), ("automatic", "closed")] {
        let forced = post(&app, "/api/calls/orders/breaker", json!({"state": wish}).to_string()).await;
        assert_eq!((forced.status, &forced.json()["breaker"]["state"]), (StatusCode::OK, &json!(state)));
    }
    let wrong = post(&app, "/api/calls/orders/breaker", r#"{"state": "shut"}"#).await;
    refused(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "invalid-fields");
    let none = post(&app, "/api/calls/plain/breaker", r#"{"state": "open"}"#).await;
    assert!(refused(&none, StatusCode::NOT_FOUND, "unknown-call")["detail"].to_string().contains("call.plain.breaker"));
    assert_eq!(
        refused(&get(&app, "/api/calls/order").await, StatusCode::NOT_FOUND, "unknown-call")["suggestion"],
        "orders"
    );
}

#[tokio::test]
async fn heavy_requests_are_jobs_where_the_console_says_so_and_refusals_say_when_to_come_back() {
    let scheduler = Scheduler::new("app").expect("a scheduler");
    let console = console().with_scheduler(scheduler.clone()).with_work_on(scheduler.clone());
    let app = trimtab_admin::standalone(console, AdminSettings::default());
    assert_eq!(post(&app, "/api/memory/optimization/trigger", "").await.status, StatusCode::OK);
    assert_eq!(get(&app, "/api/memory/analysis/recommendations").await.status, StatusCode::OK);
    let kinds = get(&app, "/api/lanes").await.json()["kinds"].to_string();
    assert!(kinds.contains("optimise") && kinds.contains("advice"), "{kinds}");
    scheduler.drain(Duration::ZERO).await;
    refused(&get(&app, "/api/memory/analysis/recommendations").await, StatusCode::SERVICE_UNAVAILABLE, "lane-refused");
    assert_eq!(get(&app, "/metrics").await.status, StatusCode::OK, "a scrape never depends on a lane");
}

#[tokio::test]
async fn a_program_without_a_scheduler_has_no_lanes_and_says_so() {
    let app = trimtab_admin::standalone(console(), AdminSettings::default());
    assert_eq!(get(&app, "/api/lanes").await.json()["lanes"], json!([]));
    assert_eq!(get(&app, "/api/jobs").await.json()["jobs"], json!([]));
    assert_eq!(get(&app, "/api/background").await.json()["jobs"], json!([]));
    assert_eq!(get(&app, "/api/calls").await.json()["calls"], json!([]));
    refused(&get(&app, "/api/lanes/io").await, StatusCode::NOT_FOUND, "unknown-lane");
    refused(&get(&app, "/api/jobs/4").await, StatusCode::NOT_FOUND, "unknown-job");
    let page = get(&app, "/").await.text();
    for file in ["panels.js", "lanes.js", "calls.js", "locks.js", "limits.js"] {
        assert!(page.contains(&format!("dashboard/{file}")), "{file}");
        assert_eq!(get(&app, &format!("/dashboard/{file}")).await.status, StatusCode::OK, "{file}");
    }
    assert!(page.contains("data-parts=\"") && !page.contains("{{"), "the page knows which parts are compiled in");
}
