//! Many threads at once: sums stay right, limits hold, and every value is dropped exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use trimtab_cache::{Cache, ManualClock, PolicyKind};
use trimtab_config::ByteSize;

/// Counts the living.
struct Counted {
    alive: Arc<AtomicI64>,
    key: u64,
}

impl Counted {
    fn new(alive: &Arc<AtomicI64>, key: u64) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self { alive: alive.clone(), key }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(&self.alive, self.key)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(self.alive.fetch_sub(1, Ordering::Relaxed) > 0, "dropped twice");
    }
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const THREADS: u64 = 4;
const STEPS: u64 = 15_000;

#[test]
fn under_stress_sums_limits_and_drops_balance() {
    for (policy, shards) in [(PolicyKind::Adaptive, 1), (PolicyKind::Adaptive, 8), (PolicyKind::Lru, 4)] {
        let alive = Arc::new(AtomicI64::new(0));
        let clock = ManualClock::new();
        let cache: Cache<u64, Counted> = Cache::builder()
            .max_entries(500)
            .max_bytes(ByteSize::kib(200))
            .weigher(|key, _| key % 300)
            .policy(policy)
            .shards(shards)
            .clock(clock.clone())
            .build()
            .unwrap();
        let (done, entries_most, bytes_most) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let calls = AtomicU64::new(0);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|seed| {
                    let (cache, alive, clock, calls) = (&cache, &alive, &clock, &calls);
                    scope.spawn(move || {
                        let mut state = seed;
                        let mut counted = 0;
                        for _ in 0..STEPS {
                            let key = random(&mut state) % 2_000;
                            match random(&mut state) % 32 {
                                0..12 => {
                                    counted += 1;
                                    if let Some(value) = cache.get(&key) {
                                        assert_eq!(value.key, key, "a value under a strange key");
                                    }
                                }
                                12..22 => cache.insert(key, Counted::new(alive, key)),
                                22..24 => {
                                    let ttl = Duration::from_nanos(random(&mut state) % 50);
                                    cache.insert_with_ttl(key, Counted::new(alive, key), ttl);
                                }
                                24..28 => {
                                    counted += 1;
                                    let value = cache.get_or_insert_with(key, || Counted::new(alive, key));
                                    assert_eq!(value.key, key);
                                }
                                28 => assert!(cache.remove(&key).is_none_or(|value| value.key == key)),
                                29 => clock.advance(Duration::from_nanos(3)),
                                30 => drop(cache.expire()),
                                _ if key < 3 => cache.clear(),
                                _ => drop(cache.keys(None, 10)),
                            }
                        }
                        calls.fetch_add(counted, Ordering::Relaxed);
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    entries_most.fetch_max(cache.len(), Ordering::Relaxed);
                    bytes_most.fetch_max(cache.weight(), Ordering::Relaxed);
                }
            });
            for worker in workers {
                worker.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        cache.validate();
        let entry = Cache::<u64, Counted>::entry_overhead() + 300;
        assert!(entries_most.into_inner() <= 500 + THREADS, "one entry per writer at most");
        assert!(bytes_most.into_inner() <= 200 * 1024 + THREADS * entry, "one entry per writer at most");
        let stats = cache.stats();
        assert_eq!(stats.hits + stats.misses, calls.into_inner(), "every lookup is counted once");
        assert_eq!(alive.load(Ordering::Relaxed), cache.len() as i64, "what is not held was dropped");
        drop(cache);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "no value outlives the cache");
    }
}

#[test]
fn a_destructor_may_use_the_cache_that_evicts_it() {
    struct Reentrant(Option<Cache<u64, Arc<Reentrant>>>);
    impl Drop for Reentrant {
        fn drop(&mut self) {
            if let Some(cache) = self.0.take() {
                assert!(cache.len() <= 11);
                cache.remove(&u64::MAX);
                cache.get(&0);
            }
        }
    }
    let cache = Cache::builder().max_entries(10).shards(1).build().unwrap();
    for key in 0..100 {
        cache.insert(key % 30, Arc::new(Reentrant(Some(cache.clone()))));
        cache.invalidate(&(key % 7));
    }
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn pages_show_every_steady_entry_once_while_others_come_and_go() {
    let cache = Cache::builder().max_entries(100_000).shards(8).build().unwrap();
    (0..5_000_u64).for_each(|key| cache.insert(key, ()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut key = 1_000_000;
            while !done.load(Ordering::Relaxed) {
                cache.insert(key, ());
                cache.remove(&(key - 50));
                key += 1;
            }
        });
        let (mut seen, mut from) = (Vec::new(), None);
        loop {
            let page = cache.keys(from, 64);
            seen.extend(page.items.into_iter().filter(|key| *key < 5_000));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        seen.sort_unstable();
        assert_eq!(seen, (0..5_000).collect::<Vec<_>>());
    });
    cache.validate();
}

/// Looks until something holds: a reader of another test may delay a drop for as long as it reads, nothing may prevent it.
fn soon(cache: &Cache<u64, Counted>, holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        cache.expire();
        if holds() {
            return true;
        }
        thread::yield_now();
    }
    false
}

#[test]
fn a_view_may_change_its_own_cache_and_keeps_what_it_sees() {
    let alive = Arc::new(AtomicI64::new(0));
    let cache = Cache::builder().max_entries(10).shards(1).build().unwrap();
    for change in 0..4 {
        cache.insert(1, Counted::new(&alive, 1));
        let seen = cache.view(&1, |value| {
            match change {
                0 => cache.insert(1, Counted::new(&alive, 1)),
                1 => assert_eq!(cache.remove(&1).map(|removed| removed.key), Some(1)),
                2 => cache.clear(),
                _ => (2..40).for_each(|key| cache.insert(key, Counted::new(&alive, key))),
            }
            value.key
        });
        assert_eq!(seen, Some(1));
        cache.validate();
    }
    cache.for_each(|key, _| {
        cache.invalidate(key);
    });
    assert!(cache.is_empty());
    assert!(soon(&cache, || alive.load(Ordering::Relaxed) == 0), "what is not held was dropped");
}

#[test]
fn values_are_dropped_soon_after_they_leave() {
    let alive = Arc::new(AtomicI64::new(0));
    let cache = Cache::new(100);
    (0..50).for_each(|key| cache.insert(key, Counted::new(&alive, key)));
    (0..50).for_each(|key| cache.insert(key, Counted::new(&alive, key)));
    assert!(soon(&cache, || alive.load(Ordering::Relaxed) == 50));
    assert!((0..10).all(|key| cache.remove(&key).is_some()));
    assert!((10..20).all(|key| cache.invalidate(&key)));
    assert!(soon(&cache, || alive.load(Ordering::Relaxed) == 30));
    cache.clear();
    assert!(soon(&cache, || alive.load(Ordering::Relaxed) == 0));
}

#[test]
fn a_reader_that_stays_delays_reuse_and_no_writer() {
    let cache = Cache::builder().max_entries(1_000).shards(1).build().unwrap();
    cache.insert(0_u64, 7_u64);
    cache.view(&0, |value| {
        thread::scope(|scope| {
            scope.spawn(|| (1..100_000).for_each(|key| cache.insert(key, key)));
        });
        assert_eq!(*value, 7);
    });
    assert_eq!(cache.len(), 1_000);
    cache.validate();
}
