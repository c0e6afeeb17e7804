//! A cache in front of a slow source: `cargo run -p trimtab-cache --example basics`.

use std::io::Write;
use std::time::{Duration, Instant};

use trimtab_cache::{Cache, LoadError};

/// Stands for a database.
async fn slow_square(n: u64) -> Result<u64, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    n.checked_mul(n).ok_or_else(|| std::io::Error::other(format!("{n} squared does not fit")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let squares: Cache<u64, u64> =
        Cache::builder().name("squares").max_entries(1_000).ttl(Duration::from_secs(60)).build()?;

    let start = Instant::now();
    // A hundred tasks ask for the same missing key: one load.
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let squares = squares.clone();
            tokio::spawn(async move { squares.try_get_with(12, || slow_square(12)).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await??, 144);
    }
    let error = squares.try_get_with(u64::MAX, || slow_square(u64::MAX)).await.expect_err("too large");
    assert!(matches!(error, LoadError::Failed { .. }));

    let stats = squares.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.load_joins), (2, 1, 99));
    writeln!(
        std::io::stdout(),
        "{} callers, {} loads, {:?}; hit ratio {:.2}",
        stats.hits + stats.misses,
        stats.loads,
        start.elapsed(),
        stats.hit_ratio()
    )?;
    Ok(())
}
