//! Scheduler, calls, locks and limits in the assembled system: settings by section, changed while it runs, shown in the health
//! and the metrics, and what becomes of them at the stop.
#![cfg(all(feature = "scheduler", feature = "lock", feature = "limit"))]

use std::time::Duration;

use serde_json::json;
use trimtab::config::{ByteSize, Profile};
use trimtab::lock::Loss;
use trimtab::scheduler::{BreakerState, CallError, Job, JobError, LaneKind};
use trimtab::{OpenError, StartError, Trimtab};

/// A system that reads neither file nor variables of this machine.
fn quiet() -> trimtab::Builder {
    Trimtab::builder().no_file().variables::<&str, &str>([])
}

/// Waits for what a tick of the monitor does, for ten seconds at most.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            // The monitor reads files on threads of their own, beyond the reach of a paused clock.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(10), waiting).await.is_ok(), "waited 10 s until {what}");
}

#[tokio::test]
async fn lanes_have_the_settings_of_their_section_and_follow_a_patch_while_jobs_run() {
    let tt = quiet().set("scheduler.io.ceiling", 1).set("memory.limit", "1GiB").start().await.expect("starts");
    let scheduler = tt.scheduler();
    assert_eq!(scheduler.stats().memory_limit, ByteSize::mib(512), "half of the one memory number");
    let (told, wait) = tokio::sync::oneshot::channel::<()>();
    let first = scheduler.submit(Job::io(wait));
    let second = scheduler.submit(Job::io(async { 2 }));
    tokio::task::yield_now().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).queued, 1, "the ceiling is one");
    tt.live().patch(json!({"scheduler": {"io": {"ceiling": 2}}})).expect("sound");
    assert_eq!(second.await.expect("runs beside the first"), 2);
    told.send(()).expect("it waits");
    first.await.expect("a result").expect("told");

    let changes = tt.live().patch(json!({"scheduler": {"cpu_threads": 3}})).expect("sound");
    assert!(changes.iter().all(|change| change.restart), "threads are made once");
    let refused = tt.live().patch(json!({"scheduler": {"io": {"ceiling": 0}, "cpu": {"celing": 1}}}));
    let refused = refused.expect_err("wrong").to_string();
    for part in ["scheduler.io.ceiling", "must be from 1 to", "scheduler.cpu.celing", "ceiling"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert_eq!(scheduler.lane_stats(LaneKind::Io).ceiling, 2, "a refused patch changes nothing");
    tt.live().reset("").expect("taken back");
    assert_eq!(scheduler.lane_stats(LaneKind::Io).ceiling, 1);
    tt.shutdown().await;
}

