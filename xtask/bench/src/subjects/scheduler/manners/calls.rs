//! What one task pays around an async call: retry, time-out, breaker, and five manners at once.

use std::future::Future;
use std::hint::black_box;
use std::time::{Duration, Instant};

use trimtab_scheduler::{Breaker, Bulkhead, Chain, Retry, RetrySettings, Semaphore, Timeout};

use super::{ROUNDS, nanoseconds, shown};
use crate::frame::{Case, Contender, Measure, Role, Turn};

const LIMIT: Duration = Duration::from_secs(5);
const BLOCK: u64 = 1_000;

/// A call that answers at once.
async fn work() -> Result<u64, ()> {
    Ok(black_box(7))
}

/// A call that waits for one turn of the runtime.
async fn waits() -> Result<u64, ()> {
    tokio::task::yield_now().await;
    work().await
}

/// Nanoseconds of a call.
fn nanos<F, Fut, T>(turn: &Turn, call: F) -> Result<f64, String>
where
    F: Fn() -> Fut,
    Fut: Future<Output = T>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(shown)?;
    runtime.block_on(async {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < turn.time {
            for _ in 0..BLOCK {
                black_box(call().await);
            }
            count += BLOCK;
        }
        Ok(start.elapsed().as_nanos() as f64 / count as f64)
    })
}

fn bare(name: &'static str, pending: bool) -> Contender {
    Contender::new(name, Role::Limit, move |turn| {
        Ok(vec![if pending { nanos(turn, waits)? } else { nanos(turn, work)? }])
    })
}

fn retry() -> Result<Retry, String> {
    Retry::new("far", RetrySettings::default()).map_err(shown)
}

fn timeout() -> Result<Timeout, String> {
    Timeout::new("far", LIMIT).map_err(shown)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "call/retry".into(),
            what: "a retry around a call that answers at once; beyond the bare call of the same turn".into(),
            threads: 1,
            measures: vec![Measure::lower("time beyond bare", "ns")],
            contenders: vec![Contender::new("trimtab", Role::Ours, |turn| {
                let chain = Chain::new().retry(retry()?);
                let half = Turn { time: turn.time / 2, ..*turn };
                let bare = nanos(&half, work)?;
                Ok(vec![nanos(&half, || chain.call(work))? - bare])
            })],
            rounds: ROUNDS,
        },
        nanoseconds(
            "call/timeout".into(),
            "a time-out around a call that answers at once".into(),
            1,
            vec![
                Contender::new("trimtab", Role::Ours, |turn| {
                    let timeout = timeout()?;
                    Ok(vec![nanos(turn, || timeout.call(work()))?])
                }),
                Contender::new("tokio", Role::Peer, |turn| {
                    Ok(vec![nanos(turn, || tokio::time::timeout(LIMIT, work()))?])
                }),
                bare("bare", false),
            ],
        ),
        nanoseconds(
            "call/timeout-waits".into(),
            "a time-out around a call that waits for one turn, so that its timer is set".into(),
            1,
            vec![
                Contender::new("trimtab", Role::Ours, |turn| {
                    let timeout = timeout()?;
                    Ok(vec![nanos(turn, || timeout.call(waits()))?])
                }),
                Contender::new("tokio", Role::Peer, |turn| {
                    Ok(vec![nanos(turn, || tokio::time::timeout(LIMIT, waits()))?])
                }),
                bare("bare", true),
            ],
        ),
        nanoseconds(
            "call/chain".into(),
            "limit, breaker, bulkhead, retry and time-out around a call that answers at once".into(),
            1,
            vec![
                Contender::new("trimtab", Role::Ours, |turn| {
                    let chain = Chain::new()
                        .limit(Semaphore::new("far", 64).map_err(shown)?)
                        .breaker(Breaker::new("far").map_err(shown)?)
                        .bulkhead(Bulkhead::new("far", 64).map_err(shown)?)
                        .retry(retry()?)
                        .timeout(timeout()?);
                    Ok(vec![nanos(turn, || chain.call(work))?])
                }),
                bare("bare", false),
            ],
        ),
    ]
}
