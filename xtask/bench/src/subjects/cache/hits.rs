//! Hit ratios: every trace and family at six sizes, one request after the other, beside Bélády's optimum.
//!
//! A cell replays a stream as get, and on a miss insert. Every store is settled after each insert, since a cache whose
//! newcomers are visible before they are judged holds more than it may. Beating the optimum fails the run.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::race;
use super::stores::{
    FoyerLfu, FoyerLru, FoyerS3Fifo, Moka, MutexLru, Quick, Seeded, Store, Trimtab, TrimtabArc, TrimtabFifo,
    TrimtabLfu, TrimtabLru,
};
use crate::frame::{Case, Contender, Measure, Options, Role, Rounds, Row};
use crate::load::{Stream, families, optimum, traces};

/// Shares of the distinct keys that are sizes of a cell.
pub(super) const SIZES: [(&str, f64); 6] =
    [("0.1 %", 0.001), ("0.3 %", 0.003), ("1 %", 0.01), ("3 %", 0.03), ("10 %", 0.1), ("30 %", 0.3)];
/// A trace of at least this many requests is long enough for a policy to learn.
const LONG: usize = 200_000;
/// Requests of a stream that a quick run looks at.
const QUICK: usize = 250_000;

const RATIO: Measure = Measure::higher("hit ratio", "%");

/// Requests by name of the cell, filled as cells are run.
pub(super) type Lengths = Rc<RefCell<HashMap<String, usize>>>;

/// Where a stream comes from; read or made when its first cell is run, dropped with its last.
#[derive(Debug)]
struct Source {
    name: String,
    folder: Option<PathBuf>,
    requests: usize,
    stream: OnceCell<Result<Stream, String>>,
}

impl Source {
    fn stream(&self) -> Result<&Stream, String> {
        let made = self.stream.get_or_init(|| match &self.folder {
            Some(folder) => traces::read(folder, &self.name, self.requests),
            None => families::make(&self.name, self.requests.min(families::REQUESTS))
                .ok_or_else(|| format!("there is no family {}", self.name)),
        });
        made.as_ref().map_err(Clone::clone)
    }
}

/// A stream at one size.
#[derive(Debug)]
struct Cell {
    name: String,
    source: Rc<Source>,
    share: f64,
    lengths: Lengths,
    best: OnceCell<(usize, u64)>,
}

impl Cell {
    /// The stream, the capacity and the most hits possible.
    fn ready(&self) -> Result<(&[u64], usize, u64), String> {
        let stream = self.source.stream()?;
        let (capacity, best) = *self.best.get_or_init(|| {
            self.lengths.borrow_mut().insert(self.name.clone(), stream.keys.len());
            let capacity = stream.capacity(self.share);
            (capacity, optimum::hits(&stream.keys, capacity))
        });
        Ok((&stream.keys, capacity, best))
    }
}

fn sources(options: &Options, notes: &mut Vec<String>) -> Result<Vec<Rc<Source>>, String> {
    let requests = if options.quick { QUICK } else { usize::MAX / 8 };
    let recorded = options.traces.as_deref().map(traces::names).transpose()?.unwrap_or_else(|| {
        notes.push("hits: recorded traces skipped, no folder of traces (--traces DIR or XTASK_TRACES)".into());
        Vec::new()
    });
    if options.quick {
        notes.push(format!("hits: only the first {QUICK} requests of each stream, since the run is quick"));
    }
    let source =
        |name: String, folder: Option<PathBuf>| Rc::new(Source { name, folder, requests, stream: OnceCell::new() });
    let recorded = recorded.into_iter().map(|name| source(name, options.traces.clone()));
    Ok(recorded.chain(families::NAMES.iter().map(|name| source((*name).to_owned(), None))).collect())
}

