//! A far side that goes down and comes back, seen through a chain: `cargo run -p trimtab-scheduler --example outage`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trimtab_scheduler::{Breaker, BreakerSettings, Bulkhead, CallError, Chain, Retry, RetrySettings, Timeout};

static DOWN: AtomicBool = AtomicBool::new(false);

/// Hangs while it is down.
async fn far_side() -> Result<&'static str, std::io::Error> {
    if DOWN.load(Ordering::Relaxed) {
        std::future::pending().await
    } else {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok("tea")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings =
        BreakerSettings { min_calls: 5, open_for: Duration::from_millis(300).into(), ..BreakerSettings::default() };
    let breaker = Breaker::with_settings("orders", settings)?;
    let chain = Chain::new()
        .retry(Retry::new("orders", RetrySettings::default())?)
        .timeout(Timeout::new("orders", Duration::from_millis(20))?)
        .breaker(breaker.clone())
        .bulkhead(Bulkhead::new("orders", 32)?)
        .fallback(async |error: CallError<std::io::Error>| match error {
            CallError::Refused(_) => Ok("coffee, while tea is out"),
            other => Err(other),
        });
    for call in 0..24 {
        DOWN.store((4..12).contains(&call), Ordering::Relaxed);
        let answer = match chain.call(far_side).await {
            Ok(answer) => answer.to_owned(),
            Err(error) => error.to_string(),
        };
        println!("{call:2}  {:9}  {answer}", breaker.state().as_str());
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    println!("\n{:#?}", breaker.stats());
    Ok(())
}
