//! What threads share without waiting, under a checker that tries every interleaving and every value that a load may see.
//!
//! The same source files as in the library, over the checker's atomics. The queue of waiters is run under the checker's lock
//! and executor, with a pool of one resource around it. The number of preemptions is bounded, as is usual, to keep a run
//! within seconds.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the included files are used in part")]
#![allow(missing_docs, missing_debug_implementations, reason = "nothing here is public")]

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

#[path = "../src/stash/seat.rs"]
mod seat;
#[path = "../src/stash/slot.rs"]
mod slot;
#[path = "../src/resource/waiters.rs"]
mod waiters;
#[path = "../src/intern/words.rs"]
mod words;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};
    pub(crate) use loom::thread::yield_now as pause;

    /// A checker knows no fence that one thread imposes on others; fences on both sides are what it amounts to.
    pub(crate) mod fence {
        use loom::sync::atomic::{Ordering, fence};

        pub(crate) fn lightly() {
            fence(Ordering::SeqCst);
        }

        pub(crate) fn everywhere() {
            fence(Ordering::SeqCst);
        }
    }

    // Small numbers keep the models small.
    pub(crate) const SLOTS: usize = 1;
    pub(crate) const CALM: u32 = 1;
    pub(crate) const PATIENCE: u32 = 2;
    pub(crate) const CHUNK: usize = 32;
    pub(crate) const SMALLEST: usize = 2;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

use seat::Seat;
use slot::Slot;
use waiters::{Look, Priority, Ticket, Waiter, Waiters};
use words::Shard;

fn check(model: impl Fn() + Sync + Send + 'static) {
    check_within(3, model);
}

