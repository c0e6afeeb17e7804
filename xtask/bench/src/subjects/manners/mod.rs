//! What stands around a call, beside the best-known: breakers, semaphores, chains, choices among workers, batches.
//!
//! Read [`gates`] for what threads do, [`calls`] for what one task pays around a call, [`picks`] and [`batches`] for the rest,
//! [`behaviour`] for what speed must not cost; [`bars`] says what must hold.

mod bars;
pub mod batches;
mod behaviour;
mod calls;
mod gates;
mod picks;

use crate::frame::{Bar, Case, Contender, Measure, Options, Plan, Rounds, Subject};

/// The subject `manners`.
#[derive(Debug)]
pub struct MannersSubject;

impl Subject for MannersSubject {
    fn name(&self) -> &'static str {
        "manners"
    }

    fn about(&self) -> &'static str {
        "around a call: breaker, semaphore, retry, time-out, chains, balancer, batches"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab-scheduler", "tokio", "failsafe", "tower", "batch-aint-one"]
    }

    fn plan(&self, _: &Options) -> Result<Plan, String> {
        let mut cases = gates::cases();
        cases.extend(calls::cases());
        cases.extend(picks::cases());
        cases.extend(batches::cases());
        cases.extend(behaviour::cases());
        Ok(Plan { cases, notes: Vec::new() })
    }

    fn bars(&self) -> Vec<Bar> {
        bars::BARS.to_vec()
    }
}

/// A case that measures the nanoseconds of an operation.
fn nanoseconds(name: String, what: String, threads: usize, contenders: Vec<Contender>) -> Case {
    Case { name, what, threads, measures: vec![Measure::lower("time", "ns")], contenders, rounds: Rounds::Timed }
}

/// What went wrong, as the frame wants it.
fn shown(error: impl std::fmt::Display) -> String {
    error.to_string()
}
