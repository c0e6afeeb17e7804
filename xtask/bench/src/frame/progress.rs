//! What standard error says of a run: where it stands, and the figures of each case as soon as it has ended, so that a run that
//! is cut short has not been for nothing.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr};

use super::bar::short;
use super::report::Row;

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

    /// A case has ended.
    pub fn figures(&self, rows: &[Row]) {
        let start = if self.terminal { "\r\x1b[2K" } else { "" };
        for row in rows {
            let _ = writeln!(stderr(), "{start}{}", line(row));
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

/// The medians of a row.
fn line(row: &Row) -> String {
    let mut line = format!("  {} {} ({}):", row.case, row.measure, row.unit);
    for figure in &row.figures {
        let _ = write!(line, " {} {}", figure.contender, short(figure.summary.median));
        if let Some(ratio) = figure.ours_ratio {
            let _ = write!(line, " ({ratio:.2}×)");
        }
        line.push(',');
    }
    line.pop();
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Measure, Role};

    #[test]
    fn line_has_the_medians_and_the_ratios() {
        let turns = vec![("ours", Role::Ours, vec![3.0]), ("peer", Role::Peer, vec![2.0])];
        let row = Row::new("read/1t", "", 1, Measure::higher("rate", "Mop/s"), turns);
        assert_eq!(line(&row), "  read/1t rate (Mop/s): ours 3.00, peer 2.00 (1.50×)");
        assert_eq!(line(&Row::new("none", "", 1, Measure::lower("gap", "points"), Vec::new())), "  none gap (points)");
    }
}
