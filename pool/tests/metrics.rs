//! Pools publish their numbers under the promised names, and only when asked to.

use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use trimtab_config::Profile;
use trimtab_pool::{Interner, Manager, Never, Pools, PoolsError};

#[derive(Clone)]
struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }
}

/// A look at the recorder reads each counter once, so all values of a test come from one look.
struct Look(Vec<(String, Labels, f64)>);

type Labels = Vec<(String, String)>;

impl Look {
    fn at(snapshotter: &Snapshotter) -> Self {
        let metrics = snapshotter.snapshot().into_vec().into_iter().map(|(key, .., value)| {
            let labels = key.key().labels().map(|l| (l.key().to_owned(), l.value().to_owned())).collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(gauge) => gauge.into_inner(),
                DebugValue::Histogram(_) => f64::NAN,
            };
            (key.key().name().to_owned(), labels, value)
        });
        Self(metrics.collect())
    }

    fn value(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        let has = |labels: &[(String, String)], (label, value): &(&str, &str)| {
            labels.iter().any(|(l, v)| l == label && v == value)
        };
        let found = self.0.iter().find(|(known, labels, _)| known == name && wanted.iter().all(|one| has(labels, one)));
        found.map(|(.., value)| *value)
    }
}

#[test]
fn the_registry_publishes_all_pools_and_keeps_names_apart() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let pools = Pools::with_limit(Profile::Minimal, 4);
            let mut settings = pools.settings_of("orders");
            settings.max = Some(3);
            pools.declare("orders", settings.clone()).unwrap();
            let orders = pools.resource_pool("orders", Numbers).unwrap();
            assert_eq!(orders.stats().max, 3);
            let _held = orders.acquire().await.unwrap();
            let waited = orders.acquire().timeout(Duration::from_millis(50)).await.unwrap();
            pools.object_pool("scratch", Vec::<u8>::new).unwrap();
            let words = pools.interner("words", |name| Interner::bounded(name, 10)).unwrap();
            drop((words.intern("word"), words.intern("word")));
            pools.buffer_pool("frames").unwrap();
            assert!(matches!(pools.buffer_pool("fifth"), Err(PoolsError::TooMany { limit: 4, .. })));
            assert!(matches!(pools.buffer_pool("orders"), Err(PoolsError::Mistyped { .. })));
            let unknown = pools.find("order").unwrap_err().to_string();
            assert!(unknown.contains("did you mean \"orders\"?"), "{unknown}");

            pools.publish_metrics();
            let look = Look::at(&snapshotter);
            let of = |name: &str, labels: &[(&str, &str)]| look.value(name, labels);
            assert_eq!(of("trimtab_pool_in_use", &[("pool", "orders")]), Some(2.0));
            assert_eq!(of("trimtab_pool_max", &[("pool", "orders")]), Some(3.0));
            assert!(of("trimtab_pool_wait_seconds", &[("pool", "orders"), ("quantile", "0.99")]).is_some());
            assert_eq!(of("trimtab_pool_saved_bytes_total", &[("pool", "words")]), Some(4.0));
            assert!(of("trimtab_pool_in_use", &[("pool", "scratch")]).is_some());

            // Settings that change reach an open pool, and impossible ones change nothing.
            settings.max = Some(9);
            pools.declare("orders", settings.clone()).unwrap();
            assert_eq!(orders.stats().max, 9);
            settings.max = Some(0);
            assert!(pools.declare("orders", settings).is_err());
            assert_eq!(orders.stats().max, 9);
            pools.undeclare("orders").unwrap();
            assert_eq!(orders.stats().max, 4, "what a name without settings gets");
            drop(waited);
            assert_eq!(pools.trim_idle(trimtab_config::Share::ALL).objects, 2, "the resource and the word");
            assert!(pools.remove("orders") && !pools.remove("orders"));
        });
    });
}
