//! A small number for each thread, that no other living thread has: where its seat in a pool is.
//!
//! Numbers of ended threads are given out again, smallest first, so that they stay small. Whoever gets a number sees all
//! that its former owner did: both went through the same lock.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use parking_lot::Mutex;

/// A thread that is about to end, or that has not asked yet.
const NONE: usize = usize::MAX;

struct Numbers {
    next: usize,
    free: BinaryHeap<Reverse<usize>>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { next: 0, free: BinaryHeap::new() });

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static OWNER: Owner = const { Owner };
}

/// Gives the number back at the end of its thread.
struct Owner;

impl Drop for Owner {
    fn drop(&mut self) {
        let number = NUMBER.replace(NONE);
        if number != NONE {
            NUMBERS.lock().free.push(Reverse(number));
        }
    }
}

/// This thread's number; none when the thread is about to end.
#[inline]
pub(crate) fn number() -> Option<usize> {
    let number = NUMBER.get();
    if number == NONE { first() } else { Some(number) }
}

#[cold]
fn first() -> Option<usize> {
    // Without an owner nobody would give the number back.
    OWNER.try_with(|_| ()).ok()?;
    let mut numbers = NUMBERS.lock();
    let number = if let Some(Reverse(number)) = numbers.free.pop() {
        number
    } else {
        numbers.next += 1;
        numbers.next - 1
    };
    NUMBER.set(number);
    Some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;

    #[test]
    fn living_threads_differ_and_numbers_come_back() {
        let barrier = Barrier::new(8);
        let round = || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let number = super::number().unwrap();
                            barrier.wait();
                            assert_eq!(super::number(), Some(number));
                            number
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<HashSet<_>>()
            })
        };
        for _ in 0..50 {
            assert_eq!(round().len(), 8);
        }
        // Other tests of this process have threads too, but not hundreds.
        assert!(*round().iter().max().unwrap() < 200);
    }
}
