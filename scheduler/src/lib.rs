#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

// Lanes and jobs.
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
mod queue;
pub mod scheduler;
pub mod stats;
mod sync;

pub use ceiling::Ceiling;
pub use config::{LaneSettings, SchedulerSettings};
pub use drain::DrainReport;
pub use error::{JobError, SchedulerError};
pub use group::Group;
pub use handle::{Handle, JobId};
pub use job::{Cost, Job, JobContext, Outcome, Priority, Status};
pub use lane::LaneKind;
pub use scheduler::{Refused, Scheduler};
pub use stats::{LaneStats, Ledger, SchedulerStats};

// Manners: what stands around a call.
