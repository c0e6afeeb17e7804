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

/// An object pool in numbers. Counts are since the pool was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectStats {
    /// The name.
    pub name: Arc<str>,
    /// Objects kept even when nobody asks.
    pub min: usize,
    /// The most objects kept.
    pub max: usize,
    /// How many the demand of the last periods asks for.
    pub wanted: usize,
    /// Objects in callers' hands.
    pub in_use: usize,
    /// Objects ready for the next caller.
    pub idle: usize,
    /// Objects given out.
    pub acquired: u64,
    /// Objects made.
    pub created: u64,
    /// Objects that came back.
    pub recycled: u64,
    /// Objects dropped as not worth keeping, or because their reset panicked.
    pub discarded: u64,
    /// Objects dropped because fewer were needed, or beyond the limit.
    pub trimmed: u64,
    /// Objects taken out for good.
    pub taken: u64,
    /// Objects made while the pool was full.
    pub guests: u64,
}

impl ObjectStats {
    /// The share of requests that needed no new object, 0 to 1; 1 before the first.
    pub fn reuse_ratio(&self) -> f64 {
        ratio(self.created, self.acquired)
    }
}

/// A buffer pool in numbers. Counts are since the pool was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferStats {
    /// The name.
    pub name: Arc<str>,
    /// The most bytes that the pool's buffers may have.
    pub bytes_max: usize,
    /// Bytes of all buffers of the pool, in use or not.
    pub bytes_owned: usize,
    /// Bytes of buffers ready for the next caller.
    pub bytes_idle: usize,
    /// Buffers in callers' hands.
    pub in_use: usize,
    /// Buffers ready for the next caller.
    pub idle: usize,
    /// Buffers given out.
    pub acquired: u64,
    /// Buffers made.
    pub created: u64,
    /// Buffers that came back.
    pub recycled: u64,
    /// Buffers dropped because fewer were needed, or beyond the limit.
    pub trimmed: u64,
    /// Requests for more than the pool keeps.
    pub oversize: u64,
    /// Buffers that came back larger than their class, and were made smaller.
    pub shrunk: u64,
}

impl BufferStats {
    /// The share of requests that needed no new buffer, 0 to 1; 1 before the first.
    pub fn reuse_ratio(&self) -> f64 {
        ratio(self.created, self.acquired)
    }
}

/// An interner in numbers. Counts are since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InternerStats {
    /// Words that it holds, or that it holds weakly and somebody uses.
    pub words: usize,
    /// Bytes of their text.
    pub bytes: usize,
    /// Requests for a word that was there.
    pub hits: u64,
    /// Requests for a new word.
    pub misses: u64,
    /// Bytes that were not stored again.
    pub saved_bytes: u64,
}

impl InternerStats {
    /// The share of requests for a word that was there, 0 to 1; 1 before the first.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.misses, self.hits + self.misses)
    }
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

/// A pool of any kind in numbers; what a kind does not have is 0. Counts are since the pool was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PoolNumbers {
    /// Kept even when nobody asks.
    pub min: usize,
    /// The most; bytes for a buffer pool, 0 for an interner.
    pub max: usize,
    /// What the demand of the last periods asks for.
    pub wanted: usize,
    /// In callers' hands.
    pub in_use: usize,
    /// Ready for the next caller.
    pub idle: usize,
    /// Being made.
    pub creating: usize,
    /// Being checked or recycled.
    pub checking: usize,
    /// Callers waiting.
    pub waiting: usize,
    /// Bytes held, where the pool knows.
    pub bytes: usize,
    /// Given out.
    pub acquired: u64,
    /// Given out to callers who had to wait.
    pub waited: u64,
    /// Made.
    pub created: u64,
    /// Attempts to make one that failed.
    pub create_failures: u64,
    /// Come back.
    pub recycled: u64,
    /// Checks that failed.
    pub check_failures: u64,
    /// Dropped as broken or not worth keeping.
    pub discarded: u64,
    /// Dropped for age, disuse or a drain.
    pub expired: u64,
    /// Dropped because fewer were needed.
    pub trimmed: u64,
    /// Taken out for good.
    pub taken: u64,
    /// Callers whose time ran out.
    pub timeouts: u64,
    /// Callers who stopped waiting by themselves.
    pub cancelled: u64,
    /// Callers refused at once.
    pub refused: u64,
    /// Leases reported as leaks.
    pub leaked: u64,
    /// Bytes that an interner did not store again.
    pub saved_bytes: u64,
    /// The share of requests that needed nothing new.
    pub reuse_ratio: f64,
    /// How long callers waited lately, in the middle.
    pub wait_p50: std::time::Duration,
    /// How long 99 of 100 callers waited at most.
    pub wait_p99: std::time::Duration,
}

impl From<ResourceStats> for PoolNumbers {
    fn from(stats: ResourceStats) -> Self {
        Self {
            min: stats.min,
            max: stats.max,
            wanted: stats.wanted,
            in_use: stats.in_use,
            idle: stats.idle,
            creating: stats.creating,
            checking: stats.checking,
            waiting: stats.waiting,
            acquired: stats.acquired,
            waited: stats.waited,
            created: stats.created,
            create_failures: stats.create_failures,
            recycled: stats.recycled,
            check_failures: stats.check_failures,
            discarded: stats.discarded,
            expired: stats.expired,
            trimmed: stats.trimmed,
            taken: stats.taken,
            timeouts: stats.timeouts,
            cancelled: stats.cancelled,
            refused: stats.refused,
            leaked: stats.leaked,
            reuse_ratio: stats.reuse_ratio(),
            wait_p50: stats.waits.p50,
            wait_p99: stats.waits.p99,
            ..Self::default()
        }
    }
}

impl From<ObjectStats> for PoolNumbers {
    fn from(stats: ObjectStats) -> Self {
        Self {
            min: stats.min,
            max: stats.max,
            wanted: stats.wanted,
            in_use: stats.in_use,
            idle: stats.idle,
            acquired: stats.acquired,
            created: stats.created,
            recycled: stats.recycled,
            discarded: stats.discarded,
            trimmed: stats.trimmed,
            taken: stats.taken,
            reuse_ratio: stats.reuse_ratio(),
            ..Self::default()
        }
    }
}

impl From<BufferStats> for PoolNumbers {
    fn from(stats: BufferStats) -> Self {
        Self {
            max: stats.bytes_max,
            in_use: stats.in_use,
            idle: stats.idle,
            bytes: stats.bytes_owned,
            acquired: stats.acquired,
            created: stats.created,
            recycled: stats.recycled,
            trimmed: stats.trimmed,
            reuse_ratio: stats.reuse_ratio(),
            ..Self::default()
        }
    }
}

impl From<InternerStats> for PoolNumbers {
    fn from(stats: InternerStats) -> Self {
        Self {
            idle: stats.words,
            bytes: stats.bytes,
            acquired: stats.hits + stats.misses,
            created: stats.misses,
            saved_bytes: stats.saved_bytes,
            reuse_ratio: stats.hit_ratio(),
            ..Self::default()
        }
    }
}
