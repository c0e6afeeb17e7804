//! The ready managers against real servers. One server is killed and comes back under load.
//!
//! Without a server a test says so and skips itself; `cargo xtask test` provides them.

#![cfg(all(unix, feature = "postgres", feature = "redis"))]
#![allow(clippy::print_stderr, reason = "a test that skips itself says so")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trimtab_pool::postgres::PostgresManager;
use trimtab_pool::redis::RedisManager;
use trimtab_pool::{AcquireError, ResourcePool};

/// Says that a test cannot run, where `cargo xtask test` counts it.
fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(file) = std::env::var_os("XTASK_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "trimtab-pool::{test}: {reason}").unwrap();
    }
}

fn variable(test: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        skip(test, &format!("{name} is not set; run `cargo xtask test`"));
    }
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_connections_are_shared_and_cleaned() {
    let Some(url) = variable("postgres_connections_are_shared_and_cleaned", "XTASK_POSTGRES_URL") else { return };
    let manager = PostgresManager::new(&url).unwrap().recycling("ROLLBACK");
    let pool = ResourcePool::builder("orders", manager).min(1).max(3).build().unwrap();
    pool.warm_up().await.unwrap();
    let tasks: Vec<_> = (0..60_i32)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let connection = pool.acquire().await.unwrap();
                let row = connection.query_one("SELECT $1::int4 * 2", &[&n]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), n * 2);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(pool.stats().created <= 3);
    // A transaction that its user left open is not the next one's.
    for _ in 0..4 {
        let connection = pool.acquire().await.unwrap();
        let row = connection.query_one("SELECT to_regclass('pg_temp.left_open') IS NULL", &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "inside of somebody else's transaction");
        connection.batch_execute("BEGIN; CREATE TEMPORARY TABLE left_open (n int)").await.unwrap();
    }
    // A connection that the server ended is replaced.
    let connection = pool.acquire().await.unwrap();
    let pid: i32 = connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let other = pool.acquire().await.unwrap();
    other.query_one("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    assert!(connection.query_one("SELECT 1", &[]).await.is_err());
    drop((connection, other));
    for _ in 0..3 {
        let connection = pool.acquire().await.unwrap();
        connection.query_one("SELECT 1", &[]).await.unwrap();
    }
    pool.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_connections_are_shared_and_checked() {
    let Some(url) = variable("redis_connections_are_shared_and_checked", "XTASK_REDIS_URL") else { return };
    let pool = ResourcePool::builder("sessions", RedisManager::new(url).unwrap())
        .max(3)
        .configure(|settings| settings.check_after = Duration::ZERO.into())
        .build()
        .unwrap();
    let key = format!("trimtab-pool-{}", std::process::id());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (pool, key) = (pool.clone(), key.clone());
            tokio::spawn(async move {
                let mut connection = pool.acquire().await.unwrap();
                redis::cmd("INCR").arg(&key).query_async::<i64>(&mut *connection).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut connection = pool.acquire().await.unwrap();
    let count: i64 = redis::cmd("GETDEL").arg(&key).query_async(&mut *connection).await.unwrap();
    assert_eq!(count, 50);
    // The server ends all connections but this one; the checks find them.
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes")
        .query_async::<i64>(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    for _ in 0..3 {
        let mut connection = pool.acquire().await.unwrap();
        redis::cmd("PING").query_async::<String>(&mut *connection).await.unwrap();
    }
}

/// A server of one test.
struct Server {
    program: String,
    state: std::path::PathBuf,
    url: String,
}

impl Server {
    fn start(test: &str, kind: &str) -> Option<Self> {
        let program = variable(test, "XTASK_PROGRAM")?;
        let state = std::env::temp_dir().join(format!("trimtab-pool-{kind}-{}.json", std::process::id()));
        let started = Command::new(&program)
            .args(["services", "start", "--no-install", kind, "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !started.status.success() {
            skip(test, &format!("{kind} is not on this machine"));
            return None;
        }
        let line = String::from_utf8(started.stdout).unwrap();
        let url = line.trim().split_once('=').unwrap().1.to_owned();
        Some(Self { program, state, url })
    }

    fn does(&self, what: &[&str]) {
        let done =
            Command::new(&self.program).arg("services").args(what).arg("--state").arg(&self.state).output().unwrap();
        assert!(done.status.success(), "{what:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.does(&["stop"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_recovers_by_itself_from_the_death_of_its_server() {
    let Some(server) = Server::start("a_pool_recovers_by_itself_from_the_death_of_its_server", "postgres") else {
        return;
    };
    let pool = ResourcePool::builder("orders", PostgresManager::new(&server.url).unwrap())
        .min(2)
        .max(4)
        .timeout(Duration::from_secs(2))
        .configure(|settings| {
            settings.breaker_failures = 3;
            settings.retry_min = Duration::from_millis(20).into();
            settings.retry_max = Duration::from_millis(200).into();
        })
        .build()
        .unwrap();
    let (done, failed, refused) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let counts = Arc::new((done, failed, refused));
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (pool, counts, stop) = (pool.clone(), counts.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match pool.acquire().await {
                        Ok(connection) => {
                            let count = match connection.query_one("SELECT 1", &[]).await {
                                Ok(_) => &counts.0,
                                Err(_) => &counts.1,
                            };
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            let expected = error.is_timeout() || matches!(error, AcquireError::Unavailable { .. });
                            assert!(expected, "{error}");
                            counts.2.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                    }
                }
            })
        })
        .collect();
    // Real servers keep their own time: wait for what must happen, up to a limit.
    let until = |what: &'static str, happened: Box<dyn Fn() -> bool + Send>| async move {
        let started = Instant::now();
        while !happened() {
            assert!(started.elapsed() < Duration::from_secs(30), "{what} did not happen");
            // A look now and then.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counted = |which: fn(&(AtomicU64, AtomicU64, AtomicU64)) -> &AtomicU64, from: u64| {
        let counts = counts.clone();
        Box::new(move || which(&counts).load(Ordering::Relaxed) > from) as Box<dyn Fn() -> bool + Send>
    };
    until("the first work", counted(|counts| &counts.0, 200)).await;
    server.does(&["kill", "postgres"]);
    until("a refusal", counted(|counts| &counts.2, 0)).await;
    server.does(&["restart", "postgres"]);
    let before = counts.0.load(Ordering::Relaxed);
    until("the recovery", counted(|counts| &counts.0, before + 500)).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (0, 0), "{stats:?}");
    assert!(stats.total <= 4, "{stats:?}");
    pool.close(Duration::from_secs(5)).await.unwrap();
}
