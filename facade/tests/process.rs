//! Worker processes in the assembled system: functions by the builder, settings by section, their end at the stop.
#![cfg(unix)]

use std::time::Duration;

use serde_json::json;
use trimtab::Trimtab;
use trimtab::scheduler::{Job, JobError, LaneKind, ProcessFault, Workers};

fn workers() -> Workers {
    Workers::new()
        .register("double", |n: u32| 2 * n)
        .register("hang", |(): ()| -> () {
            loop {
                std::thread::park();
            }
        })
        .arguments(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .silent()
}

#[test]
fn worker() {
    // Does something only where this program was started as a worker.
    workers().serve();
}

#[tokio::test]
async fn functions_run_in_workers_that_have_the_settings_of_their_sections() {
    let builder = Trimtab::builder().no_file().variables::<&str, &str>([]).workers(workers());
    let tt = builder
        .set("scheduler.process.ceiling", 1)
        .set("scheduler.workers.start_timeout", "10m")
        .set("scheduler.workers.message_max", "1KiB")
        .start()
        .await
        .expect("starts");
    let scheduler = tt.scheduler();
    let double: u32 = scheduler.submit(Job::process("double", 21_u32)).await.expect("a result");
    assert_eq!(double, 42);
    assert_eq!(scheduler.lane_stats(LaneKind::Process).ceiling, 1);
    assert!(scheduler.stats().lanes.iter().any(|lane| lane.lane == LaneKind::Process));

    let refused = tt.live().patch(json!({"scheduler": {"workers": {"timeout": "0s", "nise": 3}}}));
    let refused = refused.expect_err("wrong").to_string();
    for part in ["scheduler.workers.timeout", "scheduler.workers.nise"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let changes = tt.live().patch(json!({"scheduler": {"workers": {"timeout": "50ms"}}})).expect("sound");
    assert!(changes.iter().all(|change| !change.restart), "it holds for the next job");
    let hung = scheduler.submit(Job::process::<_, ()>("hang", ())).await;
    let Err(JobError::Process(failure)) = hung else { panic!("{hung:?}") };
    assert!(matches!(failure.fault, ProcessFault::TimedOut { timeout, .. } if timeout == Duration::from_millis(50)));
    assert!(tt.shutdown().await.jobs.is_clean());
    let stats = scheduler.worker_stats().expect("workers");
    assert_eq!((stats.timed_out, stats.idle), (1, 0), "{stats:?}");
}
