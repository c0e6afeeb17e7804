//! Worker processes, real ones: this test program is started again, and its test `worker` serves.

#![cfg(unix)]
#![allow(clippy::needless_pass_by_value, reason = "what comes out of a message is owned")]

use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use trimtab_config::ByteSize;
use trimtab_scheduler::error::Cancellation;
use trimtab_scheduler::process::{Death, Message, ProcessCall, WorkerStats};
use trimtab_scheduler::{
    Group, Handle, Job, JobError, LaneKind, Outcome, Priority, ProcessFault, Scheduler, SchedulerError,
    SchedulerSettings, Status, Workers,
};

// What workers can do.

fn add((a, b): (u32, u32)) -> u32 {
    a + b
}

fn pid((): ()) -> u32 {
    std::process::id()
}

fn fails(text: String) -> Result<u8, String> {
    text.parse().map_err(|_| text)
}

/// Never returns; a stranger reads that it has begun.
fn hang(begun: String) {
    std::fs::write(&begun, std::process::id().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

fn hog(megabytes: usize) -> usize {
    let filled = vec![1_u8; megabytes << 20];
    filled.iter().map(|byte| usize::from(*byte)).sum()
}

fn print(text: String) -> bool {
    let mut output = std::io::stdout();
    writeln!(output, "{text}").unwrap();
    output.write_all(&[0xff; 4096]).unwrap();
    std::io::read_to_string(std::io::stdin()).unwrap().is_empty()
}

/// A grandchild, which would outlive a worker that alone is killed.
fn family(begun: String) {
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    std::fs::write(&begun, child.id().to_string()).unwrap();
    child.wait().unwrap();
}

fn burn((): ()) -> u64 {
    let start = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let mut sum = 0_u64;
    loop {
        sum = (0..1_000_u64).fold(sum, |sum, n| sum.wrapping_add(n * n));
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        if (now.tv_sec - start.tv_sec) * 1_000_000_000 + (now.tv_nsec - start.tv_nsec) > 2_000_000 {
            return sum;
        }
    }
}

/// Crashes for every tenth number.
fn tenth(n: u32) -> u32 {
    if n % 10 == 9 {
        std::process::abort();
    }
    n
}

fn workers() -> Workers {
    Workers::new()
        .register("add", add)
        .register("pid", pid)
        .register("fails", fails)
        .register("panic", |text: String| -> () { panic!("{text}") })
        .register("abort", |(): ()| -> () { std::process::abort() })
        .register("exit", |code: i32| -> () { std::process::exit(code) })
        .register("hang", hang)
        .register("hog", hog)
        .register("bytes", |len: usize| vec![7_u8; len])
        .register("len", |bytes: Vec<u8>| bytes.len())
        .register("print", print)
        .register("family", family)
        .register("burn", burn)
        .register("tenth", tenth)
        .register("nice", |(): ()| rustix::process::nice(0).unwrap())
        .register("own", |(): ()| {
            // A program that a function starts is no worker, though it inherits the variable.
            let own = std::env::current_exe().unwrap();
            let arguments = ["--exact", "worker", "--test-threads=1"];
            std::process::Command::new(own).args(arguments).output().unwrap().status.success()
        })
        .arguments(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .silent()
}

#[test]
fn worker() {
    // In this program itself, and in what is not started by the pool, it returns.
    workers().serve();
}

/// A program that never comes as far as `serve`, where a pool starts it.
#[test]
fn sleeper() {
    while std::env::var_os("WORKER_OF_TRIMTAB").is_some() {
        std::thread::park();
    }
}

/// A program that does not serve where a pool starts it, and goes on.
#[test]
fn forgetful() {
    let Ok(told) = std::env::var("WORKER_OF_TRIMTAB") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let built = Scheduler::builder("inside").workers(workers()).build();
    let Err(SchedulerError::Workers { problem, .. }) = built else { panic!("{told} is a worker") };
    assert!(problem.contains("call Workers::serve first in main"), "{problem}");
}

/// What a worker of a worker of a worker is told.
const DEEP: &str = "1:1/3";

// What the tests share.

fn scheduler(change: impl FnOnce(&mut SchedulerSettings)) -> Scheduler {
    let mut settings = SchedulerSettings::default();
    settings.machine.cpu = Some(4.0);
    settings.process.ceiling = Some(2);
    // A loaded machine is slow, and may stand still.
    settings.workers.start_timeout = Duration::from_secs(600).into();
    settings.workers.timeout = Duration::from_secs(600).into();
    change(&mut settings);
    Scheduler::builder("test").settings(settings).workers(workers()).build().unwrap()
}

fn stats(scheduler: &Scheduler) -> WorkerStats {
    scheduler.worker_stats().unwrap()
}

fn submit<R>(scheduler: &Scheduler, job: Job<ProcessCall<R>>) -> Handle<R>
where
    R: serde::de::DeserializeOwned + Send + 'static,
{
    scheduler.submit(job)
}

async fn pid_of(scheduler: &Scheduler) -> u32 {
    submit(scheduler, Job::process("pid", ())).await.unwrap()
}

/// What keepers do happens on their threads, and what processes do in no thread: there is nothing to await.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(300), "{what} did not come about");
        // The real clock, since other processes have no other.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn exists(pid: u32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid as i32).unwrap()).is_ok()
}

fn kill(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// Stops a process, and waits until it has: a signal is only on its way when it has been sent.
async fn stop(pid: u32) {
    kill(pid, Signal::STOP);
    let is_stopped = |task: std::fs::DirEntry| {
        // The state is the first word behind the name, which stands in brackets.
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
    };
    until("the stop of a worker", || {
        std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| is_stopped(task.unwrap()))
    })
    .await;
}

/// A file that a function writes its process into when it has begun.
struct Begun(tempfile::TempDir);

impl Begun {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        self.0.path().join("pid").to_str().unwrap().to_owned()
    }

    async fn pid(&self) -> u32 {
        let mut pid = None;
        until("the function", || {
            pid = std::fs::read_to_string(self.path()).ok().and_then(|text| text.parse().ok());
            pid.is_some()
        })
        .await;
        pid.unwrap()
    }
}

fn fault<R: std::fmt::Debug>(result: Result<R, JobError>) -> ProcessFault {
    match result {
        Err(JobError::Process(failure)) => failure.fault,
        other => panic!("no failure of a process: {other:?}"),
    }
}

// Results.

#[tokio::test]
async fn a_worker_serves_many_jobs_and_their_results_come_back() {
    let scheduler = scheduler(|_| {});
    for n in 0..20 {
        let sum = submit::<u32>(&scheduler, Job::process("add", (n, 1_u32)).priority(Priority::High)).await;
        assert_eq!(sum.unwrap(), n + 1);
    }
    assert_eq!(stats(&scheduler).started, 1);
    let large = submit::<Vec<u8>>(&scheduler, Job::process("bytes", 300_000_usize)).await.unwrap();
    assert_eq!(submit::<usize>(&scheduler, Job::process("len", large)).await.unwrap(), 300_000);
    let lane = scheduler.lane_stats(LaneKind::Process);
    assert_eq!((lane.ledger.submitted, lane.ledger.done), (22, 22));
    let handle = submit::<u32>(&scheduler, Job::process("pid", ()));
    assert_eq!((handle.kind(), handle.lane().label()), ("pid", "process"));
    handle.await.unwrap();
}

#[test]
fn a_runtime_needs_neither_timers_nor_sockets() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let scheduler = scheduler(|_| {});
        assert_eq!(submit::<u32>(&scheduler, Job::process("add", (1_u32, 2_u32))).await.unwrap(), 3);
    });
}

