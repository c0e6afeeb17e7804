//! The account of allocations, with the allocator installed.

#![cfg(feature = "account")]

use trimtab_pool::Scopes;
use trimtab_pool::account::{Account, CountingAllocator, is_counting, metered};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

#[test]
fn an_account_counts_its_own_thread_only() {
    assert!(is_counting());
    let account = Account::open();
    std::thread::spawn(|| drop(vec![0_u8; 1 << 20])).join().unwrap();
    let between = account.so_far().bytes;
    assert!(between < 100_000, "{between}");
    let page = vec![0_u8; 1 << 16];
    let after = account.so_far();
    assert!(after.bytes - between >= 1 << 16 && after.count > 0);
    drop(page);
    assert!(account.so_far().freed >= 1 << 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_moves_between_threads_is_charged_what_it_allocates() {
    let others: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async {
                for _ in 0..1_000 {
                    drop(vec![0_u8; 1 << 16]);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let work = metered(async {
        let mut kept = Vec::new();
        for _ in 0..10 {
            kept.push(vec![0_u8; 1_000]);
            tokio::task::yield_now().await;
        }
        kept.len()
    });
    let (count, allocated) = tokio::spawn(work).await.unwrap();
    assert_eq!(count, 10);
    assert!((10_000..30_000).contains(&allocated.bytes), "{allocated:?}");
    for other in others {
        other.await.unwrap();
    }
}

#[test]
fn a_warm_scope_allocates_nothing() {
    let scopes = Scopes::new("requests").unwrap();
    let work = || {
        let scope = scopes.enter();
        (0..100).map(|n| scope.alloc_str("some text").len() + n).sum::<usize>()
    };
    work();
    work();
    let account = Account::open();
    let sum = work();
    assert_eq!((sum, account.so_far().count), (900 + 4_950, 0));
}

/// A service that allocates in two polls, under a recorder that keeps what it is told.
#[cfg(feature = "tower")]
mod layer {
    use std::convert::Infallible;

    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    use tower::{ServiceBuilder, ServiceExt, service_fn};
    use trimtab_pool::Scopes;
    use trimtab_pool::layer::{RequestScope, ScopeLayer};
    use trimtab_pool::metrics::REQUEST_BYTES;

    fn recorded(recorder: &DebuggingRecorder) -> Vec<f64> {
        let entries = recorder.snapshotter().snapshot().into_vec();
        let of = |value| match value {
            DebugValue::Histogram(values) => values.into_iter().map(f64::from).collect(),
            other => panic!("{other:?}"),
        };
        let ours = entries.into_iter().filter(|(key, ..)| key.key().name() == REQUEST_BYTES);
        ours.flat_map(|(key, _, _, value)| {
            assert!(key.key().labels().any(|label| (label.key(), label.value()) == ("pool", "requests")));
            let values: Vec<f64> = of(value);
            values
        })
        .collect()
    }

    #[test]
    fn a_request_is_charged_what_it_allocates_also_when_its_caller_leaves() {
        let recorder = DebuggingRecorder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let layer = ScopeLayer::new(Scopes::new("requests").unwrap());
        let service =
            ServiceBuilder::new().layer(layer).service(service_fn(|request: http::Request<bool>| async move {
                let scope = request.extensions().get::<RequestScope>().unwrap().clone();
                let first = vec![1_u8; 10_000];
                tokio::task::yield_now().await;
                let so_far = scope.account().bytes;
                let second = vec![1_u8; 20_000];
                if *request.body() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>((so_far, first.len() + second.len()))
            }));
        metrics::with_local_recorder(&recorder, || {
            let (so_far, length) = runtime.block_on(service.clone().oneshot(http::Request::new(false))).unwrap();
            assert!((10_000..20_000).contains(&so_far), "{so_far}");
            assert_eq!(length, 30_000);
            let whole = recorded(&recorder);
            assert!(matches!(whole[..], [bytes] if (30_000.0..40_000.0).contains(&bytes)), "{whole:?}");
            let mut left = Box::pin(service.oneshot(http::Request::new(true)));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(left.as_mut().poll(&mut cx).is_pending());
            assert!(left.as_mut().poll(&mut cx).is_pending());
            drop(left);
            let cut = recorded(&recorder);
            assert!(matches!(cut[..], [bytes] if (30_000.0..40_000.0).contains(&bytes)), "{cut:?}");
        });
    }
}
