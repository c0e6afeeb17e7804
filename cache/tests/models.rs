//! The engine's lock-free parts under a checker that tries every interleaving and every value that a load may see.
//!
//! The same source files as in the library, over the checker's atomics: `sync` and `threads` here stand in for those of the
//! store. The number of preemptions is bounded, as is usual, to keep a run within seconds.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the included files are used in part")]
#![allow(missing_docs, reason = "nothing here is public")]

use loom::sync::Arc;
use loom::thread;

#[path = "../src/store/arena.rs"]
mod arena;
#[path = "../src/store/chunked.rs"]
mod chunked;
#[path = "../src/store/compare.rs"]
mod compare;
#[path = "../src/store/epoch.rs"]
mod epoch;
#[path = "../src/store/group.rs"]
mod group;
#[path = "../src/store/slots.rs"]
mod slots;
#[path = "../src/store/table.rs"]
mod table;

/// What the arena needs of the rest of the library.
mod expiry {
    pub(crate) const NEVER: u64 = u64::MAX;
}

mod policy {
    pub(crate) const USES_MAX: u8 = 3;

    pub(crate) trait Facts {
        fn uses(&self, token: u32) -> u8;
        fn set_uses(&self, token: u32, uses: u8);
        fn hash(&self, token: u32) -> u32;
        fn cost(&self, token: u32) -> u32;
        fn deadline(&self, token: u32) -> u64;
        fn link(&self, token: u32) -> queues::Link;
        fn set_link(&self, token: u32, link: queues::Link);
        fn set_prev(&self, token: u32, prev: u32);
        fn set_next(&self, token: u32, next: u32);
        fn look_ahead(&self, token: u32);
        fn alike(&self) -> bool;
    }

    pub(crate) mod queues {
        #[derive(Clone, Copy)]
        pub(crate) struct Link {
            pub(crate) prev: u32,
            pub(crate) next: u32,
        }

