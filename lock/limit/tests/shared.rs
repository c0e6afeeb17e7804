//! Shared limits against real servers: one step each, never above the rate over processes, and what happens without a server.
//!
//! Without a server a test says so and skips itself; `cargo xtask test` provides them.

#![cfg(all(unix, feature = "postgres", feature = "redis"))]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a test that skips itself says so; a worker speaks so")]

use std::io::Write;
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use trimtab_config::Secret;
use trimtab_limit::{BuildError, Fallback, LimitError, LimitSettings, SharedLimit};

fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(file) = std::env::var_os("XTASK_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "trimtab-limit::{test}: {reason}").unwrap();
    }
}

fn variable(test: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        skip(test, &format!("{name} is not set; run `cargo xtask test`"));
    }
    value
}

fn settings(url: &str, rate: &str) -> LimitSettings {
    let mut settings = LimitSettings::of(rate.parse().unwrap());
    settings.url = Some(Secret::new(url));
    // A busy machine is not a server that is away.
    settings.timeout = Duration::from_secs(30).into();
    settings
}

fn fresh(what: &str) -> String {
    format!("{what}-{}-{}", std::process::id(), std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos())
}

fn servers(test: &str) -> Vec<String> {
    ["XTASK_POSTGRES_URL", "XTASK_REDIS_URL"].into_iter().filter_map(|name| variable(test, name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_shared_and_a_refusal_says_when_to_come_again() {
    for url in servers("a_burst_is_shared_and_a_refusal_says_when_to_come_again") {
        // Slow enough that none comes back during the test.
        let one = SharedLimit::connect("shared", settings(&url, "1/h burst 5")).await.unwrap();
        let two = SharedLimit::connect("shared", settings(&url, "1/h burst 5")).await.unwrap();
        let key = fresh("burst");
        let three = NonZeroU32::new(3).unwrap();
        assert_eq!(one.check(&key).await.unwrap().remaining(), 4);
        assert_eq!(two.check_n(&key, three).await.unwrap().remaining(), 1);
        let LimitError::Refused { refused, .. } = one.check_n(&key, three).await.unwrap_err() else {
            panic!("three of one left")
        };
        assert_eq!((refused.remaining, refused.burst), (1, 5));
        let hours = refused.retry_after.as_secs_f64() / 3600.0;
        assert!((1.5..=2.0).contains(&hours), "two must come back: {hours}");
        assert_eq!(two.check(&key).await.unwrap().remaining(), 0);
        let LimitError::Refused { refused, .. } = one.check(&key).await.unwrap_err() else { panic!("none left") };
        assert!(refused.retry_after <= Duration::from_secs(3600) && refused.retry_after > Duration::from_secs(3000));
        assert!(one.check(&fresh("other")).await.is_ok(), "another key has a burst of its own");
        let six = one.check_n(&key, NonZeroU32::new(6).unwrap()).await.unwrap_err();
        assert!(matches!(six, LimitError::TooMuch { asked: 6, burst: 5, .. }));
        assert_eq!(one.stats().questions, 4, "one for each decision");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permits_come_back_by_the_servers_clock() {
    for url in servers("permits_come_back_by_the_servers_clock") {
        let limit = SharedLimit::connect("shared", settings(&url, "20/s burst 1")).await.unwrap();
        let key = fresh("back");
        for _ in 0..5 {
            let mut tries = 0;
            while let Err(error) = limit.check(&key).await {
                tries += 1;
                assert!(tries < 100);
                // Told when to come: by the server's clock, so it is waited for.
                tokio::time::sleep(error.retry_after().unwrap()).await;
            }
        }
        assert!(limit.stats().refused >= 1);
    }
}

/// A worker of the next test: asks as fast as it can for a while, and tells how often it passed.
async fn ask_for_a_while(url: &str, key: &str, leased: u32) -> u64 {
    let mut settings = settings(url, "200/s burst 50");
    settings.leased = leased;
    let limit = SharedLimit::connect("shared", settings).await.unwrap();
    let started = Instant::now();
    let mut passed = 0;
    while started.elapsed() < Duration::from_secs(1) {
        passed += u64::from(limit.check(key).await.is_ok());
    }
    passed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_together_never_exceed_the_rate() {
    let test = "four_processes_together_never_exceed_the_rate";
    if let Ok(orders) = std::env::var("TRIMTAB_LIMIT_WORKER") {
        let mut orders = orders.split('\n');
        let (url, key, leased) = (orders.next().unwrap(), orders.next().unwrap(), orders.next().unwrap());
        println!("passed:{}", ask_for_a_while(url, key, leased.parse().unwrap()).await);
        return;
    }
    for url in servers(test) {
        for leased in [1_u32, 10] {
            let key = fresh("processes");
            let started = Instant::now();
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    Command::new(std::env::current_exe().unwrap())
                        .args([test, "--exact", "--nocapture"])
                        .env("TRIMTAB_LIMIT_WORKER", format!("{url}\n{key}\n{leased}"))
                        .stdout(Stdio::piped())
                        .stderr(Stdio::null())
                        .spawn()
                        .unwrap()
                })
                .collect();
            let mut passed = 0;
            for worker in workers {
                let output = worker.wait_with_output().unwrap();
                assert!(output.status.success());
                let text = String::from_utf8(output.stdout).unwrap();
                let count = text.split("passed:").nth(1).unwrap();
                passed += count.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap();
            }
            // The whole time, starts included, is longer than the time of asking: the bound can only be generous by that.
            let most = 50.0 + 200.0 * started.elapsed().as_secs_f64() + 4.0 * f64::from(leased - 1);
            assert!(passed as f64 <= most, "{passed} of {most}");
            assert!(passed >= 50, "the burst passes");
        }
    }
}

/// Until so many sessions wait for what a transaction has locked.
async fn until_they_wait_for(transaction: &tokio_postgres::Transaction<'_>, sessions: i64) {
    let waiting =
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))";
    while transaction.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) < sessions {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_waited_for_its_row_gives_nothing_back_that_others_used_meanwhile() {
    let test = "a_question_that_waited_for_its_row_gives_nothing_back_that_others_used_meanwhile";
    let Some(url) = variable(test, "XTASK_POSTGRES_URL") else { return };
    let limit = SharedLimit::connect("shared", settings(&url, "1/h burst 5")).await.unwrap();
    let key = fresh("waited");
    limit.check(&key).await.unwrap();
    let (mut other, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    drop(tokio::spawn(connection));
    let row = format!("shared:{key}");
    let held = other.transaction().await.unwrap();
    held.execute("SELECT 1 FROM trimtab_limits WHERE key = $1 FOR UPDATE", &[&row]).await.unwrap();
    let asks = tokio::spawn(async move { limit.check(&key).await });
    until_they_wait_for(&held, 1).await;
    // The whole burst, by a clock that has gone on since the question was asked.
    let used = "UPDATE trimtab_limits SET instant = (extract(epoch FROM clock_timestamp())::float8 + 5 * 3600) * 1e6 \
                WHERE key = $1 RETURNING instant";
    let used: f64 = held.query_one(used, &[&row]).await.unwrap().get(0);
    held.commit().await.unwrap();
    assert!(matches!(asks.await.unwrap(), Err(LimitError::Refused { .. })));
    let left = other.query_one("SELECT instant FROM trimtab_limits WHERE key = $1", &[&row]).await.unwrap();
    assert_eq!(left.get::<_, f64>(0).to_bits(), used.to_bits());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_permits_save_questions_and_never_add_up_to_more_than_the_burst() {
    for url in servers("fetched_permits_save_questions_and_never_add_up_to_more_than_the_burst") {
        let mut settings = settings(&url, "1/h burst 100");
        settings.leased = 50;
        settings.leased_for = Duration::from_secs(600).into();
        let limit = SharedLimit::connect("shared", settings).await.unwrap();
        let key = fresh("leased");
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (limit, key) = (limit.clone(), key.clone());
                tokio::spawn(async move {
                    let mut passed = 0;
                    for _ in 0..30 {
                        passed += u64::from(limit.check(&key).await.is_ok());
                    }
                    passed
                })
            })
            .collect();
        let mut passed = 0;
        for task in tasks {
            passed += task.await.unwrap();
        }
        assert_eq!(passed, 100);
        // Two that brought permits; the rest of the questions are refusals.
        assert_eq!(limit.stats().questions - limit.stats().refused, 2);
    }
}

/// A server of one test.
struct Server {
    program: String,
    state: std::path::PathBuf,
    kind: &'static str,
    url: String,
}

impl Server {
    fn start(test: &str, kind: &'static str) -> Option<Self> {
        let program = variable(test, "XTASK_PROGRAM")?;
        let state = std::env::temp_dir().join(format!("trimtab-limit-{}.json", fresh(kind)));
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
        Some(Self { program, state, kind, url })
    }

    fn does(&self, what: &str) {
        let done = Command::new(&self.program)
            .args(["services", what, self.kind, "--state"])
            .arg(&self.state)
            .output()
            .unwrap();
        assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = Command::new(&self.program).args(["services", "stop", "--state"]).arg(&self.state).output();
        assert!(stop.unwrap().status.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_start_together_make_the_table_once() {
    let Some(url) = variable("those_who_start_together_make_the_table_once", "XTASK_POSTGRES_URL") else { return };
    let (mut admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    drop(tokio::spawn(connection));
    // A schema of its own, since the others use the table.
    let schema = format!("limits_{}", std::process::id());
    admin.batch_execute(&format!("CREATE SCHEMA {schema}")).await.unwrap();
    let url = format!("{url}{}options=-csearch_path%3D{schema}", if url.contains('?') { '&' } else { '?' });
    let first = admin.transaction().await.unwrap();
    let made = format!(
        "CREATE UNLOGGED TABLE {schema}.trimtab_limits \
         (key text PRIMARY KEY, instant float8 NOT NULL, granted int4 NOT NULL)"
    );
    first.batch_execute(&made).await.unwrap();
    let starts: Vec<_> =
        (0..4).map(|_| tokio::spawn(SharedLimit::connect("shared", settings(&url, "1/h burst 9")))).collect();
    until_they_wait_for(&first, 4).await;
    first.commit().await.unwrap();
    for start in starts {
        start.await.unwrap().unwrap().check("key").await.unwrap();
    }
    admin.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_decided_for_by_the_fallback_and_asked_again_later() {
    let test = "a_server_that_is_away_is_decided_for_by_the_fallback_and_asked_again_later";
    for kind in ["postgres", "redis"] {
        let Some(server) = Server::start(test, kind) else { return };
        let mut limits = Vec::new();
        for fallback in [Fallback::Open, Fallback::Closed, Fallback::Local] {
            let mut settings = settings(&server.url, "1/h burst 2");
            settings.fallback = fallback;
            settings.retry_after = Duration::from_millis(50).into();
            limits.push(SharedLimit::connect("away", settings).await.unwrap());
        }
        let key = fresh("away");
        server.does("kill");
        for limit in &limits {
            let passed = [limit.check(&key).await, limit.check(&key).await, limit.check(&key).await];
            match limit.settings().fallback {
                Fallback::Open => assert!(passed.iter().all(Result::is_ok)),
                Fallback::Closed => {
                    let error = passed.into_iter().next().unwrap().unwrap_err();
                    assert!(matches!(error, LimitError::Unavailable { .. }), "{error}");
                    assert!(std::error::Error::source(&error).is_some());
                }
                Fallback::Local => {
                    let passed: Vec<_> = passed.iter().map(Result::is_ok).collect();
                    assert_eq!(passed, [true, true, false], "its own burst");
                }
            }
            assert_eq!(limit.stats().away, 3);
            assert!(limit.stats().questions < 4);
        }
        server.does("restart");
        // One that lets nothing pass while it is away passes again when it is back.
        let started = Instant::now();
        while limits[1].check(&fresh("back")).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(60));
            // A look now and then.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_limit_without_a_known_server_is_refused_and_shows_no_password() {
    let limit = SharedLimit::connect("x", LimitSettings::default()).await;
    assert!(matches!(limit.unwrap_err(), BuildError::Scheme { .. }));
    let limit = SharedLimit::connect("x", settings("mysql://root:hunter2@host", "1/s")).await;
    let error = limit.unwrap_err().to_string();
    assert!(error.contains("\"mysql\"") && !error.contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_changed_while_it_is_used_holds_from_the_next_question_on() {
    for url in servers("a_rate_changed_while_it_is_used_holds_from_the_next_question_on") {
        let limit = SharedLimit::connect("changed", settings(&url, "1/h burst 5")).await.unwrap();
        let key = fresh("changed");
        limit.check_n(&key, NonZeroU32::new(5).unwrap()).await.unwrap();
        assert!(limit.check(&key).await.unwrap_err().retry_after().unwrap() > Duration::from_secs(3000));
        // Five hours of debt are a burst that is used up, and it comes back at the new pace.
        limit.set_rate("1/m burst 3".parse().unwrap()).unwrap();
        let wait = limit.check(&key).await.unwrap_err().retry_after().unwrap();
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        limit.set_rate("1000/s burst 3".parse().unwrap()).unwrap();
        let mut tries = 0;
        while let Err(error) = limit.check(&key).await {
            tries += 1;
            assert!(tries < 100, "{error}");
            // The server's clock decides, and cannot be wound.
            tokio::time::sleep(error.retry_after().unwrap()).await;
        }
        let five = limit.check_n(&key, NonZeroU32::new(5).unwrap()).await.unwrap_err();
        assert!(matches!(five, LimitError::TooMuch { burst: 3, .. }), "{five}");
        let usage = limit.usage(1);
        assert_eq!((usage[0].key.as_str(), usage[0].permits), (key.as_str(), 6));
        assert_eq!(usage[0].refused, 2 + tries);
    }
}
