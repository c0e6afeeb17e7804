//! The frame every benchmark stands in: cases, alternating rounds, medians, bars, reports.
//!
//! A **subject** (`cache`, `server`) plans **cases** (`read/2t`). In a case several **contenders** — ours and the peers —
//! do the same work, in turn, in one process. The order rotates from round to round, so that a noisy second or a warm
//! processor favours nobody for long. A turn returns one figure for each **measure** of the case. The figure of a
//! contender is the median of its turns; a ratio is taken inside each round first, and its median last.
//!
//! Read in this order: [`case`], [`run`], [`stats`], [`bar`], [`report`], then the writers.

pub mod bar;
pub mod case;
pub mod machine;
pub mod markdown;
pub mod options;
pub mod progress;
pub mod report;
pub mod run;
pub mod stats;
pub mod svg;

pub use bar::{Bar, Verdict, Wanted};
pub use case::{Case, Contender, Measure, Plan, Role, Rounds, Subject, Turn};
pub use options::Options;
pub use report::{Report, Row};
