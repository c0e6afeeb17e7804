//! Who has to leave when there is no room.
//!
//! A policy orders *tokens*: small numbers under which a shard keeps its entries. It never sees keys or values, and one
//! instance serves one shard, under that shard's lock. A hit takes no lock and so does not reach the policy: it raises a small
//! counter beside the entry, which the policy looks at when it needs a victim. The trait is small on purpose, and
//! every policy can be checked against a naive model with the same sequence of calls.

pub(crate) mod adaptive;
pub(crate) mod curve;
pub(crate) mod dials;
pub(crate) mod ghost;
pub(crate) mod lru;
pub(crate) mod mini;
pub(crate) mod queues;
pub(crate) mod shadow;
pub(crate) mod sketch;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::UnknownPolicy;
use adaptive::Adaptive;
use lru::Lru;
use queues::Link;
use shadow::{Arm, Shadow};

/// Bytes of bookkeeping that a policy keeps per entry beside its slot: a ghost's fingerprint, and the sketch's counters.
pub(crate) const NODE_BYTES: usize = 3 + 8;

/// The highest count of uses that is kept beside an entry.
pub(crate) const USES_MAX: u8 = 3;
/// At most so many entries are put back for one victim, which bounds the time of an insertion.
const SCAN_MAX: u32 = 128;

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
    /// Whichever of 2Q, S3-FIFO, W-TinyLFU, CLOCK and others fits the traffic best, found out by small simulations beside it.
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

/// What a policy may know of entries, by token. Tokens are those that it was given.
pub(crate) trait Facts {
    /// Uses since this was last set, up to [`USES_MAX`].
    fn uses(&self, token: u32) -> u8;

    /// Sets the count of uses, while readers may raise it: a use may be lost.
    fn set_uses(&self, token: u32, uses: u8);

    /// 32 bits of the key's hash.
    fn hash(&self, token: u32) -> u32;

    /// What the entry takes of the capacity: 1 in a cache limited by entries, bytes in a cache limited by bytes.
    fn cost(&self, token: u32) -> u32;

    /// Where the entry stands in its queue. Only the policy uses this.
    fn link(&self, token: u32) -> Link;

    /// Changes where the entry stands.
    fn set_link(&self, token: u32, link: Link);

    /// Whether every entry costs 1.
    fn alike(&self) -> bool {
        false
    }
}

/// The order in which the entries of one shard leave.
///
/// Callers promise that a token is inserted once before it is touched, renewed or removed.
pub(crate) trait Policy {
    /// An entry came in, after a miss.
    fn insert(&mut self, token: u32, facts: &impl Facts);

    /// An entry was used, and the lock was free: for policies that want every single use. It may have left already.
    fn touch(&mut self, _token: u32, _facts: &impl Facts) {}

    /// Whether it wants to know of every single use, and looks at no counters.
    fn is_exact(&self) -> bool {
        false
    }

    /// An entry got a new value, and a new token with it.
    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts);

    /// An entry left, other than as a victim.
    fn remove(&mut self, token: u32, facts: &impl Facts);

    /// The entry to give up, taken out of the order; `None` when there are none. Not the newcomer, if there are others.
    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32>;

    /// All tokens, the one that would be kept longest first. O(n log n) at most; for inspection and snapshots.
    fn order(&self, facts: &impl Facts) -> Vec<u32>;

    /// Where an entry stands.
    fn standing(&self, token: u32, facts: &impl Facts) -> Standing;

    /// An entry that just came in is known to have been asked for so often.
    #[cfg_attr(not(feature = "snapshot"), allow(dead_code, reason = "only snapshots need it"))]
    fn recall(&mut self, _token: u32, _frequency: u32, _facts: &impl Facts) {}
}

/// What a policy knows about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) segment: &'static str,
    /// Estimated uses of late, if the policy counts them.
    pub(crate) frequency: Option<u32>,
}

/// The policies by value, so that a call costs a branch and not a virtual call.
#[derive(Debug)]
pub(crate) enum Engine {
    Lru(Lru),
    Adaptive(Box<Adaptive>),
}

