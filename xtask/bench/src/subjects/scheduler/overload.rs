//! Three times more work than can be done, for a minute: how much of what is important is still done in time?
//!
//! The work is a call of a backend that serves [`PLACES`] at a time, each for [`SERVICE`]. A tenth of the capacity times three is
//! important; everything must be done within [`DEADLINE`] of its arrival. First comes what can be carried, then three times as
//! much. A lane in front has a ceiling, priorities and deadlines; bare tasks wait for the backend's places in line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trimtab_scheduler::config::WhenFull;
use trimtab_scheduler::{Job, Priority, Scheduler};

use super::{runtime, scheduler, shown};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

const WORKERS: usize = 2;
const PLACES: usize = 32;
const SERVICE: Duration = Duration::from_millis(4);
const DEADLINE: Duration = Duration::from_millis(100);
const BEAT: Duration = Duration::from_millis(1);
/// One in so many is important: a tenth of all when three times too much comes.
const IMPORTANT: f64 = 0.1;
const OVER: f64 = 3.0;
const CARRIED: f64 = 0.8;

/// What serves, and what it served in time.
struct Backend {
    places: tokio::sync::Semaphore,
    in_time: [AtomicU64; 2],
}

impl Backend {
    fn new() -> Arc<Self> {
        Arc::new(Self { places: tokio::sync::Semaphore::new(PLACES), in_time: [AtomicU64::new(0), AtomicU64::new(0)] })
    }

    async fn serve(&self, came: Instant, important: bool) {
        let Ok(_place) = self.places.acquire().await else { return };
        tokio::time::sleep(SERVICE).await;
        if came.elapsed() <= DEADLINE {
            self.in_time[usize::from(important)].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> [u64; 2] {
        [0, 1].map(|kind| self.in_time[kind].swap(0, Ordering::Relaxed))
    }
}

/// Calls a second that the backend can serve, measured.
async fn capacity() -> Result<f64, String> {
    let backend = Backend::new();
    let (start, time) = (Instant::now(), Duration::from_secs(1));
    let callers: Vec<_> = (0..PLACES * 2)
        .map(|_| {
            let backend = Arc::clone(&backend);
            tokio::spawn(async move {
                while start.elapsed() < time {
                    backend.serve(Instant::now(), false).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.map_err(shown)?;
    }
    Ok(backend.take()[0] as f64 / start.elapsed().as_secs_f64())
}

/// Hands in important and other calls a second, evenly, from a thread of its own; tells how many of each.
fn load(rates: [f64; 2], time: Duration, submit: impl Fn(bool)) -> [u64; 2] {
    let start = Instant::now();
    let mut sent = [0_u64; 2];
    while start.elapsed() < time {
        std::thread::sleep(BEAT);
        for (kind, rate) in rates.iter().enumerate() {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            while sent[kind] < due {
                submit(kind == 1);
                sent[kind] += 1;
            }
        }
    }
    sent
}

/// The share of important work done in time under overload, by that without; and all work done in time by the capacity.
fn measure(turn: &Turn, backend: &Backend, capacity: f64, submit: impl Fn(bool)) -> Result<Vec<f64>, String> {
    let (calm, rush) = if turn.quick { (1, 5) } else { (5, 60) };
    let important = capacity * IMPORTANT * OVER;
    let phase = |all: f64, seconds: u64| {
        let time = Duration::from_secs(seconds);
        let sent = load([capacity * all - important, important], time, &submit);
        std::thread::sleep(DEADLINE * 2);
        let done = backend.take();
        (done[1] as f64 / sent[1] as f64, (done[0] + done[1]) as f64 / time.as_secs_f64() / capacity)
    };
    let (before, _) = phase(CARRIED, calm);
    if before < 0.5 {
        return Err(format!("only {:.0} % is in time without overload: the machine is busy", before * 100.0));
    }
    let (under, all) = phase(OVER, rush);
    Ok(vec![under / before, all])
}

fn ours(turn: &Turn) -> Result<Vec<f64>, String> {
    let runtime = runtime(WORKERS)?;
    let capacity = runtime.block_on(capacity())?;
    let inside = runtime.enter();
    let scheduler: Scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(PLACES as u32);
        settings.io.queue_max = 1_000;
        settings.io.when_full = WhenFull::Shed;
    })?;
    drop(inside);
    let backend = Backend::new();
    let shared = Arc::clone(&backend);
    let figures = measure(turn, &backend, capacity, |important| {
        let backend = Arc::clone(&shared);
        let came = Instant::now();
        let job = Job::io(async move { backend.serve(came, important).await }).name("call").deadline(DEADLINE);
        let priority = if important { Priority::High } else { Priority::Normal };
        scheduler.submit(job.priority(priority)).detach();
    })?;
    runtime.block_on(scheduler.drain(Duration::from_secs(5)));
    let ledger = scheduler.stats().ledger();
    if ledger.open() > 0 {
        return Err(format!("jobs are missing: {ledger:?}"));
    }
    Ok(figures)
}

fn bare(turn: &Turn) -> Result<Vec<f64>, String> {
    let runtime = runtime(WORKERS)?;
    let capacity = runtime.block_on(capacity())?;
    let backend = Backend::new();
    let shared = Arc::clone(&backend);
    measure(turn, &backend, capacity, |important| {
        let backend = Arc::clone(&shared);
        let came = Instant::now();
        drop(runtime.spawn(async move { backend.serve(came, important).await }));
    })
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "overload/3x".into(),
        what: format!(
            "a backend of {PLACES} places and {} ms, three times its capacity for 60 s, done within {} ms or for nothing",
            SERVICE.as_millis(),
            DEADLINE.as_millis()
        ),
        threads: WORKERS,
        measures: vec![
            Measure::higher("important in time", "of that without overload"),
            Measure::higher("all in time", "of the capacity"),
        ],
        contenders: vec![Contender::new("trimtab", Role::Ours, ours), Contender::new("bare tokio", Role::Peer, bare)],
        rounds: Rounds::Exact(1),
    }]
}
