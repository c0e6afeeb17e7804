//! Entries and their index: readers go without a lock, writers one at a time.
//!
//! ```text
//! reader:  pin -> index -> bucket -> token -> slot -> key, value
//! writer:  lock -> write a free slot -> put its token into the index
//!                  take a token out of the index -> limbo -> (no reader left) -> values dropped, slot free
//! ```
//!
//! A slot is written only while its token is out of reach, and never changed while a reader may see it: a new value
//! goes to a new slot. Limbo holds the tokens whose slots may still be read. It is looked at after every write, so that
//! values are dropped at once when nobody reads; types that need no dropping wait for a batch instead.
//!
//! # Invariants
//!
//! 1. What a search meets in the index are tokens of filled slots, filled before they got there (release, then acquire),
//!    and numbers that have no slot.
//! 2. A slot's pair is written, moved out or dropped only by who holds the lock, and only while the token is neither in
//!    the index nor in limbo, or after the horizon of [`epoch`](super::epoch) has passed its stamp. Exclusive access to
//!    the arena counts as such, since every reader borrows it.
//! 3. `index` is null or came from a box, and is freed only after it was replaced and the horizon has passed its stamp.
//! 4. The flag [`HELD`] says whether the pair is filled; [`LIVE`] says whether its token is in the index. Both change under
//!    the lock only.
//! 5. `moves` is odd while live entries are out of the index on their way to other slots, which is only within one hold of
//!    the lock. It is odd before they are out and even after they are back, so a search that missed them sees that it changed.

#![allow(unsafe_code, reason = "hands out references into slots that other threads reuse")]

#[path = "arena/entry.rs"]
mod entry;
#[path = "arena/garbage.rs"]
mod garbage;
#[path = "arena/search.rs"]
mod search;

use std::collections::VecDeque;
use std::mem::needs_drop;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::group::{EXPIRES, HELD, LIVE, Slot, slot_bytes};
use super::slots::{Scales, Slab, note};
use super::sync::{AtomicPtr, AtomicU8, AtomicU64, Mutex, MutexGuard, PATIENCE, breathe};
use super::table::Table;
use super::threads::{Pin, pin, registry};
use crate::expiry::NEVER;
use crate::policy::USES_MAX;
pub(crate) use entry::{Counter, Entry, Pair, Shared, Taken};
pub(crate) use garbage::Garbage;
pub(crate) use search::Look;

/// The most entries of one arena; the tokens above mean "none" in the policies' lists.
pub(crate) const TOKENS_MAX: usize = (1 << 30) - 2 - LIMBO_MAX;
/// How many tokens are left for limbo when there are that many entries.
const LIMBO_MAX: usize = 1 << 24;

/// The first index has room for so many.
const FIRST_ROOM: usize = 9;

/// Slots without destructors wait in limbo for up to so many others, or for so many bytes.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 32 << 10;
/// So many slots without destructors are freed after a write: one more than it can have put into limbo.
const FREE_AT_ONCE: usize = 2;
/// A shard that only grows looks after outgrown indexes once in so many insertions.
const LOOK_EVERY: usize = 64;
/// A batch is at most this part of the entries that are expected.
const BATCH_PART: usize = 64;
/// So many batches wait for somebody else to move the epoch on before it is done for them.
const PATIENT_BATCHES: usize = 3;
/// With destructors, the epoch is moved on for so many slots when there is a reader; without one they are freed at once.
const BATCH_DROP: usize = 16;
/// From so many seats on, looking at all of them after every write costs too much.
const SEATS_FEW: usize = 32;

#[path = "compact.rs"]
mod compact;

/// What readers start from.
struct Index<K, V> {
    table: Table,
    slab: Arc<Slab<K, V>>,
}

