//! Measures what a sample costs on this machine: median and 99th percentile of many, back to back.
//!
//! `cargo run --release -p trimtab-monitor --example sample_cost`
#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use trimtab_monitor::{History, Probe};

fn measure(what: &str, mut run: impl FnMut()) {
    let mut times: Vec<Duration> = (0..2_000)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("{what:<32} median {:>9.2?}   p99 {:>9.2?}", times[times.len() / 2], times[times.len() * 99 / 100]);
}

fn main() {
    let mut probe = Probe::new();
    measure("Probe::sample", || drop(black_box(probe.sample())));
    measure("Probe::memory", || drop(black_box(probe.memory())));
    measure("Probe::new", || drop(black_box(Probe::new())));
    let mut history = History::new(900);
    let names: Vec<String> = (0..100).map(|index| format!("series.{index}")).collect();
    let at = std::time::SystemTime::now();
    measure("History::push of 100 series", || history.push(at, names.iter().map(|name| (name.as_str(), 1.0))));
}