impl Engine {
    /// The policy of one shard, of which so many entries are expected; adaptive ones share what the shadow learns.
    pub(crate) fn new(kind: PolicyKind, shadow: Option<&Shadow>, expected: usize) -> Self {
        match (kind, shadow) {
            (PolicyKind::Lru, _) => Self::Lru(Lru::default()),
            (PolicyKind::Adaptive, Some(shadow)) => Self::Adaptive(Box::new(Adaptive::new(shadow.arm(), expected))),
            (PolicyKind::Adaptive, None) => Self::Adaptive(Box::new(Adaptive::with_dials(dials::ARMS[0], expected))),
        }
    }

    /// The policy of a miniature; adaptive ones follow an arm.
    pub(crate) fn following(kind: PolicyKind, arm: &Arc<Arm>, expected: usize) -> Self {
        match kind {
            PolicyKind::Adaptive => Self::Adaptive(Box::new(Adaptive::new(Arc::clone(arm), expected))),
            fixed => Self::new(fixed, None, expected),
        }
    }

    /// Checks links, counts and sums.
    ///
    /// # Panics
    ///
    /// When anything is inconsistent.
    pub(crate) fn validate(&self, facts: &impl Facts) -> usize {
        match self {
            Self::Lru(lru) => lru.validate(facts),
            Self::Adaptive(adaptive) => adaptive.validate(facts),
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
    fn insert(&mut self, token: u32, facts: &impl Facts) {
        each!(self, policy => policy.insert(token, facts));
    }

    fn touch(&mut self, token: u32, facts: &impl Facts) {
        each!(self, policy => policy.touch(token, facts));
    }

    fn is_exact(&self) -> bool {
        each!(self, policy => policy.is_exact())
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        each!(self, policy => policy.renew(old, new, facts));
    }

    fn remove(&mut self, token: u32, facts: &impl Facts) {
        each!(self, policy => policy.remove(token, facts));
    }

    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32> {
        each!(self, policy => policy.victim(newcomer, facts))
    }

    fn order(&self, facts: &impl Facts) -> Vec<u32> {
        each!(self, policy => policy.order(facts))
    }

    fn standing(&self, token: u32, facts: &impl Facts) -> Standing {
        each!(self, policy => policy.standing(token, facts))
    }

    fn recall(&mut self, token: u32, frequency: u32, facts: &impl Facts) {
        each!(self, policy => policy.recall(token, frequency, facts));
    }
}

/// What the tests of all policies share.
#[cfg(test)]
pub(crate) mod model {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::queues::Link;
    use super::{Facts, USES_MAX};

    #[derive(Debug, Clone)]
    pub(crate) enum Step {
        Use(u32),
        Renew(u32, u32),
        Remove(u32),
        Evict,
    }

    pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..40_u32).prop_map(Step::Use),
            1 => (0..40_u32, 0..40_u32).prop_map(|(old, new)| Step::Renew(old, new)),
            1 => (0..40_u32).prop_map(Step::Remove),
            3 => Just(Step::Evict),
        ];
        proptest::collection::vec(step, 0..400)
    }

    /// Facts that follow from the token, and counters.
    pub(crate) struct Table(Vec<(Cell<u8>, Cell<Link>)>);

    impl Table {
        pub(crate) fn new(tokens: usize) -> Self {
            Self(vec![(Cell::new(0), Cell::new(Link::NONE)); tokens])
        }

        pub(crate) fn bump(&self, token: u32) {
            self.set_uses(token, (self.uses(token) + 1).min(USES_MAX));
        }
    }

    impl Facts for Table {
        fn uses(&self, token: u32) -> u8 {
            self.0[token as usize].0.get()
        }

        fn set_uses(&self, token: u32, uses: u8) {
            self.0[token as usize].0.set(uses);
        }

        fn hash(&self, token: u32) -> u32 {
            token.wrapping_mul(0x9E37_79B1)
        }

        fn cost(&self, token: u32) -> u32 {
            1 + token % 3
        }

        fn link(&self, token: u32) -> Link {
            self.0[token as usize].1.get()
        }

        fn set_link(&self, token: u32, link: Link) {
            self.0[token as usize].1.set(link);
        }
    }
}
