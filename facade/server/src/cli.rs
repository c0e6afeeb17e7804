//! The command line: what can be typed, and which settings it overrides.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use trimtab::TrimtabSettings;
use trimtab::config::{Environment, Loader, Profile};

use crate::config::ConfigCommand;
use crate::simulate::SimulateArgs;

/// Caches, pools and task lanes that keep themselves fast and inside the machine: the server, and its tools.
#[derive(Debug, Parser)]
#[command(
    name = "trimtab",
    version,
    about,
    max_term_width = 100,
    after_help = "Exit status: 0 done, 1 failed, 2 the input needs mending."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// What to do; without a command the server starts.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the HTTP API and the dashboard (the default).
    Serve(ServeArgs),
    /// Show, check and explain settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Replay an access trace through the cache policies at several sizes.
    Simulate(Box<SimulateArgs>),
}

/// Which settings to start from.
#[derive(Debug, Default, Args)]
pub(crate) struct Choice {
    /// Settings file, instead of trimtab.toml in this folder.
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "Settings")]
    pub(crate) config: Option<PathBuf>,
    /// minimal, balanced or maximum.
    #[arg(long, short, global = true, value_name = "PROFILE", help_heading = "Settings")]
    pub(crate) profile: Option<Profile>,
    /// production, staging, development, test or a name of your own.
    #[arg(long, short, global = true, value_name = "NAME", help_heading = "Settings")]
    pub(crate) environment: Option<Environment>,
    /// One setting, above file and variables: --set cache.users.ttl=5m. Can be repeated.
    #[arg(long, short, global = true, value_name = "PATH=VALUE", value_parser = assignment, help_heading = "Settings")]
    pub(crate) set: Vec<(String, String)>,
    /// Where `serve` listens; its own option, kept here so that one place builds the loader.
    #[arg(skip)]
    pub(crate) address: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on: short for --set server.address=…
    #[arg(long, short, value_name = "ADDRESS:PORT")]
    pub(crate) address: Option<String>,
}

impl Choice {
    /// A loader that reads what was chosen.
    pub(crate) fn loader(&self) -> Loader<TrimtabSettings> {
        let mut loader = Loader::new();
        if let Some(file) = &self.config {
            loader = loader.file(file);
        }
        if let Some(profile) = self.profile {
            loader = loader.profile(profile);
        }
        if let Some(environment) = &self.environment {
            loader = loader.environment(environment.clone());
        }
        for (path, value) in &self.set {
            loader = loader.argument(format!("--set {path}"), path, value);
        }
        if let Some(address) = &self.address {
            loader = loader.argument("--address", "server.address", address);
        }
        loader
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) if !path.trim().is_empty() => Ok((path.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write a path, an equals sign and a value, such as cache.users.ttl=5m".to_owned()),
    }
}
