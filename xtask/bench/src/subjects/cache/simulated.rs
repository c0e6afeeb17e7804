//! Whether `trimtab simulate` tells what the cache then does: its figures beside replays through the cache as it is built.
//!
//! The program runs once over all streams and sizes, with one shard and a seed. The cache runs with its default shards, once with
//! the same seed and keys numbered as the program numbers them, and once as everyone has it, with a seed of its own: the
//! gap of the first is what a simulation gets wrong, that of the second holds the luck of the sample too. Streams are held
//! together first: requests, distinct keys and the optimum of each size must be the same on both sides, to the last hit, or
//! the families of the program and those of this workspace have drifted apart.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use serde_json::Value;

use super::hits::{SIZES, percent, replay, replay_through};
use super::stores::{Seeded, Trimtab, TrimtabLru};
use crate::frame::{Case, Contender, Measure, Options, Role, Rounds};
use crate::load::{Stream, families, optimum, traces};
use crate::subjects::server::build_server;

/// The seed of both sides.
const SEED: u64 = 1;
/// Requests of a stream that a quick run looks at.
const QUICK: usize = 250_000;

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

/// One size of one stream, as the program has it.
#[derive(Debug)]
struct Told {
    stream: usize,
    capacity: usize,
    optimum: u64,
    adaptive: u64,
    lru: u64,
}

/// What both sides run over.
#[derive(Debug)]
struct Ground {
    /// With keys numbered in the order of their first appearance, as the program does it.
    streams: Vec<(String, Stream)>,
    told: Vec<Told>,
}

/// The case `simulate/all`.
pub(super) fn case(options: &Options) -> Case {
    let ground: Rc<OnceCell<Result<Ground, String>>> = Rc::default();
    let (folder, quick) = (options.traces.clone(), options.quick);
    let contender = |name: &'static str, gaps: fn(&Ground) -> Result<Vec<f64>, String>| {
        let (ground, folder) = (Rc::clone(&ground), folder.clone());
        Contender::new(name, Role::Ours, move |_| {
            gaps(ground.get_or_init(|| prepare(folder.as_ref(), quick)).as_ref().map_err(Clone::clone)?)
        })
    };
    Case {
        name: "simulate/all".into(),
        what: "hit ratios told by `trimtab simulate` less those of the cache, over all streams and sizes".into(),
        threads: 1,
        measures: vec![Measure::lower("gap", "points"), Measure::lower("mean gap", "points")],
        contenders: vec![
            contender("trimtab", |ground| {
                gaps(
                    ground,
                    |told| told.adaptive,
                    |keys, capacity| replay_through(&Seeded::new(capacity, SEED), keys, capacity),
                )
            }),
            contender("trimtab, new seeds", |ground| {
                gaps(ground, |told| told.adaptive, |keys, capacity| replay::<Trimtab<_, _>>(keys, capacity))
            }),
            contender("trimtab lru", |ground| {
                gaps(ground, |told| told.lru, |keys, capacity| replay::<TrimtabLru<_, _>>(keys, capacity))
            }),
        ],
        rounds: Rounds::Exact(options.rounds_or(3, 1)),
    }
}

/// The largest gap of a cell, and the mean over all.
fn gaps(
    ground: &Ground,
    told: impl Fn(&Told) -> u64,
    replay: impl Fn(&[u64], usize) -> Result<(u64, usize), String>,
) -> Result<Vec<f64>, String> {
    let (mut largest, mut sum) = (0.0_f64, 0.0);
    for cell in &ground.told {
        let keys = &ground.streams[cell.stream].1.keys;
        let (hits, _) = replay(keys, cell.capacity)?;
        let gap = (percent(told(cell), keys) - percent(hits, keys)).abs();
        largest = largest.max(gap);
        sum += gap;
    }
    Ok(vec![largest, sum / ground.told.len().max(1) as f64])
}

