//! Sixteen contenders for one lock: a section of 1 ms, 0 to 4 ms between two; in one process, and as if each had its own.
//!
//! The share is the time that somebody spent in the section, of all the time: what is missing went into handing over. Polling
//! asks the same store again and again, with delays from 10 ms to 5 s as the usual settings of a back-off are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use trimtab_config::{Backoff, Profile, Settings};
use trimtab_lock::{Lease, Locks};

use super::single::runtime;
use crate::frame::{Case, Contender, Measure, Role, Rounds};

const CONTENDERS: usize = 16;
const SECTION: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Woken,
    Polling,
}

pub(super) fn cases(store: &'static str, url: &str, quick: bool) -> Vec<Case> {
    let shapes: &[(&str, usize)] = if store == "memory" { &[("1", 1)] } else { &[("1", 1), ("16", CONTENDERS)] };
    let case = |&(label, groups): &(&str, usize)| {
        let contender = |name, role, way| {
            let url = url.to_owned();
            Contender::new(name, role, move |_| {
                let time = Duration::from_secs(if quick { 2 } else { 6 });
                runtime()?.block_on(race(&url, groups, way, time))
            })
        };
        Case {
            name: format!("contended/{store}-{label}"),
            what: format!(
                "{CONTENDERS} contenders in {groups} groups with connections of their own, 1 ms under the lock"
            ),
            threads: 2,
            measures: vec![
                Measure::higher("share", "%"),
                Measure::lower("p50", "ms"),
                Measure::lower("p99", "ms"),
                Measure::lower("trips", "/lease"),
                Measure::higher("Jain", ""),
                Measure::higher("rate", "/s"),
            ],
            contenders: vec![
                contender("trimtab", Role::Ours, Way::Woken),
                contender("polling", Role::Peer, Way::Polling),
            ],
            rounds: Rounds::Exact(if quick { 1 } else { 3 }),
        }
    };
    shapes.iter().map(case).collect()
}

async fn race(url: &str, groups: usize, way: Way, time: Duration) -> Result<Vec<f64>, String> {
    let mut all = Vec::new();
    for _ in 0..groups {
        all.push(Locks::connect("bench", url).await.map_err(|error| error.to_string())?);
    }
    let name = format!("contended-{:?}", std::time::UNIX_EPOCH.elapsed().unwrap_or_default());
    let inside = Arc::new(AtomicBool::new(false));
    let before: u64 = all.iter().map(|locks| locks.stats().round_trips).sum();
    let started = Instant::now();
    let tasks: Vec<_> = (0..CONTENDERS)
        .map(|number| {
            let (locks, name, inside) = (all[number % groups].clone(), name.clone(), inside.clone());
            tokio::spawn(async move {
                let (mut waits, mut held) = (Vec::new(), Duration::ZERO);
                let mut seed = number as u64 + 1;
                while started.elapsed() < time {
                    let asked = Instant::now();
                    let lease = take(&locks, &name, way).await?;
                    waits.push(asked.elapsed());
                    let entered = Instant::now();
                    if inside.swap(true, Ordering::SeqCst) {
                        return Err("two hold the lock".to_owned());
                    }
                    // By the system: tokio's timer rounds a millisecond up to two.
                    let section = tokio::task::spawn_blocking(|| std::thread::sleep(SECTION));
                    section.await.map_err(|error| error.to_string())?;
                    inside.store(false, Ordering::SeqCst);
                    held += entered.elapsed();
                    lease.release().await.map_err(|error| error.to_string())?;
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    tokio::time::sleep(Duration::from_micros((seed >> 33) % 4_000)).await;
                }
                Ok((waits, held))
            })
        })
        .collect();
    let (mut waits, mut counts, mut held) = (Vec::new(), Vec::new(), Duration::ZERO);
    for task in tasks {
        let (own, own_held) = task.await.map_err(|error| error.to_string())??;
        counts.push(own.len() as f64);
        waits.extend(own);
        held += own_held;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let trips: u64 = all.iter().map(|locks| locks.stats().round_trips).sum();
    waits.sort_unstable();
    let quantile = |q: f64| waits[((waits.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    let (sum, squares) = counts.iter().fold((0.0, 0.0), |(sum, squares), count| (sum + count, squares + count * count));
    Ok(vec![
        held.as_secs_f64() / elapsed * 100.0,
        quantile(0.5),
        quantile(0.99),
        (trips - before) as f64 / sum,
        sum * sum / (CONTENDERS as f64 * squares),
        sum / elapsed,
    ])
}

async fn take(locks: &Locks, name: &str, way: Way) -> Result<Lease, String> {
    if way == Way::Woken {
        return locks.acquire(name, WAIT).await.map_err(|error| error.to_string());
    }
    let backoff = Backoff { max_retries: 1_000, ..Backoff::for_profile(Profile::Balanced) };
    for delay in backoff.delays() {
        if let Some(lease) = locks.try_acquire(name).await.map_err(|error| error.to_string())? {
            return Ok(lease);
        }
        tokio::time::sleep(delay).await;
    }
    Err("a poller never got the lock".to_owned())
}
