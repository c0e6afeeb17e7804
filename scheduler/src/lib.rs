#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

// Lanes and jobs.

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
pub use manners::{CallError, Faults, Judge, Manner, Outcome, Reason, Refusal, SetupError, TimedOut};
pub use retry::{Budget, Classify, Retry, RetryStats, Transient, Verdict};
pub use scale::{Scaler, Step};
pub use timeout::{Timeout, TimeoutStats};
