//! Looking entries up: what a hit and a miss are, and who hears of them.
//!
//! A hit takes no lock. It tells the policy by a counter beside the entry, the statistics by the thread's own stripe, and the
//! shadow only if its key is in a sample.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use super::arena::{Counter, Entry, Look};
use super::shard::Shard;
use super::{Store, threads};
use crate::expiry::rule::Span;
use crate::policy::Policy;
use crate::policy::curve::Event;
use crate::stats::Cause;

impl<K, V, S> Store<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// A counted lookup; `read` runs without a lock.
    #[inline]
    pub(crate) fn read<Q, R>(&self, key: &Q, read: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        self.read_hashed(hash, key, true, read)
    }

    /// A lookup that counts as a hit, or as a miss if `count_miss` says so.
    #[inline]
    pub(crate) fn read_hashed<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        count_miss: bool,
        read: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let pin = Shard::<K, V>::pin();
        // Most keys are found at the first place or are nowhere. What is rare is called, not inlined, and nothing that it
        // needs is passed by reference: the usual way stays in registers.
        match self.shard(hash).look(&pin, hash as u32, |other| other.borrow() == key) {
            Look::Found(entry) => {
                if entry.may_expire() && !self.keep_alive(entry) {
                    self.found_expired(pin, hash, key, count_miss);
                    return None;
                }
                self.used(&pin, hash, entry);
                Some(read(entry.value()))
            }
            Look::Missing => {
                if count_miss {
                    self.missed(&pin, hash);
                }
                None
            }
            Look::GoOn => self.read_beyond(pin, hash, key, count_miss, read),
        }
    }

    /// [`read_hashed`](Self::read_hashed) for a key that is not where most are.
    #[inline(never)]
    fn read_beyond<Q, R>(
        &self,
        pin: threads::Pin,
        hash: u64,
        key: &Q,
        count_miss: bool,
        read: impl FnOnce(&V) -> R,
    ) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(entry) = self.shard(hash).find_beyond(&pin, hash as u32, |other| other.borrow() == key) else {
            if count_miss {
                self.missed(&pin, hash);
            }
            return None;
        };
        if entry.may_expire() && !self.keep_alive(entry) {
            self.found_expired(pin, hash, key, count_miss);
            return None;
        }
        self.used(&pin, hash, entry);
        Some(read(entry.value()))
    }

    /// Lets the policy, the statistics and the shadow know of a hit.
    #[inline]
    fn used(&self, pin: &threads::Pin, hash: u64, entry: Entry<'_, K, V>) {
        if self.policy.is_exact() {
            touch_exactly(self.shard(hash), entry.counter(), entry.token());
        } else {
            entry.touch();
        }
        self.stripes.hit(pin.index());
        if self.shadow.samples(hash) {
            self.samples.put(hash as u32);
        }
        // Not only then: the policy's sample rests at other times than the curve's.
        self.observe(Event::Hit, hash);
    }

    #[inline]
    fn missed(&self, pin: &threads::Pin, hash: u64) {
        self.stripes.miss(pin.index());
        self.observe(Event::Miss, hash);
    }

    /// The live entry of a key, as long as the pin is held. Takes no lock, but may be used under one to see what it protects.
    pub(crate) fn find<'p, Q>(&'p self, pin: &'p threads::Pin, hash: u64, key: &Q) -> Option<Entry<'p, K, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let entry = self.shard(hash).find(pin, hash as u32, move |other| other.borrow() == key)?;
        self.is_live(&entry).then_some(entry)
    }

    /// Counts a miss that was found under the lock.
    pub(crate) fn count_miss(&self, hash: u64) {
        self.stripes.miss(threads::index());
        self.observe(Event::Miss, hash);
    }

    /// Lets a use move the deadline of an entry that can expire, where the rule says so; answers whether its time is not over.
    #[inline(never)]
    fn keep_alive(&self, entry: Entry<'_, K, V>) -> bool {
        let (now, deadline) = (self.clock.now(), entry.deadline());
        if deadline <= now {
            return false;
        }
        if self.rule.moves()
            && let Some(span) = entry.span()
        {
            let next = self.rule.touched(Span::from_numbers(span), deadline, now);
            if next > deadline {
                entry.postpone(next);
            }
        }
        true
    }

    /// Counts a miss on an entry whose time is over, and removes it, unless a writer is at work, who may as well. Ends the pin
    /// first, so that the entry can be dropped at once and no reader waits for the listener.
    #[cold]
    fn found_expired<Q>(&self, pin: threads::Pin, hash: u64, key: &Q, count_miss: bool)
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        if count_miss {
            self.missed(&pin, hash);
        }
        drop(pin);
        let mut departed = self.departed();
        if let Some(mut held) = self.shard(hash).try_lock() {
            if let Some(token) = held.find(hash as u32, move |other| other.borrow() == key)
                && held.is_over(token, &self.clock)
            {
                held.discard(token, Cause::Expired, &self.budget, &mut departed);
            }
            held.collect(false, departed.garbage());
        }
    }

    /// A lookup that leaves no trace; `read` runs without a lock.
    pub(crate) fn peek<Q, R>(&self, key: &Q, read: impl FnOnce(&Entry<'_, K, V>) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let pin = Shard::<K, V>::pin();
        self.find(&pin, hash, key).as_ref().map(read)
    }

    /// Drops values that waited for a long read of a key.
    pub(crate) fn after_long_read<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        if std::mem::needs_drop::<(K, V)>() {
            self.shard(self.hash(key)).after_long_read();
        }
    }
}

/// Tells the policy of a use, or leaves a mark when a writer is at work.
#[cold]
fn touch_exactly<K, V>(shard: &Shard<K, V>, uses: Counter<'_>, token: u32) {
    if let Some(mut held) = shard.try_lock() {
        let (state, slab) = held.parts();
        state.policy.touch(token, slab);
    } else {
        uses.touch();
    }
}
