//! What a subject is made of: cases, their measures, their contenders.

use std::time::Duration;

use super::{Bar, Options, Row};

/// Something that is benchmarked: one file (or folder) under `subjects`.
pub trait Subject {
    /// The word on the command line.
    fn name(&self) -> &'static str;

    /// One line for `bench list`.
    fn about(&self) -> &'static str;

    /// Packages of `Cargo.lock` whose versions belong into the report.
    fn packages(&self) -> &'static [&'static str];

    /// The cases, without doing their work: data is prepared when a case is run.
    ///
    /// # Errors
    ///
    /// When something that the subject needs is missing; the message names the remedy.
    fn plan(&self, options: &Options) -> Result<Plan, String>;

    /// Rows computed from the rows of several cases, such as a mean over all cells.
    fn derive(&self, _rows: &[Row]) -> Vec<Row> {
        Vec::new()
    }

    /// What must hold.
    fn bars(&self) -> Vec<Bar> {
        Vec::new()
    }
}

/// The cases of a subject, and what the reader must know about those that are absent or replaced.
#[derive(Debug, Default)]
pub struct Plan {
    /// The cases, in the order of the report.
    pub cases: Vec<Case>,
    /// Remarks such as "skipped: no traces".
    pub notes: Vec<String>,
}

/// The same work, done by several contenders.
#[derive(Debug)]
pub struct Case {
    /// `group/detail`, such as `read/2t`; unique in its subject.
    pub name: String,
    /// One line: what is measured, with its sizes.
    pub what: String,
    /// Threads that do the work.
    pub threads: usize,
    /// What a turn returns, in order.
    pub measures: Vec<Measure>,
    /// Who takes turns.
    pub contenders: Vec<Contender>,
    /// How often.
    pub rounds: Rounds,
}

/// How often the contenders of a case take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// As many as the options say, after one turn each that is not counted: for everything timed.
    Timed,
    /// This many, after a warm-up turn each: for turns that take seconds.
    Warmed(usize),
    /// This many, without warm-up: for results that do not depend on time, such as a hit ratio.
    Exact(usize),
}

/// One figure of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Such as `rate`.
    pub name: &'static str,
    /// Such as `Mop/s`.
    pub unit: &'static str,
    /// Which direction is good.
    pub better: Better,
}

impl Measure {
    /// A figure that should be high.
    pub const fn higher(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Higher }
    }

    /// A figure that should be low.
    pub const fn lower(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Lower }
    }

    /// A figure shown for context.
    pub const fn context(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Neither }
    }
}

/// Which direction is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Context only.
    Neither,
}

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// trimtab.
    Ours,
    /// A library somebody could take instead.
    Peer,
    /// What no contender can pass or what the work costs without any: a bare map, the optimum, an empty program.
    Limit,
}

/// A turn's work: called once a turn, returns one figure for each measure of the case.
pub type Work = Box<dyn FnMut(&Turn) -> Result<Vec<f64>, String>>;

/// One who takes turns.
pub struct Contender {
    /// Name in tables.
    pub name: &'static str,
    /// Whose it is.
    pub role: Role,
    /// The work of a turn. An `Err` is a failed assertion or missing precondition: it fails the run.
    pub work: Work,
}

impl std::fmt::Debug for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Contender {
    /// A contender whose turn is `work`.
    pub fn new(name: &'static str, role: Role, work: impl FnMut(&Turn) -> Result<Vec<f64>, String> + 'static) -> Self {
        Self { name, role, work: Box::new(work) }
    }
}

/// What a contender is told about its turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Number of the round, from 0. Seeds derive from it, so that all contenders of a round see the same work.
    pub round: u64,
    /// How long a timed turn measures.
    pub time: Duration,
    /// Whether less work is wanted.
    pub quick: bool,
}
