//! One failure type for the whole tool: a sentence for the person at the terminal, and an exit code.
//!
//! Nobody matches on the variants of a command line tool's errors, so there are none. What counts is that each
//! message says what was tried, on what, and what to do next; [`Context`] adds the first two to a bare I/O error.

use std::fmt;

/// What a command answers: nothing, or a value, or a [`Failure`].
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// The check ran and found something, or a command failed.
pub(crate) const FAILED: u8 = 1;
/// What was asked for makes no sense: the exit code that clap uses too.
pub(crate) const USAGE: u8 = 2;
/// A program that is needed is not on this machine and was not installed.
pub(crate) const ABSENT: u8 = 3;

/// Why a command stops, and with which exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FAILED }
    }

    /// A failure that was told already; only the exit code is left to give.
    pub(crate) fn told() -> Self {
        Self::new("")
    }

    /// The same with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// True when there is still something to say.
    pub(crate) fn is_news(&self) -> bool {
        !self.message.is_empty()
    }

    /// The exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// Puts `doing()` before the error's own words: `cannot <doing>: <error>`.
    fn while_trying(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn while_trying(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::new(format!("cannot {}: {error}", doing())))
    }
}
