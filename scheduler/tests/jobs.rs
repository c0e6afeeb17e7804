//! Jobs and their handles: results, panics, cancellation, refusals, deadlines, budgets, the end of a scheduler.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use trimtab_config::ByteSize;
use trimtab_scheduler::config::WhenFull;
use trimtab_scheduler::error::Cancellation;
use trimtab_scheduler::{
    Cost, Job, JobError, LaneKind, Ledger, Outcome, Priority, Scheduler, SchedulerSettings, Status,
};

fn scheduler(change: impl FnOnce(&mut SchedulerSettings)) -> Scheduler {
    let mut settings = SchedulerSettings::default();
    settings.machine.cpu = Some(4.0);
    settings.machine.memory = Some(ByteSize::gib(1));
    settings.cpu_threads = Some(2);
    change(&mut settings);
    Scheduler::builder("test").settings(settings).build().unwrap()
}

/// Lets every task that can go on do so. With one worker, a yield puts the caller behind all of them.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn balanced(scheduler: &Scheduler) -> Ledger {
    let mut ledger = scheduler.stats().ledger();
    for _ in 0..60_000 {
        if ledger.open() == 0 {
            break;
        }
        // A thread strikes its closure off after the handle has the result; it keeps the machine's time, and tells nobody.
        std::thread::sleep(Duration::from_millis(1));
        ledger = scheduler.stats().ledger();
    }
    assert_eq!(ledger.open(), 0, "{ledger:?}");
    ledger
}

#[tokio::test]
async fn a_result_reaches_its_handle() {
    let scheduler = scheduler(|_| {});
    assert_eq!(scheduler.submit(Job::io(async { 1 })).await.unwrap(), 1);
    assert_eq!(scheduler.submit(Job::cpu(|| 2)).await.unwrap(), 2);
    assert_eq!(scheduler.submit(Job::memory(async { 3 })).await.unwrap(), 3);
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_is_polled_again_and_its_times_are_kept() {
    let scheduler = scheduler(|_| {});
    let mut handle = scheduler.submit(Job::io(async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "slept"
    }));
    settle().await;
    assert_eq!(handle.status(), Status::Running);
    assert_eq!((&mut handle).await.unwrap(), "slept");
    assert_eq!(handle.status(), Status::Ended(Outcome::Done));
    assert!(handle.duration() >= Duration::from_secs(3) && handle.duration() < Duration::from_secs(4));
    assert_eq!(handle.waited(), Duration::ZERO);
}