#[tokio::test]
async fn an_err_counts_as_failed_where_the_job_says_so() {
    let scheduler = scheduler(|_| {});
    let job = Job::process::<_, Result<u8, String>>("fails", "x".to_owned()).fallible();
    assert_eq!(scheduler.submit(job).await.unwrap(), Err("x".to_owned()));
    assert_eq!(scheduler.lane_stats(LaneKind::Process).ledger.failed, 1);
}

#[tokio::test]
async fn a_background_task_in_a_worker_keeps_its_result_or_its_error() {
    let scheduler = scheduler(|_| {});
    let sum = scheduler.submit_background("sum", Job::process::<_, u32>("add", (1_u32, 2_u32)));
    let crash = scheduler.submit_background("crash", Job::process::<_, ()>("abort", ()));
    assert_eq!(*scheduler.wait::<u32>(sum, Duration::from_secs(60)).await.unwrap(), 3);
    let told = scheduler.wait::<()>(crash, Duration::from_secs(60)).await.unwrap_err();
    let cause = std::error::Error::source(&told).unwrap().to_string();
    assert!(cause.contains("SIGABRT"), "{cause}");
}

#[tokio::test]
async fn processor_time_of_workers_is_learned() {
    let scheduler = scheduler(|_| {});
    for _ in 0..10 {
        submit::<u64>(&scheduler, Job::process("burn", ())).await.unwrap();
    }
    let kinds = scheduler.stats().kinds;
    let burn = kinds.iter().find(|kind| kind.name == "burn").unwrap();
    // How much of the time it was on a processor is up to the machine; it was at least 2 ms of processor.
    assert!(burn.cpu * burn.run.as_secs_f64() > 0.000_5, "{burn:?}");
}

