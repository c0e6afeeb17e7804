//! Whether `trimtab simulate` tells what the cache then does: its figures beside replays through the cache as it is built.
//!
//! The program runs once over all sizes of a stream, with a seed. The cache runs once with the same seed and keys numbered as the
//! program numbers them, and once as everyone has it, with a seed of its own: the gap of the first is what a simulation gets wrong,
//! that of the second holds the luck of the sample too. Streams are held together first: requests, distinct keys and
//! the optimum of each size must be the same on both sides, to the last hit, or the families of the program and those of
//! this workspace have drifted apart.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use serde_json::Value;

use super::hits::{SIZES, percent, replay, replay_through};
use super::stores::{Seeded, Trimtab, TrimtabLru};
use crate::frame::{Case, Contender, Measure, Options, Role, Rounds, Row};
use crate::load::{Stream, families, optimum, traces};
use crate::subjects::server::build_server;

/// The seed of both sides.
const SEED: u64 = 1;
/// Requests of a stream that a quick run looks at.
const QUICK: usize = 250_000;
const GAP: Measure = Measure::lower("gap", "points");
const MEAN: Measure = Measure::lower("mean gap", "points");

/// A family of this workspace, and how the program spells it.
const SPELLED: [(&str, &str); families::NAMES.len()] = [
    ("syn-zipf0.7", "zipf:0.7"),
    ("syn-zipf0.9", "zipf:0.9"),
    ("syn-zipf1.1", "zipf:1.1"),
    ("syn-zipf+scan", "zipf+scan"),
    ("syn-loop", "loop"),
    ("syn-shift", "shift"),
    ("syn-cdn", "cdn"),
];

/// One size of a stream, as the program has it.
#[derive(Debug)]
struct Told {
    capacity: usize,
    optimum: u64,
    adaptive: u64,
    lru: u64,
}

/// A stream with keys numbered in the order of their first appearance, as the program does it, and what the program told of it.
#[derive(Debug)]
struct Ground {
    keys: Vec<u64>,
    told: Vec<Told>,
}

/// Where a stream comes from; read or made and simulated when its first cell is run, dropped with its last.
#[derive(Debug)]
struct Source {
    name: String,
    /// What the program is told to read or make.
    argument: String,
    folder: Option<PathBuf>,
    quick: bool,
    ground: OnceCell<Result<Ground, String>>,
}

impl Source {
    fn ground(&self) -> Result<&Ground, String> {
        self.ground.get_or_init(|| self.prepare()).as_ref().map_err(Clone::clone)
    }

    fn prepare(&self) -> Result<Ground, String> {
        let requests = if self.quick { QUICK } else { usize::MAX / 8 };
        let stream = match &self.folder {
            Some(folder) => traces::read(folder, &self.name, requests)?,
            None => families::make(&self.name, requests.min(families::REQUESTS))
                .ok_or_else(|| format!("there is no family {}", self.name))?,
        };
        let answer = simulate(&build_server()?, &self.argument, self.quick)?;
        let told = held_together(&self.name, &stream, &answer)?;
        Ok(Ground { keys: stream.numbered().keys, told })
    }
}

/// A case for each stream and size.
///
/// # Errors
///
/// When the folder of traces cannot be used.
pub(super) fn cases(options: &Options) -> Result<Vec<Case>, String> {
    let mut sources = Vec::new();
    let source = |name: String, argument: String, folder: Option<PathBuf>| {
        Rc::new(Source { name, argument, folder, quick: options.quick, ground: OnceCell::new() })
    };
    if let Some(folder) = &options.traces {
        for name in traces::names(folder)? {
            let path = folder.join(format!("{name}.u64.zst")).to_string_lossy().into_owned();
            sources.push(source(name, path, Some(folder.clone())));
        }
    }
    sources.extend(SPELLED.map(|(name, spelled)| source(name.to_owned(), spelled.to_owned(), None)));
    let cells = sources
        .into_iter()
        .flat_map(|source| SIZES.iter().enumerate().map(move |(at, (size, _))| cell(Rc::clone(&source), at, size)));
    Ok(cells.map(|case| Case { rounds: Rounds::Exact(options.rounds_or(1, 1)), ..case }).collect())
}

/// The case of one stream and the size at `at`.
fn cell(source: Rc<Source>, at: usize, size: &str) -> Case {
    let name = format!("simulate/{} {size}", source.name);
    let contender = |name: &'static str, gap: fn(&[u64], &Told) -> Result<f64, String>| {
        let source = Rc::clone(&source);
        Contender::new(name, Role::Ours, move |_| {
            let ground = source.ground()?;
            Ok(vec![gap(&ground.keys, &ground.told[at])?])
        })
    };
    Case {
        what: format!("hit ratio told by `trimtab simulate` less that of the cache: {}, {size}", source.name),
        threads: 1,
        measures: vec![GAP],
        contenders: vec![
            contender("trimtab", |keys, told| {
                let store = Seeded::new(told.capacity, SEED);
                gap(keys, told.adaptive, replay_through(&store, keys, told.capacity))
            }),
            contender("trimtab, new seeds", |keys, told| {
                gap(keys, told.adaptive, replay::<Trimtab<_, _>>(keys, told.capacity))
            }),
            contender("trimtab lru", |keys, told| gap(keys, told.lru, replay::<TrimtabLru<_, _>>(keys, told.capacity))),
        ],
        rounds: Rounds::Exact(1),
        name,
    }
}

