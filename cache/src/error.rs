//! Every refusal of this crate: what was tried, on which cache, observed against which limit, and the next step.
//!
//! Variants are situations, not sources. Values are given back where the caller could still use them.

use std::sync::Arc;
use std::{error, fmt};

use thiserror::Error;
use trimtab_config::{ByteSize, NameError};

/// Why a memory budget cannot be as described.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The least is more than the most.
    #[error("cache \"{name}\": its least of {min} is more than its most of {max}; lower min or raise max")]
    Bounds {
        /// Name of the cache.
        name: String,
        /// The fewest bytes asked for.
        min: ByteSize,
        /// The most bytes asked for.
        max: ByteSize,
    },
    /// What a miss costs is no positive number.
    #[error("cache \"{name}\": its weight is {weight}; give a number above 0, or none to have loads measured")]
    Weight {
        /// Name of the cache.
        name: String,
        /// The weight asked for.
        weight: f64,
    },
    /// The caches' least sizes do not fit into the budget together.
    #[error(
        "cache \"{name}\": with it the least sizes add up to {sum}, the budget is {total}; lower min or raise the budget"
    )]
    TooSmall {
        /// Name of the cache.
        name: String,
        /// All least sizes together.
        sum: ByteSize,
        /// The budget.
        total: ByteSize,
    },
}

/// Why a cache could not be built from its description.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Neither a number of entries nor a number of bytes limits the cache.
    #[error("cache \"{name}\" has no limit; set max_entries, max_bytes or both")]
    Unbounded {
        /// Name of the cache.
        name: String,
    },
    /// A limit is zero.
    #[error("cache \"{name}\": {field} is 0, so it could never keep anything; set {field} to at least 1")]
    Zero {
        /// Name of the cache.
        name: String,
        /// The setting at fault.
        field: &'static str,
    },
    /// A limit is higher than the engine can address.
    #[error("cache \"{name}\": {field} is {value}, the most is {limit}; lower {field}")]
    TooLarge {
        /// Name of the cache.
        name: String,
        /// The setting at fault.
        field: &'static str,
        /// What was asked for.
        value: u64,
        /// The highest value allowed.
        limit: u64,
    },
    /// The byte limit is lower than the fixed cost of a single entry.
    #[error(
        "cache \"{name}\": max_bytes is {max_bytes} B, but one entry costs {overhead} B before its content; raise max_bytes"
    )]
    SmallerThanOneEntry {
        /// Name of the cache.
        name: String,
        /// The limit asked for, in bytes.
        max_bytes: u64,
        /// Fixed cost of an entry, in bytes.
        overhead: u64,
    },
    /// A byte limit was set, but nothing tells what an entry weighs.
    #[error(
        "cache \"{name}\": max_bytes is set, but no weigher says how many bytes an entry owns; add .weigher(…), for example .weigher(trimtab_cache::weigher::heap)"
    )]
    WeigherMissing {
        /// Name of the cache.
        name: String,
    },
    /// The number of shards is not a power of two between 1 and the limit.
    #[error("cache \"{name}\": {shards} shards asked for; allowed are the powers of two from 1 to {limit}")]
    Shards {
        /// Name of the cache.
        name: String,
        /// What was asked for.
        shards: usize,
        /// The highest number allowed.
        limit: usize,
    },
    /// The shortest life is longer than the longest.
    #[error("cache \"{name}\": adaptive_ttl is {min:?} to {max:?}; the first must not exceed the second")]
    AdaptiveTtl {
        /// Name of the cache.
        name: String,
        /// The shortest life asked for.
        min: std::time::Duration,
        /// The longest life asked for.
        max: std::time::Duration,
    },
    /// A setting of a loading cache that could have no effect beside the others.
    #[error("cache \"{name}\": {field} would have no effect: {fault}")]
    NoEffect {
        /// Name of the cache.
        name: String,
        /// The setting at fault.
        field: &'static str,
        /// Why, and what to do.
        fault: &'static str,
    },
    /// The name cannot be used as a metric label and in paths.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Why a value was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RejectedReason {
    /// The entry alone weighs more than the whole cache may hold.
    #[error(
        "the entry weighs {weight} B with its overhead, the whole cache may hold {limit} B; raise max_bytes or store less"
    )]
    TooHeavy {
        /// Weight of the entry with its overhead, in bytes.
        weight: u64,
        /// Byte limit of the cache.
        limit: u64,
    },
    /// A time to live of zero: the value would be expired before it could be read.
    #[error("its time to live is zero, so it would never be returned; give a longer one")]
    ZeroTtl,
    /// More tags than one entry may have.
    #[error("it has {count} tags, at most {limit} are allowed; tag by group, not by detail")]
    TooManyTags {
        /// How many there are.
        count: usize,
        /// The most allowed.
        limit: usize,
    },
    /// A tag is too long.
    #[error("one of its tags has {length} B, at most {limit} B are allowed; use a shorter name or a hash of it")]
    TagTooLong {
        /// Length of the tag, in bytes.
        length: usize,
        /// The longest allowed, in bytes.
        limit: usize,
    },
}

/// A value that was not stored, given back with the reason.
///
/// An older value under the same key is removed, since the caller has just declared it out of date.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected<V> {
    /// The value, untouched.
    pub value: V,
    /// Why it was refused.
    pub reason: RejectedReason,
    /// Name of the cache that refused.
    pub cache: Arc<str>,
}

