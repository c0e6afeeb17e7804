//! `cargo xtask`: the tool that this workspace checks, tests and measures itself with.
//!
//! One file a command: [`mod@test`] and [`services`] (real Redis and PostgreSQL), [`ci`] (everything in order), [`tidy`]
//! (what a reviewer looks for), [`arrows`] (who may use whom), [`mod@bench`]. Below them [`workspace`] asks cargo,
//! [`interrupt`] handles ctrl-C, [`error`] holds the one failure type. Everything works with cargo alone; what else is
//! needed is installed or named.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its terminal")]

mod arrows;
mod bench;
mod ci;
mod error;
mod interrupt;
mod services;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks, tests, services and benchmarks of the trimtab workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every test with real Redis, PostgreSQL, PgBouncer and Chromium beside it
    ///
    /// Missing programs are installed where that needs no question (Debian, as root or with password-less sudo); else
    /// the command to type is named, and tests that need them are counted as skipped. The last line is
    /// `N passed, N failed, N skipped`. Exits with 1 when a test failed or none ran.
    Test(test::Arguments),
    /// Start, stop and hurt Redis and PostgreSQL by hand
    ///
    /// Both listen on 127.0.0.1 only, on ports of their own, with a password, and keep their data in a temporary folder.
    Services(services::Arguments),
    /// Run all checks in order, with a time for each
    Ci(ci::Arguments),
    /// Check the repository's hygiene: files, manifests, links, licences, budgets
    Tidy(tidy::Arguments),
    /// Check that packages use only what the design lets them
    Arrows {
        /// Print the table instead
        #[arg(long)]
        table: bool,
    },
    /// Measure against the peers: `bench SUBJECT [--quick] [--json FILE] [--check]`
    ///
    /// Everything after `bench` goes to the benchmark program; `bench --help` shows its own help.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the benchmark program
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let root = workspace::root();
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&root, &arguments),
        Command::Services(arguments) => services::run(&root, &arguments),
        Command::Ci(arguments) => ci::run(&root, &arguments),
        Command::Tidy(arguments) => tidy::run(&root, &arguments),
        Command::Arrows { table: true } => arrows::print_table(&root),
        Command::Arrows { table: false } => arrows::run(&root),
        Command::Bench { arguments } => bench::run(&root, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_news() {
                eprintln!("error: {failure}");
            }
            failure.code().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bench_passes_everything_on_even_its_help() {
        let parsed = Arguments::try_parse_from(["cargo xtask", "bench", "cache", "--quick", "--json", "f", "--help"]);
        let Command::Bench { arguments } = parsed.unwrap().command else { panic!("another command") };
        assert_eq!(arguments, ["cache", "--quick", "--json", "f", "--help"]);
        let parsed = Arguments::try_parse_from(["cargo xtask", "bench", "--help"]);
        let Command::Bench { arguments } = parsed.unwrap().command else { panic!("another command") };
        assert_eq!(arguments, ["--help"]);
    }
}
