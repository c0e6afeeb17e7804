//! The assembled system: starts whole or not at all, carries changed settings to its parts, and stops.

use std::time::Duration;

use trimtab::cache::CachesError;
use trimtab::config::Profile;
use trimtab::{StartError, Trimtab};

/// A system that reads neither file nor variables of this machine.
fn quiet() -> trimtab::Builder {
    Trimtab::builder().no_file().variables::<&str, &str>([])
}

#[tokio::test]
async fn a_cache_has_the_settings_of_its_name_or_the_profiles() {
    let tt = quiet().profile(Profile::Minimal).set("cache.users.max_entries", 7).start().await.expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");
    assert_eq!(users.stats().max_entries, Some(7));
    let others = tt.cache::<u64, u64>("others").expect("a cache");
    assert_eq!(others.stats().max_entries, Some(1_000), "the profile's default");
    users.insert(1, 1);
    assert_eq!(tt.cache::<u64, u64>("users").expect("the same").get(&1), Some(1));
    assert!(matches!(tt.cache::<u64, String>("users"), Err(CachesError::Mistyped { .. })));
    assert!(matches!(tt.cache::<u64, u64>("../etc"), Err(CachesError::Name(_))));
    tt.shutdown().await;
}

#[tokio::test]
async fn every_problem_is_told_and_nothing_starts() {
    let error = quiet()
        .set("cache.users.max_entries", 0)
        .set("cache.Users!.ttl", "5m")
        .set("monitor.interval", "1ns")
        .set("monitr.interval", "1s")
        .start()
        .await
        .expect_err("refused");
    let StartError::Settings(invalid) = &error else { panic!("{error}") };
    assert_eq!(invalid.problems().len(), 4, "{error}");
}

#[tokio::test]
async fn a_patch_reaches_open_caches_and_those_not_opened_yet() {
    let tt =
        quiet().set("cache.users.max_entries", 100).set("cache.later.max_entries", 100).start().await.expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");
    for key in 0..100 {
        users.insert(key, key);
    }
    tt.live()
        .patch(serde_json::json!({"cache": {"users": {"max_entries": 10}, "later": {"max_entries": 5}}}))
        .expect("sound");
    assert_eq!(users.len(), 10, "what is too much leaves at once");
    assert_eq!(tt.cache::<u64, u64>("later").expect("a cache").stats().max_entries, Some(5));

    let refused = tt.live().patch(serde_json::json!({"cache": {"users": {"max_entries": 0}}}));
    assert!(refused.is_err());
    assert_eq!(users.stats().max_entries, Some(10), "a refused patch changes nothing");
    tt.shutdown().await;
}

#[tokio::test]
async fn a_patch_taken_back_gives_a_cache_without_a_section_its_defaults_again() {
    let tt = quiet().profile(Profile::Minimal).start().await.expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");
    tt.live().patch(serde_json::json!({"cache": {"users": {"max_entries": 10}}})).expect("sound");
    assert_eq!(users.stats().max_entries, Some(10));
    tt.live().reset("cache.users").expect("it was patched");
    assert_eq!(users.stats().max_entries, Some(1_000));
    tt.shutdown().await;
}

#[tokio::test]
async fn a_changed_file_reaches_the_cache_and_a_bad_one_shows_in_the_health() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trimtab.toml");
    std::fs::write(&file, "[cache.users]\nmax_entries = 100\n").expect("written");
    let tt = Trimtab::builder()
        .variables::<&str, &str>([])
        .file(&file)
        .set("monitor.interval", "100ms")
        .start()
        .await
        .expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");

    std::fs::write(&file, "[cache.users]\nmax_entries = 10\n").expect("written");
    eventually(|| users.stats().max_entries == Some(10)).await;

    std::fs::write(&file, "[cache.users]\nmax_entries = \"ten\"\n").expect("written");
    eventually(|| serde_json::to_string(&tt.health().report()).expect("json").contains("refused")).await;
    assert_eq!(users.stats().max_entries, Some(10));
    tt.shutdown().await;
}

#[tokio::test]
async fn expired_entries_leave_without_being_asked_for() {
    let tt = quiet().set("cache.users.ttl", "1ms").set("monitor.interval", "100ms").start().await.expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");
    users.insert(1, 1);
    eventually(|| users.is_empty()).await;
    tt.shutdown().await;
}

