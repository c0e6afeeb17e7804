//! Breakers and semaphores, used by 1, 2 and 4 threads.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use trimtab_scheduler::{Breaker, Bulkhead, Semaphore};

use super::{nanoseconds, shown};
use crate::frame::{Case, Contender, Role, Turn};
use crate::subjects::cache::race::{BLOCK, timed};

const PERMITS: u32 = 64;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for threads in [1, 2, 4] {
        cases.push(nanoseconds(
            format!("breaker/{threads}t"),
            format!("a breaker, closed, around a call that works: {threads} threads; all threads' time by call"),
            threads,
            breakers(threads),
        ));
    }
    for threads in [1, 2, 4] {
        cases.push(nanoseconds(
            format!("semaphore/{threads}t"),
            format!("one of {PERMITS} permits awaited and given back: {threads} tasks on as many workers"),
            threads,
            semaphores(threads),
        ));
    }
    cases
}

/// Nanoseconds of a call, all threads together.
fn nanos(threads: usize, turn: &Turn, call: impl Fn() + Sync) -> Result<Vec<f64>, String> {
    let rate = timed(threads, turn.time, |_, _| {
        for _ in 0..BLOCK {
            call();
        }
    });
    Ok(vec![1e3 / rate])
}

fn breakers(threads: usize) -> Vec<Contender> {
    vec![
        Contender::new("trimtab", Role::Ours, move |turn| {
            let breaker = Breaker::new("far").map_err(shown)?;
            nanos(threads, turn, || {
                let _ = black_box(breaker.run(|| Ok::<_, ()>(black_box(7))));
            })
        }),
        Contender::new("failsafe", Role::Peer, move |turn| {
            // Its policy of failures in a row, the faster of its two.
            let pause = failsafe::backoff::constant(Duration::from_secs(5));
            let policy = failsafe::failure_policy::consecutive_failures(5, pause);
            let breaker = failsafe::Config::new().failure_policy(policy).build();
            nanos(threads, turn, || {
                let _ = black_box(breaker.call(|| Ok::<_, ()>(black_box(7))));
            })
        }),
    ]
}

/// Nanoseconds of a turn, all tasks together.
fn awaited<F, Fut>(threads: usize, turn: &Turn, acquire: F) -> Result<Vec<f64>, String>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_time().build().map_err(shown)?;
    let time = turn.time;
    runtime.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..threads)
            .map(|_| {
                let acquire = acquire.clone();
                tokio::spawn(async move {
                    let mut count = 0_u64;
                    while start.elapsed() < time {
                        for _ in 0..BLOCK {
                            acquire().await;
                        }
                        count += BLOCK as u64;
                    }
                    count
                })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.map_err(shown)?;
        }
        Ok(vec![start.elapsed().as_nanos() as f64 / count as f64])
    })
}

fn semaphores(threads: usize) -> Vec<Contender> {
    vec![
        Contender::new("trimtab", Role::Ours, move |turn| {
            let semaphore = Semaphore::new("far", PERMITS as usize).map_err(shown)?;
            let used = semaphore.clone();
            let time = awaited(threads, turn, move || {
                let semaphore = used.clone();
                async move { drop(black_box(semaphore.acquire().await)) }
            })?;
            if semaphore.stats().in_use > 0 {
                return Err(format!("permits are missing: {:?}", semaphore.stats()));
            }
            Ok(time)
        }),
        Contender::new("bulkhead", Role::Ours, move |turn| {
            let bulkhead = Bulkhead::new("far", PERMITS).map_err(shown)?;
            awaited(threads, turn, move || {
                let bulkhead = bulkhead.clone();
                async move { drop(black_box(bulkhead.acquire().await)) }
            })
        }),
        Contender::new("tokio", Role::Peer, move |turn| {
            let semaphore = Arc::new(tokio::sync::Semaphore::new(PERMITS as usize));
            awaited(threads, turn, move || {
                let semaphore = semaphore.clone();
                async move { drop(black_box(semaphore.acquire().await)) }
            })
        }),
    ]
}
