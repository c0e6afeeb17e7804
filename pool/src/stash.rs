//! Idle objects: a few in a seat of each thread, the rest in one list behind a lock.
//!
//! A thread looks into its own seat, then into the list, then into the seats of others, and only then is a new object
//! made. So the usual round trip touches one cache line that no other thread writes, without a locked instruction, and yet no
//! object is out of reach.
//!
//! The budget counts what the stash *owns*, idle or not. It changes when objects are made and dropped, never when they come
//! and go, which is why a limit costs nothing on the way. An object beyond the budget is a *guest*: it is dropped when it
//! comes back, unless there is room by then.
//!
//! Each object carries the number of the period in which it last came back. Those that a period did not touch were not
//! needed in it, so counting the others gives the demand of the period without a counter that all threads write.

mod seat;
mod slot;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use self::seat::Seat;
use crate::demand::Demand;
use crate::{fence, threads};

/// An object with what the stash must know of it.
#[derive(Debug)]
pub(crate) struct Node<T> {
    pub(crate) value: T,
    /// The period in which it last came back, or [`GUEST`] if the budget does not count it.
    period: u32,
}

/// Instead of the period of an object that the budget does not count.
const GUEST: u32 = 0;
/// With the present period of a stash: the limit was lowered, and who returns must look whether there is still room.
const LOOK: u32 = 1 << 31;

impl<T> Node<T> {
    /// An object that no stash will keep.
    pub(crate) fn guest(value: T) -> Self {
        Self { value, period: GUEST }
    }

    fn is_owned(&self) -> bool {
        self.period != GUEST
    }
}

/// A thread's seat, in a cache line of its own.
#[repr(align(128))]
struct Place<T> {
    seat: Seat<Node<T>>,
}

/// What several stashes may own together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit: AtomicUsize::new(limit) })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::SeqCst)
    }

    /// Whoever lowers it tells the stashes ([`Stash::limit_changed`]).
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::SeqCst);
    }

    fn reserve(&self, weight: usize) -> bool {
        let limit = self.limit();
        let reserve = |used: usize| used.checked_add(weight).filter(|used| *used <= limit);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserve).is_ok()
    }

    fn release(&self, weight: usize) {
        self.used.fetch_sub(weight, Ordering::SeqCst);
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.limit()
    }
}

/// What happened in a stash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pulled: u64,
    pub(crate) returned: u64,
    pub(crate) created: u64,
    pub(crate) discarded: u64,
    pub(crate) trimmed: u64,
    pub(crate) taken: u64,
    pub(crate) guests: u64,
}

/// Idle objects of one sort and weight.
pub(crate) struct Stash<T> {
    places: Box<[Place<T>]>,
    list: Mutex<Vec<Box<Node<T>>>>,
    budget: Arc<Budget>,
    weight: usize,
    /// How many are owned, whatever they weigh.
    owned: AtomicUsize,
    /// The present period, from 1, and perhaps [`LOOK`]. An object whose period is the same needs no look at anything else.
    period: AtomicU32,
    demand: Mutex<Demand>,
    /// By threads without a seat.
    pulled: AtomicU64,
    created: AtomicU64,
    discarded: AtomicU64,
    trimmed: AtomicU64,
    taken: AtomicU64,
    guests: AtomicU64,
    /// Guests that are no more, or have become owned.
    departed: AtomicU64,
}

impl<T: Send> fmt::Debug for Stash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stash").field("owned", &self.owned()).field("idle", &self.idle()).finish_non_exhaustive()
    }
}

fn places() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_mul(4).clamp(16, 128)
}

impl<T: Send> Stash<T> {
    /// A stash whose objects weigh `weight` each.
    pub(crate) fn new(budget: Arc<Budget>, weight: usize) -> Self {
        let quiets = fence::prepare();
        Self {
            places: (0..places()).map(|_| Place { seat: Seat::new(quiets) }).collect(),
            list: Mutex::new(Vec::new()),
            budget,
            weight,
            owned: AtomicUsize::new(0),
            period: AtomicU32::new(1),
            demand: Mutex::new(Demand::default()),
            pulled: AtomicU64::new(0),
            created: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            guests: AtomicU64::new(0),
            departed: AtomicU64::new(0),
        }
    }

    #[inline]
    fn place(&self) -> Option<&Place<T>> {
        threads::number().and_then(|number| self.places.get(number))
    }

    /// An idle object, if there is one.
    #[inline]
    pub(crate) fn pull(&self) -> Option<Box<Node<T>>> {
        if let Some(place) = self.place() {
            if let Some(node) = place.seat.take() {
                return Some(node);
            }
        } else {
            self.pulled.fetch_add(1, Ordering::Relaxed);
        }
        self.pull_elsewhere()
    }

    #[cold]
    fn pull_elsewhere(&self) -> Option<Box<Node<T>>> {
        let listed = self.list.lock().pop();
        listed.or_else(|| self.places.iter().find_map(|place| place.seat.steal()))
    }

