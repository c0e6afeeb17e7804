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
