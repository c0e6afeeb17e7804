//! Locks and limits in the house: invoices are written by one worker at a time, whichever it is, and each customer may ask for
//! so many a minute. Both are on the page.
//!
//! `cargo run -p trimtab --features admin,lock,limit --example billing`, then open the printed address: see who holds which lock
//! and who waits, take one from its holder. With `TRIMTAB__LOCK__INVOICES__URL=redis://localhost` and the feature `redis`, workers
//! of several processes take turns.

#![allow(clippy::print_stdout, reason = "an example tells a person where to look")]

use std::time::Duration;

use trimtab::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tt = Trimtab::builder().set("limit.requests.rate", "30/m burst 5").start().await?;
    let invoices = tt.locks("invoices").await?; // in this process, unless `[lock.invoices]` says where
    let requests = tt.keyed_limit::<u32>("requests")?;

    for worker in 0..4_u32 {
        let (tt, invoices, requests) = (tt.clone(), invoices.clone(), requests.clone());
        tokio::spawn(async move {
            for turn in 0_u32.. {
                let customer = (worker + turn) % 7;
                if let Err(refused) = requests.check(&customer) {
                    tokio::time::sleep(refused.retry_after().unwrap_or_default().min(Duration::from_secs(1))).await;
                    continue;
                }
                // The token goes along with what is written: whoever keeps the books refuses a lower one.
                let writing = invoices.with_lock("2026-11", Duration::from_secs(5), |lease| async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    lease.token()
                });
                tokio::select! {
                    written = writing => if let Err(error) = written { println!("worker {worker}: {error}") },
                    () = tt.closing() => return,
                }
            }
        });
    }

    tt.shutdown_on_signal();
    let server = tt.bind().await?;
    println!("open http://{}", server.local_addr());
    server.run().await;
    println!("{}", tt.shutdown().await);
    Ok(())
}
