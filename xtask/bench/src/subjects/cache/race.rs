//! Threads that start together and are stopped together.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Operations between two looks at the stop flag.
pub const BLOCK: usize = 512;

/// Runs `block(thread, number of the block)` on `threads` threads for `time`, [`BLOCK`] operations a call.
///
/// Returns millions of operations a second: all operations by the span from the first start to the last end, which
/// counts a thread that waited for a processor too.
pub fn timed(threads: usize, time: Duration, block: impl Fn(usize, usize) + Sync) -> f64 {
    let (barrier, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let spans: Vec<(Instant, Instant, usize)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, stop, block) = (&barrier, &stop, &block);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let mut blocks = 0;
                    while !stop.load(Ordering::Relaxed) {
                        block(thread, blocks);
                        blocks += 1;
                    }
                    (start, Instant::now(), blocks)
                })
            })
            .collect();
        barrier.wait();
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        handles.into_iter().map(|handle| handle.join().expect("no operation panics")).collect()
    });
    let first = spans.iter().map(|span| span.0).min().expect("at least one thread");
    let last = spans.iter().map(|span| span.1).max().expect("at least one thread");
    let operations: usize = spans.iter().map(|span| span.2 * BLOCK).sum();
    operations as f64 / (last - first).as_secs_f64() / 1e6
}

/// Replays `keys` once over `threads` threads, which take turns: each request is over when the next one begins. Returns the hits.
///
/// So they are the same requests in the same order as by one thread, and what differs is what the store makes of the threads.
pub fn in_turns(threads: usize, keys: &[u64], request: impl Fn(u64) -> bool + Sync) -> u64 {
    let cursor = AtomicUsize::new(0);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (cursor, request) = (&cursor, &request);
                scope.spawn(move || {
                    let mut hits = 0;
                    for (at, key) in keys.iter().enumerate().skip(thread).step_by(threads) {
                        let mut looks = 0_u32;
                        while cursor.load(Ordering::Acquire) != at {
                            looks += 1;
                            // The other one may wait for this processor.
                            if looks.is_multiple_of(1_000) { thread::yield_now() } else { std::hint::spin_loop() }
                        }
                        hits += u64::from(request(*key));
                        cursor.store(at + 1, Ordering::Release);
                    }
                    hits
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no request panics")).sum()
    })
}

/// Replays `keys` once over `threads` threads, each taking the next `chunk` requests; on a miss `request` inserts.
///
/// The shared cursor keeps the order of the stream but for what the other threads have in hand. Chunks of one change it least; chunks
/// of dozens keep the threads from fighting over the cursor, where speed is asked for. Returns hits and the time taken.
pub fn replay(threads: usize, chunk: usize, keys: &[u64], request: impl Fn(u64) -> bool + Sync) -> (u64, Duration) {
    if threads == 1 {
        let start = Instant::now();
        let hits = keys.iter().filter(|key| request(**key)).count();
        return (black_box(hits as u64), start.elapsed());
    }
    let (barrier, cursor) = (Barrier::new(threads), AtomicUsize::new(0));
    let spans: Vec<(Instant, Instant, u64)> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let (barrier, cursor, request) = (&barrier, &cursor, &request);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let mut hits = 0;
                    loop {
                        let from = cursor.fetch_add(chunk, Ordering::Relaxed);
                        if from >= keys.len() {
                            return (start, Instant::now(), hits);
                        }
                        let chunk = &keys[from..keys.len().min(from + chunk)];
                        hits += chunk.iter().filter(|key| request(**key)).count() as u64;
                    }
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no request panics")).collect()
    });
    let first = spans.iter().map(|span| span.0).min().expect("at least one thread");
    let last = spans.iter().map(|span| span.1).max().expect("at least one thread");
    (spans.iter().map(|span| span.2).sum(), last - first)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn replay_sees_every_request_once_at_any_number_of_threads() {
        let keys: Vec<u64> = (1..=1_000).collect();
        for threads in [1, 2, 4] {
            let sum = AtomicU64::new(0);
            let (hits, _) = replay(threads, 64, &keys, |key| {
                sum.fetch_add(key, Ordering::Relaxed);
                key % 10 == 0
            });
            assert_eq!((sum.into_inner(), hits), (500_500, 100));
        }
    }

    #[test]
    fn in_turns_the_order_is_that_of_the_stream() {
        let keys: Vec<u64> = (0..1_000).collect();
        for threads in [1, 2, 3] {
            let last = AtomicU64::new(0);
            let hits = in_turns(threads, &keys, |key| {
                assert_eq!(last.swap(key, Ordering::Relaxed), key.saturating_sub(1));
                key % 10 == 0
            });
            assert_eq!((last.into_inner(), hits), (999, 100));
        }
    }

    #[test]
    fn timed_counts_what_was_done() {
        let done = AtomicU64::new(0);
        let rate = timed(2, Duration::from_millis(20), |_, _| {
            done.fetch_add(BLOCK as u64, Ordering::Relaxed);
        });
        assert!(rate > 0.0);
        assert!(done.into_inner() > 0);
    }
}
