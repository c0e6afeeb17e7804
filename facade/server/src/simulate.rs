//! `trimtab simulate`: what would a cache of this size and policy have reached on my traffic?
//!
//! A trace (a file in one of several formats, standard input, or a synthetic family) is replayed through the cache of
//! `trimtab-cache` itself under every policy and at several sizes, beside Bélády's optimum, which no cache can beat. The
//! result is a table, a picture of the curves, and on request JSON and Markdown.
//!
//! In reading order: [`source`] finds and reads a trace with [`mod@format`] and [`family`] into a [`mod@trace`]; [`grid`] runs
//! [`replay`] and [`optimum`] over policies and [`size`]s; [`report`] and [`plot`] show what came out.

mod all;
mod error;
mod family;
mod format;
mod grid;
mod optimum;
mod plot;
mod progress;
mod replay;
mod report;
mod size;
mod source;
mod trace;
mod unzstd;

use std::collections::HashSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use trimtab::cache::{PolicyKind, SHARDS_MAX};

pub(crate) use error::SimulateError;
use grid::Outcome;
use replay::Build;
use size::Size;
use source::{STDIN, Source};

/// Replay access traces through every cache policy at several sizes, beside Bélády's optimum.
///
/// TRACE is a file (64-bit keys, CSV, text, .lis, access log; zstd is unpacked), `-` for standard input, or a synthetic
/// family such as `zipf:0.9`, `loop:50000`, `scan:1000`, `shift`, `zipf+scan`, `cdn`, with parameters as in
/// `zipf:0.9,keys=500000,requests=1000000,seed=2`.
#[derive(Debug, Clone, clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "command line flags, each independent of the others")]
pub(crate) struct SimulateArgs {
    /// Traces to replay
    #[arg(value_name = "TRACE", required_unless_present = "all")]
    traces: Vec<String>,

    /// Replay every trace in DIR by name, and seven reference families, after those that are named
    #[arg(long, value_name = "DIR")]
    all: Option<PathBuf>,

    /// Policies to simulate, separated by commas: adaptive, lru, lfu, fifo, ttl, arc [default: all]
    #[arg(long, alias = "policies", value_name = "POLICY,…", value_delimiter = ',')]
    policy: Vec<String>,

    /// Cache sizes, in entries or as share of the distinct keys, separated by commas
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', default_value = size::DEFAULT)]
    size: Vec<String>,

    /// Also report byte hit ratios: sizes from NAME.u32[.zst] beside NAME.u64[.zst], a CSV column, a log's bytes, or `cdn`
    #[arg(long)]
    sizes: bool,

    /// Format of the traces, instead of recognising it by name and content
    #[arg(long, value_enum)]
    format: Option<format::Format>,

    /// Key column of a CSV: its number from 1, or its name [default: `key`, else the first]
    #[arg(long, value_name = "COLUMN")]
    column: Option<String>,

    /// Size column of a CSV: its number from 1, or its name; implies --sizes
    #[arg(long, value_name = "COLUMN")]
    size_column: Option<String>,

    /// Skip and count lines that make no sense, instead of stopping at the first
    #[arg(long)]
    lenient: bool,

    /// Take at most so many requests of each trace; memory is about 14 bytes a request (38 with sizes) and 40 a key, beside the caches
    #[arg(long, value_name = "REQUESTS", default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..=trace::REQUESTS_MAX))]
    limit: u64,

    /// Seed of the caches' hasher. What adaptive chooses from is a sample of the keys, so another seed shows how much of a figure is chance
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Shards of the caches, a power of two [default: as the cache has them on this machine]
    #[arg(long, value_name = "N", value_parser = parse_shards)]
    shards: Option<usize>,

    /// Worker threads [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Where the curves go: a file for one trace, a directory for several [default: NAME.svg in the current directory]
    #[arg(long, value_name = "PATH", conflicts_with = "no_svg")]
    svg: Option<PathBuf>,

    /// Draw no curves
    #[arg(long)]
    no_svg: bool,

