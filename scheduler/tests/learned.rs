//! What is learned of jobs by measuring them.

use std::sync::{Arc, Barrier};

use trimtab_scheduler::{Cost, Job, Scheduler};

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closure_that_waits_is_not_taken_for_one_that_computes() {
    let scheduler = Scheduler::new("test").unwrap();
    for _ in 0..8 {
        let (here, there) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (begun, ended) = (Arc::clone(&here), Arc::clone(&there));
        let job = Job::cpu(move || {
            begun.wait();
            ended.wait();
        });
        let handle = scheduler.submit(job.name("waits").cost(Cost::cpu(1.0)));
        tokio::task::spawn_blocking(move || {
            here.wait();
            // Work that takes at least some milliseconds, however fast the machine is, while the closure waits.
            let mut sum = 0_u64;
            for n in 0..5_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(n * n));
            }
            there.wait();
        })
        .await
        .unwrap();
        handle.await.unwrap();
    }
    // A result is handed over before its job is struck off the books.
    let kind = loop {
        let kind = scheduler.stats().kinds.into_iter().find(|kind| kind.name == "waits").unwrap();
        if kind.ended == 8 {
            break kind;
        }
        tokio::task::yield_now().await;
    };
    assert!(kind.cpu < 0.5, "{kind:?}");
    assert!(kind.off, "one processor was declared: {kind:?}");
}
