//! What callers of a breaker share without a lock, under a checker that tries every interleaving and every value that a load
//! may see.
//!
//! The same source files as in the library, over the checker's atomics. The number of preemptions is bounded, as is usual.

#![allow(dead_code, unreachable_pub, reason = "the included files are used in part")]
#![allow(missing_docs, missing_debug_implementations, reason = "nothing here is public")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

#[path = "../src/gate/breaker/state.rs"]
mod state;
#[path = "../src/gate/breaker/window.rs"]
mod window;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicI32, AtomicU8, AtomicU64};
}

use state::{Kind, State};
use window::{CallWindow, Counts, FAILED, SLOW};

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn the_totals_are_what_the_ring_holds_whoever_raced_whom() {
    check(|| {
        // Two slots and four calls: each slot is fought over.
        let window = Arc::new(CallWindow::new(2));
        let other = window.clone();
        let thread = thread::spawn(move || {
            other.record(FAILED);
            other.record(FAILED | SLOW);
        });
        let seen = [window.record(0), window.record(FAILED)];
        assert!(seen.iter().all(|counts| counts.failed <= counts.calls && counts.calls <= 2));
        thread.join().unwrap();
        // Two good calls push everything else out.
        window.record(0);
        assert_eq!(window.record(0), Counts { calls: 2, failed: 0, slow: 0 });
    });
}

#[test]
fn a_good_call_that_writes_nothing_hides_no_fault() {
    check(|| {
        let window = Arc::new(CallWindow::new(2));
        window.record(0);
        window.record(0);
        let other = window.clone();
        let thread = thread::spawn(move || other.record(FAILED));
        window.record(0);
        window.record(0);
        let seen = thread.join().unwrap();
        assert_eq!((seen.calls, seen.failed), (2, 1), "whoever records a fault sees it");
        // Two more push it out, wherever it stands.
        window.record(0);
        window.record(0);
        assert_eq!(window.counts(), Counts { calls: 2, failed: 0, slow: 0 });
    });
}

#[test]
fn clearing_beside_a_call_leaves_at_most_that_call() {
    check(|| {
        let window = Arc::new(CallWindow::new(2));
        window.record(FAILED);
        let other = window.clone();
        let thread = thread::spawn(move || other.record(FAILED));
        window.clear();
        thread.join().unwrap();
        let counts = window.counts();
        assert!(counts.calls <= 1 && counts.failed <= counts.calls, "{counts:?}");
        window.record(0);
        window.record(0);
        assert_eq!(window.counts(), Counts { calls: 2, failed: 0, slow: 0 });
    });
}

#[test]
fn a_herd_at_a_half_open_breaker_gets_exactly_its_probes() {
    check(|| {
        let state = Arc::new(State::new());
        state.change(Kind::HalfOpen);
        let probes = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (state, probes) = (state.clone(), probes.clone());
                thread::spawn(move || {
                    if state.reserve(state.see(), 2).is_ok() {
                        probes.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        if state.reserve(state.see(), 2).is_ok() {
            probes.fetch_add(1, Ordering::Relaxed);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(probes.load(Ordering::Relaxed), 2);
        assert_eq!(state.see().probes(), 2);
    });
}

#[test]
fn a_probe_given_back_beside_a_change_does_not_reach_the_next_generation() {
    check(|| {
        let state = Arc::new(State::new());
        state.change(Kind::HalfOpen);
        let seen = state.reserve(state.see(), 1).unwrap();
        let other = state.clone();
        let thread = thread::spawn(move || other.give_back(seen.generation()));
        // The one who holds the lock of changes opens it and lets probes in anew.
        state.change(Kind::Open);
        state.change(Kind::HalfOpen);
        let next = state.reserve(state.see(), 1);
        thread.join().unwrap();
        assert!(next.is_ok());
        assert_eq!(state.see().probes(), 1);
        assert_eq!(state.see().generation(), seen.generation() + 2);
    });
}