/// A case for each stream and size.
///
/// # Errors
///
/// When the folder of traces cannot be used.
pub(super) fn cases(options: &Options, lengths: &Lengths, notes: &mut Vec<String>) -> Result<Vec<Case>, String> {
    // Some peers draw random seeds: three rounds and their median.
    let rounds = Rounds::Exact(options.rounds_or(3, 1));
    let mut cases = Vec::new();
    for source in sources(options, notes)? {
        for (size, share) in SIZES {
            let name = format!("hits/{} {size}", source.name);
            let cell = Rc::new(Cell {
                name: name.clone(),
                source: Rc::clone(&source),
                share,
                lengths: Rc::clone(lengths),
                best: OnceCell::new(),
            });
            cases.push(Case {
                name,
                what: format!("get, on a miss insert: {}, capacity {size} of its distinct keys", source.name),
                threads: 1,
                measures: vec![RATIO],
                contenders: vec![
                    contender::<Trimtab<_, _>>(&cell),
                    contender::<TrimtabLru<_, _>>(&cell),
                    contender::<TrimtabLfu<_, _>>(&cell),
                    contender::<TrimtabFifo<_, _>>(&cell),
                    contender::<TrimtabArc<_, _>>(&cell),
                    contender::<Quick<_, _>>(&cell),
                    contender::<Moka<_, _>>(&cell),
                    contender::<FoyerLru<_, _>>(&cell),
                    contender::<FoyerLfu<_, _>>(&cell),
                    contender::<FoyerS3Fifo<_, _>>(&cell),
                    contender::<MutexLru<_, _>>(&cell),
                    ceiling(&cell),
                ],
                rounds,
            });
        }
    }
    Ok(cases)
}

fn contender<S: Store<u64, u64>>(cell: &Rc<Cell>) -> Contender {
    let cell = Rc::clone(cell);
    Contender::new(S::NAME, S::ROLE, move |_| {
        let (keys, capacity, best) = cell.ready()?;
        let (hits, limit) = replay::<S>(keys, capacity)?;
        // A store that rounds its capacity up is judged at what it then states.
        let best = if hits > best && limit > capacity { optimum::hits(keys, limit) } else { best };
        if hits > best {
            return Err(format!("{hits} hits where the optimum at {limit} entries has {best}"));
        }
        Ok(vec![percent(hits, keys)])
    })
}

/// Replays `keys` one by one; returns the hits and the limit that the store states.
pub(super) fn replay<S: Store<u64, u64>>(keys: &[u64], capacity: usize) -> Result<(u64, usize), String> {
    replay_through(&S::with_capacity(capacity), keys, capacity)
}

/// The same through a store that was made before.
pub(super) fn replay_through<S: Store<u64, u64>>(
    store: &S,
    keys: &[u64],
    capacity: usize,
) -> Result<(u64, usize), String> {
    let mut hits = 0;
    for key in keys {
        if store.get(key).is_some() {
            hits += 1;
        } else {
            store.insert(*key, *key);
            store.settle();
        }
    }
    store.check(capacity)?;
    Ok((hits, store.limit(capacity)))
}

fn ceiling(cell: &Rc<Cell>) -> Contender {
    let cell = Rc::clone(cell);
    Contender::new("optimum", Role::Limit, move |_| {
        let (keys, _, best) = cell.ready()?;
        Ok(vec![percent(best, keys)])
    })
}

pub(super) fn percent(hits: u64, keys: &[u64]) -> f64 {
    hits as f64 * 100.0 / keys.len() as f64
}

/// Whether the hit ratio depends on the number of threads: the same stream at one and at two.
///
/// In turns the two make the same requests in the same order as the one. At once they sometimes miss the same key in the same moment,
/// both, where one thread would miss and then hit: how much that is says something of the stream, and is nothing that a cache can help
/// whose callers look and then insert.
///
/// What adaptive chooses depends on which keys are sampled, and so on the seed. A cache that is given the same seed for both shows
/// what the threads do; one that draws a new seed for each shows what chance does, threads or not.
pub(super) fn thread_cases(options: &Options) -> Result<Vec<Case>, String> {
    let rounds = Rounds::Exact(options.rounds_or(3, 1));
    let cases = sources(options, &mut Vec::new())?.into_iter().map(|source| {
        let what = format!("hit ratio of {} at 1 % by one thread, less that by two", source.name);
        Case {
            name: format!("threads/{}", source.name),
            what,
            threads: 2,
            measures: vec![Measure::lower("gap", "points"), Measure::lower("gap at once", "points")],
            contenders: vec![
                gap("trimtab", &source, Seeded::new),
                gap("trimtab, new seeds", &source, |capacity, _| Trimtab::with_capacity(capacity)),
                gap(Quick::<u64, u64>::NAME, &source, |capacity, _| Quick::with_capacity(capacity)),
                gap(Moka::<u64, u64>::NAME, &source, |capacity, _| Moka::with_capacity(capacity)),
            ],
            rounds,
        }
    });
    Ok(cases.collect())
}

