//! Log output: one subscriber for the whole program, set up from the section `[log]`.
//!
//! Libraries only emit; a program decides where lines go. This is that decision in three settings, for programs that
//! have no subscriber of their own. Lines go to standard error, so that standard output stays free for results.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use trimtab_config::Problems;

/// What the program writes to standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Filter of levels and targets in the form of `RUST_LOG`: `info`, or `warn,trimtab_cache=debug`. Default `info`.
    pub filter: String,
    /// `text` for people, `json` for collectors. Default `text`.
    pub format: LogFormat,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One readable line an event.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl LogSettings {
    /// Reports a filter that cannot be understood.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(error) = EnvFilter::try_new(&self.filter) {
            problems.report(
                "filter",
                &self.filter,
                format!("{error}; write a level such as \"info\", or pairs such as \"warn,trimtab_cache=debug\""),
            );
        }
    }
}

/// Sends events to standard error as `settings` say.
///
/// Returns `false`, and changes nothing, where the program has set up a subscriber already: that one wins.
pub fn init(settings: &LogSettings) -> bool {
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => {
            // Colours are for people at a terminal; in a file they are noise.
            builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init().is_ok()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init().is_ok(),
    }
}
