//! The line on standard error that says where a run stands.

use std::io::{IsTerminal, Write, stderr};

/// Shows progress: one line rewritten in place on a terminal, one line a case elsewhere.
#[derive(Debug)]
pub struct Progress {
    total: usize,
    done: usize,
    terminal: bool,
}

impl Progress {
    /// For `total` cases.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0, terminal: stderr().is_terminal() }
    }

    /// A case begins.
    pub fn case(&mut self, name: &str) {
        self.done += 1;
        if !self.terminal {
            let _ = writeln!(stderr(), "[{}/{}] {name}", self.done, self.total);
        }
    }

    /// A turn begins.
    pub fn turn(&self, case: &str, round: &str, contender: &str) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K[{}/{}] {case}  {round}  {contender}", self.done, self.total);
            let _ = stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
    }
}
