//! One caller, nobody else: acquire and release, beside the bare round trip or lock.

use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trimtab_lock::Locks;

use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

/// A runtime as services have it.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(|error| error.to_string())
}

/// How often `work` is done in a second.
async fn rate<F: Future<Output = Result<(), String>>>(
    time: Duration,
    mut work: impl FnMut() -> F,
) -> Result<Vec<f64>, String> {
    let started = Instant::now();
    let mut done = 0_u64;
    while started.elapsed() < time {
        // The clock is not what is measured.
        for _ in 0..16 {
            work().await?;
        }
        done += 16;
    }
    Ok(vec![done as f64 / started.elapsed().as_secs_f64()])
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// In a task: what `block_on` runs itself is woken through a park of its own.
fn in_task<F: Future<Output = Result<Vec<f64>, String>> + Send + 'static>(work: F) -> Result<Vec<f64>, String> {
    runtime()?.block_on(async { tokio::spawn(work).await.map_err(text)? })
}

pub(super) fn case(store: &'static str, url: &str) -> Case {
    let ours = {
        let url = url.to_owned();
        Contender::new("trimtab", Role::Ours, move |turn: &Turn| {
            let (url, time) = (url.clone(), turn.time);
            in_task(async move {
                let locks = Locks::connect("bench", &url).await.map_err(text)?;
                let lock = locks.lock("uncontended").map_err(text)?;
                let figures = rate(time, || async {
                    let lease = lock.acquire(Duration::from_secs(60)).await.map_err(text)?;
                    lease.release().await.map_err(text)
                });
                let figures = figures.await?;
                let stats = locks.stats();
                if stats.lost > 0 || stats.acquired != stats.released { Err(format!("{stats:?}")) } else { Ok(figures) }
            })
        })
    };
    let url = url.to_owned();
    let bare = match store {
        "memory" => Contender::new("tokio Mutex", Role::Peer, |turn: &Turn| {
            let time = turn.time;
            in_task(async move {
                let mutex = tokio::sync::Mutex::new(0_u64);
                rate(time, || async {
                    *mutex.lock().await += 1;
                    Ok(())
                })
                .await
            })
        }),
        "file" => Contender::new("blocking thread", Role::Peer, |turn: &Turn| {
            let time = turn.time;
            in_task(async move {
                let path = std::env::temp_dir().join(format!("trimtab-bench-{}", std::process::id()));
                let file = Arc::new(File::create(&path).map_err(text)?);
                let figures = rate(time, || {
                    let file = file.clone();
                    async move {
                        let locked = tokio::task::spawn_blocking(move || {
                            file.try_lock().map_err(text)?;
                            file.unlock().map_err(text)
                        });
                        locked.await.map_err(text)?
                    }
                })
                .await;
                std::fs::remove_file(&path).map_err(text)?;
                figures
            })
        }),
        "postgres" => Contender::new("SELECT 1", Role::Limit, move |turn: &Turn| {
            let (url, time) = (url.clone(), turn.time);
            in_task(async move {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.map_err(text)?;
                drop(tokio::spawn(connection));
                let one = client.prepare("SELECT 1").await.map_err(text)?;
                rate(time, || async { client.query_one(&one, &[]).await.map(drop).map_err(text) }).await
            })
        }),
        _ => Contender::new("PING", Role::Limit, move |turn: &Turn| {
            let (url, time) = (url.clone(), turn.time);
            in_task(async move {
                let client = redis::Client::open(url).map_err(text)?;
                let connection = client.get_multiplexed_async_connection().await.map_err(text)?;
                rate(time, || {
                    let mut connection = connection.clone();
                    async move { redis::cmd("PING").query_async::<String>(&mut connection).await.map(drop).map_err(text) }
                })
                .await
            })
        }),
    };
    Case {
        name: format!("uncontended/{store}"),
        what: "one caller takes and gives back one lock".into(),
        threads: 2,
        measures: vec![Measure::higher("rate", "/s")],
        contenders: vec![ours, bare],
        rounds: Rounds::Timed,
    }
}
