//! The memory budget at work in the program: two caches, traffic over HTTP, and a decision that says why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::running::{Server, agent};

const SETTINGS: &str = r#"
[budget]
total = "256KiB"
interval = "1s"
caches.crowded.weight = 1.0
caches.roomy.weight = 1.0

[cache.crowded]
max_bytes = "128KiB"
policy = "lru"

[cache.roomy]
max_bytes = "128KiB"
policy = "lru"
"#;

/// Looks a key up and stores it if it is missing, as a user of the API does.
fn ask(agent: &ureq::Agent, server: &Server, cache: &str, key: u64) {
    let base = format!("{}/api/memory/cache/{cache}/entry", server.url);
    let mut found = agent.get(format!("{base}/k{key}")).call().expect("an answer");
    let _ = found.body_mut().read_to_vec().expect("read whole, so that the connection is used again");
    if found.status() == 404 {
        let body = json!({"key": format!("k{key}"), "value": "v".repeat(900)});
        let mut stored = agent.put(&base).send_json(body).expect("an answer");
        let _ = stored.body_mut().read_to_vec().expect("read");
        assert!(stored.status().is_success(), "{}", stored.status());
    }
}

#[test]
fn bytes_move_to_the_cache_that_gains_by_them_and_the_reason_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), SETTINGS).expect("written");
    let server = Server::start(folder.path(), &[]);
    let agent = agent();
    let (mut state, mut random, end) = (Value::Null, 1_u64, Instant::now() + Duration::from_secs(100));
    while state["budget"]["decisions"][0].is_null() {
        assert!(Instant::now() < end, "no decision: {state:#}");
        for _ in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Twice as many keys as there is room for beside a handful, each as likely as any other.
            ask(&agent, &server, "crowded", (random >> 33) % 230);
            ask(&agent, &server, "roomy", (random >> 33) % 12);
        }
        state = agent
            .get(format!("{}/api/budget", server.url))
            .call()
            .expect("an answer")
            .body_mut()
            .read_json()
            .expect("JSON");
    }
    let decision = &state["budget"]["decisions"][0];
    assert_eq!(decision["to"], "crowded", "{state:#}");
    assert!(decision["gain_points"].as_f64() > decision["loss_points"].as_f64(), "{state:#}");
    assert!(state["sentences"][0].as_str().expect("a sentence").contains(" to crowded from roomy: "), "{state:#}");
    let members = state["budget"]["members"].as_array().expect("members");
    let limits: Vec<u64> = members.iter().filter_map(|one| one["limit_bytes"].as_u64()).collect();
    assert!(limits.len() == 2 && limits[0] > limits[1] && limits.iter().sum::<u64>() <= 256 << 10, "{state:#}");
}
