//! The scheduler: its lanes beside tokio's own tasks, and what stands around a call beside the best-known.
//!
//! Read [`jobs`] for what a job costs, [`flood`] and [`queued`] for what waits and who passes, [`overload`] for what is served
//! when too much comes, [`ceilings`] for how many run at once, [`figures`] for what the documents promise, [`manners`] for the
//! rest; [`bars`] says what must hold. Parts run by filter: `bench scheduler --filter jobs/`, `--filter breaker/,call/`.

mod bars;
mod ceilings;
mod figures;
mod flood;
mod jobs;
pub mod manners;
mod overload;
pub mod queued;

use trimtab_config::ByteSize;
use trimtab_scheduler::{Scheduler, SchedulerSettings};

use crate::frame::{Bar, Case, Contender, Measure, Options, Plan, Rounds, Subject};

/// The subject `scheduler`.
#[derive(Debug)]
pub struct SchedulerSubject;

impl Subject for SchedulerSubject {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn about(&self) -> &'static str {
        "lanes: jobs, priorities, overload, ceilings; manners: breaker, semaphore, retry, time-out, balancer, batches"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab-scheduler", "tokio", "failsafe", "tower", "batch-aint-one"]
    }

    fn plan(&self, _: &Options) -> Result<Plan, String> {
        let mut cases = jobs::cases();
        cases.extend(flood::cases());
        cases.extend(queued::cases());
        cases.extend(overload::cases());
        cases.extend(ceilings::cases());
        cases.extend(figures::cases());
        cases.extend(manners::cases());
        Ok(Plan { cases, notes: Vec::new() })
    }

    fn bars(&self) -> Vec<Bar> {
        bars::BARS.iter().chain(manners::BARS).copied().collect()
    }
}

/// Rounds of cases that take less than a second a turn: as many as let the whole subject end within eight minutes.
const ROUNDS: Rounds = Rounds::Warmed(5);

/// A case that measures the nanoseconds of an operation.
fn nanoseconds(name: String, what: String, threads: usize, contenders: Vec<Contender>) -> Case {
    Case { name, what, threads, measures: vec![Measure::lower("time", "ns")], contenders, rounds: ROUNDS }
}

/// What went wrong, as the frame wants it.
fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A runtime with so many workers.
fn runtime(workers: usize) -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_time().build().map_err(shown)
}

/// A scheduler whose io lane has room for a million jobs, on the runtime in which this is called.
fn scheduler(change: impl FnOnce(&mut SchedulerSettings)) -> Result<Scheduler, String> {
    let mut settings = SchedulerSettings::default();
    settings.io.queue_max = 2_000_000;
    settings.io.queue_bytes = ByteSize::gib(4);
    change(&mut settings);
    Scheduler::builder("bench").settings(settings).build().map_err(shown)
}