#[tokio::test]
async fn cleanup_removes_what_has_expired_and_nothing_else() {
    // The housekeeping looks once a minute, so that it is this call which removes.
    let tt = quiet().set("cache.short.ttl", "1ns").set("monitor.interval", "1m").start().await.expect("starts");
    let (short, long) =
        (tt.cache::<u64, u64>("short").expect("a cache"), tt.cache::<u64, u64>("long").expect("a cache"));
    for key in 0..100 {
        short.insert(key, key);
        long.insert(key, key);
    }
    tt.cleanup();
    assert_eq!((short.len(), long.len()), (0, 100));
    assert_eq!(tt.cleanup(), 0);
    tt.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_readiness_and_can_be_called_twice() {
    let tt = quiet().start().await.expect("starts");
    assert!(tt.health().ready().ok);
    let waiting = tokio::spawn({
        let tt = tt.clone();
        async move { tt.closing().await }
    });
    tt.shutdown().await;
    waiting.await.expect("told");
    assert!(!tt.health().ready().ok);
    tt.shutdown().await;
}

/// Waits for what another thread does, for ten seconds at most.
async fn eventually(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            // The watcher of the file is a thread of its own, beyond the reach of a paused clock.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("happens in time");
}

#[cfg(feature = "admin")]
mod over_http {
    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request, StatusCode};
    use serde_json::{Value, json};
    use tower::Service;

    use super::quiet;

    const TOKEN: &str = "correct-horse-battery-staple";

    async fn send(app: &mut axum::Router, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {TOKEN}")).body(Body::from(body.to_string()));
        let response = app.call(request.expect("a request")).await.expect("a router never fails");
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("horse"), "no secret in an answer: {text}");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    #[tokio::test]
    async fn a_patch_resizes_a_cache_is_refused_whole_and_is_taken_back() {
        let tt = quiet().set("server.token", TOKEN).set("cache.users.max_entries", 100).start().await.expect("starts");
        let users = tt.cache::<u64, u64>("users").expect("a cache");
        for key in 0..100 {
            users.insert(key, key);
        }
        // Wherever the old policy would have put them: the new one takes over its order, in which these are the hottest.
        for key in (90..100).cycle().take(100) {
            assert_eq!(users.get(&key), Some(key));
        }
        let mut app = tt.admin();
        let patch = json!({"cache": {"users": {"max_entries": 10, "policy": "lru"}}, "server": {"token": format!("{TOKEN}-2")}});
        let (status, answer) = send(&mut app, Method::PATCH, "/api/config", patch).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let changes: Vec<_> =
            answer["changes"].as_array().expect("changes").iter().map(|c| (&c["path"], &c["restart"])).collect();
        assert_eq!(
            changes,
            [
                (&json!("cache.users.max_entries"), &json!(false)),
                (&json!("cache.users.policy"), &json!(false)),
                (&json!("server.token"), &json!(true)),
            ]
        );
        assert_eq!(answer["restart_needed"], true);
        assert_eq!((users.len(), users.policy().as_str()), (10, "lru"));
        assert!((90..100).all(|key| users.contains(&key)), "the hottest stay");
        let (_, patches) = send(&mut app, Method::GET, "/api/config/patches", Value::Null).await;
        assert_eq!(patches["patches"]["cache"]["users"]["max_entries"], 10);

        let wrong = json!({"cache": {"users": {"max_entries": 5, "max_entires": 5, "ttl": "soon"}}, "server": {"token": "horse"}});
        let (status, refused) = send(&mut app, Method::PATCH, "/api/config", wrong).await;
        assert_eq!(
            (status, &refused["type"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("/problems/invalid-settings"))
        );
        let problems = refused["problems"].as_array().expect("problems");
        let at = |path: &str| problems.iter().find(|problem| problem["path"] == path);
        assert_eq!(at("cache.users.ttl").map(|problem| &problem["origin"]["kind"]), Some(&json!("patch")), "{refused}");
        let near = at("cache.users.max_entires").and_then(|problem| problem["suggestion"].as_str());
        assert!(near.is_some_and(|near| near.ends_with("max_entries")), "{refused}");
        assert_eq!(users.stats().max_entries, Some(10), "a refused patch changes nothing");

        let path = "/api/config/patch?path=cache.users.max_entries";
        let (status, back) = send(&mut app, Method::DELETE, path, Value::Null).await;
        assert_eq!((status, &back["changes"][0]["new"]), (StatusCode::OK, &json!(100)), "{back}");
        assert_eq!(users.stats().max_entries, Some(100));
        let (_, back) = send(&mut app, Method::DELETE, "/api/config/patch?path=cache.users.policy", Value::Null).await;
        assert_eq!((&back["changes"][0]["new"], users.policy().as_str()), (&json!("adaptive"), "adaptive"), "{back}");
        assert_eq!(users.len(), 10, "a policy that is taken back keeps the entries");
        let (status, _) = send(&mut app, Method::DELETE, path, Value::Null).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "it is taken back already");
        tt.shutdown().await;
    }
}

#[tokio::test]
async fn caches_give_back_by_themselves_when_memory_is_short() {
    // Whatever this process has is more than enough to be critical under a limit so low.
    let tt = quiet()
        .set("memory.limit", "4MiB")
        .set("memory.keep_when_high", "50%")
        .set("memory.keep_when_critical", "10%")
        .set("monitor.interval", "100ms")
        .start()
        .await
        .expect("starts");
    let users = tt.cache::<u64, u64>("users").expect("a cache");
    (0..100).for_each(|key| users.insert(key, key));
    eventually(|| users.stats().evictions.shrunk >= 50).await;
    assert_eq!(users.stats().evictions.for_room(), 0, "no limit was changed");
    tt.shutdown().await;
}
