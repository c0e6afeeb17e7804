//! How readers search: one look at the place where most keys are, and all that is rare apart from it.
//!
//! The look is inlined into every reader and stays in registers; what goes on from there is called. While entries change
//! their slots ([`compact`](super::super::compact)) a search that finds nothing may have missed one on its trip, and makes sure.

use std::sync::atomic::Ordering;

use super::super::sync::fence;
use super::super::threads::Pin;
use super::{Arena, Entry};

/// What a look at the first place has found.
pub(crate) enum Look<'p, K, V> {
    Found(Entry<'p, K, V>),
    Missing,
    /// The key may lie elsewhere; see [`Arena::find_beyond`].
    GoOn,
}

impl<K, V, X> Arena<K, V, X> {
    /// The entry of whose key `is` says yes, if it lies where most do. Takes no lock.
    #[inline]
    pub(crate) fn look<'p>(&'p self, pin: &'p Pin, hash: u32, is: impl Fn(&K) -> bool) -> Look<'p, K, V> {
        let Some(index) = self.index(pin) else { return Look::Missing };
        match index.table.find_at_home(hash, |token| index.pick(token, &is)) {
            Ok(entry) => Look::Found(entry),
            Err(false) if self.moves.load(Ordering::Relaxed) == 0 => Look::Missing,
            Err(_) => Look::GoOn,
        }
    }

    /// Goes on where [`look`](Self::look) ended. That one is inlined into every reader; this is not.
    #[inline(never)]
    pub(crate) fn find_beyond<'p>(
        &'p self,
        pin: &'p Pin,
        hash: u32,
        is: impl Fn(&K) -> bool,
    ) -> Option<Entry<'p, K, V>> {
        // All of it once more: the index may be another one by now.
        let found = self.search(pin, hash, &is);
        if found.is_none() && self.moves.load(Ordering::Relaxed) != 0 {
            return self.search_surely(pin, hash, is);
        }
        found
    }

    /// The entry of whose key `is` says yes. Takes no lock.
    pub(crate) fn find<'p>(&'p self, pin: &'p Pin, hash: u32, is: impl Fn(&K) -> bool) -> Option<Entry<'p, K, V>> {
        match self.look(pin, hash, &is) {
            Look::Found(entry) => Some(entry),
            Look::Missing => None,
            Look::GoOn => self.find_beyond(pin, hash, is),
        }
    }

    /// A search that does not miss what is on its way to another slot. Such a trip takes some microseconds under the lock, so
    /// who looks for a traveller waits for the lock.
    #[cold]
    fn search_surely<'p>(&'p self, pin: &'p Pin, hash: u32, is: impl Fn(&K) -> bool) -> Option<Entry<'p, K, V>> {
        loop {
            let before = self.moves.load(Ordering::Acquire);
            if before % 2 == 1 {
                drop(self.lock());
                continue;
            }
            let found = self.search(pin, hash, &is);
            if found.is_some() {
                return found;
            }
            fence(Ordering::Acquire);
            if self.moves.load(Ordering::Relaxed) == before {
                return None;
            }
        }
    }

    fn search<'p>(&'p self, pin: &'p Pin, hash: u32, is: impl Fn(&K) -> bool) -> Option<Entry<'p, K, V>> {
        let index = self.index(pin)?;
        index.table.find(hash, |token| index.pick(token, &is))
    }
}
