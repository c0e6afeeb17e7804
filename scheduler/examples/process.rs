//! A function that crashes, leaks and hangs now and then, in worker processes: each accident is the error of one job.
//!
//! `cargo run --release -p trimtab-scheduler --features process --example process`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use trimtab_config::ByteSize;
use trimtab_scheduler::{Group, Job, Scheduler, SchedulerSettings, Workers};

/// Counts the letters of a document; some documents are bad.
#[allow(clippy::needless_pass_by_value, reason = "what comes out of a message is owned")]
fn letters(document: String) -> usize {
    match document.as_str() {
        "crash" => std::process::abort(),
        "leak" => std::hint::black_box(vec![1_u8; 1 << 30]).len(),
        "hang" => loop {
            std::thread::park();
        },
        "panic" => panic!("this is no document"),
        text => text.chars().filter(|letter| letter.is_alphabetic()).count(),
    }
}

fn workers() -> Workers {
    // Silent, since what workers say as they crash is part of the show.
    Workers::new().register("letters", letters).register("echo", |n: u64| n).silent()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In a worker process this serves and never returns.
    workers().serve();
    tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(show())
}

async fn show() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = SchedulerSettings::default();
    settings.process.ceiling = Some(2);
    settings.workers.memory_limit = ByteSize::mib(256);
    settings.workers.timeout = Duration::from_millis(300).into();
    let scheduler = Scheduler::builder("process").settings(settings).workers(workers()).build()?;

    let documents =
        ["one pound of tea", "crash", "two of sugar", "leak", "hang", "three of salt", "panic", "four of flour"];
    let mut group = Group::new();
    for document in documents {
        group.submit(&scheduler, Job::process::<_, usize>("letters", document.to_owned()).tag("document", document));
    }
    for (number, result) in group.join().await {
        match result {
            Ok(letters) => println!("job {number}: {letters} letters"),
            Err(error) => println!("job {number}: {error}"),
        }
    }
    println!("{:?}", scheduler.worker_stats());

    // What the way to a worker and back costs.
    let mut times = Vec::new();
    for n in 0..10_000_u64 {
        let start = Instant::now();
        let echo: u64 = scheduler.submit(Job::process("echo", n)).await?;
        times.push(start.elapsed());
        assert_eq!(echo, n);
    }
    times.sort_unstable();
    println!("a small job, there and back: half within {:?}, 99 of 100 within {:?}", times[5_000], times[9_900]);
    println!("{}", scheduler.drain(Duration::from_secs(1)).await);
    Ok(())
}
