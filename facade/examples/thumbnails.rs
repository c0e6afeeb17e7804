//! A scheduler in the house: thumbnails are cut on the cpu lane, the urgent ones first, and their pictures come from a store
//! that is sometimes down, behind retries, a time-out and a breaker. Everything of it is on the page.
//!
//! `cargo run -p trimtab --features admin,scheduler --example thumbnails`, then open the printed address: set the ceiling of the
//! lane, force the breaker, cancel the report.

#![allow(clippy::print_stdout, reason = "an example tells a person where to look")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trimtab::prelude::*;

/// A store that is down for ten seconds of every minute.
#[derive(Debug, Default)]
struct Store(AtomicU64);

impl Store {
    async fn fetch(self: Arc<Self>, picture: u64, uptime: Duration) -> Result<Vec<u8>, std::io::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5 + picture % 20)).await;
        if uptime.as_secs() % 60 >= 50 {
            Err(std::io::Error::other("the store is down"))
        } else {
            Ok(vec![picture as u8; 64 << 10])
        }
    }
}

/// Work for a processor.
fn shrink(picture: &[u8]) -> Vec<u8> {
    let blurred =
        (0..200).fold(picture.to_vec(), |from, _| from.iter().map(|byte| byte.wrapping_mul(31) ^ 7).collect());
    blurred.into_iter().step_by(8).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tt = Trimtab::builder()
        .set("call.pictures.timeout", "250ms")
        .set("call.pictures.retry.give_up_after", "2s")
        .set("call.pictures.breaker.open_for", "3s")
        .set("scheduler.cpu.queue_max", 200)
        .start()
        .await?;
    let (pictures, store) = (tt.call("pictures")?, Arc::new(Store::default()));

    // A job that says how far it is, and whose number outlives its handle.
    let report = tt.scheduler().submit_background(
        "report",
        Job::io_with(|context| async move {
            for step in 0..600 {
                context.progress(f64::from(step) / 600.0);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
        .priority(Priority::Background),
    );

    let system = tt.clone();
    tokio::spawn(async move {
        for picture in 0_u64.. {
            let urgent = picture % 10 == 0;
            let (tt, pictures, store) = (system.clone(), pictures.clone(), Arc::clone(&store));
            tokio::spawn(async move {
                let Ok(bytes) = pictures.call(|| Arc::clone(&store).fetch(picture, tt.uptime())).await else { return };
                let job = Job::cpu(move || shrink(&bytes).len()).name("thumbnail").deadline(Duration::from_secs(2));
                let job = job.priority(if urgent { Priority::High } else { Priority::Normal });
                // Refused, expired or cancelled: the page counts it, and this thumbnail is not shown.
                let _ = tt.scheduler().submit(job.tag("picture", picture.to_string())).await;
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });

    tt.shutdown_on_signal();
    let server = tt.bind().await?;
    println!("open http://{} (the report is job {report})", server.local_addr());
    server.run().await;
    println!("{}", tt.shutdown().await);
    Ok(())
}
