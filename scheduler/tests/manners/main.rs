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

/// Runs on a paused clock; for property tests, which cannot be async themselves.
fn paused<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
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
