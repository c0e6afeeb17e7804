//! Who has to leave when there is no room.
//!
//! A policy orders *tokens*: small numbers under which a shard keeps its entries. It never sees keys or values, and one
//! instance serves one shard, under that shard's lock. A hit takes no lock and so does not reach the policy: it raises a small
//! counter beside the entry, which the policy looks at when it needs a victim. The trait is small on purpose, and
//! every policy can be checked against a naive model with the same sequence of calls.

pub(crate) mod adaptive;
pub(crate) mod arc;
pub(crate) mod curve;
pub(crate) mod dials;
pub(crate) mod fifo;
pub(crate) mod ghost;
pub(crate) mod in_force;
pub(crate) mod lfu;
pub(crate) mod lru;
pub(crate) mod mini;
pub(crate) mod queues;
pub(crate) mod shadow;
pub(crate) mod sketch;
pub(crate) mod trail;
pub(crate) mod ttl;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::UnknownPolicy;
use crate::expiry::NEVER;
use adaptive::Adaptive;
use arc::AdaptiveReplacement;
use fifo::Fifo;
use lfu::Lfu;
use lru::Lru;
use queues::Link;
use shadow::Arm;
use ttl::Ttl;

/// Bytes of bookkeeping that a policy keeps per entry beside its slot: a ghost's fingerprint, and the sketch's counters.
pub(crate) const NODE_BYTES: usize = 3 + 8;

/// The highest count of uses that is kept beside an entry.
pub(crate) const USES_MAX: u8 = 3;
/// At most so many entries are put back for one victim, which bounds the time of an insertion.
const SCAN_MAX: u32 = 128;

/// Which entries a cache gives up when it is full.
///
/// The default fits the traffic by itself and is rarely beaten. Choose another when the order must be foretold, or when the
/// traffic is known to suit it; `trimtab simulate` shows what each reaches on a trace. The policy of a running cache can be
/// changed, see [`Cache::set_policy`](crate::Cache::set_policy).
///
/// All count a new value for a key as a use of it, and none gives up what was just stored while others can leave. LRU, LFU and ARC
/// take the shard's lock for a moment on a hit, if it is free. LFU, TTL and ARC keep 12, up to 60 and up to 30 bytes an entry
/// beyond the stated overhead.
///
/// ```
/// use trimtab_cache::PolicyKind;
///
/// assert_eq!("lru".parse(), Ok(PolicyKind::Lru));
/// assert_eq!(PolicyKind::default().to_string(), "adaptive");
/// let error = "lruu".parse::<PolicyKind>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown cache policy \"lruu\"; known policies are adaptive, lru, lfu, fifo, ttl, arc");
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
    /// The entry that was asked for least often leaves; counts age with every eviction, so that old glory fades. Good where a few
    /// keys stay popular, slow to follow where they change.
    Lfu,
    /// The entry whose value came in first leaves, however much it was used. A hit costs the policy nothing.
    Fifo,
    /// The entry with the nearest deadline leaves, those without a deadline after all others and by age. For values that are worth the
    /// less the sooner they end.
    Ttl,
    /// Adaptive replacement: recency against repetition, balanced by which of the evicted are asked for again. Survives scans, not
    /// loops.
    Arc,
}

impl PolicyKind {
    /// All policies, in the order in which they are listed to users.
    pub const ALL: [Self; 6] = [Self::Adaptive, Self::Lru, Self::Lfu, Self::Fifo, Self::Ttl, Self::Arc];

