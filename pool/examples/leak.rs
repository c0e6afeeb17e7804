//! A lease that is kept too long, found with its line: `cargo run -p trimtab-pool --example leak`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use trimtab_pool::{Never, ResourcePool};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = ResourcePool::builder("numbers", Numbers)
        .max(2)
        .timeout(Duration::from_millis(100))
        .configure(|settings| settings.leak_after = Some(Duration::from_millis(200).into()))
        .on_leak(|leak| println!("told once: {leak}"))
        .build()?;
    let _kept = pool.acquire().await?;
    std::mem::forget(pool.acquire().await?);
    tokio::time::sleep(Duration::from_millis(400)).await;
    println!("\nwho holds what:\n{}", pool.report());
    if let Err(error) = pool.acquire().await {
        println!("\n{error}");
    }
    Ok(())
}

struct Numbers;

impl trimtab_pool::Manager for Numbers {
    type Resource = u64;
    type Error = Never;

    async fn create(&self) -> Result<u64, Never> {
        Ok(7)
    }
}
