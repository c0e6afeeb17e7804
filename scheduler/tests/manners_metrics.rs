//! What the manners publish, as a recorder sees it.

use std::collections::HashMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use trimtab_scheduler::manners::metrics as names;
use trimtab_scheduler::{
    BalanceSettings, Balancer, Batcher, Breaker, Bulkhead, CallSettings, Chain, Hedge, HedgeSettings, Pace, Semaphore,
};

#[test]
fn every_manner_publishes_its_numbers_under_its_name() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let breaker = Breaker::new("orders").unwrap();
            let _ = breaker.run(|| Err::<(), _>(()));
            breaker.force_open();
            let _ = breaker.run(|| Ok::<_, ()>(()));
            breaker.publish_metrics();

            let semaphore = Semaphore::new("exports", 3).unwrap();
            let permit = semaphore.acquire().await.unwrap();
            semaphore.publish_metrics();
            drop(permit);

            let bulkhead = Bulkhead::new("reports", 5).unwrap();
            bulkhead.publish_metrics();

            let pace = Pace::new("mails", "1/s".parse().unwrap()).unwrap();
            let _ = (pace.try_ready(), pace.try_ready());
            pace.publish_metrics();

            let settings = r#"{"retry": {"backoff": {"max_retries": 2}}, "timeout": "1ms"}"#;
            let settings: CallSettings = serde_json::from_str(settings).unwrap();
            let chain = Chain::from_settings("pages", &settings).unwrap();
            let _ = chain.call(std::future::pending::<Result<(), ()>>).await;
            chain.publish_metrics();

            let hedge = Hedge::new("lookups", HedgeSettings::default()).unwrap();
            let hedged = Chain::new().hedge(hedge.clone());
            let slow = || async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, ()>(())
            };
            hedged.call(slow).await.unwrap();
            hedge.publish_metrics();

            let batcher = Batcher::builder("inserts", |items: Vec<u8>| async { items }).build().unwrap();
            batcher.submit(1).await.unwrap();
            batcher.publish_metrics();

            let balancer = Balancer::new("replicas", BalanceSettings::default()).unwrap();
            balancer.add("a", (), 1, 9).unwrap();
            let picked = balancer.pick().unwrap();
            balancer.publish_metrics();
            picked.success();
        });
    });
    let values: HashMap<String, f64> = seen
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(value) => value.into_inner(),
                DebugValue::Histogram(_) => f64::NAN,
            };
            (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
        })
        .collect();
    for (name, labels, expected) in [
        (names::BREAKER_STATE, "breaker=orders", 3.0),
        (names::BREAKER_CALLS, "breaker=orders", 1.0),
        (names::BREAKER_FAILED, "breaker=orders", 1.0),
        (names::BREAKER_REFUSED, "breaker=orders", 1.0),
        (names::PERMITS_LIMIT, "semaphore=exports", 3.0),
        (names::PERMITS_IN_USE, "semaphore=exports", 1.0),
        (names::PERMITS_ACQUIRED, "semaphore=exports", 1.0),
        (names::PERMITS_LIMIT, "bulkhead=reports", 5.0),
        (names::PACE_PASSED, "pace=mails", 1.0),
        (names::PACE_REFUSED, "pace=mails", 1.0),
        (names::RETRY_RETRIES, "retry=pages", 2.0),
        (names::RETRY_GAVE_UP, "retry=pages", 1.0),
        (names::TIMEOUT_EXPIRED, "timeout=pages", 3.0),
        (names::HEDGE_HEDGED, "hedge=lookups", 1.0),
        (names::BATCH_ITEMS, "batch=inserts", 1.0),
        (names::BATCH_BATCHES, "batch=inserts", 1.0),
        (names::BALANCER_WORKERS, "balancer=replicas", 1.0),
        (names::BALANCER_IN_USE, "balancer=replicas", 1.0),
        (names::BALANCER_PICKS, "balancer=replicas", 1.0),
    ] {
        assert_eq!(values.get(&format!("{name}{{{labels}}}")), Some(&expected), "{name} {labels}: {values:?}");
    }
}