impl<V> fmt::Debug for Rejected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("cache", &self.cache).field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<V> fmt::Display for Rejected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cache \"{}\" refused a value: {}", self.cache, self.reason)
    }
}

impl<V> error::Error for Rejected<V> {}

/// Why a value could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader answered with an error. All callers who waited for the same load share it.
    #[error("cache \"{cache}\": the load failed")]
    Failed {
        /// Name of the cache.
        cache: Arc<str>,
        /// What the loader said.
        #[source]
        error: Arc<E>,
    },
    /// A loader asked, directly or through other loads, for the very key that it is loading.
    #[error(
        "cache \"{cache}\": a load asked for the key that it is itself loading and would wait for itself for ever; break the cycle in the loader"
    )]
    Recursive {
        /// Name of the cache.
        cache: Arc<str>,
    },
    /// No value came within the hard time-out, and there was no older one to answer with. The load goes on.
    #[error("cache \"{cache}\": no value came within {after:?}; the load goes on, ask again or raise hard_timeout")]
    TimedOut {
        /// Name of the cache.
        cache: Arc<str>,
        /// How long the call waited.
        after: std::time::Duration,
    },
    /// The task that loaded ended without an answer.
    #[error("cache \"{cache}\": the load was given up, since its loader panicked or the runtime that ran it ended")]
    GivenUp {
        /// Name of the cache.
        cache: Arc<str>,
    },
}

impl<E> LoadError<E> {
    /// The loader's own error, if it was the loader that failed.
    pub fn cause(&self) -> Option<&Arc<E>> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed { cache, error } => Self::Failed { cache: cache.clone(), error: error.clone() },
            Self::Recursive { cache } => Self::Recursive { cache: cache.clone() },
            Self::TimedOut { cache, after } => Self::TimedOut { cache: cache.clone(), after: *after },
            Self::GivenUp { cache } => Self::GivenUp { cache: cache.clone() },
        }
    }
}

/// A policy name that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown cache policy {given:?}; known policies are {known}")]
pub struct UnknownPolicy {
    pub(crate) given: String,
    pub(crate) known: String,
}

/// Why the registry of named caches refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CachesError {
    /// The name breaks the naming rules.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A cache of this name exists already.
    #[error("a cache named \"{name}\" exists already; open it, remove it first, or choose another name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// No cache of this name was declared.
    #[error("no cache named \"{name}\"{}; declare it in the settings or create it first{}", suggest(.suggestion.as_ref()), listed(.known))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known name closest to it.
        suggestion: Option<String>,
        /// All known names, at most the first sixteen.
        known: Vec<String>,
    },
    /// The cache is open with other types.
    #[error("cache \"{name}\" is open as {open}, not as {asked}; use the same types everywhere, or another name")]
    Mistyped {
        /// The name.
        name: String,
        /// Types it was opened with.
        open: String,
        /// Types asked for now.
        asked: String,
    },
    /// The registry is full.
    #[error(
        "cache \"{name}\" was not created: {count} of {limit} caches exist; remove one or raise the limit of the registry"
    )]
    TooMany {
        /// The name.
        name: String,
        /// How many exist.
        count: usize,
        /// How many may exist.
        limit: usize,
    },
    /// Compression was asked for a cache whose values are Rust values, not bytes.
    #[error(
        "cache \"{name}\" has compression = \"{compression}\", but holds {value_type}, which cannot be compressed in memory; set compression = \"off\" or use a byte cache"
    )]
    CompressionOnTyped {
        /// The name.
        name: String,
        /// The codec asked for.
        compression: String,
        /// Type of the values.
        value_type: &'static str,
    },
    /// Compression was asked for, but this program was built without it.
    #[error(
        "cache \"{name}\" has compression = \"lz4\", but this program was built without the feature \"compress\" of trimtab-cache; turn the feature on or set compression = \"off\""
    )]
    CompressionNotBuilt {
        /// The name.
        name: String,
    },
    /// A snapshot at the stop was asked for a cache whose values are Rust values, not bytes.
    #[error(
        "cache \"{name}\" has snapshot = true, but holds {value_type}, which only the program can write; set snapshot = false and call Cache::save and Cache::restore, or use a byte cache"
    )]
    SnapshotOnTyped {
        /// The name.
        name: String,
        /// Type of the values.
        value_type: &'static str,
    },
    /// The settings of the cache do not make a cache.
    #[error(transparent)]
    Build(#[from] BuildError),
}

fn suggest(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |near| format!(" (did you mean \"{near}\"?)"))
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (known: {})", known.join(", ")) }
}

/// Why a [`ByteCache`](crate::ByteCache) did not store a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PutError {
    /// The key is empty or too long.
    #[error("cache \"{cache}\": a key of {length} B is not allowed; keys have 1 to {limit} B")]
    Key {
        /// Name of the cache.
        cache: Arc<str>,
        /// Length of the key, in bytes.
        length: usize,
        /// The longest key allowed, in bytes.
        limit: usize,
    },
    /// The cache refused the value.
    #[error("cache \"{cache}\" refused the value: {reason}")]
    Rejected {
        /// Name of the cache.
        cache: Arc<str>,
        /// Why.
        reason: RejectedReason,
    },
}