    /// The name used in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Fifo => "fifo",
            Self::Ttl => "ttl",
            Self::Arc => "arc",
        }
    }

    /// The place in [`ALL`](Self::ALL), for keeping in an atomic.
    pub(crate) fn place(self) -> u8 {
        Self::ALL.iter().position(|other| *other == self).unwrap_or(0) as u8
    }

    /// The policy of a [place](Self::place).
    pub(crate) fn at(place: u8) -> Self {
        Self::ALL.get(usize::from(place)).copied().unwrap_or_default()
    }

    /// Whether the policy wants to know of each single use at once.
    pub(crate) const fn is_exact(self) -> bool {
        matches!(self, Self::Lru | Self::Lfu | Self::Arc)
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

    /// When the entry ends, in nanoseconds, or [`NEVER`]; readers may move it to later.
    fn deadline(&self, _token: u32) -> u64 {
        NEVER
    }

    /// Where the entry stands in its queue. Only the policy uses this.
    fn link(&self, token: u32) -> Link;

    /// Changes where the entry stands.
    fn set_link(&self, token: u32, link: Link);

    /// Changes one half of the link.
    fn set_prev(&self, token: u32, prev: u32) {
        self.set_link(token, Link { prev, ..self.link(token) });
    }

    /// Changes the other half of the link.
    fn set_next(&self, token: u32, next: u32) {
        self.set_link(token, Link { next, ..self.link(token) });
    }

    /// An entry that will be asked about soon.
    fn look_ahead(&self, _token: u32) {}

    /// Whether every entry costs 1.
    fn alike(&self) -> bool {
        false
    }
}

/// The order in which the entries of one shard leave.
///
/// Callers promise that a token is inserted once before it is touched, renewed or removed.
pub(crate) trait Policy {
    /// A key missed and is about to come in; victims that are asked for meanwhile make room for it.
    fn expect(&mut self, _hash: u32) {}

    /// An entry came in, after a miss.
    fn insert(&mut self, token: u32, facts: &impl Facts);

    /// An entry was used, and the lock was free: for policies that want every single use. It may have left already.
    fn touch(&mut self, token: u32, facts: &impl Facts) {
        facts.set_uses(token, facts.uses(token).saturating_add(1).min(USES_MAX));
    }

    /// An entry got a new value, and a new token with it.
    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts);

    /// An entry goes by another token, of the same cost, from now on; its place in the order stays.
    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts);

    /// Gives back memory beyond what is needed for the entries there are; all their tokens are below `tokens`.
    fn trim(&mut self, _tokens: usize) {}

    /// An entry left, other than as a victim.
    fn remove(&mut self, token: u32, facts: &impl Facts);

    /// The entry to give up, taken out of the order; `None` when there are none. Not the newcomer, if there are others.
    fn victim(&mut self, newcomer: Option<u32>, facts: &impl Facts) -> Option<u32>;

    /// All tokens, the one that would be kept longest first. O(n log n) at most; for inspection and snapshots.
    fn order(&self, facts: &impl Facts) -> Vec<u32>;

    /// Where an entry stands.
    fn standing(&self, token: u32, facts: &impl Facts) -> Standing;

    /// An entry that just came in is known to have been asked for so often.
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
    Lfu(Box<Lfu>),
    Fifo(Fifo),
    Ttl(Box<Ttl>),
    Arc(Box<AdaptiveReplacement>),
}

impl Engine {
    /// The policy of one shard or miniature, in which so many entries are expected; adaptive ones follow an arm.
    pub(crate) fn new(kind: PolicyKind, arm: &Arc<Arm>, expected: usize) -> Self {
        match kind {
            PolicyKind::Adaptive => Self::Adaptive(Box::new(Adaptive::new(Arc::clone(arm), expected))),
            PolicyKind::Lru => Self::Lru(Lru::default()),
            PolicyKind::Lfu => Self::Lfu(Box::default()),
            PolicyKind::Fifo => Self::Fifo(Fifo::default()),
            PolicyKind::Ttl => Self::Ttl(Box::default()),
            PolicyKind::Arc => Self::Arc(Box::default()),
        }
    }

