//! One leader among processes: start this several times in the same folder and stop the leader with ctrl-C.
//!
//! `cargo run -p trimtab-lock --example leader -- file:locks`, or with the address of a server and the feature of its name.
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::time::Duration;

use trimtab_lock::{LockError, Locks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".into());
    let rounds: u32 = std::env::args().nth(2).map_or(Ok(3), |rounds| rounds.parse())?;
    let locks = Locks::connect("example", &url).await?;
    println!("waiting to lead");
    let led = locks.with_lock("leader", Duration::from_secs(3600), |lease| async move {
        for round in 1..=rounds {
            println!("leading with token {}, round {round} of {rounds}", lease.token());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    match led.await {
        Ok(()) => println!("done"),
        Err(LockError::Lost { loss, .. }) => println!("no longer leader: {loss}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