#[tokio::test]
async fn every_problem_of_every_section_is_told() {
    let error = quiet()
        .set("scheduler.cpu_nice", 20)
        .set("call.orders.breaker.window", 0)
        .set("call.Orders!.timeout", "1s")
        .set("lock.jobs.lease", "1ms")
        .set("limit.logins.leased", 0)
        .set("limit.logins.rat", "1/s")
        .start()
        .await
        .expect_err("refused");
    let StartError::Settings(invalid) = &error else { panic!("{error}") };
    for path in [
        "scheduler.cpu_nice",
        "call.orders.breaker.window",
        "call.Orders!",
        "lock.jobs.lease",
        "limit.logins.leased",
        "limit.logins.rat",
    ] {
        assert!(invalid.problems().iter().any(|problem| problem.path().replace('"', "") == path), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_call_has_the_manners_that_were_written_with_the_rest_from_the_profile() {
    let tt =
        quiet().profile(Profile::Minimal).set("call.orders.breaker.failure_rate", "25%").start().await.expect("starts");
    let orders = tt.call("orders").expect("a call");
    let settings = orders.settings();
    let breaker = settings.breaker.expect("a breaker was written");
    assert_eq!((breaker.window, breaker.failure_rate.get()), (50, 0.25), "the rest is the profile's");
    assert!(
        settings.retry.is_none()
            && settings.timeout.is_none()
            && settings.bulkhead.is_none()
            && settings.pace.is_none()
    );
    assert!(tt.call("others").expect("a call").breaker().is_none(), "no section, no manners");
    assert!(matches!(tt.call("../etc"), Err(OpenError::Call(_))));
    assert_eq!(tt.calls().iter().map(|call| call.name().to_owned()).collect::<Vec<_>>(), ["orders", "others"]);
    tt.shutdown().await;
}

#[tokio::test]
async fn a_changed_call_keeps_what_its_other_manners_have_learnt() {
    let tt = quiet()
        .set("call.orders.breaker.min_calls", 5)
        .set("call.orders.bulkhead.max", 1)
        .start()
        .await
        .expect("starts");
    let orders = tt.call("orders").expect("a call");
    let fail = || orders.call(|| async { Err::<(), _>("down") });
    for _ in 0..5 {
        assert_eq!(fail().await, Err(CallError::Failed("down")));
    }
    assert_eq!(orders.breaker().expect("a breaker").state(), BreakerState::Open);
    tt.live().patch(json!({"call": {"orders": {"timeout": "1s", "bulkhead": {"max": 7}}}})).expect("sound");
    assert_eq!(orders.breaker().expect("a breaker").state(), BreakerState::Open, "a new time-out closes no breaker");
    let chain = orders.chain();
    let (_, timeout, _, _, bulkhead) = chain.parts();
    assert!(
        timeout.is_some()
            && bulkhead.is_some_and(|bulkhead| bulkhead.stats().limit == 7 && bulkhead.stats().acquired == 5)
    );
    assert!(matches!(fail().await, Err(CallError::Refused(_))));

    tt.live().patch(json!({"call": {"orders": {"breaker": {"failure_rate": "90%"}}}})).expect("sound");
    assert_eq!(orders.breaker().expect("another").state(), BreakerState::Closed, "other rules, another breaker");
    tt.live().reset("").expect("taken back");
    assert!(orders.chain().parts().1.is_none());
    tt.shutdown().await;
}

#[tokio::test]
async fn a_section_speaks_before_the_code_and_the_code_before_nothing() {
    let tt = quiet().set("call.feed.timeout", "3s").set("limit.mails.rate", "7/s").start().await.expect("starts");
    let defaults =
        trimtab::scheduler::CallSettings { timeout: Some(Duration::from_secs(1).into()), ..Default::default() };
    let feed = tt.call_with("feed", defaults.clone()).expect("a call");
    assert_eq!(feed.settings().timeout.map(Duration::from), Some(Duration::from_secs(3)));
    let other = tt.call_with("other", defaults).expect("a call");
    assert_eq!(other.settings().timeout.map(Duration::from), Some(Duration::from_secs(1)));
    tt.live().patch(json!({"call": {"other": {"timeout": "9s"}}})).expect("sound");
    assert_eq!(other.settings().timeout.map(Duration::from), Some(Duration::from_secs(9)));
    tt.live().reset("call.other").expect("taken back");
    assert_eq!(other.settings().timeout.map(Duration::from), Some(Duration::from_secs(1)), "the code speaks again");

    let ten = trimtab::limit::LimitSettings::of("10/s".parse().expect("a rate"));
    assert_eq!(tt.limit_with("mails", ten.clone()).expect("a limit").settings().rate.permits().get(), 7);
    assert_eq!(tt.limit_with("texts", ten).expect("a limit").settings().rate.permits().get(), 10);
    tt.shutdown().await;
}

#[tokio::test]
async fn one_name_is_one_limit_of_one_kind() {
    let tt = quiet()
        .set("limit.far.url", "redis://localhost:1")
        .set("limit.logins.rate", "1/m burst 1")
        .start()
        .await
        .expect("starts");
    let logins = tt.keyed_limit::<String>("logins").expect("a limit");
    assert!(logins.check(&"ada".to_owned()).is_ok());
    assert!(tt.keyed_limit::<String>("logins").expect("the same").check(&"ada".to_owned()).is_err());
    let other = tt.limit("logins").expect_err("one name, one kind").to_string();
    assert!(other.contains("logins") && other.contains("KeyedLimit"), "{other}");
    assert!(matches!(tt.keyed_limit::<u64>("logins"), Err(OpenError::Mistyped { .. })));
    let shared = tt.limit("far").expect_err("its section names a server").to_string();
    assert!(shared.contains("limit.far.url") && !shared.contains("localhost"), "{shared}");
    let changes = tt.live().patch(json!({"limit": {"logins": {"rate": "2/s"}}})).expect("sound");
    assert!(!changes.is_empty() && changes.iter().all(|change| !change.restart), "a rate changes at once");
    let ada = "ada".to_owned();
    assert_eq!(logins.rate(), "2/s".parse().expect("a rate"));
    assert!(logins.check(&"grace".to_owned()).is_ok() && logins.check(&ada).is_err(), "what was used stays used");
    let changes = tt.live().patch(json!({"limit": {"logins": {"keys_max": 77}}})).expect("sound");
    assert!(changes.iter().all(|change| change.restart), "an open limit keeps its bounds, and the change says so");
    tt.shutdown().await;
}

#[tokio::test]
async fn a_stop_finishes_jobs_then_takes_what_is_still_locked_and_tells_every_caller_the_same() {
    let tt = quiet().set("lock.jobs.url", "memory:").start().await.expect("starts");
    let jobs = tt.locks("jobs").await.expect("locks");
    assert_eq!(jobs.name(), tt.locks("jobs").await.expect("the same").name());
    let stubborn = jobs.acquire("stubborn", Duration::ZERO).await.expect("a lease");
    let reader = jobs.read("prices", Duration::ZERO).await.expect("a lease");
    let permit = jobs.semaphore("renders", 2).expect("a semaphore").acquire(Duration::ZERO).await.expect("a permit");
    let polite = jobs.acquire("polite", Duration::ZERO).await.expect("a lease");
    let holder = tokio::spawn({
        let tt = tt.clone();
        async move {
            tt.closing().await;
            polite.release().await.expect("in time");
        }
    });
    let serving = tt.serving();
    let stopping = tokio::spawn({
        let tt = tt.clone();
        async move { tt.shutdown().await }
    });
    tt.closing().await;
    let late = tt.scheduler().submit(Job::cpu(|| 7).name("late"));
    assert_eq!(late.await.expect("requests are still answered"), 7);
    let stuck = tt.scheduler().submit(Job::io(std::future::ready(())).name("work"));
    drop(serving);
    stuck.await.expect("finishes");
    let stopped = stopping.await.expect("no panic");
    holder.await.expect("no panic");
    assert!(stopped.jobs.is_clean(), "{stopped}");
    assert_eq!(
        (stopped.locks.given_back, stopped.locks.taken.clone()),
        (0, ["jobs/prices", "jobs/renders", "jobs/stubborn"].map(str::to_owned).to_vec()),
        "{stopped}"
    );
    for lease in [stubborn, reader, permit] {
        assert_eq!(lease.lost().await, Loss::Forced, "its holder is told");
    }
    assert_eq!(tt.shutdown().await, stopped, "further callers hear the same");
    assert!(matches!(tt.scheduler().submit(Job::io(async {})).await, Err(JobError::Closed(_))));
}

#[tokio::test]
async fn a_full_lane_and_an_open_breaker_show_in_the_health_until_they_are_mended() {
    let tt = quiet()
        .set("monitor.interval", "100ms")
        .set("scheduler.io.ceiling", 1)
        .set("scheduler.io.queue_max", 1)
        .set("call.orders.breaker.min_calls", 5)
        .start()
        .await
        .expect("starts");
    let reason = |name: &str| {
        let report = tt.health().report();
        report.components.into_iter().find(|one| one.name == name).map(|one| one.reason.unwrap_or_default())
    };
    assert_eq!(reason("scheduler"), None, "nobody has used a lane");
    let (told, wait) = tokio::sync::oneshot::channel::<()>();
    let first = tt.scheduler().submit(Job::io(wait));
    tokio::task::yield_now().await;
    let second = tt.scheduler().submit(Job::io(async {}));
    assert!(matches!(tt.scheduler().submit(Job::io(async {})).await, Err(JobError::Full(_))));
    eventually("the lane shows", || reason("scheduler").is_some_and(|why| why.contains("lane io is saturated"))).await;
    assert!(tt.health().ready().ok, "worse is not unready");
    told.send(()).expect("it waits");
    first.await.expect("a result").expect("told");
    second.await.expect("a result");
    eventually("the lane is mended", || reason("scheduler").is_some_and(|why| why.is_empty())).await;

    let orders = tt.call("orders").expect("a call");
    for _ in 0..5 {
        let _ = orders.call(|| async { Err::<(), _>("down") }).await;
    }
    eventually("the breaker shows", || reason("calls").is_some_and(|why| why.contains("call orders is open"))).await;
    orders.breaker().expect("a breaker").automatic();
    eventually("the breaker is mended", || reason("calls").is_some_and(|why| why.is_empty())).await;
    tt.shutdown().await;
}

#[cfg(feature = "admin")]
mod over_http {
    use std::net::SocketAddr;

    use axum::body::{Body, to_bytes};
    use axum::extract::ConnectInfo;
    use axum::http::{HeaderMap, Method, Request, StatusCode};
    use serde_json::{Value, json};
    use tower::Service;

    use super::quiet;

    const TOKEN: &str = "correct-horse-battery-staple";

    async fn send(app: &mut axum::Router, method: Method, path: &str, body: Value) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let peer = ConnectInfo(SocketAddr::from(([10, 0, 0, 7], 4711)));
        let request = request.extension(peer).body(Body::from(body.to_string()));
        let response = app.call(request.expect("a request")).await.expect("a router never fails");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 22).await.expect("a body");
        (parts.status, parts.headers, String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get(app: &mut axum::Router, path: &str) -> Value {
        let (status, _, text) = send(app, Method::GET, path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Waits until so many jobs are in the books: a result is handed over before its job is struck off them.
    async fn counted(tt: &trimtab::Trimtab, jobs: u64) {
        let is_counted = || {
            let stats = tt.scheduler().stats();
            let ended = stats.kinds.iter().map(|kind| kind.ended).sum::<u64>();
            ended >= jobs && stats.lanes.iter().all(|lane| lane.running == 0)
        };
        while !is_counted() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_guarded_api_works_on_a_lane_behind_a_breaker_and_under_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a-file");
        std::fs::write(&file, "no directory").expect("written");
        let tt = quiet()
            .set("server.token", TOKEN)
            .set("server.snapshots", file.join("below").to_str().expect("text"))
            .set("limit.admin.rate", "1/m burst 12")
            .guarded_admin(true)
            .start()
            .await
            .expect("starts");
        let pages = tt.byte_cache("pages").expect("a cache");
        pages.put("/", &b"1"[..], None).expect("fits");
        let mut app = tt.admin();

        // Five requests find a disk that fails, the sixth finds the breaker open.
        for _ in 0..5 {
            let (status, _, text) = send(&mut app, Method::POST, "/api/caches/pages/snapshot", Value::Null).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{text}");
        }
        let (status, headers, text) = send(&mut app, Method::POST, "/api/caches/pages/snapshot", Value::Null).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        assert!(text.contains("files-refused") && headers.contains_key("retry-after"), "{text}");
        let calls = get(&mut app, "/api/calls").await;
        assert_eq!(
            (&calls["calls"][0]["name"], &calls["calls"][0]["breaker"]["state"]),
            (&json!("snapshots"), &json!("open"))
        );
        // What is not the disk's fault does not count against it.
        let body = json!({"state": "automatic"});
        let (status, _, text) = send(&mut app, Method::POST, "/api/calls/snapshots/breaker", body).await;
        assert_eq!(status, StatusCode::OK, "{text}");

        counted(&tt, 6).await;
        let lanes = get(&mut app, "/api/lanes").await;
        let kinds = lanes["kinds"].as_array().expect("kinds");
        assert!(kinds.iter().any(|kind| kind["name"] == "snapshot" && kind["ended"] == 6), "{lanes}");
        let limits = get(&mut app, "/api/limits").await;
        assert_eq!(
            (&limits["limits"][0]["name"], &limits["limits"][0]["kind"], &limits["limits"][0]["keys"]),
            (&json!("admin"), &json!("keyed"), &json!(1))
        );

        // Ten requests so far; entries and health do not count.
        for _ in 0..20 {
            let (status, ..) = send(&mut app, Method::GET, "/api/memory/cache/pages/entry/%2F", Value::Null).await;
            assert_eq!(status, StatusCode::OK);
            let (status, ..) = send(&mut app, Method::GET, "/health/live", Value::Null).await;
            assert_eq!(status, StatusCode::OK);
        }
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let (status, headers, text) = send(&mut app, Method::GET, "/api/budget", Value::Null).await;
            if status == StatusCode::TOO_MANY_REQUESTS {
                assert!(headers.contains_key("retry-after") && text.contains("limit.admin.rate"), "{text}");
            }
            statuses.push(status.as_u16());
        }
        assert_eq!(statuses, [200, 200, 429, 429]);
        tt.shutdown().await;
    }

    #[tokio::test]
    async fn the_parts_are_shown_with_their_settings_and_among_the_metrics() {
        let tt = quiet()
            .set("server.token", TOKEN)
            .set("lock.jobs.url", "memory:")
            .set("lock.far.url", "redis://:hunter2@localhost:1")
            .set("limit.mails.rate", "5/s")
            .set("call.orders.breaker.min_calls", 7)
            .start()
            .await
            .expect("starts");
        let mut app = tt.admin();
        let jobs = tt.locks("jobs").await.expect("locks");
        let lease = jobs.acquire("nightly", std::time::Duration::ZERO).await.expect("a lease");
        tt.limit("mails").expect("a limit").check().expect("the first");
        tt.call("orders").expect("a call").call(|| async { Ok::<_, ()>(()) }).await.expect("works");
        tt.scheduler().submit(trimtab::scheduler::Job::cpu(|| ()).name("render")).await.expect("done");
        counted(&tt, 1).await;

        let settings = get(&mut app, "/api/config").await.to_string();
        for part in ["scheduler.io.ceiling", "call.orders.breaker.window", "lock.jobs.lease", "limit.mails.rate"] {
            assert!(settings.contains(&format!("\"{part}\"")), "{part}");
        }
        assert!(!settings.contains("hunter2"), "a URL may hold a password");
        assert_eq!(get(&mut app, "/api/locks/jobs").await["locks"][0]["name"], "nightly");
        assert_eq!(get(&mut app, "/api/calls/orders").await["breaker"]["calls"], 1);
        assert_eq!(get(&mut app, "/api/limits/mails").await["kind"], "all");
        assert_eq!(get(&mut app, "/api/lanes/cpu").await["jobs"]["done"], 1);
        let (_, _, metrics) = send(&mut app, Method::GET, "/metrics", Value::Null).await;
        for name in [
            "trimtab_scheduler_ended_total{scheduler=\"trimtab\",lane=\"cpu\",outcome=\"done\"}",
            "trimtab_breaker_calls_total{breaker=\"orders\"}",
            "trimtab_lock_held{group=\"jobs\"}",
            "# HELP trimtab_limit_refused_total",
        ] {
            assert!(metrics.contains(name), "{name} is missing in {metrics}");
        }
        lease.release().await.expect("in time");
        tt.shutdown().await;
    }
}