    /// A new object around `value`, counted if there is room.
    #[allow(clippy::unnecessary_box_returns, reason = "a node lives in its box")]
    pub(crate) fn adopt(&self, value: T) -> Box<Node<T>> {
        self.created.fetch_add(1, Ordering::Relaxed);
        let mut node = Box::new(Node::guest(value));
        if self.reserve() {
            self.owned.fetch_add(1, Ordering::Relaxed);
            node.period = self.period();
        } else {
            self.guests.fetch_add(1, Ordering::Relaxed);
        }
        node
    }

    fn reserve(&self) -> bool {
        let reserved = self.budget.reserve(self.weight);
        if reserved && self.budget.is_exceeded() {
            // The limit was lowered at the same time, by somebody who may not have seen this.
            self.limit_changed();
        }
        reserved
    }

    /// Lets who returns look whether there is room.
    pub(crate) fn limit_changed(&self) {
        self.period.fetch_or(LOOK, Ordering::SeqCst);
    }

    fn period(&self) -> u32 {
        self.period.load(Ordering::Relaxed) & !LOOK
    }

    /// Counts a guest if there is room now; answers whether the object is counted.
    fn own(&self, node: &mut Node<T>) -> bool {
        if !node.is_owned() && self.reserve() {
            self.owned.fetch_add(1, Ordering::Relaxed);
            self.departed.fetch_add(1, Ordering::Relaxed);
            node.period = self.period();
        }
        node.is_owned()
    }