#[tokio::test]
async fn what_a_function_prints_goes_elsewhere_and_its_input_is_empty() {
    let scheduler = scheduler(|_| {});
    for _ in 0..3 {
        assert!(submit::<bool>(&scheduler, Job::process("print", "to standard output".to_owned())).await.unwrap());
    }
    assert_eq!(stats(&scheduler).started, 1);
}

#[tokio::test]
async fn a_program_that_a_function_starts_is_no_worker() {
    let scheduler = scheduler(|_| {});
    assert!(submit::<bool>(&scheduler, Job::process("own", ())).await.unwrap());
}

#[tokio::test]
async fn workers_step_back() {
    let scheduler = scheduler(|settings| settings.workers.nice = 3);
    let own = rustix::process::nice(0).unwrap();
    assert_eq!(submit::<i32>(&scheduler, Job::process("nice", ())).await.unwrap(), (own + 3).min(19));
}

// What goes wrong, for one job only.

#[tokio::test]
async fn a_panic_is_told_and_the_worker_goes_on() {
    let scheduler = scheduler(|_| {});
    let before = pid_of(&scheduler).await;
    let told = submit::<()>(&scheduler, Job::process("panic", "oh".to_owned())).await.unwrap_err();
    assert_eq!(told.to_string(), "process job \"panic\" panicked: oh");
    assert_eq!(told.outcome(), Outcome::Panicked);
    assert_eq!(pid_of(&scheduler).await, before);
    assert_eq!(scheduler.lane_stats(LaneKind::Process).ledger.panicked, 1);
}

#[tokio::test]
async fn a_crash_names_its_signal_or_status_and_the_next_job_has_another_worker() {
    let scheduler = scheduler(|_| {});
    let before = pid_of(&scheduler).await;
    let aborted = submit::<()>(&scheduler, Job::process("abort", ())).await;
    let ProcessFault::Died { pid, death, .. } = fault(aborted) else { panic!("no death") };
    assert_eq!((pid, death), (before, Death::Signal(6)));
    assert!(!exists(before), "it was reaped before its job was told");
    let after = pid_of(&scheduler).await;
    assert_ne!(after, before);
    let left = submit::<()>(&scheduler, Job::process("exit", 3)).await.unwrap_err();
    let text = format!("process job \"exit\" failed: its worker, process {after}, ended with exit status 3");
    assert_eq!((left.to_string(), left.outcome()), (text, Outcome::Failed));
    assert_eq!((stats(&scheduler).crashed, stats(&scheduler).started), (2, 2));
}

#[tokio::test]
async fn a_worker_that_somebody_kills_is_the_error_of_its_job() {
    let (scheduler, begun) = (scheduler(|_| {}), Begun::new());
    let handle = submit::<()>(&scheduler, Job::process("hang", begun.path()));
    kill(begun.pid().await, Signal::KILL);
    let told = handle.await.unwrap_err().to_string();
    assert!(told.contains("was killed by signal 9 (SIGKILL)"), "{told}");
    assert_eq!(submit::<u32>(&scheduler, Job::process("add", (1_u32, 2_u32))).await.unwrap(), 3);
}

