//! Chains as tower layers, around a service with a limit of its own.
#![cfg(feature = "tower")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt, service_fn};
use trimtab_scheduler::layer::ChainLayer;
use trimtab_scheduler::{Breaker, BreakerState, Bulkhead, CallError, Chain, Retry, RetrySettings, Timeout};

#[tokio::test(start_paused = true)]
async fn a_request_is_retried_with_a_clone_of_the_service() {
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let service = service_fn(move |n: u32| {
        let first = count.fetch_add(1, Relaxed) == 0;
        async move { if first { Err("busy") } else { Ok(n + 1) } }
    });
    let chain = Chain::new().retry(Retry::new("far", RetrySettings::default()).unwrap());
    let mut service = ChainLayer::new(chain).layer(service);
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(2));
    assert_eq!(tries.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_chain_and_a_ready_one_that_is_forgotten_holds_nothing() {
    let breaker = Breaker::new("far").unwrap();
    let bulkhead = Bulkhead::new("far", 1).unwrap();
    let chain = Chain::new()
        .timeout(Timeout::new("far", Duration::from_millis(10)).unwrap())
        .breaker(breaker.clone())
        .bulkhead(bulkhead.clone());
    let service = ChainLayer::new(chain).layer(service_fn(|(): ()| std::future::pending::<Result<(), ()>>()));
    let mut forgotten = service.clone();
    forgotten.ready().await.unwrap();
    for _ in 0..20 {
        let result = service.clone().oneshot(()).await;
        assert!(matches!(result, Err(CallError::TimedOut(_))));
    }
    assert_eq!((bulkhead.stats().in_use, breaker.state()), (0, BreakerState::Open));
    assert!(matches!(service.oneshot(()).await, Err(CallError::Refused(_))));
    drop(forgotten);
}
