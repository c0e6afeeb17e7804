//! What pools hold and what happened in them, as plain numbers.

use std::sync::Arc;

use serde::Serialize;

pub use crate::histogram::Waits;

/// What a trim freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Trimmed {
    /// Resources, objects, buffers or words let go.
    pub objects: usize,
    /// Bytes given back, where the pool knows what its objects weigh; else 0.
    pub bytes: usize,
}

impl std::ops::Add for Trimmed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { objects: self.objects + other.objects, bytes: self.bytes + other.bytes }
    }
}

/// A resource pool in numbers. Counts are since the pool was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceStats {
    /// The name.
    pub name: Arc<str>,
    /// Resources kept even when nobody asks.
    pub min: usize,
    /// The most resources.
    pub max: usize,
    /// How many the demand of the last periods asks for, between `min` and `max`.
    pub wanted: usize,
    /// Resources that exist, are being made or being closed.
    pub total: usize,
    /// Resources leased.
    pub in_use: usize,
    /// Resources ready for the next caller.
    pub idle: usize,
    /// Resources being made.
    pub creating: usize,
    /// Resources being checked or recycled.
    pub checking: usize,
    /// Callers waiting.
    pub waiting: usize,
    /// Leases.
    pub acquired: u64,
    /// Leases whose caller had to wait.
    pub waited: u64,
    /// Resources made.
    pub created: u64,
    /// Attempts to make one that failed.
    pub create_failures: u64,
    /// Leases that ended with the resource back in the pool.
    pub recycled: u64,
    /// Checks and recyclings that failed.
    pub check_failures: u64,
    /// Resources closed as broken.
    pub discarded: u64,
    /// Resources closed for age, disuse or a drain.
    pub expired: u64,
    /// Resources closed because fewer were needed.
    pub trimmed: u64,
    /// Resources taken out for good by a caller.
    pub taken: u64,
    /// Callers whose time ran out.
    pub timeouts: u64,
    /// Callers who stopped waiting by themselves.
    pub cancelled: u64,
    /// Callers refused at once.
    pub refused: u64,
    /// Leases reported as leaks.
    pub leaked: u64,
    /// How long callers waited lately.
    pub waits: Waits,
}

/// The share of requests that needed nothing new; 1 before the first.
pub(crate) fn ratio(created: u64, requests: u64) -> f64 {
    if requests == 0 { 1.0 } else { 1.0 - (created.min(requests) as f64 / requests as f64) }
}

impl ResourceStats {
    /// The share of leases that needed no new resource, 0 to 1; 1 before the first.
    pub fn reuse_ratio(&self) -> f64 {
        ratio(self.created, self.acquired)
    }
}
