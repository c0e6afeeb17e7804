//! Who has to leave when there is no room.
//!
//! A policy orders *tokens*: small numbers under which a shard keeps its entries. It never sees keys or values, and one
//! instance serves one shard, under that shard's lock. The trait is small on purpose: five calls describe LRU as
//! well as W-TinyLFU, and every policy can be checked against a naive model with the same sequence of calls.

pub(crate) mod adaptive;
pub(crate) mod list;
pub(crate) mod lru;
pub(crate) mod sketch;
pub(crate) mod tuner;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::UnknownPolicy;
use adaptive::Adaptive;
use list::Node;
use lru::Lru;
use tuner::Tuner;

/// Bytes of bookkeeping that a policy keeps per entry: links, and the sketch's eight bytes.
pub(crate) const NODE_BYTES: usize = size_of::<Node>() + 8;

/// Which entries a cache gives up when it is full.
///
/// ```
/// use trimtab_cache::PolicyKind;
///
/// assert_eq!("lru".parse(), Ok(PolicyKind::Lru));
/// assert_eq!(PolicyKind::default().to_string(), "adaptive");
/// let error = "lruu".parse::<PolicyKind>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown cache policy \"lruu\"; known policies are adaptive, lru");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PolicyKind {
    /// W-TinyLFU whose recency window is moved by the measured hit ratio: good when the traffic is unknown or changes.
    #[default]
    Adaptive,
    /// The entry that was not used for the longest time leaves: simple and predictable, but one scan empties it.
    Lru,
}

impl PolicyKind {
    /// All policies, in the order in which they are listed to users.
    pub const ALL: [Self; 2] = [Self::Adaptive, Self::Lru];

    /// The name used in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lru => "lru",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(given: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == given).ok_or_else(|| UnknownPolicy {
            given: given.chars().take(64).collect(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// The order in which the entries of one shard leave.
///
/// Callers promise that a token is inserted once before it is touched, reweighed or removed, and that `cost` is the same
/// unit throughout: 1 in a cache limited by entries, bytes in a cache limited by bytes.
pub(crate) trait Policy {
    /// An entry came in (after a miss). `hash` is the whole hash of its key.
    fn insert(&mut self, token: u32, hash: u64, cost: u32);

    /// An entry was used.
    fn touch(&mut self, token: u32);

    /// An entry changed its cost.
    fn reweigh(&mut self, token: u32, cost: u32);

    /// An entry left, for whatever reason; also called for a victim.
    fn remove(&mut self, token: u32);

    /// The entry to give up next, or `None` when there are none. It stays known until `remove`.
    fn victim(&mut self) -> Option<u32>;

    /// Called after an insertion for which nothing had to leave.
    fn settle(&mut self) {}

    /// All tokens, the one that would be kept longest first. O(n log n) at most; for inspection and snapshots.
    fn order(&self) -> Vec<u32>;

    /// Where an entry stands.
    fn standing(&self, token: u32) -> Standing;

    /// An entry that just came in is known to have been asked for so often.
    #[cfg_attr(not(feature = "snapshot"), allow(dead_code, reason = "only snapshots need it"))]
    fn recall(&mut self, token: u32, frequency: u32) {
        let _ = (token, frequency);
    }
}

/// What a policy knows about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) segment: &'static str,
    /// Estimated uses of late, if the policy counts them.
    pub(crate) frequency: Option<u32>,
}

/// The policies by value, so that a hit costs a branch and not a virtual call.
#[derive(Debug)]
pub(crate) enum Engine {
    Lru(Lru),
    Adaptive(Box<Adaptive>),
}

impl Engine {
    /// One engine for each shard of a cache; the adaptive ones share what they learn.
    pub(crate) fn for_shards(kind: PolicyKind, shards: usize, seed: u64) -> Vec<Self> {
        let tuner = Arc::new(Tuner::new(shards, seed));
        (0..shards as u64)
            .map(|shard| match kind {
                PolicyKind::Lru => Self::Lru(Lru::default()),
                PolicyKind::Adaptive => Self::Adaptive(Box::new(Adaptive::new(
                    Arc::clone(&tuner),
                    seed ^ (shard + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                ))),
            })
            .collect()
    }

    /// Checks links, counts and sums.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self) -> usize {
        match self {
            Self::Lru(lru) => lru.validate(),
            Self::Adaptive(adaptive) => adaptive.validate(),
        }
    }
}

macro_rules! each {
    ($self:ident, $policy:ident => $call:expr) => {
        match $self {
            Engine::Lru($policy) => $call,
            Engine::Adaptive($policy) => $call,
        }
    };
}

impl Policy for Engine {
    fn insert(&mut self, token: u32, hash: u64, cost: u32) {
        each!(self, policy => policy.insert(token, hash, cost));
    }

    fn touch(&mut self, token: u32) {
        each!(self, policy => policy.touch(token));
    }

    fn reweigh(&mut self, token: u32, cost: u32) {
        each!(self, policy => policy.reweigh(token, cost));
    }

    fn remove(&mut self, token: u32) {
        each!(self, policy => policy.remove(token));
    }

    fn victim(&mut self) -> Option<u32> {
        each!(self, policy => policy.victim())
    }

    fn settle(&mut self) {
        each!(self, policy => policy.settle());
    }

    fn order(&self) -> Vec<u32> {
        each!(self, policy => policy.order())
    }

    fn standing(&self, token: u32) -> Standing {
        each!(self, policy => policy.standing(token))
    }

    fn recall(&mut self, token: u32, frequency: u32) {
        each!(self, policy => policy.recall(token, frequency));
    }
}