impl<K, V> Index<K, V> {
    /// The entry under a token that was met in the index while it could not be reused, if its key is the one.
    #[inline]
    fn pick(&self, token: u32, is: impl Fn(&K) -> bool) -> Option<Entry<'_, K, V>> {
        let slot = self.slab.get(token)?;
        // The key at once: where the tag fits, the hash does not in a few cases of a hundred, and lies in another line.
        // SAFETY: invariants 1 and 2; a pin was there before the token was read, or the lock is held.
        is(unsafe { &slot.pair().0 }).then_some(Entry { slot, slab: &self.slab })
    }
}

/// Entries, their index, and whatever else `X` belongs under the same lock.
pub(crate) struct Arena<K, V, X> {
    index: AtomicPtr<Index<K, V>>,
    writer: Apart<Mutex<Writer<K, V, X>>>,
    /// Whether values wait in limbo for their destructors.
    waiting: AtomicU8,
    /// How often entries went to other slots, doubled; invariant 5.
    moves: AtomicU64,
}

/// In other cache lines than what readers look at.
#[repr(align(128))]
struct Apart<T>(T);

struct Writer<K, V, X> {
    slab: Arc<Slab<K, V>>,
    len: usize,
    /// How many entries are expected in the end; growth does not go beyond without need.
    expected: usize,
    /// Tokens from here on were never given out.
    next: u32,
    free: Vec<u32>,
    /// Tokens from here on are not given out again while the arena is compacted; `u32::MAX` otherwise.
    ceiling: u32,
    /// How many slots without destructors wait for each other in limbo.
    batch: usize,
    /// Limbo, not stamped yet.
    fresh: Vec<u32>,
    /// Limbo, with stamps, oldest first.
    aging: VecDeque<(u64, u32)>,
    /// Indexes that were replaced.
    old: Vec<(u64, Box<Index<K, V>>)>,
    state: X,
}

impl<K, V, X> Arena<K, V, X> {
    pub(crate) fn new(expected: usize, scales: Scales, state: X) -> Self {
        let writer = Writer {
            slab: Slab::new(scales),
            len: 0,
            expected,
            next: 0,
            free: Vec::new(),
            ceiling: u32::MAX,
            batch: (expected / BATCH_PART).clamp(1, const { batch_len(slot_bytes::<K, V>()) }),
            fresh: Vec::new(),
            aging: VecDeque::new(),
            old: Vec::new(),
            state,
        };
        Self {
            index: AtomicPtr::new(ptr::null_mut()),
            writer: Apart(Mutex::new(writer)),
            waiting: AtomicU8::new(0),
            moves: AtomicU64::new(0),
        }
    }

    #[inline]
    fn index<'p>(&'p self, pin: &'p Pin) -> Option<&'p Index<K, V>> {
        debug_assert!(pin.is_fenced() || !needs_drop::<(K, V)>(), "the pin is of the kind that these entries need");
        // SAFETY: invariant 3; the pin lives for 'p.
        unsafe { self.index.load(Ordering::Acquire).as_ref() }
    }

    /// Announces a read of this kind of entries.
    #[inline]
    pub(crate) fn pin() -> Pin {
        pin(needs_drop::<(K, V)>())
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, K, V, X> {
        self.try_lock().unwrap_or_else(|| self.lock_contended())
    }

    /// Writers hold the lock for less than a microsecond, and to be put to sleep and woken takes tens of them: so look a few
    /// microseconds long before that.
    #[cold]
    fn lock_contended(&self) -> Locked<'_, K, V, X> {
        for _ in 0..PATIENCE {
            breathe();
            if let Some(locked) = self.try_lock() {
                return locked;
            }
        }
        Locked { arena: self, writer: self.writer.0.lock() }
    }

    /// Drops what could not be dropped because of a read that is now over. For readers that may have taken long.
    pub(crate) fn after_long_read(&self) {
        if self.waiting.load(Ordering::Relaxed) != 0 {
            let mut garbage = Garbage::new();
            if let Some(mut locked) = self.try_lock() {
                locked.collect(true, &mut garbage);
            }
        }
    }

