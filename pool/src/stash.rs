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
    /// Whether the budget counts it.
    owned: bool,
    /// The period in which it last came back.
    period: u32,
}

impl<T> Node<T> {
    /// An object that no stash will keep.
    pub(crate) fn guest(value: T) -> Self {
        Self { value, owned: false, period: 0 }
    }
}

/// A thread's own objects and counts, in a cache line of their own.
#[repr(align(128))]
struct Place<T> {
    seat: Seat<Node<T>>,
    pulled: AtomicU64,
    returned: AtomicU64,
}

impl<T> Place<T> {
    fn new(quiets: bool) -> Self {
        Self { seat: Seat::new(quiets), pulled: AtomicU64::new(0), returned: AtomicU64::new(0) }
    }
}

/// Counts without a locked instruction: only the place's thread writes.
#[inline]
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
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
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn reserve(&self, weight: usize) -> bool {
        let limit = self.limit();
        let reserve = |used: usize| used.checked_add(weight).filter(|used| *used <= limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    fn release(&self, weight: usize) {
        self.used.fetch_sub(weight, Ordering::Relaxed);
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
    period: AtomicU32,
    demand: Mutex<Demand>,
    /// For threads without a seat.
    pulled: AtomicU64,
    returned: AtomicU64,
    created: AtomicU64,
    discarded: AtomicU64,
    trimmed: AtomicU64,
    taken: AtomicU64,
    guests: AtomicU64,
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
            places: (0..places()).map(|_| Place::new(quiets)).collect(),
            list: Mutex::new(Vec::new()),
            budget,
            weight,
            owned: AtomicUsize::new(0),
            period: AtomicU32::new(0),
            demand: Mutex::new(Demand::default()),
            pulled: AtomicU64::new(0),
            returned: AtomicU64::new(0),
            created: AtomicU64::new(0),
            discarded: AtomicU64::new(0),
            trimmed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            guests: AtomicU64::new(0),
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
            count(&place.pulled);
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
        let mut node = Box::new(Node { value, owned: false, period: self.period.load(Ordering::Relaxed) });
        if !self.own(&mut node) {
            self.guests.fetch_add(1, Ordering::Relaxed);
        }
        node
    }

    fn own(&self, node: &mut Node<T>) -> bool {
        if !node.owned && self.budget.reserve(self.weight) {
            self.owned.fetch_add(1, Ordering::Relaxed);
            node.owned = true;
        }
        node.owned
    }

    fn disown(&self, node: &Node<T>) {
        if node.owned {
            self.owned.fetch_sub(1, Ordering::Relaxed);
            self.budget.release(self.weight);
        }
    }

    /// An object comes back, clean.
    #[inline]
    pub(crate) fn put(&self, mut node: Box<Node<T>>) {
        if let Some(place) = self.place() {
            count(&place.returned);
            if node.owned && !self.budget.is_exceeded() {
                node.period = self.period.load(Ordering::Relaxed);
                match place.seat.fill(node) {
                    Ok(()) => return,
                    Err(back) => node = back,
                }
            }
        } else {
            self.returned.fetch_add(1, Ordering::Relaxed);
        }
        self.put_elsewhere(node);
    }

    /// For whom there is no seat, or no room at all.
    #[cold]
    fn put_elsewhere(&self, mut node: Box<Node<T>>) {
        if !self.budget.is_exceeded() && self.own(&mut node) {
            node.period = self.period.load(Ordering::Relaxed);
            self.list.lock().push(node);
        } else {
            self.disown(&node);
            self.trimmed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes an object that nobody asked for, while there is room; answers whether there was.
    pub(crate) fn stock(&self, make: impl FnOnce() -> T) -> bool {
        if !self.budget.reserve(self.weight) {
            return false;
        }
        // A factory that panics must not keep the room.
        let room = Room { stash: self, kept: false };
        let value = make();
        room.keep();
        self.owned.fetch_add(1, Ordering::Relaxed);
        self.created.fetch_add(1, Ordering::Relaxed);
        let period = self.period.load(Ordering::Relaxed);
        self.list.lock().push(Box::new(Node { value, owned: true, period }));
        true
    }

    /// An object came back unusable.
    #[allow(clippy::needless_pass_by_value, reason = "the node ends here")]
    pub(crate) fn discard(&self, node: Box<Node<T>>) {
        self.returned.fetch_add(1, Ordering::Relaxed);
        self.discarded.fetch_add(1, Ordering::Relaxed);
        self.disown(&node);
    }

    /// An object leaves for good.
    pub(crate) fn take(&self, node: Box<Node<T>>) -> T {
        self.returned.fetch_add(1, Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.disown(&node);
        node.value
    }

    /// Ends a period: lets go of what the demand of the last ones does not ask for, down to `min`; answers how many.
    pub(crate) fn end_period(&self, min: usize) -> usize {
        let ended = self.period.fetch_add(1, Ordering::Relaxed);
        let mut idle = self.all_idle();
        let out = self.owned().saturating_sub(idle.len());
        let touched = idle.iter().filter(|node| node.period == ended).count();
        let target = {
            let mut demand = self.demand.lock();
            demand.see(out + touched);
            demand.roll(out);
            demand.target()
        };
        // What came back last is kept.
        idle.sort_by_key(|node| std::cmp::Reverse(node.period));
        self.keep(idle, target.max(min).saturating_sub(out))
    }

    /// Lets go of a share of the idle objects, down to `min` owned; answers how many.
    pub(crate) fn trim(&self, share: f64, min: usize) -> usize {
        let mut idle = self.all_idle();
        let out = self.owned().saturating_sub(idle.len());
        let most = (idle.len() as f64 * share).ceil() as usize;
        idle.sort_by_key(|node| std::cmp::Reverse(node.period));
        let keep = (idle.len() - most).max(min.saturating_sub(out));
        self.keep(idle, keep)
    }

    fn all_idle(&self) -> Vec<Box<Node<T>>> {
        let mut idle = std::mem::take(&mut *self.list.lock());
        idle.extend(self.places.iter().flat_map(|place| std::iter::from_fn(|| place.seat.steal())));
        idle
    }

    fn keep(&self, mut idle: Vec<Box<Node<T>>>, most: usize) -> usize {
        let surplus = if idle.len() > most { idle.split_off(most) } else { Vec::new() };
        // Destructors run outside of the lock.
        self.list.lock().append(&mut idle);
        for node in &surplus {
            self.disown(node);
        }
        self.trimmed.fetch_add(surplus.len() as u64, Ordering::Relaxed);
        surplus.len()
    }

    /// Objects owned, idle or not.
    pub(crate) fn owned(&self) -> usize {
        self.owned.load(Ordering::Relaxed)
    }

    /// Objects idle.
    pub(crate) fn idle(&self) -> usize {
        let seated = self.places.iter().map(|place| place.seat.held()).sum::<usize>();
        seated + self.list.lock().len()
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
        let sum = |rest: &AtomicU64, of: fn(&Place<T>) -> &AtomicU64| {
            rest.load(Ordering::Relaxed)
                + self.places.iter().map(|place| of(place).load(Ordering::Relaxed)).sum::<u64>()
        };
        Counts {
            pulled: sum(&self.pulled, |place| &place.pulled),
            returned: sum(&self.returned, |place| &place.returned),
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
        for node in out {
            stash.put(node);
        }
        stash.put(guest);
        assert_eq!((stash.owned(), stash.idle()), (2, 2));
    }
}