    /// Write all figures as JSON to FILE; `-` for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the tables as a Markdown page to FILE; `-` for standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the simulation and writes its results.
///
/// # Errors
/// A trace that cannot be read or makes no sense, an option that cannot be used, a result that cannot be written, or a
/// figure above the optimum, which would be a defect of the cache or of this simulator.
pub(crate) fn run(mut args: SimulateArgs) -> Result<(), SimulateError> {
    let named: String = args.traces.iter().flat_map(|trace| [" ".into(), source::short(trace)]).collect();
    if let Some(directory) = &args.all {
        args.traces.extend(all::traces(directory)?);
    }
    let policies = parse_policies(&args.policy)?;
    let sizes = parse_sizes(&args.size)?;
    let targets = Targets::check(&args)?;
    let threads =
        args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get).min(256);
    let source = Source {
        format: args.format,
        limit: args.limit,
        options: format::Options {
            column: args.column,
            sizes: args.sizes || args.size_column.is_some(),
            size_column: args.size_column,
            lenient: args.lenient,
        },
    };
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(args.traces.len());
    let build = Build { seed: args.seed, shards: args.shards };
    let mut used = HashSet::new();
    for argument in &args.traces {
        let spinner = progress::reading(argument, args.quiet);
        let trace = source.read(argument);
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
        let mut trace = trace?;
        trace.name = unique(&trace.name, &mut used);
        let sizes = size::resolve(&sizes, trace.distinct);
        let outcome = grid::run(&trace, &policies, &sizes, build, threads, args.quiet)?;
        if targets.table {
            print(&report::text(&outcome))?;
        }
        let drawn = targets.draw(&outcome)?;
        if targets.table {
            let place = drawn.map_or_else(String::new, |path| format!("; curves in {}", path.display()));
            print(&format!("took {:.2} s{place}\n\n", outcome.took.as_secs_f64()))?;
        }
        outcomes.push(outcome);
    }
    if targets.table && outcomes.len() > 1 {
        print(&report::summary(&outcomes))?;
    }
    if let Some(path) = &args.markdown {
        let chosen =
            if args.policy.is_empty() { String::new() } else { format!("--policy {} ", args.policy.join(",")) };
        let all = if args.all.is_some() { " --all DIR" } else { "" };
        let seed = if args.seed == 1 { String::new() } else { format!("--seed {} ", args.seed) };
        let shards = args.shards.map_or_else(String::new, |shards| format!("--shards {shards} "));
        let command = format!("trimtab simulate {chosen}{seed}{shards}--size {}{named}{all}", args.size.join(","));
        write(path, &report::markdown(&outcomes, &command))?;
    }
    if let Some(path) = &args.json {
        write(path, &format!("{:#}\n", report::json(&outcomes)))?;
    }
    Ok(())
}

fn parse_shards(text: &str) -> Result<usize, String> {
    let shards = text.parse::<usize>().ok().filter(|shards| shards.is_power_of_two() && *shards <= SHARDS_MAX);
    shards.ok_or_else(|| format!("allowed are the powers of two from 1 to {SHARDS_MAX}"))
}

