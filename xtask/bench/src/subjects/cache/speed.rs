//! Throughput: read-only, a mix on Zipf's law, and the replay of a recorded trace.

use std::cell::OnceCell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;

use super::race::{self, BLOCK};
use super::stores::{Store, Trimtab, TrimtabOff, raced};
use crate::frame::{Case, Contender, Measure, Options, Rounds, Turn};
use crate::load::random::SplitMix;
use crate::load::{Stream, families, optimum, traces};

pub(super) const RATE: Measure = Measure::higher("rate", "Mop/s");
const THREADS: [usize; 3] = [1, 2, 4];

const READ_KEYS: u64 = 100_000;

/// Every get finds its key; nothing is written.
pub(super) fn read() -> Vec<Case> {
    THREADS
        .into_iter()
        .map(|threads| Case {
            name: format!("read/{threads}t"),
            what: "get of u64 keys, 1e5 keys evenly at random, all hits".into(),
            threads,
            measures: vec![RATE],
            contenders: raced!(reader(threads)),
            rounds: Rounds::Timed,
        })
        .collect()
}

/// What statistics and metrics take from the read path.
pub(super) fn statistics() -> Vec<Case> {
    [1, 2]
        .into_iter()
        .map(|threads| Case {
            name: format!("statistics/read-{threads}t"),
            what: "read/* with everything on, and with all off that can be".into(),
            threads,
            measures: vec![RATE],
            contenders: vec![reader::<Trimtab<_, _>>(threads), reader::<TrimtabOff<_, _>>(threads)],
            rounds: Rounds::Timed,
        })
        .collect()
}

fn reader<S: Store<u64, u64>>(threads: usize) -> Contender {
    Contender::new(S::NAME, S::ROLE, move |turn| {
        // Twice the room, so that stores which split their capacity over shards keep every key too.
        let store = S::with_capacity(2 * READ_KEYS as usize);
        (0..READ_KEYS).for_each(|key| store.insert(key, key));
        store.settle();
        if let Some(lost) = (0..READ_KEYS).find(|key| store.get(key).is_none()) {
            return Err(format!("has lost the key {lost} with its capacity half used"));
        }
        store.settle();
        let orders: Vec<Vec<u64>> = (0..threads as u64)
            .map(|thread| {
                let mut random = SplitMix::new(turn.round << 8 | thread);
                (0..BLOCK * 512).map(|_| random.below(READ_KEYS)).collect()
            })
            .collect();
        let rate = race::timed(threads, turn.time, |thread, block| {
            let from = block % 512 * BLOCK;
            let sum =
                orders[thread][from..from + BLOCK].iter().filter_map(|key| store.get(key)).fold(0, u64::wrapping_add);
            black_box(sum);
        });
        Ok(vec![rate])
    })
}

const MIXED_KEYS: usize = 1_000_000;
const MIXED_CAPACITY: usize = 100_000;
/// Requests of the prepared order; a multiple of every block.
const MIXED_ORDER: usize = 1 << 21;

/// Requests of the mix: the key, with the top bit set where it is an insert. Made once, shared by all cases.
pub(super) type Mix = Rc<OnceCell<Vec<u64>>>;

/// Top bit of a request that inserts.
pub(super) const INSERT: u64 = 1 << 63;

/// The order of requests: Zipf 0.99 over 1e6 keys, 5 % of them inserts.
pub(super) fn mix(cell: &Mix) -> &[u64] {
    cell.get_or_init(|| {
        let mut random = SplitMix::new(0x5eed);
        let mut keys = families::zipf(MIXED_KEYS, 0.99, 99, MIXED_ORDER);
        for key in &mut keys {
            if random.below(100) < 5 {
                *key |= INSERT;
            }
        }
        keys
    })
}

/// A store of the mix's capacity that has seen enough requests to be full and to know its hot keys.
pub(super) fn warm<S: Store<u64, u64>>(order: &[u64], turn: &Turn) -> S {
    let store = S::with_capacity(MIXED_CAPACITY);
    let seen = if turn.quick { order.len() / 4 } else { order.len() / 2 };
    for request in &order[..seen] {
        let key = request & !INSERT;
        if store.get(&key).is_none() {
            store.insert(key, key);
        }
    }
    store.settle();
    store
}

