//! The books under fire: threads that submit, cancel, panic, refuse and shed at the same time, and ends in every state. Whatever
//! the interleaving, every job ends once, its handle is told, and the budgets are empty in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use trimtab_config::{Backoff, ByteSize};
use trimtab_scheduler::config::WhenFull;
use trimtab_scheduler::error::Cancellation;
use trimtab_scheduler::{
    Cost, Handle, Job, JobContext, JobError, LaneKind, Ledger, Outcome, Priority, Retry, RetrySettings, Scheduler,
    SchedulerSettings, Status,
};

/// A sequence that looks random and is the same in each run (Marsaglia 2003).
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Counts how many futures are alive.
struct Alive(Arc<AtomicU64>);

impl Alive {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Panics when it is dropped, if it is armed.
struct Grenade(bool);

impl Drop for Grenade {
    fn drop(&mut self) {
        assert!(!self.0 || std::thread::panicking(), "a panic of a destructor");
    }
}

type Told = Result<(), ()>;

/// Rests of a millisecond or two, so that some jobs rest whenever the end comes.
fn retry() -> Retry {
    let backoff = Backoff {
        base: Duration::from_millis(1).into(),
        max: Duration::from_millis(20).into(),
        max_retries: 5,
        ..Backoff::default()
    };
    let mut settings = RetrySettings { backoff, ..RetrySettings::default() };
    (settings.budget.burst, settings.budget.per_second) = (100_000, 10_000);
    Retry::new("storm", settings).unwrap().panics(true)
}

/// Work of every kind; `Alive` counts what holds on to it.
fn submit(scheduler: &Scheduler, retry: &Retry, random: &mut Xorshift, alive: &Arc<AtomicU64>) -> Handle<Told> {
    let alive = Alive::new(alive);
    let priority = Priority::ALL[random.below(5) as usize];
    let deadline = if random.below(4) == 0 { Some(Duration::from_micros(random.below(5_000))) } else { None };
    let cost = Cost::memory(ByteSize::kib(random.below(900)));
    let what = random.below(12);
    let grenade = Grenade(what == 6);
    match random.below(8) {
        0 | 1 => {
            let job = Job::cpu(move || {
                let _held = (&alive, &grenade);
                assert!(what > 0, "a panic of a closure");
                Ok(())
            });
            enter(scheduler, job.name("closure"), priority, cost, deadline)
        }
        2 => {
            let job = Job::io_retry(retry, move |context: JobContext| {
                // Dropped when all tries are over; those of each try with it.
                let (_held, grenade) = ((&alive, &grenade), Grenade(what == 7));
                async move {
                    let _grenade = grenade;
                    tokio::task::yield_now().await;
                    assert!(what > 0, "a panic of a try");
                    if what < 5 && context.retries() < 3 { Err(()) } else { Ok(()) }
                }
            });
            enter(scheduler, job, priority, cost, deadline)
        }
        3 => {
            let job = Job::cpu_retry(retry, move |context: JobContext| {
                let _held = (&alive, &grenade);
                if what < 5 && context.retries() < 2 { Err(()) } else { Ok(()) }
            });
            enter(scheduler, job, priority, cost, deadline)
        }
        lane => {
            let work = async move {
                let _held = (&alive, &grenade);
                match what {
                    0 => panic!("a panic of a future"),
                    1 => std::future::pending::<()>().await,
                    2..5 => tokio::task::yield_now().await,
                    // A timer must be among what jobs wait for, on the real clock, since several workers run.
                    5 => tokio::time::sleep(Duration::from_micros(300)).await,
                    _ => {}
                }
                Ok(())
            };
            let job = if lane < 6 { Job::io(work) } else { Job::memory(work) };
            enter(scheduler, job, priority, cost, deadline)
        }
    }
}

fn enter<F>(
    scheduler: &Scheduler,
    job: Job<F>,
    priority: Priority,
    cost: Cost,
    deadline: Option<Duration>,
) -> Handle<Told>
where
    F: Future<Output = Told> + Send + 'static,
{
    let job = job.priority(priority).cost(cost);
    scheduler.submit(match deadline {
        Some(deadline) => job.deadline(deadline),
        None => job,
    })
}

async fn submit_one(
    scheduler: &Scheduler,
    alive: &Arc<AtomicU64>,
    panics: bool,
) -> Result<(), trimtab_scheduler::JobError> {
    let alive = Alive::new(alive);
    let job = Job::io(async move {
        let _alive = alive;
        assert!(!panics, "a panic of a future");
    });
    scheduler.submit(job).await
}

fn runtime(workers: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

fn narrow() -> Scheduler {
    let mut settings = SchedulerSettings::default();
    settings.machine.memory = Some(ByteSize::mib(2));
    settings.machine.cpu = Some(64.0);
    settings.cpu_threads = Some(2);
    settings.io.ceiling = Some(16);
    settings.io.queue_max = 200;
    settings.io.when_full = WhenFull::Shed;
    settings.memory.queue_max = 100;
    settings.cpu.queue_max = 100;
    Scheduler::builder("storm").settings(settings).build().unwrap()
}

/// Three tasks that submit, cancel, wait a little and let go; those handles that are left.
async fn fire(scheduler: &Scheduler, seed: u64, each: u64, alive: &Arc<AtomicU64>) -> Vec<Handle<Told>> {
    let submitters: Vec<_> = (0..3)
        .map(|n| {
            let (scheduler, alive, retry) = (scheduler.clone(), Arc::clone(alive), retry());
            tokio::spawn(async move {
                let mut random = Xorshift(seed + n);
                let mut kept = Vec::new();
                for _ in 0..each {
                    let handle = submit(&scheduler, &retry, &mut random, &alive);
                    match random.below(6) {
                        0 => drop(handle.cancel()),
                        1 => drop(handle),
                        2 => drop(tokio::time::timeout(Duration::from_micros(200), handle.cancel_on_drop()).await),
                        _ => kept.push(handle),
                    }
                    if random.below(50) == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                kept
            })
        })
        .collect();
    let mut handles = Vec::new();
    for submitter in submitters {
        handles.extend(submitter.await.unwrap());
    }
    handles
}

/// Nothing is open, and nobody holds anything.
fn settled(scheduler: &Scheduler) -> Ledger {
    let stats = scheduler.stats();
    let ledger = stats.ledger();
    assert_eq!(ledger.open(), 0, "{ledger:?}");
    assert_eq!((stats.memory_used, stats.cpu_used), (ByteSize::ZERO, 0.0));
    assert!(stats.memory_peak <= stats.memory_limit, "{stats:?}");
    for lane in stats.lanes {
        assert_eq!((lane.running, lane.queued, lane.resting), (0, 0, 0), "{lane:?}");
        assert!(lane.memory_peak <= lane.memory_limit, "{lane:?}");
    }
    ledger
}

fn storm(seed: u64, workers: usize, end: impl AsyncFnOnce(&Scheduler)) {
    let runtime = runtime(workers);
    let alive = Arc::new(AtomicU64::new(0));
    let told = runtime.block_on(async {
        let scheduler = narrow();
        // How much of the storm gets a turn is chance; one of each end is not.
        let done = submit_one(&scheduler, &alive, false).await;
        let panicked = submit_one(&scheduler, &alive, true).await;
        assert!(done.is_ok() && panicked.is_err());
        let handles = fire(&scheduler, seed, 3_000, &alive).await;
        end(&scheduler).await;
        let mut told = 0_u64;
        for handle in handles {
            // Its error is not of interest: that it ends is.
            drop(handle.await);
            told += 1;
        }
        scheduler.drain(Duration::from_secs(300)).await;
        let ledger = settled(&scheduler);
        assert_eq!(ledger.submitted, 9_002);
        assert!(ledger.panicked > 0 && ledger.cancelled > 0 && ledger.done > 0, "{ledger:?}");
        told
    });
    assert!(told > 0);
    drop(runtime);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "a future was leaked");
}

/// Storm after storm, each on another runtime and ended in another way; for seconds, or as long as `XTASK_SOAK_SECONDS` says.
#[test]
fn the_books_balance_however_often_and_in_whatever_state_it_ends() {
    let seconds = std::env::var("XTASK_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    let mut sum = [0_u64; 8];
    for round in 0.. {
        if round >= 5 && std::time::Instant::now() >= until {
            break;
        }
        let ledger = soak(round);
        let ends = ledger.by_outcome();
        for (sum, count) in sum.iter_mut().zip(std::iter::once(ledger.submitted).chain(ends.map(|(_, count)| count))) {
            *sum += count;
        }
    }
    let labels = Ledger::default().by_outcome().map(|(outcome, _)| outcome.label());
    let rows: Vec<_> = labels.iter().zip(&sum[1..]).map(|(label, count)| format!("{label} {count}")).collect();
    assert_eq!(sum[0], sum[1..].iter().sum::<u64>(), "{}", rows.join(", "));
}

fn soak(round: u64) -> Ledger {
    let runtime = runtime(1 + (round / 5 % 4) as usize);
    let alive = Arc::new(AtomicU64::new(0));
    let (scheduler, handles) = runtime.block_on(async {
        let scheduler = narrow();
        let handles = fire(&scheduler, 1_000 + round * 3, 400, &alive).await;
        (scheduler, handles)
    });
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    match round % 5 {
        0 => drop(runtime.block_on(scheduler.drain(Duration::ZERO))),
        1 => drop(runtime.block_on(scheduler.drain(Duration::from_millis(round % 7)))),
        2 => {
            for lane in LaneKind::ALL {
                for job in scheduler.jobs(lane, usize::MAX) {
                    scheduler.cancel(job.id);
                }
            }
            drop(runtime.block_on(scheduler.drain(Duration::from_millis(20))));
        }
        // From another thread, while workers run.
        3 => drop(other.block_on(scheduler.drain(Duration::from_millis(3)))),
        _ => {}
    }
    drop(runtime);
    for handle in handles {
        drop(other.block_on(handle));
    }
    // What lay on threads ends by itself.
    other.block_on(scheduler.drain(Duration::from_secs(300)));
    other.block_on(async {
        while scheduler.stats().ledger().open() > 0 || alive.load(Ordering::Relaxed) > 0 {
            // Threads end what they have on the real clock.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    settled(&scheduler)
}

#[test]
fn a_runtime_dropped_with_jobs_in_every_lane_and_state_leaves_nobody_waiting() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let runtime = runtime(2);
    let (scheduler, ended, ran) = runtime.block_on(async {
        let mut settings = SchedulerSettings::default();
        settings.machine.memory = Some(ByteSize::mib(8));
        settings.cpu_threads = Some(1);
        (settings.io.ceiling, settings.io.queue_max) = (Some(1), 2);
        let scheduler = Scheduler::builder("end").settings(settings).build().unwrap();
        let mut settings = RetrySettings::default();
        settings.backoff.base = Duration::from_secs(3_600).into();
        settings.backoff.max = Duration::from_secs(3_600).into();
        settings.give_up_after = None;
        let retry = Retry::new("end", settings).unwrap();
        let fails = |_: JobContext| std::future::ready(Err::<(), ()>(()));
        let big = Cost::memory(ByteSize::mib(7));
        let resting = [
            scheduler.submit(Job::io_retry(&retry, fails)),
            scheduler.submit(Job::memory_retry(&retry, fails)),
            scheduler.submit(Job::cpu_retry(&retry, |_| Err(()))),
        ];
        while resting.iter().any(|job| job.status() != Status::Resting) {
            tokio::task::yield_now().await;
        }
        let waits = || {
            // Theirs from the beginning: what runs need not have been polled yet.
            let grenade = Grenade(true);
            async move {
                let _grenade = grenade;
                std::future::pending::<Told>().await
            }
        };
        let running = [
            scheduler.submit(Job::io(waits())),
            scheduler.submit(Job::memory(waits()).cost(big)),
            // On the real clock, for longer than the test: it ends with its runtime.
            scheduler.submit(Job::memory(async {
                // Never over: its runtime ends first.
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                Ok(())
            })),
        ];
        let closure = scheduler.submit(Job::cpu(move || {
            let _ = released.recv();
            Ok(())
        }));
        while running.iter().chain([&closure]).any(|job| job.status() != Status::Running) {
            tokio::task::yield_now().await;
        }
        // Behind a ceiling, behind a budget, and behind a thread.
        let queued =
            [scheduler.submit(Job::io(async { Ok(()) })), scheduler.submit(Job::memory(async { Ok(()) }).cost(big))];
        let behind = scheduler.submit(Job::cpu(|| Ok(())));
        // A caller who waits for a place, and a background task that nobody will ask for.
        let caller = scheduler.clone();
        drop(tokio::spawn(async move { drop(caller.submit_wait(Job::io(async {})).await) }));
        let _ = scheduler.submit_background("background", Job::memory(std::future::pending::<()>()));
        tokio::task::yield_now().await;
        let ended: Vec<_> = resting.into_iter().chain(running).chain(queued).collect();
        (scheduler, ended, [closure, behind])
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for handle in ended {
        let lane = handle.lane();
        let error = other.block_on(handle).unwrap_err();
        let panicked = error.outcome() == Outcome::Panicked;
        assert!(panicked || matches!(error, JobError::Cancelled(_, Cancellation::RuntimeEnded)), "{lane}: {error}");
    }
    release.send(()).unwrap();
    for handle in ran {
        assert_eq!(other.block_on(handle).unwrap(), Ok(()), "threads go on without a runtime");
    }
    other.block_on(scheduler.drain(Duration::from_secs(60)));
    let ledger = settled(&scheduler);
    assert_eq!((ledger.done, ledger.panicked, ledger.rejected), (2, 2, 0), "{ledger:?}");
}

#[test]
fn the_books_balance_after_a_storm_that_is_drained() {
    storm(11, 2, async |scheduler| {
        // Jobs that never end by themselves are cut off at once.
        scheduler.drain(Duration::ZERO).await;
    });
}

#[test]
fn the_books_balance_after_a_storm_on_one_worker() {
    storm(23, 1, async |scheduler| {
        scheduler.drain(Duration::from_millis(20)).await;
    });
}

#[test]
fn the_books_balance_when_every_job_is_cancelled_by_its_number() {
    storm(37, 4, async |scheduler| {
        for lane in LaneKind::ALL {
            for job in scheduler.jobs(lane, usize::MAX) {
                scheduler.cancel(job.id);
            }
        }
        scheduler.drain(Duration::from_millis(20)).await;
    });
}
