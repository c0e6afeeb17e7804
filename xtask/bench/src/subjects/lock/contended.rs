//! Sixteen contenders for one lock: a section of 1 ms, 0 to 4 ms between two; as tasks of one process, and as sixteen processes.
//!
//! The share is the time that somebody spent in the section, of all the time: what is missing went into handing over, and
//! divided by the leases it is the delay. Polling asks the same store again and again, with delays from 10 ms to 5 s as the usual
//! settings of a back-off are. Every section is noted with its begin and end, and no two may overlap.
//!
//! Bare is what the store itself needs for a hand-over, without tokens, leases or places given up: a blocking question on a
//! session for each contender, a blocking thread on a file. Redis has nothing of the kind.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls, Statement};
use trimtab_config::{Backoff, Profile, Settings};
use trimtab_lock::{Lease, Locks};

use super::children::{Child, order, say};
use super::single::{runtime, text};
use crate::frame::{Case, Contender, Measure, Role, Rounds};

const CONTENDERS: usize = 16;
const SECTION: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(60);

/// What the contenders of one process saw.
#[derive(Default, Serialize, Deserialize)]
struct Seen {
    /// Milliseconds of each wait.
    waits: Vec<f64>,
    /// Begin and end of each section, in nanoseconds of the machine's clock.
    sections: Vec<(u64, u64)>,
    /// Leases of each contender.
    leases: Vec<f64>,
    trips: u64,
}

const OURS: &str = "trimtab";
const POLLING: &str = "polling";
const BARE: &str = "bare";

pub(super) fn cases(store: &'static str, url: &str, quick: bool) -> Vec<Case> {
    let shapes: &[usize] = if store == "memory" { &[1] } else { &[1, CONTENDERS] };
    let mut ways = vec![(OURS, Role::Ours), (POLLING, Role::Peer)];
    if ["postgres", "file"].contains(&store) {
        ways.push((BARE, Role::Limit));
    }
    let case = |&processes: &usize| {
        let contender = |(way, role)| {
            let url = url.to_owned();
            Contender::new(way, role, move |_| race(&url, processes, way, if quick { 1_500 } else { 4_000 }))
        };
        Case {
            name: format!("contended/{store}-{processes}"),
            what: format!("{CONTENDERS} contenders in {processes} processes, 1 ms under the lock"),
            threads: 2,
            measures: vec![
                Measure::higher("share", "%"),
                Measure::lower("delay", "ms"),
                Measure::lower("p50", "ms"),
                Measure::lower("p99", "ms"),
                Measure::lower("trips", "/lease"),
                Measure::higher("Jain", ""),
                Measure::higher("rate", "/s"),
            ],
            contenders: ways.iter().copied().map(contender).collect(),
            rounds: Rounds::Exact(if quick { 1 } else { 3 }),
        }
    };
    shapes.iter().map(case).collect()
}

fn race(url: &str, processes: usize, way: &str, millis: u64) -> Result<Vec<f64>, String> {
    let name = format!("contended-{}", UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos());
    let (tasks, millis) = ((CONTENDERS / processes).to_string(), millis.to_string());
    let mut children = Vec::new();
    for number in 0..processes {
        children.push(Child::start(&["contend", url, &name, way, &tasks, &number.to_string(), &millis])?);
    }
    for child in &mut children {
        child.hear_that("ready")?;
    }
    let started = Instant::now();
    for child in &mut children {
        child.tell("go")?;
    }
    let mut all = Seen::default();
    for child in &mut children {
        let seen: Seen = serde_json::from_str(&child.hear()?).map_err(text)?;
        all.waits.extend(seen.waits);
        all.sections.extend(seen.sections);
        all.leases.extend(seen.leases);
        all.trips += seen.trips;
    }
    drop(children);
    figures(all, started.elapsed())
}

fn figures(mut seen: Seen, elapsed: Duration) -> Result<Vec<f64>, String> {
    seen.sections.sort_unstable();
    if let Some(both) = seen.sections.windows(2).find(|both| both[1].0 < both[0].1) {
        return Err(format!("two hold the lock: {both:?}"));
    }
    let (Some(first), Some(last)) = (seen.sections.first(), seen.sections.last()) else {
        return Err(format!("nobody held the lock within {elapsed:?}"));
    };
    let inside: u64 = seen.sections.iter().map(|(begin, end)| end - begin).sum();
    let (inside, whole) = (inside as f64 / 1e9, (last.1 - first.0) as f64 / 1e9);
    let count = seen.sections.len() as f64;
    seen.waits.sort_by(f64::total_cmp);
    let quantile = |q: f64| seen.waits[((seen.waits.len() - 1) as f64 * q) as usize];
    let squares: f64 = seen.leases.iter().map(|count| count * count).sum();
    Ok(vec![
        inside / whole * 100.0,
        (whole - inside) / count * 1e3,
        quantile(0.5),
        quantile(0.99),
        seen.trips as f64 / count,
        count * count / (CONTENDERS as f64 * squares),
        count / whole,
    ])
}

