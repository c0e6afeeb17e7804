//! Another policy for a running cache: entries stay, their order is handed over, one shard after the other.
//!
//! A shard is locked while its entries change hands, which writers to it wait for; readers and other shards go on. The shadow
//! begins when the cache becomes adaptive, and ends when it no longer is.

use super::{Store, expected};
use crate::policy::{Engine, PolicyKind};

impl<K, V, S> Store<K, V, S> {
    /// The policy in force.
    pub(crate) fn policy(&self) -> PolicyKind {
        self.policy.kind()
    }

    /// Puts another policy in force; answers whether it was another.
    pub(crate) fn set_policy(&self, kind: PolicyKind) -> bool {
        let change = self.policy.change();
        if change.kind() == kind {
            return false;
        }
        // Readers see it first: what they leave is understood by the old policy of a shard as well as by the new one.
        change.set(kind);
        self.shadow.follow(kind);
        let expected = expected(crate::builder::limit(self.budget.max_entries()), self.shards.len());
        for shard in self.shards() {
            let next = Engine::new(kind, &self.shadow.arm(), expected);
            let mut held = shard.lock();
            let (state, slab) = held.parts();
            state.policy.hand_over(next, slab);
        }
        true
    }
}
