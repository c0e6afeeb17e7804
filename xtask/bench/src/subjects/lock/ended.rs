//! Holders that end without a word: how soon the next one holds, and how soon one that was stopped is told on waking.
//!
//! Holders are processes. Over Redis a dead one keeps its lock until its lease ends, so the time counts from there, by the
//! server's own word on what is left of the lease.

use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::process::Signal;
use trimtab_config::Secret;
use trimtab_lock::{LockSettings, Locks};

use super::children::{Child, order, say};
use super::single::{runtime, text};
use crate::frame::{Case, Contender, Measure, Role, Rounds};

/// Of the holders.
const LEASE: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(30);
/// A waiter that is known here stands in the server's queue a moment later.
const SETTLE: Duration = Duration::from_millis(50);

pub(super) fn cases(stores: &[(&'static str, String)]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (store, url) in stores.iter().filter(|(store, _)| *store != "memory") {
        let from = if *store == "redis" { "its lease's end" } else { "its death" };
        cases.push(case(store, url, "killed", format!("next waiter holds, from {from} on"), &["held after"], killed));
    }
    for (store, url) in stores.iter().filter(|(store, _)| ["postgres", "redis"].contains(store)) {
        let what = format!("holder stopped under a lease of {LEASE:?}: until the next one holds, and told on waking");
        cases.push(case(store, url, "stopped", what, &["held after", "told after"], stopped));
    }
    cases
}

fn case(
    store: &'static str,
    url: &str,
    fault: &str,
    what: String,
    measures: &[&'static str],
    turn: fn(&'static str, &str) -> Result<Vec<f64>, String>,
) -> Case {
    let url = url.to_owned();
    Case {
        name: format!("{fault}/{store}"),
        what,
        threads: 2,
        measures: measures.iter().map(|measure| Measure::lower(measure, "ms")).collect(),
        contenders: vec![Contender::new("trimtab", Role::Ours, move |_| turn(store, &url))],
        rounds: Rounds::Timed,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A holder of its own process, with the name of what it holds.
fn holder(url: &str) -> Result<(Child, String), String> {
    let name = format!("ended-{}", UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
    let mut child = Child::start(&["hold", url, &name])?;
    child.hear_that("held")?;
    Ok((child, name))
}

/// Waits for the lock in a task; `fault` is done when it waits. Answers when it had the lock, and what `fault` answered.
fn next<T>(url: &str, name: &str, fault: impl FnOnce() -> Result<T, String>) -> Result<(Instant, T), String> {
    runtime()?.block_on(async {
        let locks = Locks::connect("bench", url).await.map_err(text)?;
        let waits = tokio::spawn({
            let (locks, name) = (locks.clone(), name.to_owned());
            async move {
                let lease = locks.acquire(&name, WAIT).await.map_err(text)?;
                let held = Instant::now();
                lease.release().await.map_err(text)?;
                Ok::<_, String>(held)
            }
        });
        while locks.stats().waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(SETTLE).await;
        let done = fault()?;
        Ok((waits.await.map_err(text)??, done))
    })
}

fn killed(store: &'static str, url: &str) -> Result<Vec<f64>, String> {
    let (child, name) = holder(url)?;
    let mut server = match store {
        "redis" => Some(redis::Client::open(url).and_then(|client| client.get_connection()).map_err(text)?),
        _ => None,
    };
    let (held, freed) = next(url, &name, || {
        let killed = Instant::now();
        child.signal(Signal::KILL)?;
        let Some(server) = &mut server else { return Ok(killed) };
        let left: i64 = redis::cmd("PTTL").arg(format!("trimtab:lock:{{{name}}}:held")).query(server).map_err(text)?;
        let left = u64::try_from(left).map_err(|_| format!("the holder's lease is gone: {left}"))?;
        Ok(killed + Duration::from_millis(left))
    })?;
    Ok(vec![milliseconds(held.saturating_duration_since(freed))])
}

fn stopped(_: &'static str, url: &str) -> Result<Vec<f64>, String> {
    let (mut child, name) = holder(url)?;
    let (held, stopped) = next(url, &name, || {
        let stopped = Instant::now();
        child.signal(Signal::STOP)?;
        Ok(stopped)
    })?;
    let woken = Instant::now();
    child.signal(Signal::CONT)?;
    child.hear_that("lost")?;
    Ok(vec![milliseconds(held - stopped), milliseconds(woken.elapsed())])
}

/// What a child does: it holds, and says so when it learns that it does no more.
pub(super) fn hold(arguments: &[&str]) -> Result<(), String> {
    let [url, name] = arguments else { return Err(format!("unknown holder {arguments:?}")) };
    let mut settings = LockSettings::default();
    settings.url = Secret::new(*url);
    settings.lease = LEASE.into();
    runtime()?.block_on(async {
        let locks = Locks::with_settings("bench", settings).await.map_err(text)?;
        let lease = locks.acquire(name, WAIT).await.map_err(text)?;
        say("held")?;
        lease.lost().await;
        say("lost")?;
        order().map(drop)
    })
}
