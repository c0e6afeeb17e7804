//! Objects and buffers: pull, touch, return, by 1, 2 and 4 threads on one pool.

use std::hint::black_box;
use std::sync::Arc;

use lockfree_object_pool::LinearObjectPool;
use trimtab_pool::{BufferPool, ObjectPool};

use crate::frame::{Case, Contender, Measure, Role, Rounds};
use crate::subjects::cache::race::{BLOCK, timed};

/// Objects in the pool.
const OBJECTS: u32 = 8;
const SIZE: usize = 4 << 10;

type Object = Box<[u8; SIZE]>;

fn object() -> Object {
    vec![0_u8; SIZE].into_boxed_slice().try_into().expect("of this size")
}

/// One case for each number of threads and kind.
pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [(1, "object/1t"), (2, "object/2t"), (4, "object/4t")]
        .into_iter()
        .map(|(threads, name)| case(name, threads, "8 objects of 4 KiB", objects(threads)))
        .collect();
    for (size, text) in [(4 << 10, "4KiB"), (64 << 10, "64KiB")] {
        for threads in [1, 2, 4] {
            let name = format!("buffer/{text}-{threads}t");
            cases.push(case(&name, threads, &format!("buffers of {text}"), buffers(threads, size)));
        }
    }
    cases
}

fn case(name: &str, threads: usize, what: &str, contenders: Vec<Contender>) -> Case {
    Case {
        name: name.to_owned(),
        what: format!("pull, touch and return: {what}, {threads} threads; all threads' time by operation"),
        threads,
        measures: vec![Measure::lower("time", "ns")],
        contenders,
        rounds: Rounds::Timed,
    }
}

/// Nanoseconds of an operation, all threads together.
fn nanos(threads: usize, turn: &crate::frame::Turn, operation: impl Fn() + Sync) -> Result<Vec<f64>, String> {
    let rate = timed(threads, turn.time, |_, _| {
        for _ in 0..BLOCK {
            operation();
        }
    });
    Ok(vec![1e3 / rate])
}

fn touch(bytes: &mut [u8]) {
    let last = bytes.len() - 1;
    bytes[0] = bytes[0].wrapping_add(1);
    bytes[last] = bytes[last].wrapping_add(1);
    black_box(bytes);
}

fn objects(threads: usize) -> Vec<Contender> {
    vec![
        Contender::new("trimtab", Role::Ours, move |turn| {
            let pool = ObjectPool::builder("objects", object).initial(OBJECTS).max(OBJECTS).build();
            let pool = pool.map_err(|error| error.to_string())?;
            let time = nanos(threads, turn, || touch(&mut pool.acquire()[..]))?;
            let stats = pool.stats();
            if stats.idle > OBJECTS as usize || stats.in_use > 0 {
                return Err(format!("the pool does not keep to its limit: {stats:?}"));
            }
            Ok(time)
        }),
        Contender::new("Linear", Role::Peer, move |turn| {
            let pool = LinearObjectPool::new(object, |_| {});
            drop((0..OBJECTS).map(|_| pool.pull()).collect::<Vec<_>>());
            nanos(threads, turn, || touch(&mut pool.pull()[..]))
        }),
        Contender::new("malloc", Role::Peer, move |turn| {
            nanos(threads, turn, || {
                let mut bytes = Vec::<u8>::with_capacity(SIZE);
                bytes.push(1);
                touch(&mut bytes);
            })
        }),
    ]
}

fn buffers(threads: usize, size: usize) -> Vec<Contender> {
    let fill = |buffer: &mut bytes::BytesMut| {
        buffer.extend_from_slice(&[1; 16]);
        touch(buffer);
    };
    vec![
        Contender::new("trimtab", Role::Ours, move |turn| {
            let pool = BufferPool::new("buffers").map_err(|error| error.to_string())?;
            nanos(threads, turn, || fill(&mut pool.acquire(size)))
        }),
        Contender::new("Linear", Role::Peer, move |turn| {
            let pool = LinearObjectPool::new(move || bytes::BytesMut::with_capacity(size), bytes::BytesMut::clear);
            drop((0..OBJECTS).map(|_| pool.pull()).collect::<Vec<_>>());
            let pool = Arc::new(pool);
            nanos(threads, turn, || fill(&mut pool.pull()))
        }),
        Contender::new("malloc", Role::Peer, move |turn| {
            nanos(threads, turn, || fill(&mut bytes::BytesMut::with_capacity(size)))
        }),
    ]
}
