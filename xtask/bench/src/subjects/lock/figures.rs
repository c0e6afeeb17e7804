//! The figures that were promised in numbers, each lease timed: how many a second, and the slowest twentieth.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use trimtab_lock::Locks;

use super::single::{runtime, text};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

const WAIT: Duration = Duration::from_secs(60);
/// Callers of a contended lock, each with connections of its own: one holds while the other waits.
const CALLERS: usize = 2;
/// How long each of them holds it.
const HELD: Duration = Duration::from_micros(100);

pub(super) fn cases(store: &'static str, url: &str) -> Vec<Case> {
    let mut shapes = vec![(format!("figures/contended-{store}"), CALLERS, HELD)];
    if ["memory", "file"].contains(&store) {
        shapes.insert(0, (format!("figures/free-{store}"), 1, Duration::ZERO));
    }
    let case = |(name, callers, held): (String, usize, Duration)| {
        let url = url.to_owned();
        let work = move |turn: &Turn| {
            let (url, time) = (url.clone(), turn.time);
            runtime()?.block_on(leases(&url, callers, held, time))
        };
        Case {
            name,
            what: format!("{callers} callers, {held:?} under the lock; from asking to having given back"),
            threads: 2,
            measures: vec![Measure::higher("rate", "/s"), Measure::lower("p95", "ms")],
            contenders: vec![Contender::new("trimtab", Role::Ours, work)],
            rounds: Rounds::Timed,
        }
    };
    shapes.into_iter().map(case).collect()
}

async fn leases(url: &str, callers: usize, held: Duration, time: Duration) -> Result<Vec<f64>, String> {
    let mut groups = Vec::new();
    // Groups in memory know nothing of each other.
    for _ in 0..if url.starts_with("memory:") { 1 } else { callers } {
        groups.push(Locks::connect("bench", url).await.map_err(text)?);
    }
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let locks = groups[caller % groups.len()].clone();
            tokio::spawn(async move {
                let lock = locks.lock("figures").map_err(text)?;
                let mut times = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    let lease = lock.acquire(WAIT).await.map_err(text)?;
                    let entered = Instant::now();
                    while entered.elapsed() < held {
                        spin_loop();
                    }
                    lease.release().await.map_err(text)?;
                    times.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<_, String>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.map_err(text)??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Ok(vec![times.len() as f64 / elapsed, times[(times.len() - 1) * 95 / 100]])
}
