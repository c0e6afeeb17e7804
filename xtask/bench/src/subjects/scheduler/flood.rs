//! An important job behind a flood: 1,000 pieces of work of 20 microseconds are queued all the time, and once a millisecond
//! somebody outside of the runtime hands in one that matters. How long until it starts?

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use trimtab_scheduler::{Job, Priority, Scheduler};

use super::{runtime, scheduler};
use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};

const FLOOD: usize = 1_000;
const WORK: Duration = Duration::from_micros(20);
const BEAT: Duration = Duration::from_millis(1);
const WORKERS: usize = 2;

fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK {
        spin_loop();
    }
}

/// Hands in a probe a millisecond; tells the latencies of their starts, half and 99 of 100, in microseconds.
fn probe(turn: &Turn, submit: impl Fn(Instant, mpsc::Sender<Duration>)) -> Result<Vec<f64>, String> {
    let probes = if turn.quick { 300 } else { 2_000 };
    let (sender, receiver) = mpsc::channel();
    let mut next = Instant::now();
    for _ in 0..probes {
        next += BEAT;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        submit(Instant::now(), sender.clone());
    }
    let mut latencies = Vec::with_capacity(probes);
    for _ in 0..probes {
        let latency = receiver.recv_timeout(Duration::from_secs(10));
        latencies.push(latency.map_err(|_| "a probe did not start within 10 s")?);
    }
    latencies.sort_unstable();
    let at = |share: f64| latencies[((probes as f64 * share) as usize).min(probes - 1)].as_nanos() as f64 / 1e3;
    Ok(vec![at(0.5), at(0.99)])
}

/// Keeps one piece of work queued until told to stop.
fn keep_job(scheduler: &Scheduler, stop: &Arc<AtomicBool>) {
    let (again, stop) = (scheduler.clone(), Arc::clone(stop));
    let job = Job::io(async move {
        work();
        if !stop.load(Ordering::Relaxed) {
            keep_job(&again, &stop);
        }
    });
    scheduler.submit(job).detach();
}

fn keep_task(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    drop(tokio::spawn(async move {
        work();
        if !stop.load(Ordering::Relaxed) {
            keep_task(&stop);
        }
    }));
}

fn ours(turn: &Turn) -> Result<Vec<f64>, String> {
    let runtime = runtime(WORKERS)?;
    let inside = runtime.enter();
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(WORKERS as u32))?;
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..FLOOD {
        keep_job(&scheduler, &stop);
    }
    drop(inside);
    let figures = probe(turn, |came, sender| {
        let job = Job::io(async move {
            let _ = sender.send(came.elapsed());
        })
        .priority(Priority::High);
        scheduler.submit(job).detach();
    });
    stop.store(true, Ordering::Relaxed);
    let queued = scheduler.stats().lanes[0].queued;
    if queued > FLOOD {
        return Err(format!("{queued} jobs are queued instead of {FLOOD}"));
    }
    figures
}

/// Bare tasks; the probe is one of them, or one of a runtime of its own.
fn bare(turn: &Turn, apart: bool) -> Result<Vec<f64>, String> {
    let flooded = runtime(WORKERS)?;
    let second = runtime(1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let inside = flooded.enter();
    for _ in 0..FLOOD {
        keep_task(&stop);
    }
    drop(inside);
    let figures = probe(turn, |came, sender| {
        let runtime = if apart { &second } else { &flooded };
        drop(runtime.spawn(async move {
            let _ = sender.send(came.elapsed());
        }));
    });
    stop.store(true, Ordering::Relaxed);
    figures
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        name: "flood/start".into(),
        what: format!(
            "from handing in to start, one important job a millisecond behind {FLOOD} of {} us on {WORKERS} workers",
            WORK.as_micros()
        ),
        threads: WORKERS,
        measures: vec![Measure::lower("p50", "us"), Measure::lower("p99", "us")],
        contenders: vec![
            Contender::new("trimtab", Role::Ours, ours),
            Contender::new("tokio::spawn", Role::Peer, |turn| bare(turn, false)),
            Contender::new("second runtime", Role::Limit, |turn| bare(turn, true)),
        ],
        rounds: Rounds::Warmed(3),
    }]
}
