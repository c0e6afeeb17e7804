//! A million jobs in a queue: what each holds, and how soon a critical one that came last starts once a permit is free.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;
use trimtab_config::ByteSize;
use trimtab_scheduler::{Cost, Job, Priority, Scheduler};

use super::{runtime, scheduler};
use crate::frame::{Case, Contender, Measure, Role, Rounds};
use crate::memory::Counting;
use crate::subjects::{child, number};

const JOBS: u64 = 1_000_000;

/// A scheduler that runs one job at a time, and the end of the one that runs: it tells when it gave its permit back.
fn blocked() -> Result<(Scheduler, oneshot::Sender<()>, mpsc::Receiver<Instant>), String> {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1))?;
    let (release, released) = oneshot::channel();
    let (tell, told) = mpsc::channel();
    let job = Job::io(async move {
        let _ = released.await;
        let _ = tell.send(Instant::now());
    });
    scheduler.submit(job).detach();
    Ok((scheduler, release, told))
}

/// Hands in a million jobs at five priorities; tells the bytes of the closure of each.
fn fill(scheduler: &Scheduler) -> u64 {
    let mut size = 0;
    for n in 0..JOBS {
        let work = async move { std::hint::black_box(n) };
        size = size_of_val(&work) as u64;
        let job = Job::io(work).priority(Priority::ALL[(n % 5) as usize]).cost(Cost::memory(ByteSize::kib(1)));
        scheduler.submit(job).detach();
    }
    size
}

fn critical() -> Result<Vec<f64>, String> {
    let runtime = runtime(2)?;
    let _inside = runtime.enter();
    let (scheduler, release, told) = blocked()?;
    fill(&scheduler);
    let (tell, started) = mpsc::channel();
    let last = Job::io(async move {
        let _ = tell.send(Instant::now());
    })
    .priority(Priority::Critical);
    // Two hundred thousand critical jobs came before it: the deadline lets it pass them.
    scheduler.submit(last.deadline(Duration::from_secs(60))).detach();
    let queued = scheduler.stats().lanes[0].queued as u64;
    if queued != JOBS + 1 {
        return Err(format!("{queued} jobs are queued instead of {}", JOBS + 1));
    }
    let _ = release.send(());
    let far = Duration::from_secs(30);
    let free = told.recv_timeout(far).map_err(|_| "the permit was not given back")?;
    let start = started.recv_timeout(far).map_err(|_| "the critical job did not start")?;
    Ok(vec![start.saturating_duration_since(free).as_nanos() as f64 / 1e3])
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "queued/memory".into(),
            what: format!(
                "{JOBS} jobs at five priorities wait; bytes asked of the allocator by job, its future taken off"
            ),
            threads: 2,
            measures: vec![Measure::lower("beyond the closure", "B")],
            contenders: vec![
                Contender::new("trimtab", Role::Ours, |_| {
                    Ok(vec![number(&child(&["scheduler", "queued", "trimtab"])?, "bytes")?])
                }),
                Contender::new("tokio::spawn", Role::Peer, |_| {
                    Ok(vec![number(&child(&["scheduler", "queued", "tokio"])?, "bytes")?])
                }),
            ],
            rounds: Rounds::Exact(1),
        },
        Case {
            name: "queued/critical".into(),
            what: format!(
                "from a permit that comes free to the start of a critical job that came last, {JOBS} before it"
            ),
            threads: 2,
            measures: vec![Measure::lower("start", "us")],
            contenders: vec![Contender::new("trimtab", Role::Ours, |_| critical())],
            rounds: Rounds::Exact(7),
        },
    ]
}

/// What a child measures.
///
/// # Errors
///
/// When the step is unknown, or jobs are not queued.
pub fn measure(account: &Counting, name: &str) -> Result<serde_json::Value, String> {
    let runtime = runtime(2)?;
    let _inside = runtime.enter();
    let (size, live) = match name {
        "trimtab" => {
            let (scheduler, release, _told) = blocked()?;
            account.start();
            let size = fill(&scheduler);
            let live = account.live();
            let queued = scheduler.stats().lanes[0].queued as u64;
            if queued != JOBS {
                return Err(format!("{queued} jobs are queued instead of {JOBS}"));
            }
            drop(release);
            (size, live)
        }
        "tokio" => {
            // Tasks of a runtime that nobody drives stay queued.
            let idle = tokio::runtime::Builder::new_current_thread().build().map_err(super::shown)?;
            account.start();
            let mut size = 0;
            for n in 0..JOBS {
                let work = async move { std::hint::black_box(n) };
                size = size_of_val(&work) as u64;
                drop(idle.spawn(work));
            }
            (size, account.live())
        }
        _ => return Err(format!("unknown contender {name:?}")),
    };
    Ok(json!({ "bytes": live as f64 / JOBS as f64 - size as f64 }))
}
