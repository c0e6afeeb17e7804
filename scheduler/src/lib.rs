#![doc = include_str!("../README.md")]
//!
//! # Reading order of lanes and jobs
//!
//! | module | idea |
//! |---|---|
//! | [`job`] | work, and what the scheduler should know about it; inside, who owns a job (`job/state`), its one allocation (`job/cell`), and its tries (`job/attempts`) |
//! | [`handle`], [`group`], [`background`] | one job, a set of jobs, jobs known by a number |
//! | [`scheduler`] | lanes under one name and one budget |
//! | [`lane`] | a queue, a ceiling, a budget; inside, the books (`lane/inner`) and what polls (`lane/runner`) |
//! | [`ceiling`] | how many run at the same time: fixed, AIMD, gradient |
//! | [`estimate`] | what jobs of a kind take |
//! | `process` (feature) | functions that run in worker processes |
//! | [`drain`] | the end, with a report |
//! | [`config`], [`stats`], [`metrics`], [`error`] | settings, numbers, their publication, every refusal with the way out |
//!
//! Inside, `queue` says who starts next and `budget` what all lanes may take together.
#![deny(unsafe_code)]

#[cfg(all(feature = "process", not(unix)))]
compile_error!(
    "the feature `process` of trimtab-scheduler starts worker processes over Unix sockets; turn it off here"
);

// Lanes and jobs.
pub mod background;
mod budget;
pub mod ceiling;
mod clock;
pub mod config;
pub mod drain;
pub mod error;
pub mod estimate;
pub mod group;
pub mod handle;
mod histogram;
pub mod job;
pub mod lane;
mod load;
pub mod metrics;
#[cfg(feature = "process")]
pub mod process;
mod queue;
pub mod scheduler;
pub mod stats;
mod sync;

pub use background::{BackgroundError, BackgroundStatus};
pub use ceiling::Ceiling;
pub use config::{LaneSettings, SchedulerSettings};
pub use drain::DrainReport;
pub use error::{JobError, SchedulerError};
pub use group::Group;
pub use handle::{Handle, JobId};
pub use job::{Attempts, Cost, Job, JobContext, Outcome, Priority, Status};
pub use lane::LaneKind;
#[cfg(feature = "process")]
pub use process::{ProcessFault, Workers, config::WorkerSettings};
pub use scheduler::{Refused, Scheduler};
pub use stats::{LaneStats, Ledger, SchedulerStats};

// Manners: what stands around a call.
pub mod balance;
pub mod batch;
pub mod chain;
pub mod fallback;
pub mod gate;
pub mod hedge;
#[cfg(feature = "tower")]
pub mod layer;
pub mod manners;
pub mod retry;
pub mod scale;
pub mod timeout;

pub use balance::{BalanceStats, Balancer, HealthChecks, Picked, WorkerStats};
pub use batch::{BatchError, BatchStats, Batcher, BatcherBuilder, Loss};
pub use chain::{Chain, Standard};
pub use fallback::Fallback;
pub use gate::breaker::{Breaker, BreakerPermit, BreakerState, BreakerStats};
pub use gate::bulkhead::Bulkhead;
pub use gate::pace::{Pace, PaceStats};
pub use gate::semaphore::{OwnedPermit, Permit, PermitStats, Semaphore};
pub use gate::{Gate, Gated, Pass};
pub use hedge::{Hedge, HedgeStats};
pub use manners::config::{
    BalanceSettings, BatchSettings, BreakerSettings, BudgetSettings, BulkheadSettings, CallSettings, HedgeSettings,
    Policy, RetrySettings, ScaleSettings,
};
pub use manners::{CallError, CallOutcome, Faults, Judge, Manner, Reason, Refusal, SetupError, TimedOut};
pub use retry::{Budget, Classify, Retry, RetryStats, Transient, Verdict};
pub use scale::{Scaler, Step};
pub use timeout::{Timeout, TimeoutStats};