fn gap(keys: &[u64], told: u64, seen: Result<(u64, usize), String>) -> Result<f64, String> {
    Ok((percent(told, keys) - percent(seen?.0, keys)).abs())
}

/// The largest gap of a cell, and the mean over all.
pub(super) fn derive(rows: &[Row]) -> Vec<Row> {
    let cells: Vec<&Row> = rows.iter().filter(|row| row.group() == "simulate").collect();
    let Some(first) = cells.first() else { return Vec::new() };
    let row = |measure, what: &str, figure: fn(&[f64]) -> f64| {
        let samples = first.figures.iter().filter_map(|found| {
            let medians = cells.iter().map(|row| row.figure(found.contender).map(|figure| figure.summary.median));
            Some((found.contender, found.role, vec![figure(&medians.collect::<Option<Vec<f64>>>()?)]))
        });
        Row::new("summary/simulate", format!("{what} over {} cells", cells.len()), 1, measure, samples.collect())
    };
    vec![
        row(GAP, "largest gap between what was told and what was seen", |gaps| {
            gaps.iter().copied().fold(0.0, f64::max)
        }),
        row(MEAN, "mean gap between what was told and what was seen", |gaps| {
            gaps.iter().sum::<f64>() / gaps.len() as f64
        }),
    ]
}

/// The program's answer over one stream at all sizes.
fn simulate(program: &Path, argument: &str, quick: bool) -> Result<Value, String> {
    let sizes: Vec<String> = SIZES.iter().map(|(name, _)| name.replace(' ', "")).collect();
    let limit = if quick { vec!["--limit".to_owned(), QUICK.to_string()] } else { Vec::new() };
    let output = Command::new(program)
        .args(["simulate", "--quiet", "--no-svg", "--seed", &SEED.to_string()])
        .args(["--policy", "adaptive,lru", "--json", "-", "--size", &sizes.join(",")])
        .args(limit)
        .arg(argument)
        .output()
        .map_err(|error| format!("cannot run `trimtab simulate`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`trimtab simulate` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("`trimtab simulate --json -` gave no JSON: {error}"))
}

/// The program's figures, one for each size, once it is certain that it saw the same stream.
fn held_together(name: &str, stream: &Stream, answer: &Value) -> Result<Vec<Told>, String> {
    let number = |value: &Value| value.as_u64().ok_or_else(|| format!("{value} stands where a number was expected"));
    let trace = &answer["traces"][0];
    let seen = (number(&trace["requests"])? as usize, number(&trace["distinct_keys"])? as usize);
    let mine = (stream.keys.len(), stream.distinct());
    if seen != mine {
        return Err(format!("{name}: the program saw {seen:?} requests and keys where there are {mine:?}"));
    }
    let told = |row: &Value| {
        let cell = Told {
            capacity: number(&row["max_entries"])? as usize,
            optimum: number(&row["optimum"]["hits"])?,
            adaptive: number(&row["policies"]["adaptive"]["hits"])?,
            lru: number(&row["policies"]["lru"]["hits"])?,
        };
        let best = optimum::hits(&stream.keys, cell.capacity);
        if cell.optimum != best {
            let (capacity, theirs) = (cell.capacity, cell.optimum);
            return Err(format!("{name} at {capacity} entries: the program has {theirs} as optimum and not {best}"));
        }
        Ok(cell)
    };
    let told: Vec<Told> = trace["rows"].as_array().into_iter().flatten().map(told).collect::<Result<_, _>>()?;
    if told.len() != SIZES.len() {
        return Err(format!("{name}: the program told of {} sizes and not of {}", told.len(), SIZES.len()));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(optimum: u64, sizes: usize) -> Value {
        let hits = |hits: u64| json!({ "hits": hits });
        let row = json!({
            "max_entries": 1, "optimum": hits(optimum), "policies": { "adaptive": hits(2), "lru": hits(1) },
        });
        json!({ "traces": [{ "requests": 6, "distinct_keys": 3, "rows": vec![row; sizes] }] })
    }

    #[test]
    fn streams_that_differ_are_an_error_and_not_a_gap() {
        let stream = Stream { keys: vec![1, 1, 2, 1, 3, 1] };
        assert_eq!(held_together("s", &stream, &answer(3, SIZES.len())).unwrap().len(), SIZES.len());
        let error = held_together("s", &stream, &answer(2, SIZES.len())).unwrap_err();
        assert!(error.contains("s at 1 entries") && error.contains("and not 3"), "{error}");
        let longer = Stream { keys: vec![1; 7] };
        assert!(held_together("s", &longer, &answer(3, SIZES.len())).unwrap_err().contains("(7, 1)"));
        assert!(held_together("s", &stream, &answer(3, 1)).unwrap_err().contains("of 1 sizes"));
        assert!(held_together("s", &stream, &json!({})).is_err());
    }

    #[test]
    fn summary_has_the_largest_gap_of_a_cell_and_the_mean() {
        let cell = |name: &str, gap: f64| {
            Row::new(format!("simulate/{name}"), "", 1, GAP, vec![("trimtab", Role::Ours, vec![gap])])
        };
        let derived = derive(&[cell("a", 0.0), cell("b", 0.5)]);
        let of = |at: usize| derived[at].figure("trimtab").unwrap().summary.median;
        assert_eq!((of(0), of(1)), (0.5, 0.25));
        assert!(derive(&[]).is_empty());
    }

    #[test]
    fn every_family_has_its_spelling() {
        assert_eq!(SPELLED.map(|(name, _)| name), families::NAMES);
    }
}
