//! The program `trimtab`: a cache service with HTTP API and dashboard, and the tools around it.
//!
//! `cli` says what can be typed; `serve`, `config` and `simulate` are the three commands; `failure` is how they end
//! when they cannot do what they were asked.

#![forbid(unsafe_code)]

mod cli;
mod config;
mod failure;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    let Cli { choice, command } = Cli::parse();
    let result = match command.unwrap_or(Command::Serve(cli::ServeArgs::default())) {
        Command::Serve(args) => serve::run(args, choice),
        Command::Config(command) => config::run(command, choice),
        Command::Simulate(args) => {
            simulate::run(*args).map_err(|error| Failure { status: error.exit_code(), message: error.to_string() })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, status }) => {
            if !message.is_empty() {
                complain(&message);
            }
            ExitCode::from(status)
        }
    }
}

/// Tells a person what went wrong.
#[allow(clippy::print_stderr, reason = "a command line program reports on standard error")]
fn complain(message: &str) {
    eprintln!("trimtab: {message}");
}