/// 95 % get, 5 % insert.
pub(super) fn mixed(mix: &Mix) -> Vec<Case> {
    THREADS
        .into_iter()
        .map(|threads| Case {
            name: format!("mixed/{threads}t"),
            what: "95 % get, 5 % insert, Zipf 0.99 over 1e6 keys, capacity 1e5".into(),
            threads,
            measures: vec![RATE],
            contenders: raced!(mixer(threads, mix)),
            rounds: Rounds::Timed,
        })
        .collect()
}

fn mixer<S: Store<u64, u64>>(threads: usize, cell: &Mix) -> Contender {
    let cell = Rc::clone(cell);
    Contender::new(S::NAME, S::ROLE, move |turn| {
        let order = mix(&cell);
        let store: S = warm(order, turn);
        let blocks = order.len() / BLOCK;
        let rate = race::timed(threads, turn.time, |thread, block| {
            let from = (block + thread * blocks / threads) % blocks * BLOCK;
            let mut sum = 0;
            for request in &order[from..from + BLOCK] {
                if request & INSERT == 0 {
                    sum ^= store.get(request).unwrap_or(0);
                } else {
                    store.insert(request & !INSERT, *request);
                }
            }
            black_box(sum);
        });
        store.check(MIXED_CAPACITY)?;
        Ok(vec![rate])
    })
}

/// The recorded trace, or a synthetic stand-in, with what follows from it.
#[derive(Debug)]
struct Trace {
    stream: Stream,
    capacity: usize,
    optimum: u64,
}

/// Get-or-insert replay of the OLTP trace; without traces, of a synthetic family of its own name.
///
/// # Errors
///
/// When a folder of traces is given but the trace cannot be used; found out when the case runs.
pub(super) fn replay(options: &Options, notes: &mut Vec<String>) -> Vec<Case> {
    let source = options.traces.as_deref();
    if source.is_none() {
        notes.push(
            "replay/oltp-*: skipped, no folder of traces (--traces DIR or XTASK_TRACES); \
             replay/syn-zipf+scan-* stands in, which the bars do not accept"
                .into(),
        );
    }
    let label = if source.is_some() { "oltp" } else { "syn-zipf+scan" };
    let trace: Rc<OnceCell<Result<Trace, String>>> = Rc::default();
    THREADS
        .into_iter()
        .map(|threads| Case {
            name: format!("replay/{label}-{threads}t"),
            what: format!("get, on a miss insert: {label} in its order, capacity 10 % of its distinct keys"),
            threads,
            measures: vec![RATE, Measure::higher("hit ratio", "%")],
            contenders: raced!(replayer(threads, source, &trace)),
            rounds: Rounds::Timed,
        })
        .collect()
}

fn replayer<S: Store<u64, u64>>(
    threads: usize,
    source: Option<&Path>,
    trace: &Rc<OnceCell<Result<Trace, String>>>,
) -> Contender {
    let (source, trace) = (source.map(Path::to_path_buf), Rc::clone(trace));
    Contender::new(S::NAME, S::ROLE, move |turn| {
        let trace = trace.get_or_init(|| load(source.as_deref())).as_ref().map_err(Clone::clone)?;
        let (keys, capacity) = (&trace.stream.keys, trace.capacity);
        let store = S::with_capacity(capacity);
        let request = |key: u64| {
            let hit = store.get(&key).is_some();
            if !hit {
                store.insert(key, key);
            }
            hit
        };
        // Fixed work, not fixed time: a faster cache must not be rewarded with more warm passes.
        let passes = if turn.quick { 1 } else { 3 };
        let (mut all_hits, mut all_time) = (0, std::time::Duration::ZERO);
        for pass in 0..passes {
            let (hits, time) = race::replay(threads, 64, keys, request);
            if pass == 0 && threads == 1 && S::ROLE != crate::frame::Role::Limit && hits > trace.optimum {
                return Err(format!("{hits} hits where the optimum has {}", trace.optimum));
            }
            all_hits += hits;
            all_time += time;
        }
        store.check(capacity)?;
        let requests = (keys.len() * passes) as f64;
        Ok(vec![requests / all_time.as_secs_f64() / 1e6, all_hits as f64 * 100.0 / requests])
    })
}

fn load(source: Option<&Path>) -> Result<Trace, String> {
    let stream = match source {
        Some(folder) => traces::read(folder, "arc-oltp", usize::MAX / 8)?,
        None => families::make("syn-zipf+scan", families::REQUESTS).ok_or("the family syn-zipf+scan is gone")?,
    };
    let capacity = stream.capacity(0.1);
    let optimum = optimum::hits(&stream.keys, capacity);
    Ok(Trace { stream, capacity, optimum })
}
