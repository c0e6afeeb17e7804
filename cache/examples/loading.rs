//! A source that gets slow and then goes down, behind a cache that covers for it:
//! `cargo run -p trimtab-cache --example loading --features tokio`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use trimtab_cache::loading::TokioRuntime;
use trimtab_cache::{Cache, LoadingCache};

const SLOW: u8 = 1;
const DOWN: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let state = Arc::new(AtomicU8::new(0));
    let source = Arc::clone(&state);
    let load = move |item: u32| {
        let state = source.load(Ordering::Relaxed);
        async move {
            if state == SLOW {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            if state == DOWN { Err(std::io::Error::other("the source is down")) } else { Ok(item * 100) }
        }
    };
    let milliseconds = Duration::from_millis;
    let prices = LoadingCache::builder(Cache::builder().name("prices").max_entries(1_000), load)
        .refresh_after(milliseconds(40))
        .ttl(milliseconds(80))
        .stale_for(Duration::from_secs(60))
        .retry_after(milliseconds(50))
        .soft_timeout(milliseconds(20))
        .hard_timeout(Duration::from_secs(1))
        .runtime(TokioRuntime::current())
        .build()?;

    let mut out = std::io::stdout();
    for (name, now) in [("healthy", 0), ("slow", SLOW), ("down", DOWN), ("healthy again", 0)] {
        state.store(now, Ordering::Relaxed);
        let mut worst = Duration::ZERO;
        for _ in 0..30 {
            let start = Instant::now();
            assert_eq!(prices.get(7).await?, 700, "never an error, whatever the source does");
            worst = worst.max(start.elapsed());
            tokio::time::sleep(milliseconds(10)).await;
        }
        let stats = prices.stats();
        writeln!(
            out,
            "{name:14} slowest answer {worst:>9.2?}; so far {} loads, {} refreshes, {} stale on error, {} on time-out",
            stats.cache.loads, stats.refreshes, stats.stale_on_error, stats.stale_on_timeout
        )?;
    }
    Ok(())
}