#[tokio::test]
async fn a_panic_is_a_result_and_the_lane_goes_on() {
    let scheduler = scheduler(|_| {});
    let io = scheduler.submit(Job::io(async { panic!("io {}", 1) })).await;
    let cpu = scheduler.submit(Job::cpu(|| panic!("cpu")).name("broken")).await;
    let texts = [io.unwrap_err().to_string(), cpu.unwrap_err().to_string()];
    assert_eq!(texts, ["io job \"job\" panicked: io 1", "cpu job \"broken\" panicked: cpu"]);
    assert_eq!(scheduler.submit(Job::cpu(|| 5)).await.unwrap(), 5);
}

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[tokio::test]
async fn destructors_that_panic_end_their_own_job_only() {
    let scheduler = scheduler(|_| {});
    // In the future, when it has returned.
    let returned = scheduler.submit(Job::io(async {
        let _grenade = Grenade;
        7
    }));
    assert!(matches!(returned.await, Err(JobError::Panicked(_))));
    // In the future, when it is cancelled.
    let (tell, told) = oneshot::channel();
    let cancelled = scheduler.submit(Job::io(async move {
        let _grenade = Grenade;
        tell.send(()).unwrap();
        pending::<()>().await;
    }));
    told.await.unwrap();
    assert!(cancelled.cancel());
    assert!(matches!(cancelled.await, Err(JobError::Panicked(_))));
    // In a captured value that is dropped with the future, and in a result that nobody takes.
    let captured = Grenade;
    let handle = scheduler.submit(Job::io(async move {
        let _captured = &captured;
        8
    }));
    assert!(matches!(handle.await, Err(JobError::Panicked(_))));
    let (dropped, gone) = std::sync::mpsc::channel();
    drop(scheduler.submit(Job::cpu(move || {
        gone.recv().unwrap();
        Grenade
    })));
    dropped.send(()).unwrap();
    drop(scheduler.submit(Job::io(async { Grenade })));
    assert_eq!(scheduler.submit(Job::io(async { 9 })).await.unwrap(), 9);
    assert_eq!(scheduler.submit(Job::cpu(|| 10)).await.unwrap(), 10);
    assert!(scheduler.drain(Duration::from_secs(60)).await.is_clean());
    assert_eq!(balanced(&scheduler).panicked, 3);
}

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_never_runs() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let gate = Arc::new(Notify::new());
    let first = scheduler.submit(Job::io({
        let gate = Arc::clone(&gate);
        async move { gate.notified().await }
    }));
    settle().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let second = scheduler.submit(Job::io({
        let ran = Arc::clone(&ran);
        async move { ran.fetch_add(1, Ordering::Relaxed) }
    }));
    settle().await;
    assert_eq!(second.status(), Status::Queued);
    assert!(second.cancel());
    assert_eq!(second.status(), Status::Ended(Outcome::Cancelled));
    assert!(!second.cancel(), "it has ended");
    assert_eq!(Arc::strong_count(&ran), 1, "what it held is free");
    assert!(matches!(second.await, Err(JobError::Cancelled(_, Cancellation::Asked))));
    gate.notify_one();
    first.await.unwrap();
    settle().await;
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(balanced(&scheduler).cancelled, 1);
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_where_it_waits_and_frees_its_permit() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let stuck = scheduler.submit(Job::io(pending::<()>()));
    let next = scheduler.submit(Job::io(async { 1 }));
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).running, 1);
    assert!(scheduler.cancel(stuck.id()));
    assert_eq!(next.await.unwrap(), 1);
    assert!(stuck.await.is_err());
}

#[tokio::test]
async fn a_closure_is_told_that_it_was_cancelled() {
    let scheduler = scheduler(|_| {});
    let (tell, told) = oneshot::channel();
    let handle = scheduler.submit(Job::cpu_with(|context| {
        context.progress(0.25);
        tell.send(()).unwrap();
        while !context.is_cancelled() {
            std::thread::yield_now();
        }
        "left early"
    }));
    told.await.unwrap();
    assert_eq!(handle.progress(), Some(0.25));
    assert!(handle.cancel());
    assert_eq!(handle.await.unwrap(), "left early");
}

#[tokio::test]
async fn dropping_a_handle_detaches_unless_told_otherwise() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let ran = Arc::new(AtomicUsize::new(0));
    let count = |ran: &Arc<AtomicUsize>| {
        let ran = Arc::clone(ran);
        async move { ran.fetch_add(1, Ordering::Relaxed) }
    };
    drop(scheduler.submit(Job::io(count(&ran))));
    drop(scheduler.submit(Job::io(count(&ran))).cancel_on_drop());
    settle().await;
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(balanced(&scheduler).cancelled, 1);
}

