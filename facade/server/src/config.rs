//! `trimtab config`: what the settings are, whether they are sound, and why each has its value.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use trimtab::TrimtabSettings;
use trimtab::config::{Loaded, schema};

use crate::cli::Choice;
use crate::failure::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting in effect, with its value and where that comes from.
    Show {
        /// As JSON: an array of path, value and origin.
        #[arg(long)]
        json: bool,
    },
    /// Check file, variables and arguments; tell every problem at once.
    Check {
        /// The file to check, instead of trimtab.toml or --config.
        file: Option<PathBuf>,
    },
    /// Print the JSON schema of trimtab.toml, for editors.
    Schema,
    /// Explain one setting, or all below a path: what it does, what it accepts, who decides its value.
    Explain {
        /// A path such as cache.users.ttl, or a section such as monitor.
        path: String,
    },
}

pub(crate) fn run(command: ConfigCommand, mut choice: Choice) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match command {
        ConfigCommand::Show { json } => {
            let loaded = load(&choice)?;
            if json {
                let leaves = serde_json::to_string_pretty(&loaded.leaves()).map_err(Failure::bug)?;
                writeln!(out, "{leaves}")?;
            } else {
                write!(out, "{}", loaded.summary())?;
            }
        }
        ConfigCommand::Check { file } => {
            if let Some(file) = file {
                choice.config = Some(file);
            }
            let loaded = load(&choice)?;
            let place = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
            writeln!(
                out,
                "sound: {place}, profile {}, environment {}, {} settings",
                loaded.profile,
                loaded.environment,
                loaded.leaves().len()
            )?;
        }
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&schema::<TrimtabSettings>()).map_err(Failure::bug)?;
            writeln!(out, "{schema}")?;
        }
        ConfigCommand::Explain { path } => {
            let explanations = load(&choice)?.explain(&path).map_err(Failure::input)?;
            for (index, explanation) in explanations.iter().enumerate() {
                if index > 0 {
                    writeln!(out)?;
                }
                write!(out, "{explanation}")?;
            }
        }
    }
    Ok(())
}

fn load(choice: &Choice) -> Result<Loaded<TrimtabSettings>, Failure> {
    choice.loader().load().map_err(Failure::input)
}
