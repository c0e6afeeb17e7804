//! The rules by which a worker is chosen: in turn, the least loaded of all, the better of two.
//!
//! A rule may find nobody although somebody has room (two were drawn that have none); the balancer then looks at all.

use std::sync::Arc;

use super::Set;
use super::worker::{View, Worker};
use crate::manners::random::{below, next};

fn usable<T>(worker: &Worker<T>, view: &View) -> bool {
    worker.available(view) && worker.has_room()
}

/// The next in turn that may be chosen.
pub(super) fn by_turns<'a, T>(set: &'a Set<T>, turn: u64, view: &View) -> Option<&'a Arc<Worker<T>>> {
    let turns = set.turns.len() as u64;
    if turns == 0 {
        return None;
    }
    // A few turns on, somebody is found or nearly nobody is left.
    (0..turns.min(16)).find_map(|skipped| {
        let worker = &set.workers[set.turns[((turn + skipped) % turns) as usize] as usize];
        let share = worker.share(view);
        let drawn = share >= 1.0 || (next() >> 11) as f64 / (1_u64 << 53) as f64 <= share;
        (drawn && usable(worker, view)).then_some(worker)
    })
}

/// The one with the least load, of all.
pub(super) fn least<'a, T>(
    workers: &'a [Arc<Worker<T>>],
    view: &View,
    load: impl Fn(&Worker<T>) -> f64,
) -> Option<&'a Arc<Worker<T>>> {
    if workers.is_empty() {
        return None;
    }
    // Begun anywhere, so that among equals it is not always the first.
    let (before, after) = workers.split_at(below((next() >> 32) as u32, workers.len()));
    let mut best = None;
    for worker in after.iter().chain(before) {
        if usable(worker, view) {
            let load = load(worker);
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((worker, load));
            }
        }
    }
    best.map(|(worker, _)| worker)
}

/// The one of two, drawn at random, with the lower load.
pub(super) fn of_two<'a, T>(
    workers: &'a [Arc<Worker<T>>],
    view: &View,
    load: impl Fn(&Worker<T>) -> f64,
) -> Option<&'a Arc<Worker<T>>> {
    let n = workers.len();
    if n < 2 {
        return workers.first().filter(|worker| usable(worker, view));
    }
    let random = next();
    let first = below((random >> 32) as u32, n);
    let second = below(random as u32, n - 1);
    let (a, b) = (&workers[first], &workers[second + usize::from(second >= first)]);
    match (usable(a, view), usable(b, view)) {
        (true, true) => Some(if load(b) < load(a) { b } else { a }),
        (true, false) => Some(a),
        (false, true) => Some(b),
        (false, false) => None,
    }
}
