//! What the budget has decided, and why, for people and programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use trimtab_config::ByteSize;

use super::decide::Proposal;

/// One move of bytes, with its reasons. Its `Display` says it in a sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// When, in seconds on the clock of [`tick`](super::MemoryBudget::tick).
    pub at_seconds: f64,
    /// The cache that gave; `None` for bytes that no cache had.
    pub from: Option<String>,
    /// The cache that got.
    pub to: String,
    /// Bytes that moved.
    pub bytes: u64,
    /// Bytes of the whole way that the numbers below are about; this step is its beginning.
    pub way_bytes: u64,
    /// What the receiver's hit ratio gains by the whole way, in points.
    pub gain_points: f64,
    /// Its standard error.
    pub gain_error: f64,
    /// What the donor's hit ratio loses by it, in points.
    pub loss_points: f64,
    /// Its standard error.
    pub loss_error: f64,
    /// Cost of misses that the receiver saves each second.
    pub saved: f64,
    /// Cost of misses that the donor pays for it each second.
    pub paid: f64,
    /// Standard error of the difference of the two.
    pub error: f64,
}

impl Decision {
    pub(super) fn new(at: Duration, from: Option<String>, to: String, bytes: u64, step: &Proposal) -> Self {
        Self {
            at_seconds: at.as_secs_f64(),
            from,
            to,
            bytes,
            way_bytes: step.way,
            gain_points: step.gain.value * 100.0,
            gain_error: step.gain.error * 100.0,
            loss_points: step.loss.value * 100.0,
            loss_error: step.loss.error * 100.0,
            saved: step.saved,
            paid: step.paid,
            error: step.error,
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes| ByteSize::b(bytes).rounded();
        write!(f, "{} to {}", size(self.bytes), self.to)?;
        match &self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from what no cache had")?,
        }
        write!(f, ": {} more would raise its hits by {:.1} points", size(self.way_bytes), self.gain_points)?;
        write!(f, " (\u{b1}{:.1})", self.gain_error)?;
        if let Some(from) = &self.from {
            write!(f, " and cost {from} {:.1} (\u{b1}{:.1})", self.loss_points, self.loss_error)?;
        }
        write!(
            f,
            "; misses would cost {:.3} less and {:.3} more a second (\u{b1}{:.3})",
            self.saved, self.paid, self.error
        )
    }
}

/// A cache under the budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemberState {
    /// The cache.
    pub name: String,
    /// Its limit now.
    pub limit_bytes: u64,
    /// The least that it keeps.
    pub min_bytes: u64,
    /// The most that it may get.
    pub max_bytes: u64,
    /// Lookups a second over the last intervals; `None` before the first.
    pub lookups_per_second: Option<f64>,
    /// What a miss costs: seconds of a load, or the weight given; `None` if nothing is known.
    pub miss_cost: Option<f64>,
}

/// The budget and all that it did of late.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetState {
    /// The budget.
    pub total_bytes: u64,
    /// What no cache has.
    pub free_bytes: u64,
    /// Time between decisions.
    pub interval_seconds: f64,
    /// The caches that take part, by name.
    pub members: Vec<MemberState>,
    /// The caches that do not, and why.
    pub left_out: BTreeMap<String, String>,
    /// The latest moves, newest first.
    pub decisions: Vec<Decision>,
}