#[tokio::test]
async fn more_important_jobs_start_first_and_the_earliest_deadline_among_equals() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let gate = Arc::new(Notify::new());
    let holder = scheduler.submit(Job::io({
        let gate = Arc::clone(&gate);
        async move { gate.notified().await }
    }));
    settle().await;
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        Job::io(async move { order.lock().push(name) })
    };
    let handles = [
        scheduler.submit(note("background").priority(Priority::Background)),
        scheduler.submit(note("first")),
        scheduler.submit(note("second")),
        scheduler.submit(note("later").deadline(Duration::from_secs(600))),
        scheduler.submit(note("sooner").deadline(Duration::from_secs(300))),
        scheduler.submit(note("critical").priority(Priority::Critical)),
    ];
    gate.notify_one();
    holder.await.unwrap();
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(*order.lock(), ["critical", "sooner", "later", "first", "second", "background"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_in_time_expires() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let holder = scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(5))));
    settle().await;
    let late = scheduler.submit(Job::io(async {}).deadline(Duration::from_secs(2)).name("report"));
    let kept = scheduler.submit(Job::io(async {}).deadline(Duration::from_secs(20)));
    holder.await.unwrap();
    let error = late.await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Expired);
    assert!(error.to_string().starts_with("io job \"report\" expired after 5.0s in the queue"), "{error}");
    kept.await.unwrap();
    assert_eq!(balanced(&scheduler).expired, 1);
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.io.queue_max = 2;
    });
    let holder = scheduler.submit(Job::io(pending::<()>()));
    settle().await;
    let queued = [scheduler.submit(Job::io(async {})), scheduler.submit(Job::io(async {}))];
    let refused = scheduler.submit(Job::io(async {}));
    assert_eq!(refused.status(), Status::Ended(Outcome::Rejected));
    let error = refused.await.unwrap_err();
    assert!(error.retry_after().is_some());
    assert!(error.to_string().contains("2 of 2 jobs"), "{error}");
    // With `try_submit`, the job comes back.
    let refused = scheduler.try_submit(Job::io(async { 11 })).unwrap_err();
    assert!(matches!(refused.error, JobError::Full(_)));
    holder.cancel();
    for queued in queued {
        queued.await.unwrap();
    }
    let handle = scheduler.try_submit(refused.job).unwrap();
    assert_eq!(handle.await.unwrap(), 11);
    drop(holder);
    settle().await;
    assert_eq!(balanced(&scheduler).rejected, 1);
}

#[tokio::test]
async fn a_queue_is_bounded_in_bytes_too() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.io.queue_bytes = ByteSize::mib(1);
    });
    let holder = scheduler.submit(Job::io(pending::<()>()));
    settle().await;
    let large = scheduler.submit(Job::io(async {}).holds(ByteSize::mib(3)));
    assert_eq!(large.status(), Status::Queued, "alone, even a job larger than the queue is let in");
    let small = scheduler.submit(Job::io(async {}));
    assert!(matches!(small.await, Err(JobError::Full(_))));
    holder.cancel();
    large.await.unwrap();
}

#[tokio::test]
async fn a_full_queue_sheds_the_least_important_for_the_more_important() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.io.queue_max = 2;
        settings.io.when_full = WhenFull::Shed;
    });
    let holder = scheduler.submit(Job::io(pending::<()>()));
    settle().await;
    let low = scheduler.submit(Job::io(async {}).priority(Priority::Low));
    let background = scheduler.submit(Job::io(async {}).priority(Priority::Background));
    let high = scheduler.submit(Job::io(async {}).priority(Priority::High));
    assert_eq!(background.status(), Status::Ended(Outcome::Shed));
    assert!(background.await.unwrap_err().to_string().contains("shed for a job of priority high"));
    let equal = scheduler.submit(Job::io(async {}).priority(Priority::Low));
    assert_eq!(equal.await.unwrap_err().outcome(), Outcome::Rejected, "nothing gives way to its equal");
    holder.cancel();
    high.await.unwrap();
    low.await.unwrap();
    settle().await;
    let ledger = balanced(&scheduler);
    assert_eq!((ledger.shed, ledger.rejected, ledger.done), (1, 1, 2));
}

#[tokio::test]
async fn callers_wait_for_a_place_in_the_order_they_came() {
    let scheduler = scheduler(|settings| {
        settings.io.ceiling = Some(1);
        settings.io.queue_max = 1;
    });
    let holder = scheduler.submit(Job::io(pending::<()>()));
    settle().await;
    let queued = scheduler.submit(Job::io(async {}));
    let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let mut callers = Vec::new();
    for n in 0..4 {
        let (scheduler, order) = (scheduler.clone(), Arc::clone(&order));
        callers.push(tokio::spawn(async move {
            let handle = scheduler.submit_wait(Job::io(async {})).await.unwrap();
            order.lock().push(n);
            handle.await.unwrap();
        }));
        settle().await;
    }
    assert_eq!(scheduler.lane_stats(LaneKind::Io).callers_waiting, 4);
    // One who leaves gives his place to the next.
    callers.remove(1).abort();
    settle().await;
    holder.cancel();
    queued.await.unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(*order.lock(), [0, 2, 3]);
}

