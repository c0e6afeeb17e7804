//! Pools of the assembled system: settings by name, changed while it runs, and shown among the metrics.

use trimtab::Trimtab;
use trimtab::config::Share;
use trimtab::pool::{Manager, Never};

struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }
}

#[tokio::test]
async fn a_section_sizes_its_pool_and_a_patch_changes_it_and_is_taken_back() {
    let tt = Trimtab::builder()
        .no_file()
        .set("pool.orders.max", 20)
        .set("pool.orders.timeout", "250ms")
        .start()
        .await
        .unwrap();
    let orders = tt.resource_pool("orders", Numbers).unwrap();
    assert_eq!((orders.stats().max, orders.settings().timeout.as_millis()), (20, 250));
    let patched = serde_json::json!({"pool": {"orders": {"max": 5}, "scratch": {"max": 7}}});
    tt.live().patch(patched).unwrap();
    assert_eq!((orders.stats().max, orders.settings().timeout.as_millis()), (5, 250));
    let scratch = tt.object_pool("scratch", Vec::<u8>::new).unwrap();
    assert_eq!(scratch.stats().max, 7);
    tt.live().reset("").unwrap();
    assert_eq!((orders.stats().max, scratch.stats().max), (20, 100));
    let refused = tt.live().patch(serde_json::json!({"pool": {"orders": {"max": 0}}})).unwrap_err().to_string();
    assert!(refused.contains("pool.orders.max"), "{refused}");
    assert_eq!(orders.stats().max, 20);
    assert!(tt.buffer_pool("orders").is_err(), "one name, one kind");
    assert!(tt.interner("hosts", 100).unwrap().intern("a") == tt.interner("hosts", 100).unwrap().intern("a"));
    tt.shutdown().await;
}

#[tokio::test]
async fn pools_let_go_of_what_is_idle_when_memory_is_asked_for() {
    let tt = Trimtab::builder().no_file().set("pool.frames.min", 0).set("pool.orders.min", 1).start().await.unwrap();
    let frames = tt.buffer_pool("frames").unwrap();
    let orders = tt.resource_pool("orders", Numbers).unwrap();
    drop((0..4).map(|_| frames.acquire(4_096)).collect::<Vec<_>>());
    let (mut leased, held) = (Vec::new(), orders.acquire().await.unwrap());
    for _ in 0..3 {
        leased.push(orders.acquire().await.unwrap());
    }
    drop(leased);
    let idle = orders.stats().idle;
    let relieved = tt.shrink_to(Share::percent(50));
    assert_eq!((relieved.trimmed.bytes, frames.stats().idle), (2 * 4_096, 2));
    assert_eq!(relieved.trimmed.objects, 2 + idle.div_ceil(2));
    assert_eq!(tt.shrink_to(Share::NONE).trimmed.bytes, 2 * 4_096);
    assert_eq!((orders.stats().in_use, orders.stats().idle), (1, 0), "what is leased stays");
    assert_eq!(*held, 7);
    assert_eq!(tt.shrink_to(Share::ALL).trimmed, trimtab::pool::Trimmed::default());
    tt.shutdown().await;
}
