//! What can go wrong in a simulation, as messages for the person at the keyboard.
//!
//! Each message says what was tried, on which trace or option, what was seen, and the next step. Bad input leaves with
//! exit code 2, everything else (a file that cannot be written, a result that cannot be true) with 1.

use std::path::PathBuf;

/// A simulation that could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SimulateError {
    /// A trace could not be opened or read at all.
    #[error("cannot read trace {name:?}: {reason}; {remedy}")]
    Unreadable {
        /// The trace as it was named.
        name: String,
        /// What the system or the decoder said.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// A trace was read up to a place that makes no sense.
    #[error("trace {name:?} is damaged at {place}: {what}; {remedy}")]
    Damaged {
        /// The trace as it was named.
        name: String,
        /// Line or byte offset.
        place: String,
        /// What was seen there, and what was expected.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A trace without a single request.
    #[error("trace {name:?} holds no request{detail}; give a trace with at least one, or another --format")]
    Empty {
        /// The trace as it was named.
        name: String,
        /// What was left out while reading, if anything.
        detail: String,
    },
    /// A synthetic family that does not exist or is wrongly parameterised.
    #[error("synthetic family {text:?}: {what}; {remedy}")]
    Family {
        /// The argument as typed.
        text: String,
        /// Which part is wrong, and the limits.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// An option whose value cannot be used.
    #[error("{option} {value:?}: {what}; {remedy}")]
    Option {
        /// The option's name on the command line.
        option: &'static str,
        /// The value as typed.
        value: String,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A result could not be written.
    #[error("cannot write {path:?}: {reason}; {remedy}")]
    Write {
        /// Where it should have gone.
        path: PathBuf,
        /// What the system said.
        reason: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The cache refused to be built.
    #[error("cannot build the cache of {capacity} entries under policy {policy}: {reason}; choose another --size")]
    Cache {
        /// Capacity asked for.
        capacity: u32,
        /// Policy asked for.
        policy: String,
        /// What the cache said.
        reason: trimtab::cache::BuildError,
    },
    /// A policy had more hits than can be had: the simulation or the cache is wrong.
    #[error(
        "policy {policy} had {hits} {unit} in hits on {trace:?} at {capacity} entries, above the optimum of {optimum}: \
         this is a defect of trimtab, and no figure of this run can be trusted; please report it with the trace and this line"
    )]
    AboveOptimum {
        /// Policy at fault.
        policy: String,
        /// Trace on which it happened.
        trace: String,
        /// Capacity of the cache.
        capacity: u32,
        /// Hits counted.
        hits: u64,
        /// Hits possible.
        optimum: u64,
        /// `requests` or `bytes`.
        unit: &'static str,
    },
    /// A cache held more entries than it may.
    #[error(
        "the cache under policy {policy} held {entries} entries on {trace:?} where {capacity} are allowed: this is a \
         defect of trimtab, and no figure of this run can be trusted; please report it with the trace and this line"
    )]
    OverCapacity {
        /// Policy at fault.
        policy: String,
        /// Trace on which it happened.
        trace: String,
        /// Capacity of the cache.
        capacity: u32,
        /// Entries held.
        entries: u64,
    },
}

impl SimulateError {
    /// Exit code of the program: 2 for input that the caller can correct, 1 otherwise.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. }
            | Self::Damaged { .. }
            | Self::Empty { .. }
            | Self::Family { .. }
            | Self::Option { .. } => 2,
            Self::Write { .. } | Self::Cache { .. } | Self::AboveOptimum { .. } | Self::OverCapacity { .. } => 1,
        }
    }
}