    pub(crate) fn try_lock(&self) -> Option<Locked<'_, K, V, X>> {
        self.writer.0.try_lock().map(|writer| Locked { arena: self, writer })
    }

    /// Visits live entries without holding the lock meanwhile, `most` of them from a token on; answers where to go on.
    pub(crate) fn visit(&self, from: u32, most: usize, visit: impl FnMut(Entry<'_, K, V>)) -> Option<u32> {
        let mut next = None;
        let choose = |locked: &Locked<'_, K, V, X>| {
            let mut tokens = Vec::new();
            for token in locked.tokens_from(from) {
                if tokens.len() == most {
                    next = Some(token);
                    break;
                }
                tokens.push(token);
            }
            tokens
        };
        self.visit_chosen(choose, visit);
        next
    }

    /// Visits the live ones of the entries that `choose` picks under the lock, without holding the lock meanwhile.
    pub(crate) fn visit_chosen(
        &self,
        choose: impl FnOnce(&Locked<'_, K, V, X>) -> Vec<u32>,
        mut visit: impl FnMut(Entry<'_, K, V>),
    ) {
        let _pin = Self::pin();
        let locked = self.lock();
        let mut tokens = choose(&locked);
        tokens.retain(|token| locked.is_live(*token));
        let slab = Arc::clone(&locked.writer.slab);
        drop(locked);
        for token in tokens {
            // As an `Entry` must be: live under the lock after the pin was taken, so not reclaimed before it ends.
            visit(Entry { slot: slab.slot(token), slab: &slab });
        }
    }
}

impl<K, V, X> Drop for Arena<K, V, X> {
    fn drop(&mut self) {
        let index = self.index.load(Ordering::Relaxed);
        if !index.is_null() {
            // SAFETY: invariant 3; nobody can read any more.
            drop(unsafe { Box::from_raw(index) });
        }
        let writer = self.lock();
        if needs_drop::<(K, V)>() {
            for token in 0..writer.writer.next {
                let slot = writer.writer.slab.slot(token);
                if slot.flag(HELD) {
                    slot.flags().store(0, Ordering::Relaxed);
                    // SAFETY: invariant 4: it is filled; the flag is gone, so that nobody drops it again.
                    slot.cell().with_mut(|pair| unsafe { (*pair).assume_init_drop() });
                }
            }
        }
    }
}

/// An arena whose lock is held.
pub(crate) struct Locked<'a, K, V, X> {
    arena: &'a Arena<K, V, X>,
    writer: MutexGuard<'a, Writer<K, V, X>>,
}

impl<K, V, X> Deref for Locked<'_, K, V, X> {
    type Target = X;

    fn deref(&self) -> &X {
        &self.writer.state
    }
}

impl<K, V, X> DerefMut for Locked<'_, K, V, X> {
    fn deref_mut(&mut self) -> &mut X {
        &mut self.writer.state
    }
}

impl<'a, K, V, X> Locked<'a, K, V, X> {
    pub(crate) fn len(&self) -> usize {
        self.writer.len
    }

    /// The state, and what a policy may see of the entries.
    pub(crate) fn parts(&mut self) -> (&mut X, &Slab<K, V>) {
        let Writer { state, slab, .. } = &mut *self.writer;
        (state, slab)
    }

    /// What a policy may see of the entries.
    pub(crate) fn facts(&self) -> &Slab<K, V> {
        &self.writer.slab
    }

    #[inline]
    fn index(&self) -> Option<&Index<K, V>> {
        // SAFETY: invariant 3; the index is only replaced under the lock.
        unsafe { self.arena.index.load(Ordering::Relaxed).as_ref() }
    }