#[tokio::test]
async fn a_worker_that_dies_without_a_job_is_nobodys_error() {
    let scheduler = scheduler(|_| {});
    let first = pid_of(&scheduler).await;
    kill(first, Signal::KILL);
    until("the end of the worker", || stats(&scheduler).alive == 0).await;
    assert!(!exists(first), "it was reaped");
    assert_ne!(pid_of(&scheduler).await, first);
    assert_eq!((stats(&scheduler).crashed, stats(&scheduler).started), (1, 2));
}

#[tokio::test]
async fn a_stopped_worker_is_killed_when_the_time_of_its_job_is_over() {
    let scheduler = scheduler(|_| {});
    let stopped = pid_of(&scheduler).await;
    stop(stopped).await;
    let job = Job::process::<_, u32>("add", (1_u32, 2_u32)).timeout(Duration::from_millis(50));
    let told = scheduler.submit(job).await.unwrap_err();
    let text = format!("its worker, process {stopped}, was killed since it took longer than 50ms");
    assert!(told.to_string().contains(&text), "{told}");
    assert_eq!(told.outcome(), Outcome::Failed);
    assert!(!exists(stopped));
    // More than the socket holds, so that it is still being sent.
    let stopped = pid_of(&scheduler).await;
    stop(stopped).await;
    let job = Job::process::<_, usize>("len", vec![0_u8; 1 << 20]).timeout(Duration::from_millis(50));
    assert!(matches!(fault(scheduler.submit(job).await), ProcessFault::TimedOut { pid, .. } if pid == stopped));
    assert_eq!(stats(&scheduler).timed_out, 2);
    assert_eq!(submit::<u32>(&scheduler, Job::process("add", (1_u32, 2_u32))).await.unwrap(), 3);
}

#[tokio::test]
async fn a_job_may_take_as_long_as_it_likes() {
    let scheduler = scheduler(|_| {});
    let job = Job::process::<_, u32>("add", (1_u32, 2_u32)).timeout(Duration::MAX);
    assert_eq!(scheduler.submit(job).await.unwrap(), 3);
}

#[tokio::test]
async fn the_time_limit_of_the_settings_kills_what_the_function_has_started_as_well() {
    let begun = Begun::new();
    let scheduler = scheduler(|settings| settings.workers.timeout = Duration::from_millis(500).into());
    let handle = submit::<()>(&scheduler, Job::process("family", begun.path()));
    let grandchild = begun.pid().await;
    assert!(matches!(fault(handle.await), ProcessFault::TimedOut { .. }));
    // It is a child of somebody else by now, who reaps it.
    until("the end of the grandchild", || !runs(grandchild)).await;
}

/// Whether a process runs: a dead one that its new parent has not reaped does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    exists(pid) && !stat.contains(") Z ")
}

