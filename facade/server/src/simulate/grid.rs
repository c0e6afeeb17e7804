//! All cells of a trace, every policy at every size and the optimum beside them, on a few threads.
//!
//! Cells are independent, so the workers take the next one from a shared counter; the calling thread shows progress.
//! Every cell is held against the optimum before anyone sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use trimtab::cache::PolicyKind;

use super::error::SimulateError;
use super::optimum::{ByteBound, hits_max, next_uses};
use super::progress::Progress;
use super::replay::{Build, Hits, replay};
use super::trace::Trace;

/// Results of one trace.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) origin: String,
    pub(super) notes: Vec<String>,
    pub(super) requests: u64,
    pub(super) distinct: u32,
    /// Hits of a cache that never evicts.
    pub(super) repeats: u64,
    /// Bytes of all requests, if the trace has sizes.
    pub(super) bytes: Option<u64>,
    /// Policies, in the order of each row's cells.
    pub(super) policies: Vec<PolicyKind>,
    /// One row for each size, ascending.
    pub(super) rows: Vec<Row>,
    /// Time that the whole trace took.
    pub(super) took: Duration,
}

/// Results at one size.
#[derive(Debug)]
pub(super) struct Row {
    /// Entries of the cache.
    pub(super) capacity: u32,
    /// The most hits that can be had; in bytes, a bound from above.
    pub(super) optimum: Hits,
    /// Hits of each policy.
    pub(super) cells: Vec<Hits>,
}

impl Outcome {
    /// A number of requests as share of all.
    pub(super) fn ratio(&self, hits: u64) -> f64 {
        hits as f64 / self.requests.max(1) as f64
    }

    /// A number of bytes as share of all.
    pub(super) fn byte_ratio(&self, bytes: u64) -> f64 {
        bytes as f64 / self.bytes.unwrap_or(0).max(1) as f64
    }
}

/// Runs all cells of `trace`.
pub(super) fn run(
    trace: &Trace,
    policies: &[PolicyKind],
    sizes: &[u32],
    build: Build,
    threads: usize,
    quiet: bool,
) -> Result<Outcome, SimulateError> {
    let started = Instant::now();
    let next = next_uses(&trace.requests, trace.distinct);
    let bound = trace.sizes.as_ref().map(|sizes| ByteBound::new(&next, sizes));
    // Column 0 is the optimum. Largest caches first: they take longest, and the last cells then end together.
    let columns = policies.len() + 1;
    let cells: Vec<(usize, usize)> =
        (0..sizes.len()).rev().flat_map(|row| (0..columns).map(move |column| (row, column))).collect();
    let (taken, done, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut results: Vec<Vec<Option<Hits>>> = vec![vec![None; columns]; sizes.len()];
    let mut progress = Progress::start(&trace.name, (cells.len() * trace.requests.len()) as u64, quiet);

    let work = |(row, column): (usize, usize)| -> Result<Hits, SimulateError> {
        let tell = |requests| {
            done.fetch_add(requests, Ordering::Relaxed);
        };
        match column.checked_sub(1) {
            None => Ok(Hits {
                requests: hits_max(&next, sizes[row], tell),
                bytes: bound.as_ref().map(|bound| bound.bytes_max(sizes[row])),
            }),
            Some(policy) => replay(trace, policies[policy], sizes[row], build, tell),
        }
    };
    let outcome = std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads.min(cells.len()) {
            let (sender, cells, taken, stop, work) = (sender.clone(), &cells, &taken, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && let Some(&cell) = cells.get(taken.fetch_add(1, Ordering::Relaxed))
                {
                    if sender.send((cell, work(cell))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok(((row, column), Ok(hits))) => results[row][column] = Some(hits),
                Ok((_, Err(error))) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                Err(RecvTimeoutError::Timeout) => {}
                // All workers are through; a panic of one is passed on at the end of the scope.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            progress.at(done.load(Ordering::Relaxed));
        }
    });
    progress.finish();
    outcome?;

    let mut rows = Vec::with_capacity(sizes.len());
    for (capacity, row) in sizes.iter().zip(results) {
        let mut row = row.into_iter().flatten();
        let Some(optimum) = row.next() else { continue };
        rows.push(Row { capacity: *capacity, optimum, cells: row.collect() });
    }
    check(trace, policies, &rows)?;
    Ok(Outcome {
        name: trace.name.clone(),
        origin: trace.origin.clone(),
        notes: trace.notes.clone(),
        requests: trace.requests.len() as u64,
        distinct: trace.distinct,
        repeats: trace.repeats(),
        bytes: trace.sizes.as_ref().map(|sizes| sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size))),
        policies: policies.to_vec(),
        rows,
        took: started.elapsed(),
    })
}

/// No policy may be above the optimum.
fn check(trace: &Trace, policies: &[PolicyKind], rows: &[Row]) -> Result<(), SimulateError> {
    for row in rows {
        for (policy, cell) in policies.iter().zip(&row.cells) {
            let above = |hits, optimum, unit| SimulateError::AboveOptimum {
                policy: policy.to_string(),
                trace: trace.name.clone(),
                capacity: row.capacity,
                hits,
                optimum,
                unit,
            };
            if cell.requests > row.optimum.requests {
                return Err(above(cell.requests, row.optimum.requests, "requests"));
            }
            if let (Some(bytes), Some(bound)) = (cell.bytes, row.optimum.bytes)
                && bytes > bound
            {
                return Err(above(bytes, bound, "bytes"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Trace {
        Trace {
            name: "t".into(),
            requests: (0..900_u32).map(|n| n * n % 37).collect(),
            distinct: 37,
            sizes: Some((0..900).map(|n| n % 50).collect()),
            ..Trace::default()
        }
    }

    #[test]
    fn every_cell_is_filled_whatever_the_number_of_threads() {
        let trace = trace();
        let ratios = |threads| {
            let outcome =
                run(&trace, &[PolicyKind::Lru], &[1, 5, 40], Build { seed: 1, shards: None }, threads, true).unwrap();
            assert_eq!(outcome.rows.len(), 3);
            outcome.rows.iter().map(|row| (row.optimum, row.cells.clone())).collect::<Vec<_>>()
        };
        assert_eq!(ratios(1), ratios(3));
        assert_eq!(ratios(1)[2].0.requests, ratios(1)[2].1[0].requests, "all keys fit");
    }

    #[test]
    fn a_figure_above_the_optimum_is_reported_as_a_defect() {
        let hits = |requests, bytes| Hits { requests, bytes: Some(bytes) };
        let row = |cell| vec![Row { capacity: 5, optimum: hits(10, 100), cells: vec![cell] }];
        let check = |cell| check(&trace(), &[PolicyKind::Lru], &row(cell));
        assert!(check(hits(10, 100)).is_ok());
        for cell in [hits(11, 0), hits(0, 101)] {
            let error = check(cell).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains("defect of trimtab"), "{error}");
        }
    }
}
