//! The command line, as the rest of the frame sees it.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is run, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fewer rounds, shorter turns, shorter traces.
    pub quick: bool,
    /// Rounds of a timed case, where the caller wants another number.
    pub rounds: Option<usize>,
    /// Only cases whose `subject/name` contains one of these words; empty means all.
    pub filter: Vec<String>,
    /// Folder of the recorded traces.
    pub traces: Option<PathBuf>,
}

impl Options {
    /// Splits a filter at commas.
    pub fn with_filter(mut self, text: Option<&str>) -> Self {
        self.filter = text
            .into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        self
    }

    /// Whether the case `name` of `subject` is to be run.
    pub fn selects(&self, subject: &str, name: &str) -> bool {
        let full = format!("{subject}/{name}");
        self.filter.is_empty() || self.filter.iter().any(|word| full.contains(word.as_str()))
    }

    /// The rounds the caller wants, else `full`, or `quick` in a quick run.
    pub fn rounds_or(&self, full: usize, quick: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { quick } else { full })
    }

    /// How long a timed turn measures: 400 ms, or 80 ms when quick.
    pub fn turn_time(&self) -> Duration {
        Duration::from_millis(if self.quick { 80 } else { 400 })
    }

    /// The folder of the main workspace, two above this package.
    pub fn workspace() -> &'static Path {
        const HERE: &str = env!("CARGO_MANIFEST_DIR");
        Path::new(HERE).ancestors().nth(2).unwrap_or(Path::new(HERE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_words_are_alternatives() {
        let options = Options::default().with_filter(Some("read/, latency"));
        assert!(options.selects("cache", "read/1t"));
        assert!(options.selects("cache", "latency/2t"));
        assert!(!options.selects("cache", "mixed/1t"));
    }

    #[test]
    fn no_filter_selects_everything() {
        assert!(Options::default().with_filter(None).selects("server", "get"));
        assert!(Options::default().with_filter(Some(" ,")).selects("server", "get"));
    }

    #[test]
    fn workspace_is_where_the_packages_are() {
        assert!(Options::workspace().join("xtask/bench/Cargo.toml").is_file());
    }
}