    /// The token of whose key `is` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is: impl Fn(&K) -> bool) -> Option<u32> {
        let index = self.index()?;
        index.table.find(hash, |token| index.pick(token, &is).map(|entry| entry.token()))
    }

    /// Whether an entry is held under a token.
    pub(crate) fn is_live(&self, token: u32) -> bool {
        token < self.writer.next && self.writer.slab.slot(token).flag(LIVE)
    }

    /// The live entry under a token.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn entry(&self, token: u32) -> Entry<'_, K, V> {
        assert!(self.is_live(token), "token {token} names an entry");
        Entry { slot: self.writer.slab.slot(token), slab: &self.writer.slab }
    }

    /// Tokens of live entries, from one on, in order.
    pub(crate) fn tokens_from(&self, token: u32) -> impl Iterator<Item = u32> {
        (token..self.writer.next).filter(|token| self.writer.slab.slot(*token).flag(LIVE))
    }

    /// Adds an entry whose key is not in the index. The caller makes sure that there are fewer than [`TOKENS_MAX`].
    #[inline]
    pub(crate) fn insert(&mut self, new: Pair<K, V>) -> u32 {
        if self.index().is_none_or(|index| self.writer.len >= index.table.room()) {
            self.grow_for_one();
        }
        let hash = new.hash;
        let token = self.fill(new, 0);
        let index = self.index().expect("was made above");
        index.table.insert(hash, token);
        self.writer.len += 1;
        token
    }

    /// Makes an index that has room for one more entry, and for others that will come.
    #[cold]
    fn grow_for_one(&mut self) {
        let (len, expected) = (self.writer.len, self.writer.expected);
        self.grow(if len < expected {
            (len + len / 2).clamp(FIRST_ROOM, expected.max(FIRST_ROOM))
        } else {
            len + len / 4 + 1
        });
    }

    /// Puts a pair of the same hash in the place of a live entry; its count of uses goes on. Answers the new token.
    pub(crate) fn replace(&mut self, old: u32, new: Pair<K, V>) -> u32 {
        let entry = self.entry(old);
        let (hash, uses) = (entry.hash(), entry.slot.uses().load(Ordering::Relaxed));
        debug_assert_eq!(hash, new.hash);
        let new = self.fill(new, (uses + 1).min(USES_MAX));
        let replaced = self.index().is_some_and(|index| index.table.replace(hash, old, new));
        assert!(replaced, "a live entry is in the index");
        self.retire(old);
        new
    }

    /// Takes a live entry out. It is dropped by `collect`, now or later.
    pub(crate) fn remove(&mut self, token: u32) {
        let hash = self.writer.slab.slot(token).hash();
        let removed = self.index().is_some_and(|index| index.table.remove(hash, token));
        assert!(removed, "a live entry is in the index");
        self.writer.len -= 1;
        self.retire(token);
    }

    /// Takes a live entry out for its value.
    pub(crate) fn take(&mut self, token: u32) -> Taken<'a, K, V> {
        self.remove(token);
        self.take_retired(token, PATIENCE)
    }

    /// Like [`take`](Self::take), for one of possibly many: does not wait for readers.
    pub(crate) fn take_now(&mut self, token: u32) -> Taken<'a, K, V> {
        self.remove(token);
        self.take_retired(token, 1)
    }

    /// Like [`replace`](Self::replace); answers what was replaced as well.
    pub(crate) fn replace_taking(&mut self, old: u32, new: Pair<K, V>) -> (u32, Taken<'a, K, V>) {
        let new = self.replace(old, new);
        (new, self.take_retired(old, 1))
    }

    /// Takes the pair of the token that was retired last.
    fn take_retired(&mut self, token: u32, patience: usize) -> Taken<'a, K, V> {
        assert_eq!(self.writer.fresh.last(), Some(&token), "retired last");
        // Without destructors readers have no fence, so one may be there that cannot be seen.
        if needs_drop::<(K, V)>() && (0..patience).any(|_| registry().horizon() == u64::MAX) {
            self.writer.fresh.pop();
            let (key, value) = self.empty(token);
            return Taken::Moved(key, value);
        }
        let pin = Arena::<K, V, X>::pin();
        let slab: *const Slab<K, V> = &raw const *self.writer.slab;
        // SAFETY: the slab is only replaced when limbo is empty, which the pin prevents; it is freed after that, or with
        // the arena, which is borrowed for 'a. Chunks of tokens in limbo stay.
        let slot: Slot<'a, K, V> = unsafe { &*slab }.slot(token);
        Taken::Shared(Shared { slot, _pin: pin })
    }

    /// Drops, by way of `garbage`, what no reader can see any more. The writer calls this last.
    ///
    /// With `now`, looks even if a batch is not full.
    #[inline]
    pub(crate) fn collect(&mut self, now: bool, garbage: &mut Garbage<K, V>) {
        if needs_drop::<(K, V)>() {
            self.collect_values(now, garbage);
            return;
        }
        if self.writer.fresh.len() >= self.writer.batch {
            self.age_slots();
        } else if !self.writer.old.is_empty() && self.writer.len.is_multiple_of(LOOK_EVERY) {
            // A cache that only grows has nothing in limbo, but an index that it has outgrown.
            self.collect_slots();
        }
        // A few each time, and no caller has to free a whole batch.
        self.writer.free_safe(FREE_AT_ONCE);
    }

    /// Like [`collect`](Self::collect), and does all that can be done now, at whatever cost.
    pub(crate) fn collect_all(&mut self, garbage: &mut Garbage<K, V>) {
        if needs_drop::<(K, V)>() {
            self.collect_values(true, garbage);
        } else {
            self.collect_slots();
        }
    }

    /// Lets the batch of removed slots without destructors age, and frees outgrown indexes. When too many slots wait already,
    /// and none of them can be freed, or an index waits, the epoch has to move on; somebody else may see to that before, for any
    /// cache of the program.
    #[cold]
    fn age_slots(&mut self) {
        let writer = &mut *self.writer;
        let mark = registry().mark();
        writer.aging.extend(writer.fresh.drain(..).map(|token| (mark, token)));
        let safe = registry().safe();
        writer.old.retain(|(stamp, _)| *stamp >= safe);
        let stuck = writer.aging.front().is_some_and(|(mark, _)| *mark >= safe);
        if (stuck && writer.aging.len() >= writer.batch * PATIENT_BATCHES) || !writer.old.is_empty() {
            registry().want();
        }
    }

    /// Frees all slots and indexes without destructors that no reader can see, and moves the epoch on for it.
    #[cold]
    fn collect_slots(&mut self) {
        self.age_slots();
        let writer = &mut *self.writer;
        writer.free_safe(usize::MAX);
        if !(writer.aging.is_empty() && writer.old.is_empty()) {
            registry().advance();
            writer.free_safe(usize::MAX);
        }
        let safe = registry().safe();
        writer.old.retain(|(stamp, _)| *stamp >= safe);
    }

    fn collect_values(&mut self, now: bool, garbage: &mut Garbage<K, V>) {
        let writer = &mut *self.writer;
        if writer.fresh.is_empty() && writer.aging.is_empty() && writer.old.is_empty() {
            return;
        }
        let batch = if registry().seats() <= SEATS_FEW { 1 } else { BATCH_DROP };
        if !now && writer.fresh.len() < batch && writer.old.is_empty() {
            return;
        }
        let mut horizon = registry().horizon();
        if now && horizon != u64::MAX {
            // Reads are short; the one that was met will most likely be over.
            horizon =
                (0..PATIENCE).map(|_| registry().horizon()).find(|horizon| *horizon == u64::MAX).unwrap_or(horizon);
        }
        if horizon == u64::MAX {
            while let Some(token) = self.writer.fresh.pop() {
                garbage.push(self.empty(token));
            }
        } else if now || writer.fresh.len() >= BATCH_DROP {
            let stamp = registry().stamp();
            writer.aging.extend(writer.fresh.drain(..).map(|token| (stamp, token)));
        }
        while let Some(&(stamp, token)) = self.writer.aging.front()
            && stamp < horizon
        {
            self.writer.aging.pop_front();
            garbage.push(self.empty(token));
        }
        self.writer.old.retain(|(stamp, _)| *stamp >= horizon);
        let waiting = u8::from(self.limbo() > 0);
        if self.arena.waiting.load(Ordering::Relaxed) != waiting {
            self.arena.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    /// Gives the memory of an emptied arena back, if nobody reads.
    pub(crate) fn compact_if_empty(&mut self) {
        let writer = &mut *self.writer;
        if writer.len > 0 || !writer.fresh.is_empty() || !writer.aging.is_empty() {
            return;
        }
        writer.slab = Slab::new(writer.slab.scales);
        writer.next = 0;
        (writer.free, writer.fresh, writer.aging) = (Vec::new(), Vec::new(), VecDeque::new());
        self.publish(ptr::null_mut());
    }

    /// How many slots wait for readers to leave.
    pub(crate) fn limbo(&self) -> usize {
        self.writer.fresh.len() + self.writer.aging.len()
    }

    /// How many outgrown indexes wait for readers to leave.
    #[cfg(test)]
    pub(crate) fn outgrown(&self) -> usize {
        self.writer.old.len()
    }

    /// Makes an index for so many entries.
    pub(crate) fn grow(&mut self, entries: usize) {
        let table = Table::new(entries);
        for token in self.tokens_from(0) {
            table.insert(self.writer.slab.slot(token).hash(), token);
        }
        let index = Box::new(Index { table, slab: Arc::clone(&self.writer.slab) });
        self.publish(Box::into_raw(index));
    }

    fn publish(&mut self, index: *mut Index<K, V>) {
        let old = self.arena.index.swap(index, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: invariant 3; it was replaced just now, and is stamped after that.
            let old = unsafe { Box::from_raw(old) };
            self.writer.old.push((registry().stamp(), old));
        }
    }

    /// Fills a free slot.
    #[inline]
    fn fill(&mut self, new: Pair<K, V>, uses: u8) -> u32 {
        let Pair { key, value, hash, weight, deadline, span } = new;
        let writer = &mut *self.writer;
        let token = writer.free.pop().unwrap_or_else(|| {
            assert!((writer.next as usize) < TOKENS_MAX + LIMBO_MAX, "limbo has used up the tokens");
            writer.slab.ensure(writer.next);
            writer.next += 1;
            writer.next - 1
        });
        let slot = writer.slab.slot(token);
        let mut flags = LIVE | HELD;
        if deadline != NEVER {
            note(&writer.slab.deadlines, token, deadline);
            flags |= EXPIRES;
            if let Some(span) = span {
                writer.slab.note_span(token, span);
            }
        }
        if writer.slab.scales.uniform.is_none() {
            note(&writer.slab.weights, token, weight);
        }
        // SAFETY: invariant 2: the token comes from the free list or is new.
        slot.cell().with_mut(|pair| unsafe {
            (*pair).write((key, value));
        });
        slot.set_hash(hash);
        slot.uses().store(uses, Ordering::Relaxed);
        slot.flags().store(flags, Ordering::Relaxed);
        token
    }

    /// Notes that a token has left the index.
    #[inline]
    fn retire(&mut self, token: u32) {
        let slot = self.writer.slab.slot(token);
        // `EXPIRES` stays for those who still read.
        slot.flags().store(slot.flags().load(Ordering::Relaxed) & !LIVE, Ordering::Relaxed);
        self.writer.fresh.push(token);
    }

    /// Moves a pair out of a slot that no reader can see, and frees the slot.
    fn empty(&mut self, token: u32) -> (K, V) {
        let slot = self.writer.slab.slot(token);
        assert!(slot.flag(HELD) && !slot.flag(LIVE), "token {token} comes from limbo");
        slot.flags().store(0, Ordering::Relaxed);
        // SAFETY: invariants 2 and 4; the flag is gone, so that nobody moves or drops it again.
        let pair = slot.cell().with_mut(|pair| unsafe { (*pair).assume_init_read() });
        self.writer.give(token);
        pair
    }

    /// Lets live entries change to free slots; answers whether they did, which they do not when a reader stays in the way.
    fn carry(&mut self, pairs: &[(u32, u32)]) -> bool {
        let index = self.index().expect("live entries are in it");
        let (table, slab, moves) = (&index.table, &self.writer.slab, &self.arena.moves);
        let hash = |token: u32| slab.slot(token).hash();
        let before = moves.load(Ordering::Relaxed);
        // Ordered by the releases of the removals.
        moves.store(before + 1, Ordering::Relaxed);
        for (old, _) in pairs {
            assert!(table.remove(hash(*old), *old), "a live entry is in the index");
        }
        let unseen = unseen::<K, V>();
        for &(old, new) in pairs {
            if unseen {
                let (from, to) = (slab.slot(old), slab.slot(new));
                assert!(from.flag(LIVE) && !to.flag(HELD), "token {new} is free for {old}");
                // SAFETY: invariant 2: the old token left the index before the horizon passed, the new one is free; what is
                // moved out has lost its flag before the lock is released.
                to.cell().with_mut(|to| unsafe {
                    (*to).write(from.cell().with_mut(|from| (*from).assume_init_read()));
                });
                slab.copy_facts(old, new);
                from.flags().store(0, Ordering::Relaxed);
            }
            table.insert(hash(old), if unseen { new } else { old });
        }
        moves.store(before + 2, Ordering::Release);
        unseen
    }

    /// Forgets up to `most` tokens at the end that hold nothing, and frees their chunks; answers whether it did so many.
    fn truncate(&mut self, most: usize) -> bool {
        let writer = &mut *self.writer;
        let (from, end) = (writer.ceiling, writer.next);
        let least = end.saturating_sub(u32::try_from(most).unwrap_or(u32::MAX)).max(from.min(end));
        while writer.next > least && !writer.slab.slot(writer.next - 1).flag(HELD) {
            writer.next -= 1;
        }
        // SAFETY: what holds nothing is neither in the index nor in limbo, so no reader has found it or can; the lock keeps
        // writers away.
        unsafe { writer.slab.release(writer.next, end) };
        writer.next == least && least > from
    }

    /// Compares index, slots and lists of tokens.
    ///
    /// # Panics
    ///
    /// When they disagree.
    pub(crate) fn validate(&self) {
        let writer = &*self.writer;
        assert_eq!(self.tokens_from(0).count(), writer.len, "live slots");
        assert_eq!(self.index().map_or(0, |index| index.table.count()), writer.len, "tokens in the index");
        if writer.len == 0 {
            assert_eq!(
                self.index().map_or(0, |index| index.table.passed()),
                0,
                "nobody passes the buckets of an empty index"
            );
        }
        let held = (0..writer.next).filter(|token| writer.slab.slot(*token).flag(HELD)).count();
        assert_eq!(held, writer.len + self.limbo(), "filled slots");
        assert_eq!(writer.free.len() + held, writer.next as usize, "free slots");
    }
}

impl<K, V, X> Writer<K, V, X> {
    /// Frees up to `most` of the slots without destructors that no reader can see any more, oldest first.
    fn free_safe(&mut self, most: usize) {
        let safe = registry().safe();
        for _ in 0..most {
            let Some(&(_, token)) = self.aging.front().filter(|(mark, _)| *mark < safe) else { return };
            self.aging.pop_front();
            self.slab.slot(token).flags().store(0, Ordering::Relaxed);
            self.give(token);
        }
    }

    /// Takes back the token of an empty slot.
    fn give(&mut self, token: u32) {
        if token < self.ceiling {
            self.free.push(token);
        }
    }
}

/// Whether all readers have left that may see what was taken out of an index before; waits a moment for them.
fn unseen<K, V>() -> bool {
    if needs_drop::<(K, V)>() {
        let stamp = registry().stamp();
        return (0..PATIENCE).any(|_| registry().horizon() > stamp);
    }
    let mark = registry().mark();
    // Each look costs microseconds here.
    (0..PATIENCE.min(4)).any(|_| {
        registry().advance();
        registry().safe() > mark
    })
}

/// How many slots of a size wait for each other in limbo.
const fn batch_len(size: usize) -> usize {
    let most = BATCH_BYTES / size;
    if most > BATCH {
        BATCH
    } else if most == 0 {
        1
    } else {
        most
    }
}
