//! What one job costs beside a task: handed in and awaited one by one, and handed in all at once.
//!
//! One task hands in everything, on 1, 2 and 4 workers. Our jobs carry a priority, another one each time, and a cost that is
//! taken from the lane's and the machine's budget; metrics are on, since they cannot be switched off.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Notify;
use trimtab_config::ByteSize;
use trimtab_scheduler::{Cost, Job, Priority};

use super::{nanoseconds, runtime, scheduler, shown};
use crate::frame::{Case, Contender, Role, Turn};

fn count(turn: &Turn) -> u64 {
    if turn.quick { 100_000 } else { 1_000_000 }
}

fn cost() -> Cost {
    Cost::memory(ByteSize::kib(1))
}

fn priority(n: u64) -> Priority {
    Priority::ALL[(n % 5) as usize]
}

/// Runs `work` as a task on so many workers; tells nanoseconds by job.
fn driven<F>(workers: usize, jobs: u64, work: impl FnOnce(u64) -> F) -> Result<Vec<f64>, String>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let runtime = runtime(workers)?;
    let inside = runtime.enter();
    let work = work(jobs);
    drop(inside);
    let time = runtime.block_on(async {
        let timed = async move {
            let start = Instant::now();
            work.await.map(|()| start.elapsed())
        };
        tokio::spawn(timed).await.map_err(shown)?
    })?;
    Ok(vec![time.as_nanos() as f64 / jobs as f64])
}

/// Tells when the last of so many has ended.
struct Countdown {
    left: AtomicU64,
    ended: Notify,
}

impl Countdown {
    fn new(count: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(count), ended: Notify::new() })
    }

    fn one(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.ended.notify_one();
        }
    }
}

fn same(got: u64, wanted: u64) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("job {wanted} gave the result of job {got}")) }
}

fn awaited(workers: usize) -> Vec<Contender> {
    let ours = move |name: &'static str, named: bool| {
        Contender::new(name, Role::Ours, move |turn| {
            driven(workers, count(turn), |jobs| async move {
                let scheduler = scheduler(|_| {})?;
                for n in 0..jobs {
                    let job = Job::io(async move { black_box(n) }).priority(priority(n)).cost(cost());
                    let job = if named { job.name("noop") } else { job };
                    same(scheduler.submit(job).await.map_err(shown)?, n)?;
                }
                Ok(())
            })
        })
    };
    vec![
        ours("trimtab", false),
        ours("trimtab, learning", true),
        Contender::new("tokio::spawn", Role::Peer, move |turn| {
            driven(workers, count(turn), |jobs| async move {
                for n in 0..jobs {
                    same(tokio::spawn(async move { black_box(n) }).await.map_err(shown)?, n)?;
                }
                Ok(())
            })
        }),
    ]
}

fn spawned(workers: usize) -> Vec<Contender> {
    vec![
        Contender::new("trimtab", Role::Ours, move |turn| {
            driven(workers, count(turn), |jobs| async move {
                let scheduler = scheduler(|_| {})?;
                let all = Countdown::new(jobs);
                for n in 0..jobs {
                    let one = Arc::clone(&all);
                    scheduler.submit(Job::io(async move { one.one() }).priority(priority(n)).cost(cost())).detach();
                }
                all.ended.notified().await;
                Ok(())
            })
        }),
        Contender::new("tokio::spawn", Role::Peer, move |turn| {
            driven(workers, count(turn), |jobs| async move {
                let all = Countdown::new(jobs);
                for _ in 0..jobs {
                    let one = Arc::clone(&all);
                    drop(tokio::spawn(async move { one.one() }));
                }
                all.ended.notified().await;
                Ok(())
            })
        }),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for workers in [1, 2, 4] {
        cases.push(nanoseconds(
            format!("jobs/awaited-{workers}t"),
            format!("a million empty jobs, each awaited before the next is handed in, on {workers} workers"),
            workers,
            awaited(workers),
        ));
    }
    for workers in [1, 2, 4] {
        cases.push(nanoseconds(
            format!("jobs/spawned-{workers}t"),
            format!("a million empty jobs handed in without waiting, until the last has run, on {workers} workers"),
            workers,
            spawned(workers),
        ));
    }
    cases
}