/// Reads or makes the streams, and has the program simulate them.
fn prepare(folder: Option<&PathBuf>, quick: bool) -> Result<Ground, String> {
    let requests = if quick { QUICK } else { usize::MAX / 8 };
    let (mut streams, mut arguments) = (Vec::new(), Vec::new());
    if let Some(folder) = folder {
        for name in traces::names(folder)? {
            arguments.push(folder.join(format!("{name}.u64.zst")).to_string_lossy().into_owned());
            streams.push((name.clone(), traces::read(folder, &name, requests)?));
        }
    }
    for (name, spelled) in SPELLED {
        arguments.push(spelled.to_owned());
        let stream = families::make(name, requests.min(families::REQUESTS));
        streams.push((name.to_owned(), stream.ok_or_else(|| format!("there is no family {name}"))?));
    }
    let sizes: Vec<String> = SIZES.iter().map(|(name, _)| name.replace(' ', "")).collect();
    let limit = if quick { vec!["--limit".to_owned(), QUICK.to_string()] } else { Vec::new() };
    let output = Command::new(build_server()?)
        .args([
            "simulate",
            "--quiet",
            "--no-svg",
            "--seed",
            &SEED.to_string(),
            "--policy",
            "adaptive,lru",
            "--json",
            "-",
            "--size",
            &sizes.join(","),
        ])
        .args(limit)
        .args(&arguments)
        .output()
        .map_err(|error| format!("cannot run `trimtab simulate`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`trimtab simulate` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("`trimtab simulate --json -` gave no JSON: {error}"))?;
    let told = held_together(&streams, &answer)?;
    let streams = streams.into_iter().map(|(name, stream)| (name, stream.numbered())).collect();
    Ok(Ground { streams, told })
}

/// The program's figures, once it is certain that it saw the same streams.
fn held_together(streams: &[(String, Stream)], answer: &Value) -> Result<Vec<Told>, String> {
    let empty = Vec::new();
    let simulated = answer["traces"].as_array().unwrap_or(&empty);
    if simulated.len() != streams.len() {
        return Err(format!("`trimtab simulate` told of {} traces and not of {}", simulated.len(), streams.len()));
    }
    let number = |value: &Value| value.as_u64().ok_or_else(|| format!("{value} stands where a number was expected"));
    let mut told = Vec::new();
    for (at, ((name, stream), trace)) in streams.iter().zip(simulated).enumerate() {
        let seen = (number(&trace["requests"])? as usize, number(&trace["distinct_keys"])? as usize);
        let mine = (stream.keys.len(), stream.distinct());
        if seen != mine {
            return Err(format!("{name}: the program saw {seen:?} requests and keys where there are {mine:?}"));
        }
        for row in trace["rows"].as_array().unwrap_or(&empty) {
            let cell = Told {
                stream: at,
                capacity: number(&row["max_entries"])? as usize,
                optimum: number(&row["optimum"]["hits"])?,
                adaptive: number(&row["policies"]["adaptive"]["hits"])?,
                lru: number(&row["policies"]["lru"]["hits"])?,
            };
            let best = optimum::hits(&stream.keys, cell.capacity);
            if cell.optimum != best {
                let (capacity, theirs) = (cell.capacity, cell.optimum);
                return Err(format!(
                    "{name} at {capacity} entries: the program has {theirs} as optimum and not {best}"
                ));
            }
            told.push(cell);
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(optimum: u64) -> Value {
        let hits = |hits: u64| json!({ "hits": hits });
        json!({ "traces": [{
            "requests": 6, "distinct_keys": 3,
            "rows": [{ "max_entries": 1, "optimum": hits(optimum), "policies": { "adaptive": hits(2), "lru": hits(1) } }],
        }] })
    }

    fn streams() -> Vec<(String, Stream)> {
        vec![("s".to_owned(), Stream { keys: vec![1, 1, 2, 1, 3, 1] })]
    }

    #[test]
    fn streams_that_differ_are_an_error_and_not_a_gap() {
        assert_eq!(held_together(&streams(), &answer(3)).unwrap().len(), 1);
        let error = held_together(&streams(), &answer(2)).unwrap_err();
        assert!(error.contains("s at 1 entries") && error.contains("and not 3"), "{error}");
        let longer = vec![("s".to_owned(), Stream { keys: vec![1; 7] })];
        assert!(held_together(&longer, &answer(3)).unwrap_err().contains("(7, 1)"));
        assert!(held_together(&[], &answer(3)).is_err());
    }

    #[test]
    fn gap_is_the_largest_of_a_cell_beside_the_mean() {
        let told = |adaptive| Told { stream: 0, capacity: 1, optimum: 3, adaptive, lru: 0 };
        let ground = Ground { streams: streams(), told: vec![told(3), told(0)] };
        let gaps = gaps(&ground, |told| told.adaptive, |_, _| Ok((3, 1))).unwrap();
        assert!((gaps[0] - 50.0).abs() < 1e-9 && (gaps[1] - 25.0).abs() < 1e-9, "{gaps:?}");
    }

    #[test]
    fn every_family_has_its_spelling() {
        assert_eq!(SPELLED.map(|(name, _)| name), families::NAMES);
    }
}