    /// Lets another policy take over the entries, in the order of this one and with the uses that both can count.
    ///
    /// O(n log n).
    pub(crate) fn hand_over(&mut self, mut next: Self, facts: &impl Facts) {
        let order = self.order(facts);
        let known: Vec<_> = order.iter().map(|token| self.standing(*token, facts).frequency).collect();
        // The links are those of the old policy until every token is out of it.
        for token in &order {
            facts.set_link(*token, Link::NONE);
        }
        for (token, frequency) in order.into_iter().zip(known).rev() {
            facts.set_uses(token, 0);
            next.insert(token, facts);
            if let Some(frequency) = frequency {
                next.recall(token, frequency, facts);
            }
        }
        *self = next;
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
            Self::Lfu(lfu) => lfu.validate(facts),
            Self::Fifo(fifo) => fifo.validate(facts),
            Self::Ttl(ttl) => ttl.validate(facts),
            Self::Arc(arc) => arc.validate(facts),
        }
    }
}

macro_rules! each {
    ($self:ident, $policy:ident => $call:expr) => {
        match $self {
            Engine::Lru($policy) => $call,
            Engine::Adaptive($policy) => $call,
            Engine::Lfu($policy) => $call,
            Engine::Fifo($policy) => $call,
            Engine::Ttl($policy) => $call,
            Engine::Arc($policy) => $call,
        }
    };
}

impl Policy for Engine {
    fn expect(&mut self, hash: u32) {
        each!(self, policy => policy.expect(hash));
    }

    fn insert(&mut self, token: u32, facts: &impl Facts) {
        each!(self, policy => policy.insert(token, facts));
    }

    fn touch(&mut self, token: u32, facts: &impl Facts) {
        each!(self, policy => policy.touch(token, facts));
    }

    fn renew(&mut self, old: u32, new: u32, facts: &impl Facts) {
        each!(self, policy => policy.renew(old, new, facts));
    }

    fn rename(&mut self, old: u32, new: u32, facts: &impl Facts) {
        each!(self, policy => policy.rename(old, new, facts));
    }