#[tokio::test]
async fn a_worker_that_needs_more_memory_than_it_may_have_ends() {
    let scheduler = scheduler(|settings| settings.workers.memory_limit = ByteSize::mib(96));
    assert_eq!(submit::<usize>(&scheduler, Job::process("hog", 16_usize)).await.unwrap(), 16 << 20);
    let told = submit::<usize>(&scheduler, Job::process("hog", 200_usize)).await.unwrap_err();
    assert!(told.to_string().contains("needs more memory than the 96MiB of scheduler.workers.memory_limit"), "{told}");
    assert_eq!(submit::<usize>(&scheduler, Job::process("hog", 16_usize)).await.unwrap(), 16 << 20);
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_with_the_limit() {
    let scheduler = scheduler(|settings| settings.workers.message_max = ByteSize::kib(64));
    let large = submit::<usize>(&scheduler, Job::process("len", vec![0_u8; 100_000])).await.unwrap_err();
    assert_eq!(large.outcome(), Outcome::Rejected);
    assert!(large.to_string().contains("a message may take 64KiB"), "{large}");
    assert_eq!(stats(&scheduler).started, 0, "nobody was started for it");
    let before = pid_of(&scheduler).await;
    let large = fault(submit::<Vec<u8>>(&scheduler, Job::process("bytes", 100_000_usize)).await);
    let ProcessFault::TooLarge { message: Message::Result, size, limit } = large else { panic!("{large}") };
    assert!(size > ByteSize::b(100_000) && limit == ByteSize::kib(64), "{size} {limit}");
    assert_eq!(pid_of(&scheduler).await, before, "the worker goes on");
    let ledger = scheduler.lane_stats(LaneKind::Process).ledger;
    assert_eq!((ledger.rejected, ledger.failed, ledger.done), (1, 1, 2));
}

#[tokio::test]
async fn unknown_functions_and_wrong_types_are_refused_by_name() {
    let scheduler = scheduler(|_| {});
    let unknown = submit::<()>(&scheduler, Job::process("adn", ())).await.unwrap_err();
    assert!(
        unknown.to_string().contains("no function is called \"adn\"; registered are \"abort\", \"add\""),
        "{unknown}"
    );
    let mistyped = submit::<u32>(&scheduler, Job::process("add", (1_u64, 2_u64))).await.unwrap_err().to_string();
    assert!(
        mistyped.contains("registered as fn((u32, u32)) -> u32, and was called as fn((u64, u64)) -> u32"),
        "{mistyped}"
    );
    assert_eq!(stats(&scheduler).started, 0);
    let none = Scheduler::new("none").unwrap();
    let refused = submit::<()>(&none, Job::process("pid", ())).await.unwrap_err();
    assert!(refused.to_string().contains("workers(…)"), "{refused}");
    assert_eq!(none.lane_stats(LaneKind::Process).ledger.rejected, 1);
}

#[tokio::test]
async fn functions_that_cannot_be_registered_are_told_where_the_scheduler_is_built() {
    let bad = Workers::new().register("a b", add).register("add", add).register("add", add);
    let Err(SchedulerError::Workers { problem, .. }) = Scheduler::builder("bad").workers(bad).build() else {
        panic!("it was built")
    };
    assert!(problem.contains("a b") && problem.contains("\"add\" is registered twice"), "{problem}");
}

#[tokio::test]
async fn a_start_that_fails_is_told_and_further_ones_wait() {
    let mut settings = SchedulerSettings::default();
    settings.workers.backoff.base = Duration::from_secs(1800).into();
    settings.workers.backoff.max = Duration::from_secs(3600).into();
    // A program that never comes as far as `serve`.
    let nowhere = workers().arguments(["--exact", "no-such-test"]);
    let scheduler = Scheduler::builder("bad").settings(settings).workers(nowhere).build().unwrap();
    let first = submit::<u32>(&scheduler, Job::process("pid", ())).await.unwrap_err();
    let text = first.to_string();
    assert!(
        text.contains("no worker could be started") && text.contains("ended with exit status 0 before it served"),
        "{text}"
    );
    assert_eq!(first.outcome(), Outcome::Rejected);
    assert!(first.retry_after().unwrap() > Duration::from_secs(800), "{first:?}");
    let second = submit::<u32>(&scheduler, Job::process("pid", ())).await.unwrap_err();
    assert!(second.retry_after().unwrap() > Duration::from_secs(800), "{second:?}");
    let WorkerStats { alive, started, start_failures, .. } = stats(&scheduler);
    assert_eq!((alive, started, start_failures), (0, 0, 1), "the second was not tried");
}

#[tokio::test]
async fn a_program_that_forgets_to_serve_does_not_start_itself_without_end() {
    let forgets = workers().arguments(["--exact", "forgetful"]);
    let scheduler = Scheduler::builder("bad").workers(forgets).build().unwrap();
    let told = submit::<u32>(&scheduler, Job::process("pid", ())).await.unwrap_err().to_string();
    // Its assertions held, and it ended.
    assert!(told.contains("ended with exit status 0 before it served"), "{told}");
}

#[test]
fn workers_one_inside_of_the_other_come_to_an_end() {
    let mut deep = std::process::Command::new(std::env::current_exe().unwrap());
    let ended = deep.args(["--exact", "forgetful"]).env("WORKER_OF_TRIMTAB", DEEP).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
}

#[tokio::test]
async fn a_worker_that_does_not_serve_in_time_is_killed() {
    let mut settings = SchedulerSettings::default();
    settings.workers.start_timeout = Duration::from_millis(50).into();
    let sleeps = workers().arguments(["--exact", "sleeper"]);
    let scheduler = Scheduler::builder("slow").settings(settings).workers(sleeps).build().unwrap();
    let told = submit::<u32>(&scheduler, Job::process("pid", ())).await.unwrap_err().to_string();
    assert!(told.contains("did not serve within 50ms; call Workers::serve first in main"), "{told}");
    assert_eq!(stats(&scheduler).alive, 0);
}

// The end of a job, a worker, a scheduler.

#[tokio::test]
async fn a_running_job_that_is_cancelled_takes_its_worker_along_and_a_queued_one_does_not() {
    let begun = Begun::new();
    let scheduler = scheduler(|settings| settings.process.ceiling = Some(1));
    let running = submit::<()>(&scheduler, Job::process("hang", begun.path()));
    let queued = submit::<u32>(&scheduler, Job::process("pid", ()));
    let next = submit::<u32>(&scheduler, Job::process("pid", ()));
    let hanging = begun.pid().await;
    assert_eq!((running.status(), queued.status()), (Status::Running, Status::Queued));
    assert!(queued.cancel());
    assert!(matches!(queued.await, Err(JobError::Cancelled(_, Cancellation::Asked))));
    assert!(exists(hanging));
    assert!(running.cancel());
    assert!(matches!(running.await, Err(JobError::Cancelled(_, Cancellation::Asked))));
    assert_ne!(next.await.unwrap(), hanging);
    until("the end of the worker", || !exists(hanging)).await;
    until("its entry", || stats(&scheduler).cancelled == 1).await;
    assert_eq!(scheduler.lane_stats(LaneKind::Process).ledger.cancelled, 2);
}

#[tokio::test]
async fn workers_are_replaced_after_so_many_jobs() {
    let scheduler = scheduler(|settings| {
        settings.workers.jobs_max = 2;
        settings.process.ceiling = Some(1);
    });
    let mut pids = Vec::new();
    for _ in 0..6 {
        pids.push(pid_of(&scheduler).await);
    }
    pids.dedup();
    assert_eq!(pids.len(), 3);
    until("their end", || stats(&scheduler).retired == 3).await;
    assert!(!pids.into_iter().any(exists));
}

#[tokio::test]
async fn workers_without_work_leave_after_a_while_and_come_back() {
    let scheduler = scheduler(|settings| settings.workers.idle_max = Duration::from_millis(20).into());
    let first = pid_of(&scheduler).await;
    until("the end of the worker", || stats(&scheduler).alive == 0).await;
    assert!(!exists(first));
    pid_of(&scheduler).await;
    assert!(stats(&scheduler).retired >= 1);
}

#[tokio::test]
async fn changed_settings_hold_for_the_next_job() {
    let scheduler = scheduler(|settings| settings.workers.message_max = ByteSize::kib(1));
    let before = pid_of(&scheduler).await;
    let mut settings = SchedulerSettings::default();
    settings.workers.message_max = ByteSize::mib(1);
    scheduler.apply(&settings).unwrap();
    assert_eq!(submit::<usize>(&scheduler, Job::process("len", vec![0_u8; 100_000])).await.unwrap(), 100_000);
    until("the end of the old worker", || !exists(before)).await;
    assert_eq!(stats(&scheduler).retired, 1);
}

#[tokio::test]
async fn a_drain_lets_jobs_finish_and_kills_all_workers() {
    let scheduler = scheduler(|_| {});
    let idle = pid_of(&scheduler).await;
    let sums: Vec<_> = (0..5_u32).map(|n| submit::<u32>(&scheduler, Job::process("add", (n, n)))).collect();
    let drain = scheduler.drain(Duration::from_secs(60)).await;
    assert!(drain.is_clean(), "{drain}");
    for sum in sums {
        sum.await.unwrap();
    }
    until("the end of all workers", || stats(&scheduler).alive == 0).await;
    assert!(!exists(idle));
    let late = submit::<u32>(&scheduler, Job::process("pid", ())).await;
    assert!(matches!(late, Err(JobError::Closed(_))));
}

#[tokio::test]
async fn a_drain_cuts_off_what_hangs() {
    let (scheduler, begun) = (scheduler(|_| {}), Begun::new());
    let hanging = submit::<()>(&scheduler, Job::process("hang", begun.path()));
    let hung = begun.pid().await;
    let drain = scheduler.drain(Duration::from_millis(10)).await;
    assert_eq!((drain.cancelled.get("hang"), drain.still_running), (Some(&1), 0), "{drain}");
    assert!(matches!(hanging.await, Err(JobError::Cancelled(_, Cancellation::Drained))));
    until("the end of the worker", || !exists(hung)).await;
}

#[tokio::test]
async fn dropping_the_scheduler_kills_every_worker() {
    let begun = Begun::new();
    let scheduler = scheduler(|_| {});
    let hanging = submit::<()>(&scheduler, Job::process("hang", begun.path()));
    let (hung, idle) = (begun.pid().await, pid_of(&scheduler).await);
    assert!(exists(hung) && exists(idle) && hung != idle);
    drop(scheduler);
    assert!(matches!(hanging.await, Err(JobError::Cancelled(_, Cancellation::Dropped))));
    until("the end of all workers", || !exists(hung) && !exists(idle)).await;
}

#[tokio::test]
async fn the_end_of_the_runtime_kills_every_worker() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let begun = Begun::new();
    let mut settings = SchedulerSettings::default();
    settings.machine.cpu = Some(4.0);
    settings.process.ceiling = Some(2);
    let built = Scheduler::builder("ends").settings(settings).workers(workers()).runtime(runtime.handle().clone());
    let scheduler = built.build().unwrap();
    let hanging = submit::<()>(&scheduler, Job::process("hang", begun.path()));
    let (hung, idle) = (begun.pid().await, pid_of(&scheduler).await);
    runtime.shutdown_background();
    assert!(matches!(hanging.await, Err(JobError::Cancelled(_, Cancellation::RuntimeEnded))));
    until("the end of all workers", || !exists(hung) && !exists(idle)).await;
    assert_eq!(stats(&scheduler).alive, 0);
}