fn parse_policies(names: &[String]) -> Result<Vec<PolicyKind>, SimulateError> {
    let mut policies: Vec<PolicyKind> = Vec::new();
    for name in names {
        let policy = name.trim().parse().map_err(|error: trimtab::cache::UnknownPolicy| SimulateError::Option {
            option: "--policy",
            value: name.clone(),
            what: error.to_string(),
            remedy: "leave --policy out to see all".to_owned(),
        })?;
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    Ok(if policies.is_empty() { PolicyKind::ALL.to_vec() } else { policies })
}

fn parse_sizes(sizes: &[String]) -> Result<Vec<Size>, SimulateError> {
    let parse = |text: &String| {
        text.parse().map_err(|what| SimulateError::Option {
            option: "--size",
            value: text.clone(),
            what,
            remedy: "separate several sizes by commas: --size 1000,5%".to_owned(),
        })
    };
    sizes.iter().map(parse).collect()
}

/// Where results go, checked before minutes are spent on them.
struct Targets {
    table: bool,
    svg: Option<Svg>,
}

enum Svg {
    File(PathBuf),
    Directory(PathBuf),
}

impl Targets {
    fn check(args: &SimulateArgs) -> Result<Self, SimulateError> {
        let refuse = |option, value: &str, what: &str, remedy: &str| SimulateError::Option {
            option,
            value: value.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        };
        if args.traces.iter().filter(|trace| *trace == STDIN).count() > 1 {
            return Err(refuse("TRACE", STDIN, "standard input can be read once only", "name it once"));
        }
        let to_stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new(STDIN));
        if to_stdout(&args.json) && to_stdout(&args.markdown) {
            return Err(refuse("--json", STDIN, "--markdown goes to standard output too", "give one of them a file"));
        }
        for (option, path) in [("--json", &args.json), ("--markdown", &args.markdown)] {
            if let Some(path) = path
                && path.as_os_str() != STDIN
            {
                writable(option, path)?;
            }
        }
        let svg = match &args.svg {
            _ if args.no_svg => None,
            None => Some(Svg::Directory(PathBuf::new())),
            Some(path) if path.is_dir() => Some(Svg::Directory(path.clone())),
            Some(path) if args.traces.len() > 1 => {
                return Err(refuse(
                    "--svg",
                    &path.to_string_lossy(),
                    "several traces need a directory for their pictures, and this is none",
                    "create the directory, or name one that exists",
                ));
            }
            Some(path) => {
                writable("--svg", path)?;
                Some(Svg::File(path.clone()))
            }
        };
        Ok(Self { table: !to_stdout(&args.json) && !to_stdout(&args.markdown), svg })
    }

    /// Writes the curves; answers where.
    fn draw(&self, outcome: &Outcome) -> Result<Option<PathBuf>, SimulateError> {
        let path = match &self.svg {
            None => return Ok(None),
            Some(Svg::File(path)) => path.clone(),
            Some(Svg::Directory(path)) => path.join(format!("{}.svg", outcome.name)),
        };
        write(&path, &plot::svg(outcome))?;
        Ok(Some(path))
    }
}

/// A file can only be written where its directory is.
fn writable(option: &'static str, path: &Path) -> Result<(), SimulateError> {
    let refuse = |what: String, remedy: &str| SimulateError::Option {
        option,
        value: path.to_string_lossy().into_owned(),
        what,
        remedy: remedy.to_owned(),
    };
    if path.is_dir() {
        return Err(refuse("it is a directory".to_owned(), "name a file in it"));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(refuse(
            format!("there is no directory {}", directory.display()),
            "create it first, or name another place",
        ));
    }
    Ok(())
}

/// Writes a result to a file, or to standard output for `-`.
fn write(path: &Path, content: &str) -> Result<(), SimulateError> {
    if path.as_os_str() == STDIN {
        return print(content);
    }
    std::fs::write(path, content).map_err(|error| SimulateError::Write {
        path: path.to_owned(),
        reason: error.to_string(),
        remedy: "choose a place that this user may write to, or leave the option out (--no-svg for the curves)",
    })
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), SimulateError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(SimulateError::Write {
            path: "standard output".into(),
            reason: error.to_string(),
            remedy: "check where the output goes",
        }),
        _ => Ok(()),
    }
}

/// A name that no trace before it has, so that pictures do not overwrite each other.
fn unique(name: &str, used: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !used.insert(candidate.clone()) {
        candidate = format!("{name}-{number}");
        number += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_traces_are_made_different() {
        let mut used = HashSet::new();
        assert_eq!(["a", "b", "a", "a"].map(|name| unique(name, &mut used)), ["a", "b", "a-2", "a-3"]);
    }

    #[test]
    fn policies_are_all_unless_chosen_and_each_once() {
        assert_eq!(parse_policies(&[]).unwrap(), PolicyKind::ALL);
        assert_eq!(parse_policies(&["lru".into(), " lru".into()]).unwrap(), [PolicyKind::Lru]);
        assert_eq!(parse_policies(&["arc".into(), "lfu".into()]).unwrap(), [PolicyKind::Arc, PolicyKind::Lfu]);
        let error = parse_policies(&["clock".into()]).unwrap_err();
        assert!(error.to_string().contains("adaptive, lru"), "{error}");
    }
}