        impl Link {
            pub(crate) const NONE: Self = Self { prev: u32::MAX, next: u32::MAX };
        }
    }
}

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence};
    use std::sync::atomic::Ordering;

    // Small numbers keep the models small.
    pub(crate) const CHUNK_BYTES: usize = 1;
    pub(crate) const GROUP: usize = 4;
    pub(crate) const PATIENCE: usize = 1;
    pub(crate) const SPARE: usize = 0;

    pub(crate) fn breathe() {}

    pub(crate) fn announce(cell: &AtomicU64, value: u64) {
        cell.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn prefetch<T>(_: *const T) {}

    // A checker knows no fence that one thread imposes on others; fences on both sides are what it amounts to.
    pub(crate) fn announce_lightly(cell: &AtomicU64, value: u64) {
        announce(cell, value);
    }

    pub(crate) fn fence_everywhere() {
        fence(Ordering::SeqCst);
    }

    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::MutexGuard;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    macro_rules! maybe_const_fn {
        ($(#[$doc:meta])* $name:ident() -> $result:ty $body:block) => {
            $(#[$doc])*
            pub(crate) fn $name() -> $result $body
        };
    }
    pub(crate) use maybe_const_fn;
}

mod threads {
    use super::epoch::{Registry, Seat};

    loom::lazy_static! {
        static ref REGISTRY: Registry = Registry::new();
    }

    pub(crate) fn registry() -> &'static Registry {
        &REGISTRY
    }

    /// A seat for each pin is enough for a model.
    pub(crate) struct Pin(&'static Seat, bool, u64);

    pub(crate) fn pin(fenced: bool) -> Pin {
        let seat = registry().take_seat();
        let before = seat.enter(registry(), fenced);
        Pin(seat, fenced, before)
    }

    impl Pin {
        pub(crate) fn is_fenced(&self) -> bool {
            self.1
        }
    }

    impl Drop for Pin {
        fn drop(&mut self) {
            self.0.leave(self.2);
            self.0.vacate();
        }
    }
}

use arena::{Arena, Garbage, Pair, Taken};
use slots::Scales;

type Boxes = Arena<u64, Box<u64>, ()>;

const SCALES: Scales = Scales { uniform: Some(1), by_weight: false };

fn arena() -> Arc<Boxes> {
    Arc::new(Arena::new(64, SCALES, ()))
}

fn pair(key: u64, value: u64) -> Pair<u64, Box<u64>> {
    Pair { key, value: Box::new(value), hash: key as u32, weight: 1, deadline: expiry::NEVER, span: None }
}

fn put(arena: &Boxes, key: u64, value: u64) {
    let mut garbage = Garbage::new();
    let mut locked = arena.lock();
    match locked.find(key as u32, |other| *other == key) {
        Some(token) => drop(locked.replace(token, pair(key, value))),
        None => drop(locked.insert(pair(key, value))),
    }
    locked.collect(true, &mut garbage);
    drop(locked);
}

fn remove(arena: &Boxes, key: u64) {
    let mut garbage = Garbage::new();
    let mut locked = arena.lock();
    if let Some(token) = locked.find(key as u32, |other| *other == key) {
        locked.remove(token);
    }
    locked.collect(true, &mut garbage);
    drop(locked);
}

fn get(arena: &Boxes, key: u64) -> Option<u64> {
    let pin = Boxes::pin();
    let found = arena.find(&pin, key as u32, |other| *other == key)?;
    assert_eq!(*found.key(), key);
    Some(**found.value())
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

#[test]
fn what_is_unlinked_is_not_seen_once_the_horizon_has_passed() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    check(|| {
        let registry: &'static epoch::Registry = Box::leak(Box::new(epoch::Registry::new()));
        let (linked, freed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let seat = registry.take_seat();
        let reader = {
            let (linked, freed) = (linked.clone(), freed.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let before = seat.enter(registry, true);
                    if linked.load(Ordering::Acquire) {
                        assert!(!freed.load(Ordering::Acquire), "reads what was freed");
                    }
                    seat.leave(before);
                }
            })
        };
        linked.store(false, Ordering::Release);
        let stamp = registry.stamp();
        if stamp < registry.horizon() {
            freed.store(true, Ordering::Release);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_reader_beside_replacement_sees_the_old_or_the_new_value_whole() {
    check(|| {
        let arena = arena();
        put(&arena, 1, 10);
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 1))
        };
        put(&arena, 1, 11);
        let seen = reader.join().unwrap();
        assert!(matches!(seen, Some(10 | 11)), "{seen:?}");
        assert_eq!(get(&arena, 1), Some(11));
    });
}

#[test]
fn a_slot_is_not_reused_under_a_reader() {
    check(|| {
        let arena = arena();
        put(&arena, 1, 10);
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 1))
        };
        remove(&arena, 1);
        // The same tag and the same bucket, and the first free slot.
        put(&arena, 1 + 256, 20);
        let seen = reader.join().unwrap();
        assert!(matches!(seen, None | Some(10)), "{seen:?}");
    });
}

#[test]
fn a_key_that_stays_is_found_while_the_table_grows() {
    check(|| {
        let arena = Arc::new(Arena::new(64, SCALES, ()));
        put(&arena, 1, 10);
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 1))
        };
        arena.lock().grow(200);
        put(&arena, 2, 20);
        assert_eq!(reader.join().unwrap(), Some(10));
        assert_eq!(get(&arena, 2), Some(20));
    });
}

#[test]
fn a_value_taken_out_under_a_reader_is_shared_and_alone_is_moved() {
    check(|| {
        let arena = arena();
        put(&arena, 1, 10);
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 1))
        };
        let mut locked = arena.lock();
        let token = locked.find(1, |key| *key == 1).unwrap();
        let taken = locked.take(token);
        drop(locked);
        match taken {
            Taken::Moved(_, value) => assert_eq!(*value, 10),
            Taken::Shared(shared) => assert_eq!(**shared.pair().1, 10),
        }
        let seen = reader.join().unwrap();
        assert!(matches!(seen, None | Some(10)), "{seen:?}");
    });
}

/// Values without destructors: readers without fences, and writers that impose theirs.
type Plain = Arena<u64, u64, ()>;

