//! A warm restart: what a cache held when the program stopped is there when it starts again.

use serde_json::{Value, json};

use crate::running::{Server, agent, trimtab};

const SETTINGS: &str = r#"
[server]
snapshots = "snapshots"

[cache.kept]
max_entries = 100
snapshot = true

[cache.lost]
max_entries = 100
"#;

fn put(server: &Server, cache: &str, key: &str, ttl: Option<u64>) {
    let url = format!("{}/api/memory/cache/{cache}/entry", server.url);
    let body = json!({"key": key, "value": {"of": key}, "ttl_seconds": ttl});
    let answer = agent().put(&url).send_json(body).expect("an answer");
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    let mut answer = agent().get(format!("{}{path}", server.url)).call().expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap_or(Value::Null))
}

#[test]
fn a_cache_survives_a_restart_with_its_times_if_its_settings_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), SETTINGS).expect("written");
    let mut server = Server::start(folder.path(), &[]);
    put(&server, "kept", "endless", None);
    put(&server, "kept", "timed", Some(1_800));
    put(&server, "lost", "endless", None);
    server.terminate();
    assert!(server.wait().success());
    assert!(folder.path().join("snapshots/kept.snapshot").exists());
    assert!(!folder.path().join("snapshots/lost.snapshot").exists());

    let server = Server::start(folder.path(), &[]);
    let entry = |cache: &str, key: &str| get(&server, &format!("/api/memory/cache/{cache}/entry/{key}"));
    assert_eq!(entry("kept", "endless"), (200, json!({"of": "endless"})));
    assert_eq!(entry("kept", "timed"), (200, json!({"of": "timed"})));
    assert_eq!(entry("lost", "endless").0, 404);
    let (_, timed) = get(&server, "/api/caches/kept/explain?key=timed");
    let left = timed["ttl_seconds"].as_f64().expect("its time goes on");
    assert!((1_000.0..1_800.0).contains(&left), "{left}");
}

#[test]
fn a_damaged_snapshot_means_a_cold_start_and_no_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), SETTINGS).expect("written");
    std::fs::create_dir(folder.path().join("snapshots")).expect("made");
    std::fs::write(folder.path().join("snapshots/kept.snapshot"), "TRIMCACH, or so").expect("written");
    let mut server = Server::start(folder.path(), &[]);
    let (status, metrics) = get(&server, "/api/memory/cache/kept/metrics");
    assert_eq!((status, &metrics["size_entries"]), (200, &json!(0)));
    put(&server, "kept", "new", None);
    server.terminate();
    assert!(server.wait().success());
    let server = Server::start(folder.path(), &[]);
    assert_eq!(get(&server, "/api/memory/cache/kept/entry/new").0, 200, "the next stop mends it");
}

#[test]
fn a_snapshot_without_a_directory_is_refused_with_the_setting_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), "[cache.kept]\nsnapshot = true\n").expect("written");
    let output = trimtab(folder.path()).args(["config", "check"]).output().expect("runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("server.snapshots"), "{said}");
}
