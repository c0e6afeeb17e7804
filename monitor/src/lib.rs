#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

// What there is to see.
mod probe;
mod sample;

// What it means.
mod health;
mod history;
mod pressure;

// Looking at regular times.
mod error;
mod monitor;
mod settings;

// Acting on it.
pub mod advise;
mod reclaim;

// Metrics: of your own, of this crate, and the way out.
pub mod meter;
pub mod metrics;
#[cfg(feature = "prometheus")]
pub mod prometheus;

#[doc(inline)]
pub use advise::{CacheEvidence, Evidence, MemoryEvidence, Number, Recommendation, Severity, SizeEvidence, advise};
pub use error::MonitorError;
pub use health::{Component, ComponentHealth, Health, HealthReport, MemoryHealth, MemoryStatus, Need, State, Verdict};
pub use history::{History, Point, Summary};
#[doc(inline)]
pub use meter::{Timer, TimerScope};
pub use monitor::{CallbackId, Monitor, MonitorBuilder, Tick, series};
pub use pressure::{Hint, Pressure, PressureGauge, PressureReport, Thresholds};
pub use probe::Probe;
pub use reclaim::{ReclaimError, Reclaimed, Reclaimer, reclaim};
pub use sample::{Gap, LoadAverage, MachineSample, MemorySample, ProcessSample, Sample, Stall, UsedSource};
pub use settings::{MonitorSettings, PressureSettings};