fn put_plain(arena: &Plain, key: u64, value: u64) {
    let mut garbage = Garbage::new();
    let mut locked = arena.lock();
    let pair = Pair { key, value, hash: key as u32, weight: 1, deadline: expiry::NEVER, span: None };
    match locked.find(key as u32, |other| *other == key) {
        Some(token) => drop(locked.replace(token, pair)),
        None => drop(locked.insert(pair)),
    }
    locked.collect_all(&mut garbage);
}

fn get_plain(arena: &Plain, key: u64) -> Option<u64> {
    let pin = Plain::pin();
    let found = arena.find(&pin, key as u32, |other| *other == key)?;
    assert_eq!(*found.key(), key);
    Some(*found.value())
}

#[test]
fn what_was_marked_is_not_seen_once_it_is_safe() {
    use loom::sync::atomic::{AtomicBool, Ordering};
    check(|| {
        let registry: &'static epoch::Registry = Box::leak(Box::new(epoch::Registry::new()));
        let (linked, freed) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let seat = registry.take_seat();
        let reader = {
            let (linked, freed) = (linked.clone(), freed.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    let before = seat.enter(registry, false);
                    if linked.load(Ordering::Acquire) {
                        assert!(!freed.load(Ordering::Acquire), "reads what was freed");
                    }
                    seat.leave(before);
                }
            })
        };
        linked.store(false, Ordering::Release);
        let mark = registry.mark();
        registry.advance();
        if mark < registry.safe() {
            freed.store(true, Ordering::Release);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_slot_of_a_plain_value_is_not_reused_under_a_reader() {
    check(|| {
        let arena = Arc::new(Plain::new(64, SCALES, ()));
        put_plain(&arena, 1, 10);
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get_plain(&arena, 1))
        };
        let mut garbage = Garbage::new();
        let mut locked = arena.lock();
        let token = locked.find(1, |key| *key == 1).unwrap();
        locked.remove(token);
        locked.collect_all(&mut garbage);
        drop(locked);
        // The same tag and the same bucket, and the first free slot.
        put_plain(&arena, 1 + 256, 20);
        let seen = reader.join().unwrap();
        assert!(matches!(seen, None | Some(10)), "{seen:?}");
    });
}

/// Nine entries, the last of which is alone in the second chunk of slots; then the others leave.
fn one_above() -> Arc<Boxes> {
    let arena = arena();
    (1..10).for_each(|key| put(&arena, key, key * 10));
    (1..9).for_each(|key| remove(&arena, key));
    arena
}

/// Compacts in small steps, as a cache does; answers how many entries moved.
fn compact(arena: &Boxes) -> usize {
    let (mut garbage, mut moved) = (Garbage::new(), 0);
    let mut step = arena.lock().begin_compaction().expect("eight free slots are worth it");
    // A reader may be in the way; two attempts are enough for a model.
    for _ in 0..2 {
        if !arena.lock().compact(&mut step, 1, |(), _, _, _| moved += 1) {
            break;
        }
    }
    while arena.lock().release(&mut garbage) {}
    arena.lock().end_compaction();
    moved
}

#[test]
fn an_entry_is_found_while_it_changes_its_slot_and_its_chunk_is_freed() {
    check(|| {
        let arena = one_above();
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 9))
        };
        let moved = compact(&arena);
        assert_eq!(reader.join().unwrap(), Some(90));
        assert!(moved <= 1);
        assert_eq!(get(&arena, 9), Some(90));
        arena.lock().validate();
    });
}

#[test]
fn a_reader_of_a_key_that_is_not_there_misses_while_others_change_their_slots() {
    check(|| {
        let arena = one_above();
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || get(&arena, 9 + 256))
        };
        compact(&arena);
        assert_eq!(reader.join().unwrap(), None);
    });
}

#[test]
fn a_writer_between_the_steps_of_a_compaction_is_not_lost() {
    check(|| {
        let arena = one_above();
        let writer = {
            let arena = arena.clone();
            thread::spawn(move || {
                put(&arena, 9, 91);
                put(&arena, 20, 200);
            })
        };
        compact(&arena);
        writer.join().unwrap();
        assert_eq!((get(&arena, 9), get(&arena, 20)), (Some(91), Some(200)));
        arena.lock().validate();
    });
}