fn check_within(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

/// An object that knows how many of it live.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn an_object_is_taken_once_and_the_owner_overwrites_none() {
    check(|| {
        let alive = Arc::new(AtomicUsize::new(2));
        let slot = Arc::new(Slot::new());
        assert!(slot.fill(Box::new(Counted(alive.clone()))).is_ok());
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let slot = slot.clone();
                thread::spawn(move || slot.take().map(drop).is_some())
            })
            .collect();
        // The owner puts another one in as soon as it sees room.
        let second = slot.fill(Box::new(Counted(alive.clone())));
        let kept = second.is_err();
        drop(second);
        let stolen = thieves.into_iter().map(|thief| usize::from(thief.join().unwrap())).sum::<usize>();
        let left = usize::from(slot.take().is_some());
        assert_eq!(stolen + left + usize::from(kept), 2);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn what_the_owner_wrote_is_seen_by_whoever_takes() {
    check(|| {
        let slot = Arc::new(Slot::new());
        let thief = {
            let slot = slot.clone();
            thread::spawn(move || slot.take().map(|object| *object))
        };
        assert!(slot.fill(Box::new((7_u64, 8_u64))).is_ok());
        let taken = thief.join().unwrap();
        assert!(matches!(taken, None | Some((7, 8))));
    });
}

/// An owner that takes twice and fills in between, beside thieves: quiet, made loud, and quiet again.
fn rob(quiets: bool, thieves: usize) {
    let alive = Arc::new(AtomicUsize::new(2));
    let seat = Arc::new(Seat::new(quiets));
    assert!(seat.fill(Box::new(Counted(alive.clone()))).is_ok());
    let thieves: Vec<_> = (0..thieves)
        .map(|_| {
            let seat = seat.clone();
            thread::spawn(move || usize::from(seat.steal().is_some()))
        })
        .collect();
    let first = usize::from(seat.take().is_some());
    let refused = usize::from(seat.fill(Box::new(Counted(alive.clone()))).is_err());
    let second = usize::from(seat.take().is_some());
    let stolen = thieves.into_iter().map(|thief| thief.join().unwrap()).sum::<usize>();
    let left = usize::from(seat.take().is_some());
    let found = [first, refused, second, stolen, left];
    assert_eq!(found.iter().sum::<usize>(), 2, "first, refused, second, stolen, left: {found:?}");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn an_object_of_a_seat_is_taken_once_by_its_owner_or_a_thief() {
    check_within(2, || rob(true, 1));
    check_within(2, || rob(false, 1));
}

#[test]
fn an_owner_meets_two_thieves() {
    // Three threads have too many ways for three preemptions.
    check_within(1, || rob(true, 2));
}

#[test]
fn what_the_owner_wrote_is_seen_by_a_thief() {
    check(|| {
        let seat = Arc::new(Seat::new(true));
        let thief = {
            let seat = seat.clone();
            thread::spawn(move || seat.steal().map(|object| *object))
        };
        assert!(seat.fill(Box::new((7_u64, 8_u64))).is_ok());
        let own = seat.take().map(|object| *object);
        let stolen = thief.join().unwrap();
        assert!(matches!((own, stolen), (Some((7, 8)), None) | (None, Some((7, 8)))));
    });
}

#[test]
fn a_word_is_one_for_all_while_the_table_grows() {
    check(|| {
        let shard = Arc::new(Shard::new());
        let first = shard.insert(1, "one").0;
        let other = {
            let shard = shard.clone();
            thread::spawn(move || {
                let known = shard.get(1, "one").unwrap_or_else(|| shard.insert(1, "one").0);
                let new = shard.get(3, "two").unwrap_or_else(|| shard.insert(3, "two").0);
                (known, new)
            })
        };
        // Same bucket; the table grows at the second word.
        let mine = shard.get(3, "two").unwrap_or_else(|| shard.insert(3, "two").0);
        shard.insert(5, "three");
        let (known, new) = other.join().unwrap();
        assert!(known == first && new == mine && new.text() == "two");
        assert_eq!(shard.size(), (3, 11));
    });
}

/// A pool of one resource: what the real one does with its queue.
struct One {
    state: sync::Mutex<(Option<u64>, Waiters<u64, ()>)>,
}

impl One {
    fn give(&self, resource: u64) {
        let waker = {
            let mut state = self.state.lock();
            let waker = state.1.serve(|_| resource);
            if waker.is_none() {
                state.0 = Some(resource);
            }
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Acquire {
    pool: Arc<One>,
    ticket: Option<Ticket>,
}

impl Future for Acquire {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let pool = self.pool.clone();
        let mut state = pool.state.lock();
        if let Some(ticket) = self.ticket {
            return match state.1.look(ticket, cx.waker()) {
                Look::Served(resource) => {
                    self.ticket = None;
                    Poll::Ready(resource)
                }
                _ => Poll::Pending,
            };
        }
        if state.1.waiting() == 0
            && let Some(resource) = state.0.take()
        {
            return Poll::Ready(resource);
        }
        let now = tokio::time::Instant::now();
        let waiter = Waiter { priority: Priority::Normal, since: now, deadline: now, location: Location::caller() };
        self.ticket = Some(state.1.push(waiter, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let left = self.ticket.take().map(|ticket| self.pool.state.lock().1.leave(ticket));
        if let Some(Look::Served(resource)) = left {
            self.pool.give(resource);
        }
    }
}

#[test]
fn nobody_sleeps_through_a_resource_that_comes_back() {
    check(|| {
        let pool = Arc::new(One { state: sync::Mutex::new((Some(7), Waiters::default())) });
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                let resource = loom::future::block_on(Acquire { pool: pool.clone(), ticket: None });
                pool.give(resource);
            })
        };
        let resource = loom::future::block_on(Acquire { pool: pool.clone(), ticket: None });
        pool.give(resource);
        other.join().unwrap();
        assert_eq!(pool.state.lock().0, Some(7));
    });
}

#[test]
fn a_caller_who_leaves_while_it_is_served_passes_the_resource_on() {
    check(|| {
        let pool = Arc::new(One { state: sync::Mutex::new((None, Waiters::default())) });
        let mut leaver = Box::pin(Acquire { pool: pool.clone(), ticket: None });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(leaver.as_mut().poll(&mut cx).is_pending());
        let giver = {
            let pool = pool.clone();
            thread::spawn(move || pool.give(7))
        };
        let stays = {
            let pool = pool.clone();
            thread::spawn(move || loom::future::block_on(Acquire { pool, ticket: None }))
        };
        drop(leaver);
        assert_eq!(stays.join().unwrap(), 7);
        giver.join().unwrap();
    });
}