#[tokio::test]
async fn estimates_in_sum_never_exceed_the_lane_and_what_never_fits_is_refused() {
    let scheduler = scheduler(|settings| settings.memory.memory = Some(ByteSize::mib(100)));
    let running = Arc::new(AtomicUsize::new(0));
    let mut handles = Vec::new();
    for _ in 0..20 {
        let running = Arc::clone(&running);
        let work = async move {
            let now = running.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::Relaxed);
            now
        };
        handles.push(scheduler.submit(Job::memory(work).cost(Cost::memory(ByteSize::mib(40)))));
    }
    let refused = scheduler.submit(Job::memory(async {}).cost(Cost::memory(ByteSize::mib(101))));
    assert!(matches!(refused.await, Err(JobError::Oversize(_))));
    for handle in handles {
        assert!(handle.await.unwrap() <= 2);
    }
    let stats = scheduler.lane_stats(LaneKind::Memory);
    assert_eq!(stats.memory_peak, ByteSize::mib(80));
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Memory).memory_used, ByteSize::ZERO);
}

#[tokio::test]
async fn lanes_share_the_budget_of_the_machine() {
    let scheduler = scheduler(|settings| settings.machine.memory = Some(ByteSize::mib(100)));
    let large = scheduler.submit(Job::io(pending::<()>()).cost(Cost::memory(ByteSize::mib(80))));
    settle().await;
    let other = scheduler.submit(Job::memory(async { 1 }).cost(Cost::memory(ByteSize::mib(50))));
    let free = scheduler.submit(Job::io(async { 2 }));
    assert_eq!(free.await.unwrap(), 2, "what costs nothing goes on");
    settle().await;
    assert_eq!(other.status(), Status::Queued);
    large.cancel();
    assert_eq!(other.await.unwrap(), 1);
}

#[tokio::test]
async fn a_blocked_job_that_is_cancelled_lets_other_lanes_go_on() {
    let scheduler = scheduler(|settings| settings.machine.memory = Some(ByteSize::mib(100)));
    let holder = scheduler.submit(Job::io(pending::<()>()).cost(Cost::memory(ByteSize::mib(60))));
    settle().await;
    let blocked = scheduler.submit(Job::memory(async {}).cost(Cost::memory(ByteSize::mib(90))));
    settle().await;
    let small = scheduler.submit(Job::io(async { 3 }).cost(Cost::memory(ByteSize::mib(10))));
    settle().await;
    assert_eq!(small.status(), Status::Queued, "the other lane was first");
    blocked.cancel();
    assert_eq!(small.await.unwrap(), 3);
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_its_time_then_reports_what_it_cut_off() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(2));
    let short = scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(1))));
    let long = scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(100))).name("export"));
    let stuck = scheduler.submit(Job::io(pending::<()>()).name("watch"));
    let never = scheduler.submit(Job::io(async {}).name("mail"));
    settle().await;
    let report = scheduler.drain(Duration::from_secs(10)).await;
    assert!(!report.is_clean());
    assert_eq!(report.finished, 1, "{report:?}");
    assert_eq!(report.cancelled, [("export".to_owned(), 1), ("watch".to_owned(), 1)].into());
    assert_eq!(report.never_started, [("mail".to_owned(), 1)].into());
    assert_eq!(report.still_running, 0);
    assert_eq!(report.took, Duration::from_secs(10));
    short.await.unwrap();
    for handle in [long, stuck, never] {
        assert!(matches!(handle.await, Err(JobError::Cancelled(_, Cancellation::Drained))));
    }
    let late = scheduler.submit(Job::io(async {})).await.unwrap_err();
    assert!(matches!(late, JobError::Closed(_)), "{late}");
    balanced(&scheduler);
}

#[tokio::test]
async fn dropping_the_scheduler_cancels_what_has_not_ended() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let waits = scheduler.submit(Job::io(pending::<()>()));
    let queued = scheduler.submit(Job::io(async {}));
    settle().await;
    drop(scheduler);
    for handle in [waits, queued] {
        assert!(matches!(handle.await, Err(JobError::Cancelled(_, Cancellation::Dropped))));
    }
}

