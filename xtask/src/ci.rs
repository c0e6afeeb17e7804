//! `cargo xtask ci`: all checks in order, each timed, all reported.
//!
//! It goes on after a failure, since a person wants to see everything that is wrong at once. The order is by price:
//! what takes a second comes first, tests come last. Clippy, the feature checks and the documentation share one kind of
//! build product (metadata without code), the tests need the other (code), so nothing is compiled three times.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::error::{Context, Failure, Result};
use crate::interrupt::Interrupt;
use crate::workspace::{self, Metadata};

/// Which checks to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only these [default: all]
    #[arg(value_name = "STEP")]
    only: Vec<Step>,
    /// Leave these out
    #[arg(long, value_name = "STEP")]
    skip: Vec<Step>,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The formatter has nothing to change
    Fmt,
    /// The rules of `cargo xtask tidy`
    Tidy,
    /// Packages use only what the design lets them
    Arrows,
    /// No warning from the compiler or clippy, with all features, tests and examples included
    Clippy,
    /// Each library compiles alone without any feature, and with its default ones
    Features,
    /// The documentation has no warning and no broken link
    Doc,
    /// `cargo xtask test`
    Test,
}

const ORDER: [Step; 7] = [Step::Fmt, Step::Tidy, Step::Arrows, Step::Clippy, Step::Features, Step::Doc, Step::Test];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Fmt => "fmt",
            Step::Tidy => "tidy",
            Step::Arrows => "arrows",
            Step::Clippy => "clippy",
            Step::Features => "features",
            Step::Doc => "doc",
            Step::Test => "test",
        }
    }

    /// The cargo commands of the check; it passes when all of them do.
    fn commands(self, root: &Path) -> Result<Vec<Command>> {
        let bench = root.join("xtask/bench/Cargo.toml");
        let words = |line: &str| {
            let mut command = workspace::cargo(root);
            command.args(line.split_whitespace());
            command
        };
        Ok(match self {
            // Not `--all` for the benchmarks: that would take ours in again by their paths.
            Step::Fmt => {
                let mut commands = vec![words("fmt --all --check")];
                if bench.exists() {
                    let mut command = words("fmt --check --manifest-path");
                    command.arg(bench);
                    commands.push(command);
                }
                commands
            }
            Step::Tidy => vec![words("xtask tidy")],
            Step::Arrows => vec![words("xtask arrows")],
            Step::Clippy => vec![words("clippy --locked --workspace --all-targets --all-features -- -D warnings")],
            Step::Features => features(&Metadata::load(root)?).iter().map(|line| words(line)).collect(),
            Step::Doc => {
                let mut command = words("doc --locked --workspace --all-features --no-deps");
                command.env("RUSTDOCFLAGS", "-D warnings");
                vec![command]
            }
            Step::Test => vec![words("xtask test")],
        })
    }
}

/// Each library for itself: together they would lend each other the features of what they share.
///
/// By clippy and not by `check` with `RUSTFLAGS`: flags for the compiler would compile every foreign crate again.
fn features(metadata: &Metadata) -> Vec<String> {
    let libraries = metadata.members().into_iter().filter(|package| package.is_library());
    libraries
        .flat_map(|package| {
            let name = &package.name;
            [
                format!("clippy --locked --quiet --lib --package {name} --no-default-features -- -D warnings"),
                format!("clippy --locked --quiet --lib --package {name} -- -D warnings"),
            ]
        })
        .collect()
}

/// How a step went.
struct Outcome {
    step: Step,
    passed: bool,
    took: Duration,
}

/// `cargo xtask ci`.
///
/// # Errors
/// When a step failed, after all have run; at once when a signal came.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let interrupt = Interrupt::listen()?;
    let chosen =
        |step: &Step| (arguments.only.is_empty() || arguments.only.contains(step)) && !arguments.skip.contains(step);
    let mut outcomes = Vec::new();
    for step in ORDER.into_iter().filter(chosen) {
        println!("── {} {}", step.name(), "─".repeat(70_usize.saturating_sub(step.name().len())));
        let started = Instant::now();
        let passed = pass(step, root, &interrupt).unwrap_or_else(|failure| {
            println!("{failure}");
            false
        });
        interrupt.check()?;
        outcomes.push(Outcome { step, passed, took: started.elapsed() });
    }
    println!("\n{}", table(&outcomes));
    let failed: Vec<_> = outcomes.iter().filter(|o| !o.passed).map(|o| o.step.name()).collect();
    match (outcomes.len(), failed.len()) {
        (0, _) => Err(Failure::new("no step was chosen").with_code(crate::error::USAGE)),
        (_, 0) => Ok(()),
        _ => Err(Failure::new(format!("failed: {}", failed.join(", ")))),
    }
}

fn pass(step: Step, root: &Path, interrupt: &Interrupt) -> Result<bool> {
    let mut passed = true;
    for mut command in step.commands(root)? {
        interrupt.check()?;
        let mut child = command.spawn().while_trying(|| format!("start {command:?}"))?;
        interrupt.forward_to_process(child.id());
        let status = child.wait().while_trying(|| format!("wait for {command:?}"))?;
        interrupt.forward_to_nobody();
        if !status.success() {
            let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
            println!("`cargo {}`: {status}", words.join(" "));
            passed = false;
        }
    }
    Ok(passed)
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let line = |name: &str, word: &str, took: Duration| format!("{name:<10} {word:<7} {:>7.1} s\n", took.as_secs_f64());
    for outcome in outcomes {
        text += &line(outcome.step.name(), if outcome.passed { "ok" } else { "FAILED" }, outcome.took);
    }
    text + &line("all", "", outcomes.iter().map(|o| o.took).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_can_be_named_is_in_the_order() {
        for step in Step::value_variants() {
            assert!(ORDER.contains(step), "{step:?}");
            let value = step.to_possible_value().unwrap();
            assert_eq!(value.get_name(), step.name());
        }
    }

    #[test]
    fn the_table_shows_each_step_and_the_sum() {
        let outcome = |step, passed, seconds| Outcome { step, passed, took: Duration::from_secs(seconds) };
        let text = table(&[outcome(Step::Fmt, true, 2), outcome(Step::Test, false, 60)]);
        assert_eq!(text, "fmt        ok          2.0 s\ntest       FAILED     60.0 s\nall                   62.0 s\n");
    }

    #[test]
    fn libraries_are_checked_alone_and_programs_are_not() {
        let package = |name: &str, kind: &str| {
            serde_json::json!({"name": name, "version": "0.1.0", "id": name, "manifest_path": "/r/Cargo.toml",
                "targets": [{"kind": [kind]}]})
        };
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "packages": [package("trimtab-cache", "lib"), package("xtask", "bin"), package("serde", "lib")],
            "workspace_members": ["trimtab-cache", "xtask"],
        }))
        .unwrap();
        assert_eq!(
            features(&metadata),
            [
                "clippy --locked --quiet --lib --package trimtab-cache --no-default-features -- -D warnings",
                "clippy --locked --quiet --lib --package trimtab-cache -- -D warnings"
            ]
        );
    }
}
