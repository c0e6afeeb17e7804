//! Single flight: how many loads ten thousand waiters on one missing key cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::frame::{Case, Contender, Measure, Role, Rounds};

const WAITERS: usize = 10_000;

/// One case in which the leader finishes, one in which it is aborted.
pub(super) fn cases() -> Vec<Case> {
    [("finished", false), ("aborted", true)]
        .into_iter()
        .map(|(leader, abort)| Case {
            name: format!("flights/{leader}"),
            what: format!("{WAITERS} tasks wait for one missing key; the first to load is {leader}"),
            threads: 2,
            measures: vec![Measure::lower("loads", "loads"), Measure::lower("time", "ms")],
            contenders: vec![
                Contender::new("trimtab", Role::Ours, move |_| {
                    let cache = trimtab_cache::Cache::<u64, u64>::builder().max_entries(100).build();
                    let cache = cache.map_err(|error| error.to_string())?;
                    flight(abort, move |load| {
                        let cache = cache.clone();
                        async move { cache.get_with(1, || load).await }
                    })
                }),
                Contender::new("moka", Role::Peer, move |_| {
                    let cache = moka::future::Cache::<u64, u64>::new(100);
                    flight(abort, move |load| {
                        let cache = cache.clone();
                        async move { cache.get_with(1, load).await }
                    })
                }),
                Contender::new("quick_cache", Role::Peer, move |_| {
                    let cache = Arc::new(quick_cache::sync::Cache::<u64, u64>::new(100));
                    flight(abort, move |load| {
                        let cache = Arc::clone(&cache);
                        async move {
                            let load = async { Ok::<_, std::convert::Infallible>(load.await) };
                            cache.get_or_insert_async(&1, load).await.unwrap_or_else(|never| match never {})
                        }
                    })
                }),
            ],
            rounds: Rounds::Timed,
        })
        .collect()
}

/// The load handed to the cache under test.
type Load = std::pin::Pin<Box<dyn Future<Output = u64> + Send>>;

/// Starts a leader, then the waiters, then lets the load through (or aborts the leader first) and counts loads.
fn flight<F>(abort: bool, get: impl Fn(Load) -> F) -> Result<Vec<f64>, String>
where
    F: Future<Output = u64> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let (loads, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
    let load = || -> Load {
        let (loads, gate) = (Arc::clone(&loads), Arc::clone(&gate));
        Box::pin(async move {
            loads.fetch_add(1, Ordering::Relaxed);
            drop(gate.acquire().await);
            42
        })
    };
    runtime.block_on(async {
        let until_loading = async |count: u64| {
            while loads.load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let leader = tokio::spawn(get(load()));
        until_loading(1).await;
        let start = Instant::now();
        let waiters: Vec<_> = (0..WAITERS).map(|_| tokio::spawn(get(load()))).collect();
        if abort {
            tokio::time::sleep(Duration::from_millis(20)).await; // until the waiters wait
            leader.abort();
            let taken_over = tokio::time::timeout(Duration::from_secs(10), until_loading(2)).await;
            taken_over.map_err(|_| "no waiter took over within 10 s after the leader was aborted")?;
        }
        gate.add_permits(WAITERS + 1);
        for waiter in waiters {
            let value = tokio::time::timeout(Duration::from_secs(30), waiter).await;
            let value = value.map_err(|_| "a waiter was still waiting after 30 s")?;
            if value.map_err(|error| format!("a waiter died: {error}"))? != 42 {
                return Err("a waiter got another value than was loaded".into());
            }
        }
        Ok(vec![loads.load(Ordering::Relaxed) as f64, start.elapsed().as_secs_f64() * 1e3])
    })
}