    fn trim(&mut self, tokens: usize) {
        each!(self, policy => policy.trim(tokens));
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
    use super::{Facts, NEVER, USES_MAX};

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

    /// Facts that follow from the token, and such as tests set.
    pub(crate) struct Table {
        notes: Vec<Note>,
        alike: bool,
        /// Readers change the counts all the time: each look sees another.
        busy: Cell<Option<u32>>,
    }

    #[derive(Clone)]
    struct Note {
        uses: Cell<u8>,
        link: Cell<Link>,
        deadline: Cell<u64>,
    }

    impl Table {
        /// Facts of so many tokens, of which every third has the same cost.
        pub(crate) fn new(tokens: usize) -> Self {
            let note = Note { uses: Cell::new(0), link: Cell::new(Link::NONE), deadline: Cell::new(NEVER) };
            Self { notes: vec![note; tokens], alike: false, busy: Cell::new(None) }
        }

        /// Facts of tokens that all cost 1.
        pub(crate) fn alike(tokens: usize) -> Self {
            Self { alike: true, ..Self::new(tokens) }
        }

        /// From here on counts of uses change between any two looks.
        pub(crate) fn be_busy(&self) {
            self.busy.set(Some(1));
        }

        pub(crate) fn bump(&self, token: u32) {
            self.set_uses(token, (self.uses(token) + 1).min(USES_MAX));
        }

        pub(crate) fn set_deadline(&self, token: u32, deadline: u64) {
            self.notes[token as usize].deadline.set(deadline);
        }
    }

    impl Facts for Table {
        fn uses(&self, token: u32) -> u8 {
            if let Some(state) = self.busy.get() {
                let next = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                self.busy.set(Some(next));
                return (next >> 30) as u8;
            }
            self.notes[token as usize].uses.get()
        }

        fn set_uses(&self, token: u32, uses: u8) {
            self.notes[token as usize].uses.set(uses);
        }

        fn hash(&self, token: u32) -> u32 {
            token.wrapping_mul(0x9E37_79B1)
        }

        fn cost(&self, token: u32) -> u32 {
            if self.alike { 1 } else { 1 + token % 3 }
        }

        fn deadline(&self, token: u32) -> u64 {
            self.notes[token as usize].deadline.get()
        }

        fn link(&self, token: u32) -> Link {
            self.notes[token as usize].link.get()
        }

        fn set_link(&self, token: u32, link: Link) {
            self.notes[token as usize].link.set(link);
        }

        fn alike(&self) -> bool {
            self.alike
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::model::Table;
    use super::*;

    fn policy() -> impl Strategy<Value = PolicyKind> {
        prop::sample::select(&PolicyKind::ALL[..])
    }

    #[test]
    fn an_order_is_found_while_readers_raise_counts() {
        for kind in PolicyKind::ALL {
            let (mut engine, facts) = (Engine::new(kind, &Arc::default(), 1_000), Table::alike(1_000));
            (0..1_000).for_each(|token| engine.insert(token, &facts));
            facts.be_busy();
            let mut order = engine.order(&facts);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..1_000), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn another_token_keeps_the_place_in_the_order(kind in policy(), uses in prop::collection::vec(0..48_u32, 1..200), renamed in 0..48_u32) {
            let (arm, facts) = (Arc::default(), Table::alike(64));
            let (mut here, mut there) = (Engine::new(kind, &arm, 48), Engine::new(kind, &arm, 48));
            let other = Table::alike(64);
            let mut members = std::collections::BTreeSet::new();
            for token in uses {
                for (engine, facts) in [(&mut here, &facts), (&mut there, &other)] {
                    facts.set_deadline(token, if token % 2 == 0 { u64::from(token) } else { NEVER });
                    if members.contains(&token) {
                        engine.touch(token, facts);
                    } else {
                        engine.insert(token, facts);
                    }
                }
                members.insert(token);
            }
            if members.contains(&renamed) {
                facts.set_uses(60, facts.uses(renamed));
                facts.set_deadline(60, Facts::deadline(&facts, renamed));
                here.rename(renamed, 60, &facts);
            }
            here.trim(61);
            there.trim(61);
            let named = |tokens: Vec<u32>| tokens.into_iter().map(|token| if token == 60 { renamed } else { token }).collect::<Vec<_>>();
            prop_assert_eq!(here.validate(&facts), members.len());
            // A sketch that is asked by another hash may sort equals otherwise, so there the number is compared.
            if kind == PolicyKind::Adaptive {
                prop_assert_eq!(here.order(&facts).len(), members.len());
            } else {
                prop_assert_eq!(named(here.order(&facts)), there.order(&other));
                let leaving: Vec<_> = std::iter::from_fn(|| here.victim(None, &facts)).collect();
                let expected: Vec<_> = std::iter::from_fn(|| there.victim(None, &other)).collect();
                prop_assert_eq!(named(leaving), expected);
            }
        }

        #[test]
        fn a_policy_takes_over_every_entry_of_another(from in policy(), to in policy(), uses in prop::collection::vec(0..48_u32, 1..200)) {
            let (arm, facts) = (Arc::default(), Table::new(48));
            let mut engine = Engine::new(from, &arm, 48);
            let mut members = std::collections::BTreeSet::new();
            for token in uses {
                facts.set_deadline(token, if token % 2 == 0 { NEVER } else { u64::from(token) });
                if members.insert(token) {
                    engine.insert(token, &facts);
                } else {
                    engine.touch(token, &facts);
                }
            }
            let order = engine.order(&facts);
            engine.hand_over(Engine::new(to, &arm, 48), &facts);
            prop_assert_eq!(engine.validate(&facts), members.len());
            if matches!(to, PolicyKind::Lru | PolicyKind::Fifo) {
                prop_assert_eq!(engine.order(&facts), order, "a policy of one queue keeps the order as it was");
            }
            let left: std::collections::BTreeSet<_> = std::iter::from_fn(|| engine.victim(None, &facts)).collect();
            prop_assert_eq!(left, members);
        }
    }

    #[test]
    fn every_name_is_read_back() {
        for kind in PolicyKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
