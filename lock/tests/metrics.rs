//! A group publishes its numbers under the promised names, and only when asked to.

use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use trimtab_lock::{Locks, metrics as names};

#[test]
fn numbers_are_published_under_their_names() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let locks = Locks::memory("published").unwrap();
            let lease = locks.acquire("a", Duration::ZERO).await.unwrap();
            locks.acquire("a", Duration::from_millis(1)).await.unwrap_err();
            lease.release().await.unwrap();
            let _held = locks.acquire("b", Duration::ZERO).await.unwrap();
            locks.publish_metrics();
        });
    });
    let found: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, .., value)| {
            let labels: Vec<_> = key.key().labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
            assert!(labels.contains(&("group".into(), "published".into())), "{labels:?}");
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(gauge) => gauge.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
            (key.key().name().to_owned(), labels.len(), value)
        })
        .collect();
    let value = |name: &str| found.iter().find(|(found, ..)| found == name).map(|(.., value)| *value);
    assert_eq!(value(names::ACQUIRED), Some(2.0));
    assert_eq!(value(names::RELEASED), Some(1.0));
    assert_eq!(value(names::HELD), Some(1.0));
    assert_eq!(value(names::HOLD_SECONDS), Some(2.0));
    assert_eq!(value(names::REFUSALS).map(|_| ()), Some(()));
    for name in [names::WAITING, names::WAITED, names::LOST, names::HAND_OVERS, names::ROUND_TRIPS] {
        assert_eq!(value(name), Some(0.0), "{name}");
    }
}
