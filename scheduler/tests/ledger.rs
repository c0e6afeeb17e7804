//! The books under fire: threads that submit, cancel, panic, refuse and shed at the same time, and ends in every state. Whatever
//! the interleaving, every job ends once, its handle is told, and the budgets are empty in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use trimtab_config::ByteSize;
use trimtab_scheduler::config::WhenFull;
use trimtab_scheduler::{Cost, Handle, Job, LaneKind, Priority, Scheduler, SchedulerSettings};

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

fn submit(scheduler: &Scheduler, random: &mut Xorshift, alive: &Arc<AtomicU64>) -> Handle<()> {
    let alive = Alive::new(alive);
    let priority = Priority::ALL[random.below(5) as usize];
    let deadline = Duration::from_micros(random.below(5_000));
    let dated = random.below(4) == 0;
    let cost = Cost::memory(ByteSize::kib(random.below(900)));
    let what = random.below(10);
    if random.below(4) == 0 {
        let job = Job::cpu(move || {
            let _alive = alive;
            assert!(what > 0, "a panic of a closure");
        });
        let job = job.priority(priority).cost(cost).name("closure");
        return scheduler.submit(if dated { job.deadline(deadline) } else { job });
    }
    let work = async move {
        let _alive = alive;
        match what {
            0 => panic!("a panic of a future"),
            1 => std::future::pending::<()>().await,
            2..5 => tokio::task::yield_now().await,
            // A timer must be among what jobs wait for, on the real clock, since several workers run.
            5 => tokio::time::sleep(Duration::from_micros(300)).await,
            _ => {}
        }
    };
    let job = if random.below(2) == 0 { Job::io(work) } else { Job::memory(work) };
    let job = job.priority(priority).cost(cost);
    scheduler.submit(if dated { job.deadline(deadline) } else { job })
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

fn storm(seed: u64, workers: usize, end: impl AsyncFnOnce(&Scheduler)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    let alive = Arc::new(AtomicU64::new(0));
    let told = runtime.block_on(async {
        let mut settings = SchedulerSettings::default();
        settings.machine.memory = Some(ByteSize::mib(2));
        settings.machine.cpu = Some(64.0);
        settings.cpu_threads = Some(2);
        settings.io.ceiling = Some(16);
        settings.io.queue_max = 200;
        settings.io.when_full = WhenFull::Shed;
        settings.memory.queue_max = 100;
        settings.cpu.queue_max = 100;
        let scheduler = Scheduler::builder("storm").settings(settings).build().unwrap();
        // How much of the storm gets a turn is chance; one of each end is not.
        let done = submit_one(&scheduler, &alive, false).await;
        let panicked = submit_one(&scheduler, &alive, true).await;
        assert!(done.is_ok() && panicked.is_err());
        let submitters: Vec<_> = (0..3)
            .map(|n| {
                let (scheduler, alive) = (scheduler.clone(), Arc::clone(&alive));
                tokio::spawn(async move {
                    let mut random = Xorshift(seed + n);
                    let mut kept = Vec::new();
                    for _ in 0..3_000 {
                        let handle = submit(&scheduler, &mut random, &alive);
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
        end(&scheduler).await;
        let mut told = 0_u64;
        for handle in handles {
            // Its error is not of interest: that it ends is.
            drop(handle.await);
            told += 1;
        }
        scheduler.drain(Duration::from_secs(300)).await;
        let stats = scheduler.stats();
        let ledger = stats.ledger();
        assert_eq!(ledger.open(), 0, "{ledger:?}");
        assert_eq!(ledger.submitted, 9_002);
        assert!(ledger.panicked > 0 && ledger.cancelled > 0 && ledger.done > 0, "{ledger:?}");
        assert_eq!((stats.memory_used, stats.cpu_used), (ByteSize::ZERO, 0.0));
        assert!(stats.memory_peak <= stats.memory_limit, "{stats:?}");
        for lane in LaneKind::ALL.map(|lane| scheduler.lane_stats(lane)) {
            assert_eq!((lane.running, lane.queued), (0, 0), "{lane:?}");
            assert!(lane.memory_peak <= lane.memory_limit, "{lane:?}");
        }
        told
    });
    assert!(told > 0);
    drop(runtime);
    assert_eq!(alive.load(Ordering::Relaxed), 0, "a future was leaked");
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
