//! Sixteen contenders for one lock: a section of 1 ms, 0 to 4 ms between two; as tasks of one process, and as sixteen processes.
//!
//! The share is the time that somebody spent in the section, of all the time: what is missing went into handing over, and
//! divided by the leases it is the delay. Polling asks the same store again and again, with delays from 10 ms to 5 s as the usual
//! settings of a back-off are. Every section is noted with its begin and end, and no two may overlap.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
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

/// Ours, woken, and polling.
const WAYS: [(&str, Role); 2] = [("trimtab", Role::Ours), ("polling", Role::Peer)];

pub(super) fn cases(store: &'static str, url: &str, quick: bool) -> Vec<Case> {
    let shapes: &[usize] = if store == "memory" { &[1] } else { &[1, CONTENDERS] };
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
            contenders: WAYS.into_iter().map(contender).collect(),
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
    let polls = *way == "polling";
    runtime()?.block_on(async move {
        let locks = Locks::connect("bench", url).await.map_err(text)?;
        say("ready")?;
        order()?;
        let (started, before) = (Instant::now(), locks.stats().round_trips);
        let tasks: Vec<_> = (0..tasks)
            .map(|task| {
                let (locks, name) = (locks.clone(), (*name).to_owned());
                tokio::spawn(async move {
                    let mut seed = number * tasks + task + 1;
                    let (mut waits, mut sections) = (Vec::new(), Vec::new());
                    while started.elapsed() < time {
                        let asked = Instant::now();
                        let lease = take(&locks, &name, polls).await?;
                        let (waited, begin) = (asked.elapsed(), now());
                        // By the system: tokio's timer rounds a millisecond up to two.
                        let section = tokio::task::spawn_blocking(|| std::thread::sleep(SECTION));
                        section.await.map_err(text)?;
                        sections.push((begin, now()));
                        lease.release().await.map_err(text)?;
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

async fn take(locks: &Locks, name: &str, polls: bool) -> Result<Lease, String> {
    if !polls {
        return locks.acquire(name, WAIT).await.map_err(text);
    }
    let backoff = Backoff { max_retries: 1_000, ..Backoff::for_profile(Profile::Balanced) };
    for delay in backoff.delays() {
        if let Some(lease) = locks.try_acquire(name).await.map_err(text)? {
            return Ok(lease);
        }
        tokio::time::sleep(delay).await;
    }
    Err("a poller never got the lock".to_owned())
}
