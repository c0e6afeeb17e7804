//! Percentiles of single operations while two threads work.
//!
//! Each sampled operation is timed by the processor's time-stamp counter. What the two reads of the counter cost
//! themselves is measured first and taken off. Every insert is sampled, but only each 16th get: timing all of them
//! would make the load another one.

use std::hint::black_box;
use std::rc::Rc;

use parking_lot::Mutex;

use super::race::{self, BLOCK};
use super::speed::{INSERT, Mix, mix, warm};
use super::stores::{Store, raced};
use crate::frame::stats::percentile;
use crate::frame::{Case, Contender, Measure, Rounds};

const THREADS: usize = 2;
const GET_EVERY: usize = 16;
/// Samples kept of each kind and thread; later ones overwrite the first.
const KEPT: usize = 1 << 20;

/// The percentiles under the mix of `mixed/2t`.
pub(super) fn cases(mix: &Mix) -> Vec<Case> {
    vec![Case {
        name: "latency/2t".into(),
        what: "one operation of the mix (95 % get, 5 % insert, Zipf 0.99) while two threads work".into(),
        threads: THREADS,
        measures: vec![
            Measure::lower("get p50", "ns"),
            Measure::lower("get p99", "ns"),
            Measure::lower("get p99.9", "ns"),
            Measure::lower("insert p50", "ns"),
            Measure::lower("insert p99", "ns"),
            Measure::lower("insert p99.9", "ns"),
        ],
        contenders: raced!(sampler(mix)),
        rounds: Rounds::Timed,
    }]
}

/// Samples of one kind. Memory is touched beforehand, so that no sample pays for a page.
struct Samples {
    kept: Vec<u32>,
    count: usize,
}

impl Samples {
    fn new() -> Self {
        Self { kept: vec![1; KEPT], count: 0 }
    }

    fn push(&mut self, nanoseconds: u64) {
        self.kept[self.count % KEPT] = u32::try_from(nanoseconds).unwrap_or(u32::MAX);
        self.count += 1;
    }

    fn taken(&self) -> &[u32] {
        &self.kept[..self.count.min(KEPT)]
    }
}

fn sampler<S: Store<u64, u64>>(cell: &Mix) -> Contender {
    let cell = Rc::clone(cell);
    Contender::new(S::NAME, S::ROLE, move |turn| {
        let order = mix(&cell);
        let store: S = warm(order, turn);
        let blocks = order.len() / BLOCK;
        let clock = quanta::Clock::new();
        let overhead = overhead(&clock);
        // One pair a thread; the lock is never contended and is taken once a block, outside the timed stretches.
        let samples: Vec<Mutex<(Samples, Samples)>> =
            (0..THREADS).map(|_| Mutex::new((Samples::new(), Samples::new()))).collect();
        race::timed(THREADS, turn.time * 2, |thread, block| {
            let (gets, inserts) = &mut *samples[thread].lock();
            let from = (block + thread * blocks / THREADS) % blocks * BLOCK;
            for (at, request) in order[from..from + BLOCK].iter().enumerate() {
                if request & INSERT != 0 {
                    let start = clock.raw();
                    store.insert(request & !INSERT, *request);
                    let end = clock.raw();
                    inserts.push(clock.delta_as_nanos(start, end).saturating_sub(overhead));
                } else if at % GET_EVERY == 0 {
                    let start = clock.raw();
                    black_box(store.get(request));
                    let end = clock.raw();
                    gets.push(clock.delta_as_nanos(start, end).saturating_sub(overhead));
                } else {
                    black_box(store.get(request));
                }
            }
        });
        let (mut gets, mut inserts) = (Vec::new(), Vec::new());
        for pair in &samples {
            let pair = pair.lock();
            gets.extend_from_slice(pair.0.taken());
            inserts.extend_from_slice(pair.1.taken());
        }
        let mut figures = Vec::with_capacity(6);
        for mut kind in [gets, inserts] {
            kind.sort_unstable();
            for share in [0.5, 0.99, 0.999] {
                figures.push(f64::from(percentile(&kind, share).ok_or("no operation was sampled")?));
            }
        }
        Ok(figures)
    })
}

/// What two reads of the clock cost with nothing between: the median of many.
fn overhead(clock: &quanta::Clock) -> u64 {
    let mut spans: Vec<u64> = (0..10_001)
        .map(|_| {
            let start = clock.raw();
            let end = clock.raw();
            clock.delta_as_nanos(start, end)
        })
        .collect();
    spans.sort_unstable();
    spans[spans.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_beyond_the_room_overwrite_the_oldest() {
        let mut samples = Samples::new();
        (0..KEPT as u64 + 5).for_each(|sample| samples.push(sample));
        assert_eq!(samples.taken().len(), KEPT);
        assert_eq!(samples.taken()[0], KEPT as u32);
        assert_eq!(samples.taken()[5], 5);
    }

    #[test]
    fn clock_overhead_is_taken_off_and_is_small() {
        assert!(overhead(&quanta::Clock::new()) < 100_000);
    }
}