#[test]
fn a_runtime_that_ends_ends_its_jobs_and_nobody_waits_for_ever() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (scheduler, handles) = runtime.block_on(async {
        let scheduler = scheduler(|settings| settings.io.ceiling = Some(2));
        let handles = [
            scheduler.submit(Job::io(pending::<()>())),
            scheduler.submit(Job::io(tokio::time::sleep(Duration::from_secs(1000)))),
            scheduler.submit(Job::io(async {})),
            scheduler.submit(Job::memory(pending::<()>())),
        ];
        scheduler.submit(Job::cpu(|| ())).await.unwrap();
        (scheduler, handles)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for handle in handles {
        let error = other.block_on(handle).unwrap_err();
        assert!(matches!(error, JobError::Cancelled(_, Cancellation::RuntimeEnded)), "{error}");
    }
    let late = other.block_on(scheduler.submit(Job::io(async {})));
    assert!(matches!(late, Err(JobError::Closed(_))));
    balanced(&scheduler);
}

#[test]
fn without_a_runtime_a_scheduler_is_refused() {
    let error = Scheduler::new("app").unwrap_err().to_string();
    assert!(error.contains("outside of a tokio runtime"), "{error}");
}

#[tokio::test]
async fn failures_are_counted_where_a_job_says_what_they_are() {
    let scheduler = scheduler(|_| {});
    let result = scheduler.submit(Job::io(async { Err::<(), _>("no") }).fallible().name("call")).await;
    assert_eq!(result.unwrap(), Err("no"));
    settle().await;
    assert_eq!(balanced(&scheduler).failed, 1);
    let kinds = scheduler.stats().kinds;
    assert_eq!((kinds[0].name.as_str(), kinds[0].failed), ("call", 1));
}

#[tokio::test(start_paused = true)]
async fn a_background_task_outlives_its_submitter_and_its_result_is_kept_for_a_while() {
    let scheduler = scheduler(|settings| settings.background.keep_for = trimtab_config::Duration::from_secs(60));
    let id = scheduler.submit_background(
        "export",
        Job::io_with(|context| async move {
            context.progress(0.5);
            tokio::time::sleep(Duration::from_secs(5)).await;
            String::from("rows")
        }),
    );
    let early = scheduler.wait::<String>(id, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(early, trimtab_scheduler::BackgroundError::NotYet { .. }), "{early}");
    let status = scheduler.status(id).unwrap();
    assert_eq!((status.started, status.outcome, status.progress), (true, None, Some(0.5)));
    // Two callers may wait, and ask again.
    let (a, b) = tokio::join!(
        scheduler.wait::<String>(id, Duration::from_secs(10)),
        scheduler.wait::<String>(id, Duration::from_secs(10))
    );
    assert_eq!((a.unwrap().as_str(), b.unwrap().as_str()), ("rows", "rows"));
    assert!(scheduler.wait::<u8>(id, Duration::ZERO).await.unwrap_err().to_string().contains("not a u8"));
    assert_eq!(scheduler.status(id).unwrap().outcome, Some(Outcome::Done));
    assert_eq!(scheduler.background().len(), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(scheduler.status(id).is_none());
    assert!(matches!(
        scheduler.wait::<String>(id, Duration::ZERO).await.unwrap_err(),
        trimtab_scheduler::BackgroundError::Unknown { .. }
    ));
}

#[tokio::test]
async fn background_tasks_are_bounded_cancelled_and_say_how_they_failed() {
    let scheduler = scheduler(|settings| settings.background.keep_max = 2);
    let stuck = scheduler.submit_background("stuck", Job::io(pending::<()>()));
    settle().await;
    assert!(scheduler.cancel_background(stuck));
    let error = scheduler.wait::<()>(stuck, Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, trimtab_scheduler::BackgroundError::Ended { .. }), "{error}");
    let broken = scheduler.submit_background("broken", Job::io(async { assert!(std::hint::black_box(false)) }));
    settle().await;
    assert_eq!(scheduler.status(broken).unwrap().outcome, Some(Outcome::Panicked));
    let failed = scheduler.submit_background("failed", Job::io(async { Err::<(), _>(1) }).fallible());
    settle().await;
    assert_eq!(scheduler.status(failed).unwrap().outcome, Some(Outcome::Failed));
    assert!(scheduler.status(stuck).is_none(), "the oldest gave way");
    let stats = scheduler.stats();
    assert_eq!((stats.background_open, stats.background_kept), (0, 2));
}

#[tokio::test]
async fn a_group_gives_results_as_they_come_and_cancels_the_rest_when_dropped() {
    let scheduler = scheduler(|_| {});
    let mut group = trimtab_scheduler::Group::new();
    for n in 0..10_u32 {
        group.submit(&scheduler, Job::io(async move { if n == 3 { panic!("three") } else { n } }));
    }
    let (good, bad): (Vec<_>, Vec<_>) =
        group.join().await.into_iter().map(|(_, result)| result).partition(Result::is_ok);
    assert_eq!(good.into_iter().map(Result::unwrap).sum::<u32>(), 45 - 3);
    assert_eq!(bad.len(), 1);
    let mut group = trimtab_scheduler::Group::new();
    group.submit(&scheduler, Job::io(pending::<()>()));
    let first = group.submit(&scheduler, Job::io(async {}));
    assert_eq!(group.next().await.unwrap().0, first);
    drop(group);
    settle().await;
    assert_eq!(balanced(&scheduler).cancelled, 1);
}

#[tokio::test]
async fn metrics_carry_the_ledger_by_lane() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let scheduler = scheduler(|_| {});
    for _ in 0..3 {
        scheduler.submit(Job::io(async {})).await.unwrap();
    }
    settle().await;
    metrics::with_local_recorder(&recorder, || scheduler.publish_metrics());
    let done = snapshotter.snapshot().into_vec().into_iter().find_map(|(key, _, _, value)| {
        let key = key.key();
        let is = |label: &str, value: &str| key.labels().any(|l| l.key() == label && l.value() == value);
        let wanted = key.name() == trimtab_scheduler::metrics::ENDED && is("lane", "io") && is("outcome", "done");
        wanted.then_some(value)
    });
    assert_eq!(done, Some(DebugValue::Counter(3)));
}