    fn disown(&self, node: &Node<T>) {
        if node.is_owned() {
            self.owned.fetch_sub(1, Ordering::Relaxed);
            self.budget.release(self.weight);
        } else {
            self.departed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An object comes back, clean.
    #[inline]
    pub(crate) fn put(&self, mut node: Box<Node<T>>) {
        if node.period == self.period.load(Ordering::Relaxed)
            && let Some(place) = self.place()
        {
            match place.seat.fill(node) {
                Ok(()) => return,
                Err(back) => node = back,
            }
        }
        self.put_elsewhere(node);
    }

    /// The first time in a period, for whom there is no seat, and when there may be no room.
    #[cold]
    fn put_elsewhere(&self, mut node: Box<Node<T>>) {
        if self.is_full() || !self.own(&mut node) {
            self.disown(&node);
            self.trimmed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        node.period = self.period();
        let unplaced = match self.place() {
            Some(place) => place.seat.fill(node).err(),
            None => Some(node),
        };
        if let Some(node) = unplaced {
            self.list.lock().push(node);
        }
    }

    /// Whether more is owned than the limit allows, which was lowered then.
    fn is_full(&self) -> bool {
        if self.period.load(Ordering::SeqCst) & LOOK == 0 {
            return false;
        }
        // Taken back first: whoever lowers the limit meanwhile says so again.
        self.period.fetch_and(!LOOK, Ordering::SeqCst);
        let full = self.budget.is_exceeded();
        if full {
            self.limit_changed();
        }
        full
    }

    /// Makes an object that nobody asked for, while there is room; answers whether there was.
    pub(crate) fn stock(&self, make: impl FnOnce() -> T) -> bool {
        if !self.reserve() {
            return false;
        }
        // A factory that panics must not keep the room.
        let room = Room { stash: self, kept: false };
        let value = make();
        room.keep();
        self.owned.fetch_add(1, Ordering::Relaxed);
        self.created.fetch_add(1, Ordering::Relaxed);
        let period = self.period();
        self.list.lock().push(Box::new(Node { value, period }));
        true
    }

    /// An object came back unusable.
    #[allow(clippy::needless_pass_by_value, reason = "the node ends here")]
    pub(crate) fn discard(&self, node: Box<Node<T>>) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
        self.disown(&node);
    }

    /// An object leaves for good.
    pub(crate) fn take(&self, node: Box<Node<T>>) -> T {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.disown(&node);
        node.value
    }

    /// Ends a period: lets go of what the demand of the last ones does not ask for, down to `min`; answers how many.
    pub(crate) fn end_period(&self, min: usize) -> usize {
        let ended = self.next_period();
        self.keep(|idle, out| {
            let touched = idle.iter().filter(|node| node.period == ended).count();
            let mut demand = self.demand.lock();
            demand.see(out + touched);
            demand.roll(out);
            demand.target().max(min).saturating_sub(out)
        })
    }

    /// Answers the period that ends.
    fn next_period(&self) -> u32 {
        let next = |period: u32| Some((period & LOOK) | ((period & !LOOK) % (LOOK - 1) + 1));
        let ended = self.period.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        ended.unwrap_or_else(|period| period) & !LOOK
    }

    /// Lets go of a share of the idle objects, down to `min` owned; answers how many.
    pub(crate) fn trim(&self, share: f64, min: usize) -> usize {
        self.keep(|idle, out| {
            let most = (idle.len() as f64 * share).ceil() as usize;
            (idle.len() - most).max(min.saturating_sub(out))
        })
    }

    /// Keeps as many idle objects as `most` says, which is told of them and of how many are out; answers how many left.
    fn keep(&self, most: impl FnOnce(&[Box<Node<T>>], usize) -> usize) -> usize {
        // Whoever counts what is idle meanwhile waits for the list, and so misses none.
        let mut list = self.list.lock();
        let mut idle = std::mem::take(&mut *list);
        idle.extend(self.places.iter().flat_map(|place| std::iter::from_fn(|| place.seat.steal())));
        let most = most(&idle, self.owned().saturating_sub(idle.len()));
        // What came back last is kept.
        idle.sort_by_key(|node| std::cmp::Reverse(node.period));
        let surplus = idle.split_off(most.min(idle.len()));
        *list = idle;
        for node in &surplus {
            self.disown(node);
        }
        self.trimmed.fetch_add(surplus.len() as u64, Ordering::Relaxed);
        // Destructors run outside of the lock.
        drop(list);
        surplus.len()
    }

    /// Objects owned, idle or not.
    pub(crate) fn owned(&self) -> usize {
        self.owned.load(Ordering::Relaxed)
    }

    /// Objects idle.
    pub(crate) fn idle(&self) -> usize {
        let list = self.list.lock();
        list.len() + self.places.iter().map(|place| place.seat.held()).sum::<usize>()
    }

    /// Objects in callers' hands: what is owned and not idle, and guests. Counting each return would cost every return.
    fn out(&self) -> u64 {
        let idle = self.idle();
        let guests = self.guests.load(Ordering::Relaxed).saturating_sub(self.departed.load(Ordering::Relaxed));
        self.owned().saturating_sub(idle) as u64 + guests
    }

    /// How many the demand asks for.
    pub(crate) fn wanted(&self) -> usize {
        self.demand.lock().target()
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Numbers of all threads. They are exact when nobody is at work.
    pub(crate) fn counts(&self) -> Counts {
        let seated = self.places.iter().map(|place| place.seat.visits()).sum::<u64>();
        let pulled = seated + self.pulled.load(Ordering::Relaxed);
        Counts {
            pulled,
            returned: pulled.saturating_sub(self.out()),
            created: self.created.load(Ordering::Relaxed),
            discarded: self.discarded.load(Ordering::Relaxed),
            trimmed: self.trimmed.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
            guests: self.guests.load(Ordering::Relaxed),
        }
    }
}

/// Room in the budget that is given back unless it is kept.
struct Room<'a, T: Send> {
    stash: &'a Stash<T>,
    kept: bool,
}

impl<T: Send> Room<'_, T> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl<T: Send> Drop for Room<'_, T> {
    fn drop(&mut self) {
        if !self.kept {
            self.stash.budget.release(self.stash.weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    static ALIVE: AtomicI64 = AtomicI64::new(0);

    struct Counted;

    impl Counted {
        fn new() -> Self {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            Self
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn objects_wander_between_threads_and_none_is_lost_or_doubled() {
        let stash = Stash::new(Budget::new(6), 1);
        std::thread::scope(|scope| {
            for seed in 0..4_usize {
                let stash = &stash;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut state = seed;
                    for _ in 0..20_000 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        if (state >> 33) % 3 == 0 && held.len() < 6 {
                            held.push(stash.pull().unwrap_or_else(|| stash.adopt(Counted::new())));
                        } else if let Some(node) = held.pop() {
                            if (state >> 40) % 50 == 0 { stash.discard(node) } else { stash.put(node) }
                        }
                        if (state >> 45) % 500 == 0 {
                            stash.end_period(0);
                        }
                        assert!(stash.owned() <= 6);
                    }
                    for node in held {
                        stash.put(node);
                    }
                });
            }
        });
        assert_eq!(stash.owned(), stash.idle());
        assert_eq!(ALIVE.load(Ordering::SeqCst), stash.idle() as i64);
        let counts = stash.counts();
        assert_eq!(counts.pulled, counts.returned);
        drop(stash);
        assert_eq!(ALIVE.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn demand_of_a_period_is_what_was_out_at_once() {
        let stash = Stash::new(Budget::new(10), 1);
        for _ in 0..10 {
            assert!(stash.stock(|| ()));
        }
        assert!(!stash.stock(|| ()), "full");
        for _ in 0..40 {
            for _ in 0..100 {
                let three: Vec<_> = (0..3).map(|_| stash.pull().unwrap()).collect();
                for node in three {
                    stash.put(node);
                }
            }
            stash.end_period(0);
        }
        assert_eq!((stash.owned(), stash.idle(), stash.wanted()), (3, 3, 3));
        assert_eq!(stash.trim(0.5, 0), 2);
        assert_eq!(stash.trim(1.0, 1), 0);
    }

    #[test]
    fn a_lower_limit_is_reached_as_objects_come_back() {
        let budget = Budget::new(4);
        let stash = Stash::new(budget.clone(), 1);
        let out: Vec<_> = (0..4).map(|_| stash.adopt(())).collect();
        let guest = stash.adopt(());
        assert_eq!((stash.counts().guests, stash.owned()), (1, 4));
        budget.set_limit(2);
        stash.limit_changed();
        for node in out {
            stash.put(node);
        }
        stash.put(guest);
        assert_eq!((stash.owned(), stash.idle()), (2, 2));
    }
}
