//! Everything at once from several threads; afterwards all sums agree and nothing was told twice or left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use trimtab_cache::{Cache, Cause, ManualClock, Op, PolicyKind};

/// A small generator (splitmix64), so that runs are the same wherever they run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

#[test]
fn all_surfaces_under_contention_keep_the_books() {
    for policy in PolicyKind::ALL {
        let (clock, told) = (ManualClock::new(), Arc::new([const { AtomicU64::new(0) }; Cause::ALL.len()]));
        let note = Arc::clone(&told);
        let cache = Cache::builder()
            .max_entries(200)
            .max_bytes(trimtab_config::ByteSize::kib(64))
            .weigher(|_: &u64, value: &u64| value % 50)
            .policy(policy)
            .shards(4)
            .time_to_idle(Duration::from_secs(20))
            .adaptive_ttl(Duration::from_secs(5)..=Duration::from_secs(50))
            .clock(clock.clone())
            .listener(move |_, _, cause| {
                let index = Cause::ALL.iter().position(|other| *other == cause).expect("a known cause");
                note[index].fetch_add(1, Ordering::Relaxed);
            })
            .build()
            .unwrap();
        thread::scope(|scope| {
            for seed in 0..4 {
                let (cache, clock) = (&cache, &clock);
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    for _ in 0..6_000 {
                        let (key, value) = (dice.roll(400), dice.roll(1000));
                        match dice.roll(16) {
                            0..4 => drop(cache.get(&key).is_some()),
                            4 | 5 => cache.insert_with_tags(key, value, [format!("tag {}", key % 7)]),
                            6 => cache.insert_with_ttl(key, value, Duration::from_secs(value % 9)),
                            7 => drop(cache.entry(key).and_modify(|old| *old += 1).or_insert(value)),
                            8 => drop(cache.entry(key).tags(["tag 1"]).and_compute_with(|old| match old {
                                Some(old) if old % 2 == 0 => Op::Remove,
                                Some(_) => Op::Leave,
                                None => Op::Put(value),
                            })),
                            9 => drop(cache.get_or_insert_with(key, || value)),
                            10 => drop(cache.remove(&key)),
                            11 if value < 100 => drop(cache.invalidate_tag(&format!("tag {}", key % 7))),
                            12 if value < 20 => drop(cache.invalidate_if(|key, _| key % 11 == 0)),
                            13 if value < 5 => cache.clear(),
                            14 => drop(cache.explain(&key)),
                            15 => {
                                clock.advance(Duration::from_millis(value));
                                cache.expire();
                            }
                            _ => cache.insert(key, value),
                        }
                    }
                });
            }
        });
        cache.validate();
        let stats = cache.stats();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(told[index].load(Ordering::Relaxed), stats.evictions.by(cause), "{cause:?} under {policy}");
        }
        cache.clear();
        cache.validate();
        assert_eq!((cache.len(), cache.weight()), (0, 0));
    }
}
