//! The figures that the documents name: a semaphore, a limiter, batches, and what batching gains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trimtab_scheduler::{Batcher, Pace, Semaphore};

use super::{ROUNDS, runtime, shown};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

const WORKERS: usize = 2;
/// Calls of the backend at the same time.
const CONNECTIONS: usize = 4;
/// What a call costs, whatever is in it.
const CALL: Duration = Duration::from_millis(2);
const CALLERS: u64 = 64;

/// So many tasks do `work` until the time is up; tells how often by second.
fn rate<F>(turn: &Turn, tasks: u64, work: impl Fn() -> F + Clone + Send + 'static) -> Result<f64, String>
where
    F: Future<Output = Result<(), String>> + Send,
{
    let time = turn.time;
    runtime(WORKERS)?.block_on(async {
        let start = Instant::now();
        let tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let work = work.clone();
                tokio::spawn(async move {
                    let mut count = 0_u64;
                    while start.elapsed() < time {
                        work().await?;
                        count += 1;
                    }
                    Ok::<u64, String>(count)
                })
            })
            .collect();
        let mut count = 0;
        for task in tasks {
            count += task.await.map_err(shown)??;
        }
        Ok(count as f64 / start.elapsed().as_secs_f64())
    })
}

fn semaphore(turn: &Turn) -> Result<Vec<f64>, String> {
    let semaphore = Semaphore::new("far", 10).map_err(shown)?;
    let most = Arc::new(AtomicU64::new(0));
    let (inside, seen) = (Arc::new(AtomicU64::new(0)), Arc::clone(&most));
    let rate = rate(turn, CALLERS, move || {
        let (semaphore, inside, seen) = (semaphore.clone(), Arc::clone(&inside), Arc::clone(&seen));
        async move {
            let _permit = semaphore.acquire().await.map_err(shown)?;
            seen.fetch_max(inside.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
    })?;
    match most.load(Ordering::Relaxed) {
        ..=10 => Ok(vec![rate]),
        more => Err(format!("{more} were inside at the same time instead of 10")),
    }
}

/// Callers who ask ten times as often as they may; tells how many were let in by second.
fn limiter(turn: &Turn) -> Result<Vec<f64>, String> {
    let pace = Pace::new("far", "100/s burst 1".parse().map_err(shown)?).map_err(shown)?;
    let time = Duration::from_secs(if turn.quick { 2 } else { 5 });
    let start = Instant::now();
    let mut passed = 0_u32;
    while start.elapsed() < time {
        passed += u32::from(pace.try_ready().is_ok());
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(vec![f64::from(passed) / start.elapsed().as_secs_f64()])
}

/// A batcher over a backend whose calls cost the same whatever is in them.
fn batcher(max_items: usize, cost: Duration) -> Result<Batcher<u64, u64>, String> {
    Batcher::builder("far", move |items: Vec<u64>| async move {
        if cost > Duration::ZERO {
            tokio::time::sleep(cost).await;
        }
        items.into_iter().map(|item| item + 1).collect()
    })
    .configure(|settings| {
        settings.max_items = max_items as _;
        settings.max_wait = Duration::from_millis(1).into();
        settings.concurrency = CONNECTIONS as _;
    })
    .build()
    .map_err(shown)
}

fn batches(turn: &Turn, max_items: usize, cost: Duration) -> Result<Vec<f64>, String> {
    // Made inside of the runtime, by the first caller.
    let batcher = Arc::new(std::sync::OnceLock::new());
    let rate = rate(turn, CALLERS, move || {
        let batcher = Arc::clone(&batcher);
        async move {
            let batcher = batcher.get_or_init(|| batcher_or_why(max_items, cost)).clone()?;
            let got = batcher.submit(7).await.map_err(shown)?;
            if got == 8 { Ok(()) } else { Err("somebody else's result".to_owned()) }
        }
    })?;
    Ok(vec![rate])
}

fn batcher_or_why(max_items: usize, cost: Duration) -> Result<Batcher<u64, u64>, String> {
    batcher(max_items, cost)
}

fn case(name: &str, what: String, contenders: Vec<Contender>, rounds: Rounds) -> Case {
    let name = format!("figures/{name}");
    Case { name, what, threads: WORKERS, measures: vec![Measure::higher("rate", "/s")], contenders, rounds }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "semaphore",
            format!("{CALLERS} callers, 10 inside at the same time, each for one turn of the runtime"),
            vec![Contender::new("trimtab", Role::Ours, semaphore)],
            ROUNDS,
        ),
        case(
            "limiter",
            "callers who ask twenty times as often as 100/s".into(),
            vec![Contender::new("trimtab", Role::Ours, limiter)],
            Rounds::Exact(2),
        ),
        case(
            "batch",
            format!("{CALLERS} callers, a backend that answers at once"),
            vec![Contender::new("trimtab", Role::Ours, |turn| batches(turn, 100, Duration::ZERO))],
            ROUNDS,
        ),
        case(
            "batching",
            format!(
                "{CALLERS} callers, a backend of {CONNECTIONS} connections that takes {} ms a call, whatever is in it",
                CALL.as_millis()
            ),
            vec![
                Contender::new("trimtab", Role::Ours, |turn| batches(turn, 100, CALL)),
                Contender::new("one by one", Role::Limit, |turn| batches(turn, 1, CALL)),
            ],
            ROUNDS,
        ),
    ]
}
