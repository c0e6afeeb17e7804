//! The manners on tokio's paused clock: against naive models, cancelled at every await, with calls that panic.

mod balance;
mod batch;
mod breaker;
mod chain;
mod pace;
mod permits;
mod retry;
mod scale;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::test_runner::{Config as ProptestConfig, RngSeed};

/// Runs on a paused clock; for property tests, which cannot be async themselves.
fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// Random input from a fixed seed, so that a failure is one on every machine. Set `PROPTEST_RNG_SEED` to look further.
fn seeded() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match config.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(0x7472_696d), ..config },
        RngSeed::Fixed(_) => config,
    }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Polls once.
fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