/// What a child does: some of the contenders.
pub(super) fn contend(arguments: &[&str]) -> Result<(), String> {
    let [url, name, way, tasks, number, millis] = arguments else {
        return Err(format!("unknown contenders {arguments:?}"));
    };
    let number: u64 = number.parse().map_err(text)?;
    let (tasks, time): (u64, _) = (tasks.parse().map_err(text)?, Duration::from_millis(millis.parse().map_err(text)?));
    runtime()?.block_on(async move {
        let locks = Locks::connect("bench", url).await.map_err(text)?;
        let mut takers = Vec::new();
        for _ in 0..tasks {
            takers.push(Taker::new(&locks, url, name, way).await?);
        }
        say("ready")?;
        order()?;
        let (started, before) = (Instant::now(), locks.stats().round_trips);
        let tasks: Vec<_> = takers
            .into_iter()
            .zip(number * tasks + 1..)
            .map(|(taker, mut seed)| {
                tokio::spawn(async move {
                    let (mut waits, mut sections) = (Vec::new(), Vec::new());
                    while started.elapsed() < time {
                        let asked = Instant::now();
                        let lease = taker.take().await?;
                        let (waited, begin) = (asked.elapsed(), now());
                        // By the system: tokio's timer rounds a millisecond up to two.
                        let section = tokio::task::spawn_blocking(|| std::thread::sleep(SECTION));
                        section.await.map_err(text)?;
                        sections.push((begin, now()));
                        taker.give_back(lease).await?;
                        waits.push(waited.as_secs_f64() * 1e3);
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        tokio::time::sleep(Duration::from_micros((seed >> 33) % 4_000)).await;
                    }
                    Ok::<_, String>((waits, sections))
                })
            })
            .collect();
        let mut seen = Seen::default();
        for task in tasks {
            let (waits, sections) = task.await.map_err(text)??;
            seen.leases.push(waits.len() as f64);
            seen.waits.extend(waits);
            seen.sections.extend(sections);
        }
        seen.trips = locks.stats().round_trips - before;
        say(&serde_json::to_string(&seen).map_err(text)?)
    })
}

fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos() as u64
}

/// How one contender takes the lock.
enum Taker {
    Leases { locks: Locks, name: String, polls: bool },
    Session { client: Client, lock: Statement, unlock: Statement, name: String },
    File(Arc<File>),
}

impl Taker {
    async fn new(locks: &Locks, url: &str, name: &str, way: &str) -> Result<Self, String> {
        let name = name.to_owned();
        if way != BARE {
            return Ok(Self::Leases { locks: locks.clone(), name, polls: way == POLLING });
        }
        if let Some(folder) = url.strip_prefix("file:") {
            return Ok(Self::File(Arc::new(File::create(format!("{folder}/{name}")).map_err(text)?)));
        }
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(text)?;
        drop(tokio::spawn(connection));
        let lock = client.prepare("SELECT pg_advisory_lock(hashtext($1))").await.map_err(text)?;
        let unlock = client.prepare("SELECT pg_advisory_unlock(hashtext($1))").await.map_err(text)?;
        Ok(Self::Session { client, lock, unlock, name })
    }

    async fn take(&self) -> Result<Option<Lease>, String> {
        match self {
            Self::Leases { locks, name, polls: true } => poll(locks, name).await.map(Some),
            Self::Leases { locks, name, .. } => locks.acquire(name, WAIT).await.map(Some).map_err(text),
            Self::Session { client, lock, name, .. } => client.execute(lock, &[name]).await.map(|_| None).map_err(text),
            Self::File(file) => {
                let file = file.clone();
                tokio::task::spawn_blocking(move || file.lock()).await.map_err(text)?.map(|()| None).map_err(text)
            }
        }
    }

    async fn give_back(&self, lease: Option<Lease>) -> Result<(), String> {
        match self {
            Self::Leases { .. } => match lease {
                Some(lease) => lease.release().await.map_err(text),
                None => Ok(()),
            },
            Self::Session { client, unlock, name, .. } => client.execute(unlock, &[name]).await.map(drop).map_err(text),
            Self::File(file) => file.unlock().map_err(text),
        }
    }
}

async fn poll(locks: &Locks, name: &str) -> Result<Lease, String> {
    let backoff = Backoff { max_retries: 1_000, ..Backoff::for_profile(Profile::Balanced) };
    for delay in backoff.delays() {
        if let Some(lease) = locks.try_acquire(name).await.map_err(text)? {
            return Ok(lease);
        }
        tokio::time::sleep(delay).await;
    }
    Err("a poller never got the lock".to_owned())
}
