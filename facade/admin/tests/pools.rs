//! Pools over HTTP: listed with the lines that hold leases, described, trimmed.

mod common;

use axum::http::StatusCode;
use common::{console, get, post};
use trimtab_admin::AdminSettings;
use trimtab_pool::{Interner, Manager, Never, Pools};

struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }
}

fn app(pools: &Pools) -> axum::Router {
    trimtab_admin::standalone(console().with_pools(pools.clone()), AdminSettings::default())
}

#[tokio::test]
async fn pools_are_listed_with_their_numbers_and_the_lines_that_hold_leases() {
    let pools = Pools::new();
    let app = app(&pools);
    assert_eq!(get(&app, "/api/pools").await.json()["pools"].as_array().map(Vec::len), Some(0));
    let orders = pools.resource_pool_with("orders", Numbers, |builder| builder.min(1).max(3)).expect("a pool");
    pools.declare("later", pools.settings_of("later")).expect("sound settings");
    let _held = orders.acquire().await.expect("a resource");
    let line = line!() - 1;
    let words = pools.interner("words", |name| Interner::bounded(name, 10)).expect("an interner");
    drop((words.intern("word"), words.intern("word")));

    let body = get(&app, "/api/pools").await.json();
    let listed: Vec<_> = body["pools"].as_array().expect("pools").iter().map(|pool| pool["name"].clone()).collect();
    assert_eq!(
        (listed.as_slice(), &body["declared"]),
        (["orders", "words"].map(Into::into).as_slice(), &["later"].as_slice().into())
    );
    let orders = get(&app, "/api/pools/orders").await.json();
    assert_eq!((&orders["kind"], &orders["max_size"], &orders["in_use"]), (&"resources".into(), &3.into(), &1.into()));
    let location = orders["leases"][0]["location"].as_str().expect("a location");
    assert!(location.contains(&format!("tests/pools.rs:{line}:")), "{location}");
    let words = get(&app, "/api/pools/words").await.json();
    assert_eq!((&words["saved_bytes"], &words["reuse_ratio"]), (&4.into(), &0.5.into()));
}

#[tokio::test]
async fn a_trim_answers_what_it_freed_and_refuses_nonsense() {
    let pools = Pools::new();
    let app = app(&pools);
    let settings = serde_json::from_value(serde_json::json!({"min": 0})).expect("settings");
    pools.declare("frames", settings).expect("sound settings");
    let frames = pools.buffer_pool("frames").expect("a pool");
    drop((frames.acquire(4_096), frames.acquire(4_096)));
    let half = post(&app, "/api/pools/frames/trim?share=50%25", "").await;
    assert_eq!(
        (half.status, half.json()["objects"].as_u64(), half.json()["bytes"].as_u64()),
        (StatusCode::OK, Some(1), Some(4_096))
    );
    let rest = post(&app, "/api/pools/frames/trim", "").await.json();
    assert_eq!((&rest["objects"], &rest["pool"]["idle"]), (&1.into(), &0.into()));
    let wrong = post(&app, "/api/pools/frames/trim?share=7", "").await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (StatusCode::BAD_REQUEST, "bad-query"));
    let unknown = get(&app, "/api/pools/frame").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (StatusCode::NOT_FOUND, "unknown-pool"));
    assert_eq!(unknown.json()["suggestion"], "frames");
    assert!(get(&app, "/").await.text().contains("dashboard/pools.js"));
    assert!(get(&app, "/dashboard/pools.js").await.text().contains("api/pools"));
}
