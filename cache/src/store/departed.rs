//! What has left a cache, on its way to the listener and to the destructors; both run after the locks are released.
//!
//! Without a listener, entries that leave wait for their readers where they are, and are only dropped here. With one,
//! each is taken out at once, for the listener has to see it: moved, or shared with those who still read it.

use super::arena::{Garbage, Pair, Taken};
use super::shard::{Held, Shard};
use super::threads::registry;
use crate::listener::Listener;
use crate::stats::Cause;

/// Collects what leaves, tells the listener about it when it is dropped, and drops it. Declare it before taking a lock: every
/// write ends with it, so it also moves the epoch on when a shard waits for that, which takes too long under a lock.
pub(crate) struct Departed<'a, K, V> {
    listener: Option<&'a Listener<K, V>>,
    shards: &'a [Shard<K, V>],
    /// Most operations let one entry go, which then costs no allocation.
    first: Option<(Taken<'a, K, V>, Cause)>,
    rest: Vec<(Taken<'a, K, V>, Cause)>,
    garbage: Garbage<K, V>,
}

impl<'a, K, V> Departed<'a, K, V> {
    pub(crate) fn new(listener: Option<&'a Listener<K, V>>, shards: &'a [Shard<K, V>]) -> Self {
        Self { listener, shards, first: None, rest: Vec::new(), garbage: Garbage::new() }
    }

    /// Where to put what nobody needs to be told of.
    pub(crate) fn garbage(&mut self) -> &mut Garbage<K, V> {
        &mut self.garbage
    }

    /// Takes a live entry out of the arena; all else has forgotten it already.
    pub(crate) fn remove(&mut self, held: &mut Held<'a, K, V>, token: u32, cause: Cause) {
        if self.listener.is_some() {
            let taken = held.take_now(token);
            self.push(taken, cause);
        } else {
            held.remove(token);
        }
    }

    /// Puts a pair in the place of a live entry; answers its token.
    pub(crate) fn replace(&mut self, held: &mut Held<'a, K, V>, old: u32, new: Pair<K, V>) -> u32 {
        if self.listener.is_none() {
            return held.replace(old, new);
        }
        let (token, taken) = held.replace_taking(old, new);
        self.push(taken, Cause::Replaced);
        token
    }

    fn push(&mut self, taken: Taken<'a, K, V>, cause: Cause) {
        if self.first.is_none() {
            self.first = Some((taken, cause));
        } else {
            self.rest.push((taken, cause));
        }
    }
}

impl<K, V> Drop for Departed<'_, K, V> {
    fn drop(&mut self) {
        registry().advance_if_wanted();
        let Some(listener) = self.listener else { return };
        let mut shared = false;
        for (taken, cause) in self.first.iter().chain(&self.rest) {
            let (key, value) = taken.pair();
            listener.tell(key, value, *cause);
            shared |= matches!(taken, Taken::Shared(_));
        }
        self.first = None;
        self.rest.clear();
        if shared {
            // Being told of was a long read too.
            self.shards.iter().for_each(Shard::after_long_read);
        }
    }
}