#[tokio::test]
async fn the_books_are_exact_when_every_tenth_job_crashes() {
    let scheduler = scheduler(|_| {});
    let mut group = Group::new();
    for n in 0..200_u32 {
        group.submit(&scheduler, Job::process::<_, u32>("tenth", n));
    }
    let mut done = Vec::new();
    let mut crashed = 0;
    for (_, result) in group.join().await {
        match result {
            Ok(n) => done.push(n),
            Err(error) => {
                assert!(matches!(&error, JobError::Process(_)), "{error}");
                crashed += 1;
            }
        }
    }
    done.sort_unstable();
    let expected: Vec<u32> = (0..200).filter(|n| n % 10 != 9).collect();
    assert_eq!((done, crashed), (expected, 20));
    let ledger = scheduler.lane_stats(LaneKind::Process).ledger;
    assert_eq!((ledger.submitted, ledger.done, ledger.failed, ledger.open()), (200, 180, 20, 0));
    let WorkerStats { alive, started, crashed, .. } = stats(&scheduler);
    assert_eq!(crashed, 20);
    assert!(alive <= 2 && (20..=22).contains(&started), "{alive} {started}");
}

#[tokio::test]
async fn a_storm_of_cancellations_leaves_the_books_exact_and_no_process_behind() {
    let scheduler = scheduler(|settings| settings.process.ceiling = Some(3));
    let mut told = 0_u64;
    let mut handles = Vec::new();
    for n in 0..60_u32 {
        let job = if n % 7 == 0 { Job::process::<_, u32>("tenth", 9) } else { Job::process("tenth", 0) };
        let handle = submit(&scheduler, job);
        if n % 3 == 0 {
            // In whatever state it is by then.
            for _ in 0..n % 11 {
                tokio::task::yield_now().await;
            }
            handle.cancel();
        }
        handles.push(handle);
    }
    for handle in handles {
        drop(handle.await);
        told += 1;
    }
    let ledger = scheduler.lane_stats(LaneKind::Process).ledger;
    assert_eq!((told, ledger.submitted, ledger.open()), (60, 60, 0), "{ledger:?}");
    scheduler.drain(Duration::ZERO).await;
    until("the end of all workers", || stats(&scheduler).alive == 0).await;
    let WorkerStats { started, crashed, timed_out, cancelled, retired, closed, .. } = stats(&scheduler);
    assert_eq!(started, crashed + timed_out + cancelled + retired + closed);
}
