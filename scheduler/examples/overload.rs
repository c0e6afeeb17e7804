//! A lane under three times the load it can carry: what is important is served, what is not is refused in time.
//!
//! `cargo run --release -p trimtab-scheduler --example overload`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use trimtab_scheduler::config::WhenFull;
use trimtab_scheduler::{Group, Job, Outcome, Priority, Scheduler, SchedulerSettings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = SchedulerSettings::default();
    settings.io.ceiling = Some(4);
    settings.io.queue_max = 100;
    settings.io.when_full = WhenFull::Shed;
    let scheduler = Scheduler::builder("overload").settings(settings).build()?;

    // Four at a time for 5 ms each are 800 a second; 2,400 come, a tenth of them important.
    let (mut important, mut others) = (Group::new(), Group::new());
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for n in 0..2_400 {
        if n % 3 == 0 {
            tick.tick().await;
        }
        let job = Job::io(tokio::time::sleep(Duration::from_millis(5))).deadline(Duration::from_millis(200));
        if n % 10 == 0 {
            important.submit(&scheduler, job.priority(Priority::High));
        } else {
            others.submit(&scheduler, job.priority(Priority::Low));
        }
    }
    for (name, group) in [("important", important), ("others", others)] {
        let results = group.join().await;
        let count = |outcome| {
            let is = |result: &Result<(), trimtab_scheduler::JobError>| match result {
                Ok(()) => outcome == Outcome::Done,
                Err(error) => error.outcome() == outcome,
            };
            results.iter().filter(|(_, result)| is(result)).count()
        };
        println!(
            "{name}: {} done, {} shed, {} expired, {} rejected of {}",
            count(Outcome::Done),
            count(Outcome::Shed),
            count(Outcome::Expired),
            count(Outcome::Rejected),
            results.len()
        );
    }
    println!("{}", scheduler.drain(Duration::from_secs(1)).await);
    Ok(())
}