fn gap<S: Store<u64, u64>>(name: &'static str, source: &Rc<Source>, make: fn(usize, u64) -> S) -> Contender {
    let source = Rc::clone(source);
    Contender::new(name, S::ROLE, move |turn| {
        let stream = source.stream()?;
        let capacity = stream.capacity(0.01);
        let ratio = |replay: &dyn Fn(&(dyn Fn(u64) -> bool + Sync)) -> u64| {
            let store = make(capacity, turn.round);
            let hits = replay(&|key| {
                let hit = store.get(&key).is_some();
                if !hit {
                    store.insert(key, key);
                }
                hit
            });
            store.check(capacity).map(|()| percent(hits, &stream.keys))
        };
        let one = ratio(&|request| race::in_turns(1, &stream.keys, request))?;
        let two = ratio(&|request| race::in_turns(2, &stream.keys, request))?;
        let at_once = ratio(&|request| race::replay(2, 1, &stream.keys, request).0)?;
        Ok(vec![(one - two).abs(), (one - at_once).abs()])
    })
}

/// Means over all cells, shortfalls against the best of each cell, and the largest gap between one thread and two.
pub(super) fn derive(rows: &[Row], lengths: &HashMap<String, usize>) -> Vec<Row> {
    let cells: Vec<&Row> = rows.iter().filter(|row| row.group() == "hits").collect();
    let is_long = |row: &&&Row| lengths.get(&row.case).is_some_and(|length| *length >= LONG);
    let long: Vec<&Row> = cells.iter().filter(is_long).copied().collect();
    let gaps: Vec<&Row> = rows.iter().filter(|row| row.group() == "threads" && row.measure == "gap").collect();
    let count = cells.len();
    [
        summary("summary/mean", format!("mean over {count} cells"), RATIO, &cells, |name| {
            medians(&cells, name).map(|medians| mean(&medians))
        }),
        summary(
            "summary/shortfall",
            format!("mean over {count} cells of what is missing to the best contender of the cell"),
            Measure::lower("mean shortfall", "points"),
            &cells,
            |name| shortfalls(&cells, name).map(|all| mean(&all)),
        ),
        summary(
            "summary/worst",
            format!("largest shortfall in a cell, over the {} of streams with {LONG} requests or more", long.len()),
            Measure::lower("largest shortfall", "points"),
            &long,
            |name| shortfalls(&long, name).map(|all| largest(&all)),
        ),
        summary(
            "summary/threads",
            format!("largest gap over {} streams", gaps.len()),
            Measure::lower("gap", "points"),
            &gaps,
            |name| medians(&gaps, name).map(|all| largest(&all)),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A row with `figure` of each contender of `cells`; `None` when there are no cells.
fn summary(
    case: &str,
    what: String,
    measure: Measure,
    cells: &[&Row],
    figure: impl Fn(&str) -> Option<f64>,
) -> Option<Row> {
    let threads = cells.first()?.threads;
    // A contender that failed in one cell is missing there; it has no figure over all of them.
    let mut names: Vec<(&'static str, Role)> = Vec::new();
    for found in cells.iter().flat_map(|row| &row.figures) {
        if !names.contains(&(found.contender, found.role)) {
            names.push((found.contender, found.role));
        }
    }
    let samples = names.into_iter().filter_map(|(name, role)| Some((name, role, vec![figure(name)?]))).collect();
    Some(Row::new(case, what, threads, measure, samples))
}

/// What `name` reached in each cell; `None` when it failed in one.
fn medians(cells: &[&Row], name: &str) -> Option<Vec<f64>> {
    cells.iter().map(|row| row.figure(name).map(|figure| figure.summary.median)).collect()
}

/// What `name` lacks to the best contender of each cell; the optimum is no contender.
fn shortfalls(cells: &[&Row], name: &str) -> Option<Vec<f64>> {
    let lacks = |row: &&Row| {
        let mine = row.figure(name).filter(|figure| figure.role != Role::Limit)?.summary.median;
        let contenders = row.figures.iter().filter(|figure| figure.role != Role::Limit);
        Some(contenders.map(|figure| figure.summary.median - mine).fold(0.0, f64::max))
    };
    cells.iter().map(lacks).collect()
}

fn largest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(name: &str, ours: f64, moka: f64, quick: f64) -> Row {
        let figures = vec![
            ("trimtab", Role::Ours, vec![ours]),
            ("moka", Role::Peer, vec![moka]),
            ("quick_cache", Role::Peer, vec![quick]),
            ("optimum", Role::Limit, vec![90.0]),
        ];
        Row::new(format!("hits/{name}"), "", 1, RATIO, figures)
    }

    #[test]
    fn shortfall_is_against_the_best_of_each_cell_and_never_negative() {
        let rows = [cell("a", 50.0, 40.0, 45.0), cell("b", 40.0, 41.0, 44.0), cell("short", 10.0, 30.0, 0.0)];
        let lengths = [("hits/a", LONG), ("hits/b", LONG + 1), ("hits/short", LONG - 1)]
            .map(|(name, length)| (name.to_owned(), length))
            .into();
        let derived = derive(&rows, &lengths);
        let of = |case: &str, name: &str| {
            derived.iter().find(|row| row.case == case).unwrap().figure(name).map(|figure| figure.summary.median)
        };
        assert_eq!(of("summary/mean", "optimum"), Some(90.0));
        assert_eq!(of("summary/shortfall", "trimtab"), Some((0.0 + 4.0 + 20.0) / 3.0));
        assert_eq!(of("summary/worst", "trimtab"), Some(4.0), "short traces are not held against anyone");
        assert_eq!(of("summary/worst", "moka"), Some(10.0));
        assert_eq!(of("summary/shortfall", "optimum"), None);
    }

    #[test]
    fn contender_that_failed_in_a_cell_has_no_mean() {
        let mut rows = vec![cell("a", 50.0, 40.0, 45.0), cell("b", 40.0, 41.0, 44.0)];
        rows[1].figures.remove(1);
        let derived = derive(&rows, &HashMap::new());
        assert!(derived[0].figure("moka").is_none() && derived[0].figure("trimtab").is_some());
    }

    #[test]
    fn exact_lru_hits_what_lru_hits() {
        let keys = [1, 2, 3, 1, 2, 4, 1, 3];
        // Kept after each: 1 | 1 2 | 2 3 | 3 1 | 1 2 | 2 4 | 4 1 | 1 3, so nothing is hit with two entries.
        assert_eq!(replay::<MutexLru<u64, u64>>(&keys, 2).unwrap(), (0, 2));
        // With three: 1 2 3 are kept, 1 and 2 hit, 4 pushes 3 out, 1 hits, 3 does not.
        assert_eq!(replay::<MutexLru<u64, u64>>(&keys, 3).unwrap(), (3, 3));
    }

    #[test]
    fn every_peer_stays_below_the_optimum_on_every_family() {
        for name in families::NAMES {
            let stream = families::make(name, 20_000).unwrap();
            let capacity = stream.capacity(0.01);
            let best = optimum::hits(&stream.keys, capacity);
            for hits in [
                replay::<Quick<_, _>>(&stream.keys, capacity),
                replay::<Moka<_, _>>(&stream.keys, capacity),
                replay::<FoyerLfu<_, _>>(&stream.keys, capacity),
                replay::<Trimtab<_, _>>(&stream.keys, capacity),
            ] {
                assert!(hits.unwrap().0 <= best, "{name}");
            }
        }
    }
}
