//! A choice among eight workers, its call, and its end.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma, PendingRequests};
use tower::{Service, ServiceExt};
use trimtab_scheduler::{BalanceSettings, Balancer, Policy};

use super::{nanoseconds, shown};
use crate::frame::{Case, Contender, Role, Turn};

const WORKERS: u64 = 8;
const BLOCK: u64 = 500;

/// A worker that answers at once.
#[derive(Clone, Copy)]
struct Echo;

impl Service<u64> for Echo {
    type Response = u64;
    type Error = std::convert::Infallible;
    type Future = Ready<Result<u64, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(black_box(request)))
    }
}

fn ours(name: &'static str, policy: Policy) -> Contender {
    Contender::new(name, Role::Ours, move |turn| {
        let settings = BalanceSettings { policy, ..BalanceSettings::default() };
        let balancer = Balancer::new("far", settings).map_err(shown)?;
        for worker in 0..WORKERS {
            balancer.add(&format!("w{worker}"), worker, 1, 100).map_err(shown)?;
        }
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < turn.time {
            for _ in 0..BLOCK {
                let picked = balancer.pick().map_err(shown)?;
                black_box(picked.worker());
                picked.success();
            }
            count += BLOCK;
        }
        Ok(vec![start.elapsed().as_nanos() as f64 / count as f64])
    })
}

fn towers<S>(turn: &Turn, worker: impl Fn() -> S) -> Result<Vec<f64>, String>
where
    S: Service<u64, Response = u64> + tower::load::Load,
    S::Metric: std::fmt::Debug,
    S::Error: Into<tower::BoxError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(shown)?;
    runtime.block_on(async {
        let list = ServiceList::new::<u64>((0..WORKERS).map(|_| worker()).collect::<Vec<_>>());
        let mut balance = Balance::new(list);
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < turn.time {
            for _ in 0..BLOCK {
                let ready = balance.ready().await.map_err(shown)?;
                black_box(ready.call(count).await.map_err(shown)?);
            }
            count += BLOCK;
        }
        Ok(vec![start.elapsed().as_nanos() as f64 / count as f64])
    })
}

pub(super) fn cases() -> Vec<Case> {
    let decay = Duration::from_secs(10);
    vec![nanoseconds(
        "pick/8".into(),
        "one of 8 workers chosen, called, and told how it went".into(),
        1,
        vec![
            ours("peak EWMA", Policy::PeakEwma),
            ours("two choices", Policy::TwoChoices),
            ours("least loaded", Policy::LeastLoaded),
            ours("weighted", Policy::Weighted),
            Contender::new("tower peak EWMA", Role::Peer, move |turn| {
                let ewma = || {
                    let complete = CompleteOnResponse::default();
                    PeakEwma::new(Echo, Duration::from_millis(1), decay.as_nanos() as f64, complete)
                };
                towers(turn, ewma)
            }),
            Contender::new("tower pending", Role::Peer, move |turn| {
                towers(turn, || PendingRequests::new(Echo, CompleteOnResponse::default()))
            }),
        ],
    )]
}
