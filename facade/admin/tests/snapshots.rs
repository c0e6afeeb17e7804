//! Saving and restoring caches over HTTP.

mod common;

use axum::Router;
use axum::http::StatusCode;
use common::{console, post};
use serde_json::json;
use trimtab_admin::{AdminSettings, Console};
use trimtab_cache::{ByteCache, CacheSettings};

/// A router over a console with the cache `a` of three entries and the typed cache `users`.
fn system(directory: Option<&std::path::Path>) -> (Router, Console, ByteCache) {
    let console = console();
    let cache = console.caches().create("a", CacheSettings::default()).expect("a cache");
    for (key, ttl) in [("k1", None), ("k2", Some(std::time::Duration::from_secs(600))), ("k3", None)] {
        cache.put(key, format!("\"{key}\""), ttl).expect("it fits");
    }
    console.caches().declare("users", CacheSettings::default()).expect("declared");
    console.caches().open::<u64, String>("users").expect("opened");
    let settings = AdminSettings { snapshots: directory.map(Into::into), ..AdminSettings::default() };
    (trimtab_admin::standalone(console.clone(), settings), console, cache)
}

#[tokio::test]
async fn a_cache_is_saved_and_comes_back_with_its_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("made/when/needed");
    let (app, _, cache) = system(Some(&directory));
    let saved = post(&app, "/api/caches/a/snapshot", "").await;
    assert_eq!(saved.status, StatusCode::OK, "{}", saved.text());
    let length = std::fs::metadata(directory.join("a.snapshot")).expect("the file").len();
    assert_eq!(saved.json(), json!({"cache": "a", "file": "a.snapshot", "entries": 3, "bytes": length}));

    cache.cache().clear();
    cache.put("k3", "\"newer\"", None).expect("it fits");
    let restored = post(&app, "/api/caches/a/restore", "").await;
    let expected = json!({"cache": "a", "file": "a.snapshot", "entries": 2, "expired": 0, "newer": 1, "no_room": 0});
    assert_eq!((restored.status, restored.json()), (StatusCode::OK, expected));
    assert_eq!(cache.get("k3").as_deref(), Some(&b"\"newer\""[..]));
    let left = cache.info("k2").expect("restored").ttl_left.expect("its time goes on").as_secs();
    assert!((500..=600).contains(&left), "{left}");
    cache.cache().validate();
}

#[tokio::test]
async fn saving_again_replaces_the_file_whole_and_leaves_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let (app, _, cache) = system(Some(folder.path()));
    for entries in [3, 4] {
        let saved = post(&app, "/api/caches/a/snapshot?file=mine-1.snapshot", "").await;
        assert_eq!(saved.json()["entries"], entries);
        cache.put("k4", "4", None).expect("it fits");
    }
    let files: Vec<_> =
        std::fs::read_dir(folder.path()).expect("readable").map(|one| one.unwrap().file_name()).collect();
    assert_eq!(files, ["mine-1.snapshot"]);
}

#[tokio::test]
async fn a_request_names_a_file_and_never_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let (app, ..) = system(Some(folder.path()));
    for file in [
        "..%2Fa.snapshot",
        "%2Ftmp%2Fa.snapshot",
        ".a.snapshot",
        "a.toml",
        "",
        "a%00.snapshot",
        "..",
        "%C3%A4.snapshot",
    ] {
        for what in ["snapshot", "restore"] {
            let answer = post(&app, &format!("/api/caches/a/{what}?file={file}"), "").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{file}: {}", answer.text());
            assert!(answer.text().contains("ending in .snapshot"), "{}", answer.text());
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[tokio::test]
async fn without_a_directory_snapshots_are_off_and_the_setting_is_named() {
    let (app, ..) = system(None);
    for what in ["snapshot", "restore"] {
        let answer = post(&app, &format!("/api/caches/a/{what}"), "").await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.json()["type"], "/problems/snapshots-off");
        assert!(answer.text().contains("server.snapshots"), "{}", answer.text());
    }
}

#[tokio::test]
async fn what_cannot_be_saved_or_restored_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (app, _, cache) = system(Some(folder.path()));
    let kind = async |path: &str| {
        let answer = post(&app, path, "").await;
        (answer.status.as_u16(), answer.json()["type"].as_str().unwrap_or_default().replace("/problems/", ""))
    };
    assert_eq!(kind("/api/caches/users/snapshot").await, (409, "typed-cache".to_owned()));
    assert_eq!(kind("/api/caches/b/snapshot").await, (404, "unknown-cache".to_owned()));
    assert_eq!(kind("/api/caches/a/restore").await, (404, "unknown-snapshot".to_owned()));
    std::fs::write(folder.path().join("a.snapshot"), b"TRIMCACH and then nothing").expect("written");
    assert_eq!(kind("/api/caches/a/restore").await, (422, "unusable-snapshot".to_owned()));
    assert_eq!(cache.cache().len(), 3);
    std::fs::create_dir(folder.path().join("dir.snapshot")).expect("made");
    assert_eq!(kind("/api/caches/a/snapshot?file=dir.snapshot").await, (500, "snapshot-failed".to_owned()));
}
