//! Pools of the assembled system: settings by name, changed while it runs, and shown among the metrics.

use trimtab::Trimtab;
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
