//! The program uses its own parts for what it does: caches are opened as jobs, files are behind a breaker, peers have a limit, and
//! one of two programs owns the directory of snapshots.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{Server, agent};

const SETTINGS: &str = r#"
[server]
snapshots = "snapshots"

[cache.kept]
max_entries = 100
snapshot = true

[cache.pages]
max_entries = 100
"#;

fn get(server: &Server, path: &str) -> Value {
    let mut answer = agent().get(format!("{}{path}", server.url)).call().expect("an answer");
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.body_mut().read_json().expect("JSON")
}

fn post(server: &Server, path: &str) -> u16 {
    agent().post(format!("{}{path}", server.url)).send_empty().expect("an answer").status().as_u16()
}

/// Waits until so many jobs of a kind have ended, since an answer is sent off before its job is struck off the books.
fn have_ended(server: &Server, kind: &str, jobs: u64) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while ended(server, kind) < jobs && Instant::now() < deadline {
        // Another process works; it has no clock of ours to wind.
        std::thread::sleep(Duration::from_millis(20));
    }
    ended(server, kind) == jobs
}

/// How many jobs of a kind have ended.
fn ended(server: &Server, kind: &str) -> u64 {
    let lanes = get(server, "/api/lanes");
    let kinds = lanes["kinds"].as_array().expect("kinds");
    kinds.iter().find(|one| one["name"] == kind).map_or(0, |one| one["ended"].as_u64().expect("a number"))
}

#[test]
fn its_work_is_seen_on_a_lane_its_files_behind_a_breaker_and_its_peers_under_a_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), SETTINGS).expect("written");
    let server = Server::start(folder.path(), &[]);
    assert!(have_ended(&server, "open", 2), "one for each cache of the settings");
    assert_eq!(post(&server, "/api/caches/kept/snapshot"), 200);
    assert_eq!(post(&server, "/api/memory/optimization/trigger"), 200);
    get(&server, "/api/memory/analysis/recommendations");
    assert!(["snapshot", "optimise", "advice"].iter().all(|kind| have_ended(&server, kind, 1)));
    let breaker = &get(&server, "/api/calls/snapshots")["breaker"];
    assert_eq!((&breaker["state"], &breaker["calls"]), (&json!("closed"), &json!(1)));
    let limit = get(&server, "/api/limits/admin");
    assert_eq!((&limit["kind"], &limit["keys"], &limit["refused"]), (&json!("keyed"), &json!(1), &json!(0)));
}

#[cfg(unix)]
#[test]
fn one_of_two_programs_owns_the_directory_of_snapshots_until_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), SETTINGS).expect("written");
    let owns = |server: &Server| {
        let group = get(server, "/api/locks/snapshots");
        assert_eq!(group["store"], "file");
        group["locks"].as_array().expect("locks").iter().any(|lock| lock["name"] == "directory" && lock["held"] == true)
    };
    let mut first = Server::start(folder.path(), &[]);
    let second = Server::start(folder.path(), &[]);
    assert_eq!((owns(&first), owns(&second)), (true, false));
    first.terminate();
    assert!(first.wait().success());
    assert!(owns(&Server::start(folder.path(), &[])), "the kernel keeps no lock of a program that has gone");
}
