//! Jobs that are tried again: what holds between two tries, and every way in which a job that rests can end.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use trimtab_config::{Backoff, ByteSize, Share};
use trimtab_scheduler::error::Cancellation;
use trimtab_scheduler::{
    CallError, Cost, Job, JobContext, JobError, LaneKind, Ledger, Outcome, Priority, Retry, RetrySettings, Scheduler,
    SchedulerSettings, Status, Verdict,
};

fn scheduler(change: impl FnOnce(&mut SchedulerSettings)) -> Scheduler {
    let mut settings = SchedulerSettings::default();
    settings.machine.cpu = Some(4.0);
    settings.machine.memory = Some(ByteSize::gib(1));
    settings.cpu_threads = Some(1);
    change(&mut settings);
    Scheduler::builder("test").settings(settings).build().unwrap()
}

/// Rests of 1, 2, 4 and 8 seconds.
fn retry() -> Retry {
    let backoff = Backoff {
        base: Duration::from_secs(1).into(),
        max: Duration::from_secs(60).into(),
        multiplier: 2.0,
        jitter: Share::percent(0),
        max_retries: 4,
    };
    Retry::new("test", RetrySettings { backoff, give_up_after: None, ..RetrySettings::default() }).unwrap()
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn balanced(scheduler: &Scheduler) -> Ledger {
    let stats = scheduler.stats();
    let ledger = stats.ledger();
    assert_eq!((ledger.open(), stats.memory_used, stats.cpu_used), (0, ByteSize::ZERO, 0.0), "{stats:?}");
    assert!(stats.lanes.iter().all(|lane| (lane.running, lane.queued, lane.resting) == (0, 0, 0)), "{stats:?}");
    ledger
}

async fn fails(context: JobContext) -> Result<u32, u32> {
    Err(context.retries())
}

#[tokio::test(start_paused = true)]
async fn a_job_is_tried_again_until_it_works_and_stays_one_job() {
    let (scheduler, retry, start) = (scheduler(|_| {}), retry(), Instant::now());
    let mut job = scheduler.submit(
        Job::io_retry(&retry, |context| async move {
            tokio::task::yield_now().await;
            if context.retries() < 2 { Err("busy") } else { Ok(7) }
        })
        .name("feed"),
    );
    settle().await;
    assert_eq!((job.status(), job.retries()), (Status::Resting, 1));
    let lane = scheduler.lane_stats(LaneKind::Io);
    assert_eq!((lane.running, lane.resting, lane.retries, lane.ledger.open()), (0, 1, 1, 1));
    let listed = scheduler.jobs(LaneKind::Io, 9);
    assert_eq!(
        listed.iter().map(|job| (job.resting, job.running, job.retries)).collect::<Vec<_>>(),
        [(true, false, 1)]
    );
    assert_eq!((&mut job).await.unwrap(), Ok(7));
    assert!(start.elapsed() >= Duration::from_secs(3) && start.elapsed() < Duration::from_millis(3_100));
    assert_eq!((job.status(), job.retries()), (Status::Ended(Outcome::Done), 2));
    settle().await;
    let ledger = balanced(&scheduler);
    assert_eq!((ledger.submitted, ledger.done), (1, 1));
    let (stats, kind) = (retry.stats(), &scheduler.stats().kinds[0]);
    assert_eq!((stats.retries, stats.recovered, stats.gave_up), (2, 1, 0));
    assert_eq!((kind.ended, kind.failed), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn the_last_failure_is_the_result_and_what_is_final_is_not_tried_again() {
    let (scheduler, retry) = (scheduler(|_| {}), retry());
    assert_eq!(scheduler.submit(Job::io_retry(&retry, fails)).await.unwrap(), Err(4));
    assert_eq!(scheduler.submit(Job::memory_retry(&retry, fails)).await.unwrap(), Err(4));
    let choosy = retry.classify(|error: &CallError<u32>| match error {
        CallError::Failed(0) => Verdict::NotBegun(Some(Duration::from_secs(30))),
        _ => Verdict::Final,
    });
    let start = Instant::now();
    assert_eq!(scheduler.submit(Job::io_retry(&choosy, fails)).await.unwrap(), Err(1));
    assert!(start.elapsed() >= Duration::from_secs(30), "the far side said when to come back");
    settle().await;
    let ledger = balanced(&scheduler);
    assert_eq!((ledger.submitted, ledger.failed), (3, 3));
    assert_eq!(retry.stats().gave_up, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_rests_holds_neither_permit_nor_budget_and_comes_back_with_its_priority() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.machine.memory = Some(ByteSize::mib(10));
    });
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        move || order.lock().push(name)
    };
    let again = note("again");
    let all = Cost::memory(ByteSize::mib(10));
    let important = Job::io_retry(&retry(), move |context| {
        if context.retries() > 0 {
            again();
        }
        std::future::ready(if context.retries() > 0 { Ok(()) } else { Err(()) })
    });
    let important = scheduler.submit(important.priority(Priority::High).cost(all));
    settle().await;
    assert_eq!(important.status(), Status::Resting);
    // What it held is another's, in whatever lane.
    assert_eq!(scheduler.submit(Job::memory(async { 5 }).cost(all)).await.unwrap(), 5);
    let holder = scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(2))).cost(all));
    let (first, second) = (note("first"), note("second"));
    let others =
        [scheduler.submit(Job::io(async move { first() })), scheduler.submit(Job::io(async move { second() }))];
    holder.await.unwrap();
    assert_eq!(important.await.unwrap(), Ok(()));
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(*order.lock(), ["again", "first", "second"]);
    settle().await;
    balanced(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_rests_is_cancelled_at_once() {
    let scheduler = scheduler(|_| {});
    let held = Arc::new(());
    let keeps = Arc::clone(&held);
    let job = scheduler.submit(Job::io_retry(&retry(), move |context| {
        assert_eq!(Arc::strong_count(&keeps), 2, "this and the test's own");
        fails(context)
    }));
    settle().await;
    assert_eq!(job.status(), Status::Resting);
    assert!(scheduler.cancel(job.id()), "it is found by its number");
    assert_eq!(job.status(), Status::Ended(Outcome::Cancelled));
    assert!(!job.cancel());
    assert_eq!(Arc::strong_count(&held), 1, "what it held is free");
    assert!(matches!(job.await, Err(JobError::Cancelled(_, Cancellation::Asked))));
    assert_eq!(balanced(&scheduler).cancelled, 1);
    tokio::time::advance(Duration::from_secs(100)).await;
    settle().await;
    assert_eq!(balanced(&scheduler).submitted, 1, "nothing comes back");
    // Also while it waits for its second turn.
    let gate = scheduler.set_ceiling(LaneKind::Io, 1);
    let again = scheduler.submit(Job::io_retry(&retry(), fails));
    settle().await;
    let holder = scheduler.submit(Job::io(pending::<()>()));
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert_eq!((gate, again.status(), again.retries()), (1, Status::Queued, 1));
    assert_eq!(scheduler.jobs(LaneKind::Io, 9).len(), 2);
    assert!(again.cancel() && holder.cancel());
    assert_eq!(balanced(&scheduler).cancelled, 3);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_is_told_to_stop_keeps_the_result_of_its_last_try() {
    let scheduler = scheduler(|_| {});
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let job = scheduler.submit(Job::cpu_retry(&retry(), move |context: JobContext| {
        if let Some(tell) = tell.take() {
            tell.send(()).unwrap();
        }
        while !context.is_cancelled() {
            std::thread::yield_now();
        }
        Err::<(), _>("stopped")
    }));
    told.await.unwrap();
    assert!(job.cancel());
    assert_eq!(job.await.unwrap(), Err("stopped"));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_tries() {
    let (scheduler, retry) = (scheduler(|settings| settings.io.ceiling = Some(1)), retry());
    let start = Instant::now();
    // Rests of 1, 2 and 4 seconds end after 1, 3 and 7.
    let job = scheduler.submit(Job::io_retry(&retry, fails).deadline(Duration::from_secs(5)));
    assert_eq!(job.await.unwrap(), Err(2));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(retry.stats().gave_up, 1);
    // It comes back in time, and does not get its turn.
    let late = scheduler.submit(Job::io_retry(&retry, fails).deadline(Duration::from_millis(1_500)));
    settle().await;
    let holder = scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(10))));
    holder.await.unwrap();
    assert!(matches!(late.await, Err(JobError::Expired(_))));
    settle().await;
    let ledger = balanced(&scheduler);
    assert_eq!((ledger.submitted, ledger.failed, ledger.expired, ledger.done), (3, 1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_jobs_rest_as_long_as_it_has_time_and_cuts_them_off_then() {
    let drained = scheduler(|_| {});
    let job = drained
        .submit(Job::io_retry(&retry(), |context| async move { if context.retries() == 0 { Err(()) } else { Ok(3) } }));
    settle().await;
    let report = drained.drain(Duration::from_secs(5)).await;
    assert!(report.is_clean() && report.finished == 1, "{report:?}");
    assert_eq!(job.await.unwrap(), Ok(3));
    let cut = scheduler(|_| {});
    let rests = cut.submit(Job::io_retry(&retry(), fails).name("feed"));
    settle().await;
    let report = cut.drain(Duration::from_millis(500)).await;
    assert_eq!(report.cancelled, [("feed".to_owned(), 1)].into());
    assert!(matches!(rests.await, Err(JobError::Cancelled(_, Cancellation::Drained))));
    balanced(&cut);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_scheduler_ends_what_rests() {
    let scheduler = scheduler(|_| {});
    let rests = scheduler.submit(Job::io_retry(&retry(), fails));
    settle().await;
    assert_eq!(rests.status(), Status::Resting);
    drop(scheduler);
    assert!(matches!(rests.await, Err(JobError::Cancelled(_, Cancellation::Dropped))));
}

#[test]
fn a_runtime_that_ends_ends_what_rests_on_every_lane() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (scheduler, handles) = runtime.block_on(async {
        let (scheduler, retry) = (scheduler(|_| {}), retry());
        let handles = [
            scheduler.submit_failing(LaneKind::Io, &retry),
            scheduler.submit_failing(LaneKind::Cpu, &retry),
            scheduler.submit_failing(LaneKind::Memory, &retry),
        ];
        while scheduler.stats().lanes.iter().any(|lane| lane.resting == 0) {
            tokio::task::yield_now().await;
        }
        (scheduler, handles)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for handle in handles {
        let error = other.block_on(handle).unwrap_err();
        assert!(matches!(error, JobError::Cancelled(_, Cancellation::RuntimeEnded)), "{error}");
    }
    assert_eq!(balanced(&scheduler).cancelled, 3);
}

/// Jobs of one type whatever their lane.
trait SubmitFailing {
    fn submit_failing(&self, lane: LaneKind, retry: &Retry) -> trimtab_scheduler::Handle<Result<u32, u32>>;
}

impl SubmitFailing for Scheduler {
    fn submit_failing(&self, lane: LaneKind, retry: &Retry) -> trimtab_scheduler::Handle<Result<u32, u32>> {
        match lane {
            LaneKind::Io => self.submit(Job::io_retry(retry, fails)),
            LaneKind::Memory => self.submit(Job::memory_retry(retry, fails)),
            _ => self.submit(Job::cpu_retry(retry, |context| Err(context.retries()))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn panics_are_tried_again_only_where_that_is_wanted() {
    let (scheduler, retry) = (scheduler(|_| {}), retry());
    let work = |context: JobContext| async move {
        tokio::task::yield_now().await;
        assert!(context.retries() > 1, "try {}", context.retries());
        Ok::<_, ()>(9)
    };
    let error = scheduler.submit(Job::io_retry(&retry, work)).await.unwrap_err().to_string();
    assert_eq!(error, "io job \"job\" panicked: try 0");
    let lenient = retry.clone().panics(true);
    assert_eq!(scheduler.submit(Job::io_retry(&lenient, work)).await.unwrap(), Ok(9));
    let cpu = Job::cpu_retry(&lenient, |context| if context.retries() == 0 { panic!("cpu") } else { Ok::<_, ()>(8) });
    assert_eq!(scheduler.submit(cpu).await.unwrap(), Ok(8));
    // Not for ever, and not where a second effect would do harm.
    let hopeless = Job::io_retry(&lenient, |_| async { panic!("always") });
    let _: Result<Result<(), ()>, _> = scheduler.submit(hopeless).await.inspect_err(|error| {
        assert_eq!(error.to_string(), "io job \"job\" panicked: always");
    });
    let once = lenient.idempotent(false);
    assert!(scheduler.submit(Job::io_retry(&once, work)).await.is_err());
    // A thread tells the handle before its books.
    while scheduler.stats().ledger().open() > 0 {
        tokio::task::yield_now().await;
    }
    let ledger = balanced(&scheduler);
    assert_eq!((ledger.submitted, ledger.panicked, ledger.done), (5, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn what_rests_keeps_its_place_in_a_bounded_queue() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.io.queue_max = 2;
    });
    let resting = [(); 2].map(|()| scheduler.submit(Job::io_retry(&retry(), fails)));
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).resting, 2);
    let holder = scheduler.try_submit(Job::io(pending::<()>()));
    assert!(holder.is_err_and(|refused| matches!(refused.error, JobError::Full(_))));
    assert!(resting[0].cancel());
    let waits = scheduler.try_submit(Job::io(async { 4 })).unwrap();
    assert_eq!(waits.await.unwrap(), 4);
    drop(scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_background_task_is_tried_again_like_any_job_and_the_budget_is_shared() {
    let scheduler = scheduler(|_| {});
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&calls);
    let id = scheduler.submit_background(
        "export",
        Job::io_retry(&retry(), move |_| {
            let n = counts.fetch_add(1, Ordering::Relaxed);
            async move { if n == 0 { Err("busy") } else { Ok(n) } }
        }),
    );
    let result = scheduler.wait::<Result<usize, &str>>(id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(*result, Ok(1));
    let mut settings = RetrySettings::default();
    (settings.budget.burst, settings.budget.per_second) = (1, 0);
    settings.budget.share = Share::percent(0);
    let poor = Retry::new("poor", settings).unwrap();
    assert_eq!(scheduler.submit(Job::io_retry(&poor, fails)).await.unwrap(), Err(1));
    assert_eq!(scheduler.submit(Job::io_retry(&poor, fails)).await.unwrap(), Err(0));
    assert_eq!(poor.stats().denied, 2);
}
