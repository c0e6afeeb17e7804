//! Benchmarks of trimtab beside the best alternatives: `bench SUBJECT`, `bench list`.
//!
//! Start with `frame` for how measuring is done, `load` for what the contenders are fed with, `subjects` for what is
//! measured. README.md says how to read the results and how to add to them.

mod frame;
mod load;
mod memory;
mod subjects;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use frame::{Options, Subject, markdown, run, svg};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting::new();

/// Benchmarks of trimtab beside its peers, in alternating rounds in one process.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    after_help = "Exit code: 0 fine, 1 a bar is short or an assertion failed, 2 the call or the set-up is wrong."
)]
struct Command {
    /// What to measure: `cache`, `lock`, `overhead`, `pool`, `scheduler`, `server`; or `list` for all subjects with their cases.
    subject: String,
    /// Fewer rounds and less work: for seeing that it works, not for evidence.
    #[arg(long)]
    quick: bool,
    /// Hold the figures against the bars: one line each, exit code 1 when one is short.
    #[arg(long)]
    check: bool,
    /// Run only cases whose `subject/case` contains this text; several, parted by commas, are alternatives.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Rounds of each case, instead of what the case thinks enough.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,
    /// Folder of recorded traces, `NAME.u64.zst`.
    #[arg(long, value_name = "DIR", env = "XTASK_TRACES")]
    traces: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the Markdown to a file too.
    #[arg(long, value_name = "FILE")]
    md: Option<PathBuf>,
    /// Write bar charts into a folder.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = if arguments.get(1).is_some_and(|word| word == "__child") {
        child(&arguments[2..]).map(|()| ExitCode::SUCCESS)
    } else {
        bench(&Command::parse(), &arguments)
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("error: {message}");
        ExitCode::from(2)
    })
}

fn bench(command: &Command, arguments: &[String]) -> Result<ExitCode, String> {
    let options = Options {
        quick: command.quick,
        rounds: command.rounds.map(usize::from),
        traces: command.traces.clone(),
        filter: Vec::new(),
    }
    .with_filter(command.filter.as_deref());
    let subjects = subjects::all();
    if command.subject == "list" {
        for subject in &subjects {
            list(subject.as_ref(), &options)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let subject = subjects.iter().find(|subject| subject.name() == command.subject).ok_or_else(|| {
        let names: Vec<&str> = subjects.iter().map(|subject| subject.name()).collect();
        format!("there is no subject {:?}; there are: {}, and `list`", command.subject, names.join(", "))
    })?;
    if cfg!(debug_assertions) {
        eprintln!("warning: this build is not optimised; its figures mean nothing (use --release)");
    }
    let line =
        std::iter::once("bench").chain(arguments.iter().skip(1).map(String::as_str)).collect::<Vec<_>>().join(" ");
    let report = run::run(subject.as_ref(), &options, &line)?;
    output(command, &report)?;
    let short = command.check && !report.reached();
    Ok(if report.held() && !short { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn output(command: &Command, report: &frame::Report) -> Result<(), String> {
    let text = markdown::render(report);
    let write = |path: &PathBuf, text: &str| {
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    if let Some(path) = &command.md {
        write(path, &text)?;
    }
    if let Some(path) = &command.json {
        write(path, &report.json())?;
    }
    if let Some(folder) = &command.svg {
        let paths = svg::write(report, folder)
            .map_err(|error| format!("cannot write charts to {}: {error}", folder.display()))?;
        eprintln!("{} charts in {}", paths.len(), folder.display());
    }
    say(format_args!("{text}"))?;
    if command.check {
        if report.quick {
            say(format_args!("quick run: the figures below are indications"))?;
        }
        for verdict in &report.bars {
            say(format_args!("{}", verdict.line()))?;
        }
    }
    for failure in &report.failures {
        eprintln!("FAILED  {}  {}: {}", failure.case, failure.contender, failure.message);
    }
    Ok(())
}

fn list(subject: &dyn Subject, options: &Options) -> Result<(), String> {
    say(format_args!("{:<10} {}", subject.name(), subject.about()))?;
    match subject.plan(options) {
        Ok(plan) => {
            for case in plan.cases.iter().filter(|case| options.selects(subject.name(), &case.name)) {
                say(format_args!("    {:<28} {}", case.name, case.what))?;
            }
            for note in &plan.notes {
                say(format_args!("    note: {note}"))?;
            }
            Ok(())
        }
        Err(message) => say(format_args!("    not here: {message}")),
    }
}

/// A line on standard output; an error, not a panic, when the reader has gone (`bench list | head`).
fn say(line: std::fmt::Arguments<'_>) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| format!("cannot write to standard output: {error}"))
}

/// One step in a process of its own; see the subjects for why.
fn child(arguments: &[String]) -> Result<(), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        ["memory", shape, name] => subjects::cache::memory::measure(&ALLOCATOR, shape, name)?,
        ["pool", step, name] => subjects::pool::memory::measure(&ALLOCATOR, step, name)?,
        ["scheduler", "queued", name] => subjects::scheduler::queued::measure(&ALLOCATOR, name)?,
        ["scheduler", step, name] => subjects::scheduler::manners::batches::measure(&ALLOCATOR, step, name)?,
        ["lock", words @ ..] => return subjects::lock::measure(&ALLOCATOR, words),
        ["shrink"] => subjects::cache::shrink::measure()?,
        ["overhead", kind] => subjects::overhead::measure(kind)?,
        ["axum", content_type] => return subjects::server::serve_bare(content_type),
        _ => return Err(format!("unknown step {words:?}")),
    };
    say(format_args!("{answer}"))
}
