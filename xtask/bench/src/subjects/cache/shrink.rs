//! Giving memory back: what a shrink of 1 GiB to a quarter leaves resident, and what readers notice of it.
//!
//! In a child process, since resident memory is that of a whole process. Values of 64 B to 256 KiB, sizes even on a
//! logarithmic scale, every page written. Two readers ask for random keys throughout, at first alone, then beside the shrink
//! and the call by which the allocator gives its free pages back; each read is timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use trimtab_cache::Cache;

use crate::frame::{Case, Contender, Measure, Options, Role, Rounds};
use crate::subjects::{child, number};

/// Bytes that the cache may hold, and does.
const LIMIT: u64 = 1 << 30;
/// What is to be left of them.
const PERCENT: u32 = 25;
/// How long the readers are timed alone.
const QUIET: Duration = Duration::from_secs(1);
/// The time within which memory has to be back.
const WITHIN: Duration = Duration::from_secs(2);
const READERS: u64 = 2;

type Values = Cache<u64, Arc<[u8]>>;

/// The one case.
pub(super) fn cases(options: &Options) -> Vec<Case> {
    vec![Case {
        name: "shrink/1GiB".into(),
        what: format!("1 GiB of values of 64 B to 256 KiB shrunk to {PERCENT} % beside {READERS} readers"),
        threads: READERS as usize + 1,
        measures: vec![
            Measure::lower("resident", "%"),
            Measure::lower("readers' p99", "x"),
            Measure::context("quiet p99", "ns"),
            Measure::context("time", "ms"),
            Measure::context("resident before", "MiB"),
        ],
        contenders: vec![Contender::new("trimtab", Role::Ours, |_| {
            let answer = child(&["shrink"])?;
            ["resident", "slower", "quiet", "took", "before"].into_iter().map(|key| number(&answer, key)).collect()
        })],
        rounds: Rounds::Exact(options.rounds_or(3, 1)),
    }]
}

/// What the child does: fills, reads, shrinks, and prints the figures.
///
/// # Errors
///
/// When the cache does not fill, resident memory cannot be read, or the shrink takes longer than two seconds.
pub fn measure() -> Result<serde_json::Value, String> {
    let cache: Values = Cache::builder()
        .max_bytes(trimtab::config::ByteSize::b(LIMIT))
        .weigher(|_, value: &Arc<[u8]>| value.len() as u64)
        .build()
        .map_err(|error| error.to_string())?;
    let mut random = Random(7);
    let mut keys = 0;
    // Twice the limit, so that the cache has evicted and its order is not only that of arrival.
    for written in std::iter::repeat_with(|| random.size()).scan(0, |sum, size| {
        *sum += size;
        (*sum < 2 * LIMIT as usize).then_some(size)
    }) {
        cache.insert(keys, vec![1_u8; written].into());
        keys += 1;
    }
    if cache.weight() < LIMIT / 10 * 9 {
        return Err(format!("holds {} bytes after twice its limit of {LIMIT}", cache.weight()));
    }
    // What filling left with the allocator is not what the shrink frees.
    let _ = trimtab::monitor::reclaim();
    let before = resident()?;
    let quiet = timed(&cache, keys, || {
        // A sleep, since what is wanted is a time in which only the readers run.
        std::thread::sleep(QUIET);
    });
    let (mut after, mut took) = (0, Duration::ZERO);
    let beside = timed(&cache, keys, || {
        let started = Instant::now();
        cache.shrink_to(trimtab::config::Share::percent(PERCENT));
        let _ = trimtab::monitor::reclaim();
        took = started.elapsed();
        after = resident().unwrap_or(u64::MAX);
    });
    if cache.weight() > LIMIT / 4 {
        return Err(format!("still holds {} bytes", cache.weight()));
    }
    if took > WITHIN {
        return Err(format!("took {took:?}, longer than {WITHIN:?}"));
    }
    Ok(json!({
        "resident": after as f64 * 100.0 / before as f64,
        "slower": beside as f64 / quiet as f64,
        "quiet": quiet,
        "took": took.as_secs_f64() * 1e3,
        "before": before >> 20,
    }))
}

/// The 99th percentile of reads in nanoseconds while something is done.
fn timed(cache: &Values, keys: u64, work: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    let mut times: Vec<u32> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|seed| {
                let done = &done;
                scope.spawn(move || {
                    let (mut random, mut times) = (Random(seed + 1), Vec::with_capacity(1 << 22));
                    while !done.load(Ordering::Relaxed) {
                        let key = random.next() % keys;
                        let started = Instant::now();
                        let found = cache.get(&key);
                        std::hint::black_box(&found);
                        drop(found);
                        let took = started.elapsed().as_nanos();
                        if times.len() < times.capacity() {
                            times.push(u32::try_from(took).unwrap_or(u32::MAX));
                        }
                    }
                    times
                })
            })
            .collect();
        work();
        done.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().expect("readers do not panic")).collect()
    });
    times.sort_unstable();
    times.get(times.len() * 99 / 100).map_or(0, |time| u64::from(*time))
}

/// Resident bytes of this process.
fn resident() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| "/proc/self/status has no VmRSS".into())
}

/// A generator of our own, so that all runs see the same keys and sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 29)
    }

    /// A size from 64 B to 256 KiB, each power of two as likely as the others.
    fn size(&mut self) -> usize {
        let power = 6 + (self.next() % 12) as u32;
        (1 << power) + (self.next() % (1 << power)) as usize
    }
}