#[tokio::test]
async fn what_a_kind_takes_is_learned_and_counts_instead_of_what_was_declared() {
    let scheduler = scheduler(|_| {});
    for _ in 0..20 {
        let job = Job::io(async { tokio::task::yield_now().await }).name("light").cost(Cost::cpu(4.0));
        scheduler.submit(job).await.unwrap();
    }
    settle().await;
    let light = scheduler.stats().kinds.into_iter().find(|kind| kind.name == "light").unwrap();
    assert!(light.off && light.declared_cpu == Some(4.0) && light.cpu <= 1.0, "{light:?}");
    // Four processors were declared, all of the machine: two such jobs could not run side by side before.
    let both = [(); 2].map(|()| scheduler.submit(Job::io(pending::<()>()).name("light").cost(Cost::cpu(4.0))));
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).running, 2);
    drop(both);
}

#[tokio::test]
async fn settings_change_while_jobs_run_and_bad_ones_change_nothing() {
    let scheduler = scheduler(|settings| settings.io.ceiling = Some(1));
    let jobs = [(); 3].map(|()| scheduler.submit(Job::io(pending::<()>())));
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).running, 1);
    let mut settings = SchedulerSettings::default();
    settings.io.ceiling = Some(0);
    assert!(scheduler.apply(&settings).is_err());
    assert_eq!(scheduler.lane_stats(LaneKind::Io).ceiling, 1);
    settings.io.ceiling = Some(2);
    scheduler.apply(&settings).unwrap();
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).running, 2);
    assert_eq!(scheduler.set_ceiling(LaneKind::Io, 3), 3);
    settle().await;
    assert_eq!(scheduler.lane_stats(LaneKind::Io).running, 3);
    assert_eq!(scheduler.jobs(LaneKind::Io, 10).len(), 3);
    drop(jobs);
}
