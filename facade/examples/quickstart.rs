//! A service in thirty lines: a typed cache, loads that happen once, and the live page to watch it.
//!
//! `cargo run -p trimtab --features admin --example quickstart`, then open the printed address.

#![allow(clippy::print_stdout, reason = "an example tells a person where to look")]

use std::time::Duration;

use trimtab::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tt = Trimtab::builder().set("cache.users.max_entries", 2_000).start().await?;
    let users = tt.cache::<u64, String>("users")?;

    // Some traffic: few users come often, many come once.
    tokio::spawn(async move {
        for turn in 0_u64.. {
            let id = if turn % 3 == 0 { turn % 10_000 } else { turn % 500 };
            users.get_with(id, || async move { format!("user {id}") }).await;
            if turn % 200 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });

    tt.shutdown_on_signal();
    let server = tt.bind().await?;
    println!("open http://{}", server.local_addr());
    server.run().await;
    Ok(())
}
