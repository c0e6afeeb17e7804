//! The policy in force: read on every hit, changed rarely.
//!
//! A change reaches the shards one after the other, so for a moment the policy of a shard may be another than the one told here.
//! Nothing depends on that: what readers leave, a mark or a use told under the lock, every policy understands.

use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::PolicyKind;

/// Set beside the place of a policy that is exact, so that a hit needs to look at nothing else.
const EXACT: u8 = 1 << 7;

/// Which policy a cache has.
#[derive(Debug)]
pub(crate) struct InForce {
    /// Place in [`PolicyKind::ALL`], and [`EXACT`].
    place: AtomicU8,
    /// Held while shards are changed, so that two changes do not cross.
    changing: Mutex<()>,
}

impl InForce {
    pub(crate) fn new(kind: PolicyKind) -> Self {
        Self { place: AtomicU8::new(place(kind)), changing: Mutex::new(()) }
    }

    #[inline]
    pub(crate) fn kind(&self) -> PolicyKind {
        let place = self.place.load(Ordering::Relaxed) & !EXACT;
        PolicyKind::at(place)
    }

    /// Whether each single use is wanted.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.place.load(Ordering::Relaxed) & EXACT != 0
    }

    /// Begins a change.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { in_force: self, _turn: self.changing.lock() }
    }
}

/// The right to change the policy.
pub(crate) struct Change<'a> {
    in_force: &'a InForce,
    _turn: MutexGuard<'a, ()>,
}

impl Change<'_> {
    pub(crate) fn kind(&self) -> PolicyKind {
        self.in_force.kind()
    }

    pub(crate) fn set(&self, kind: PolicyKind) {
        self.in_force.place.store(place(kind), Ordering::Relaxed);
    }
}

fn place(kind: PolicyKind) -> u8 {
    if kind.is_exact() { kind.place() | EXACT } else { kind.place() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_was_set() {
        let in_force = InForce::new(PolicyKind::Ttl);
        assert_eq!(in_force.kind(), PolicyKind::Ttl);
        for kind in PolicyKind::ALL {
            in_force.change().set(kind);
            assert_eq!((in_force.kind(), in_force.is_exact()), (kind, kind.is_exact()));
        }
    }
}
