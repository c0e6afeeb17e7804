//! What a run found: rows of figures, verdicts on bars, failures. Its JSON form is this file.

use serde::Serialize;

use super::Verdict;
use super::case::{Better, Measure, Role};
use super::machine::Machine;
use super::stats::{self, Summary};

/// Version of the JSON shape; raised when a reader of an older one would be misled.
pub const SCHEMA: u32 = 1;

/// Everything a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this shape.
    pub schema: u32,
    /// The subject.
    pub subject: String,
    /// Whether fewer rounds and less work were asked for: such figures are no evidence.
    pub quick: bool,
    /// The command line.
    pub command: String,
    /// When it began, UTC, RFC 3339.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// Remarks of the subject.
    pub notes: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
    /// The figures held against the bars.
    pub bars: Vec<Verdict>,
    /// Failed assertions.
    pub failures: Vec<Failure>,
}

/// One measure of one case, for all its contenders.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the case, `group/detail`.
    pub case: String,
    /// What is measured.
    pub what: String,
    /// Threads that did the work.
    pub threads: usize,
    /// Name of the measure.
    pub measure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Its good direction.
    pub better: Better,
    /// Rounds counted.
    pub rounds: usize,
    /// One for each contender that ended its turns.
    pub figures: Vec<Figure>,
}

/// What one contender reached.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub contender: &'static str,
    /// Whose it is.
    pub role: Role,
    /// Middle and spread.
    #[serde(flatten)]
    pub summary: Summary,
    /// Ours divided by this, per round, median; absent for ours and where it would divide by zero.
    pub ours_ratio: Option<f64>,
    /// Every counted turn, in order of the rounds.
    pub samples: Vec<f64>,
}

/// A failed assertion.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The case.
    pub case: String,
    /// Who failed.
    pub contender: &'static str,
    /// What was observed against what was required.
    pub message: String,
}

impl Row {
    /// Puts a row together; contenders without samples are left out.
    pub fn new(
        case: impl Into<String>,
        what: impl Into<String>,
        threads: usize,
        measure: Measure,
        samples: Vec<(&'static str, Role, Vec<f64>)>,
    ) -> Self {
        let ours =
            samples.iter().find(|(_, role, _)| *role == Role::Ours).map(|(name, _, turns)| (*name, turns.clone()));
        let figures: Vec<Figure> = samples
            .into_iter()
            .filter_map(|(contender, role, samples)| {
                let ours_ratio = ours
                    .as_ref()
                    .filter(|(name, _)| *name != contender)
                    .and_then(|(_, turns)| stats::ratio(turns, &samples));
                Some(Figure { contender, role, summary: Summary::of(&samples)?, ours_ratio, samples })
            })
            .collect();
        let rounds = figures.iter().map(|figure| figure.samples.len()).max().unwrap_or(0);
        Self {
            case: case.into(),
            what: what.into(),
            threads,
            measure: measure.name,
            unit: measure.unit,
            better: measure.better,
            rounds,
            figures,
        }
    }

    /// The first part of the case's name.
    pub fn group(&self) -> &str {
        self.case.split('/').next().unwrap_or(&self.case)
    }

    /// The rest of the case's name.
    pub fn detail(&self) -> &str {
        self.case.split_once('/').map_or("", |(_, detail)| detail)
    }

    /// What `contender` reached.
    pub fn figure(&self, contender: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.contender == contender)
    }

    /// The best of the peers, in the row's good direction.
    pub fn best_peer(&self) -> Option<&Figure> {
        let order = |a: &&Figure, b: &&Figure| a.summary.median.total_cmp(&b.summary.median);
        let peers = self.figures.iter().filter(|figure| figure.role == Role::Peer);
        match self.better {
            Better::Higher => peers.max_by(order),
            Better::Lower => peers.min_by(order),
            Better::Neither => None,
        }
    }
}

impl Report {
    /// Whether every assertion held.
    pub fn held(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether no bar fell short.
    pub fn reached(&self) -> bool {
        self.bars.iter().all(|verdict| verdict.ok)
    }

    /// The JSON form.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures are finite and keys are strings")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report as a run of two cases would leave it.
    pub(crate) fn sample() -> Report {
        let rate = Measure::higher("rate", "Mop/s");
        let rows = vec![
            Row::new(
                "read/1t",
                "all hits <&> warm",
                1,
                rate,
                vec![
                    ("trimtab", Role::Ours, vec![50.0, 52.0, 51.0]),
                    ("quick_cache", Role::Peer, vec![43.0, 42.0, 44.0]),
                    ("bare map", Role::Limit, vec![67.0, 68.0, 66.0]),
                ],
            ),
            Row::new(
                "latency/2t",
                "a mix",
                2,
                Measure::lower("get p99.9", "ns"),
                vec![("trimtab", Role::Ours, vec![500.0]), ("moka", Role::Peer, vec![18_500.0])],
            ),
        ];
        Report {
            schema: SCHEMA,
            subject: "cache".into(),
            quick: true,
            command: "bench cache --quick".into(),
            date: "2026-01-02T03:04:05Z".into(),
            machine: Machine::detect(&["moka"]),
            notes: vec!["a remark".into()],
            rows,
            bars: Vec::new(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn ratio_is_ours_by_theirs_and_absent_for_ours() {
        let report = sample();
        let row = &report.rows[0];
        assert_eq!(row.figure("trimtab").unwrap().ours_ratio, None);
        let ratio = row.figure("quick_cache").unwrap().ours_ratio.unwrap();
        assert!((ratio - 50.0 / 43.0).abs() < 1e-9, "the median of 1.163, 1.238, 1.159 is 1.163, not {ratio}");
    }

    #[test]
    fn best_peer_follows_the_good_direction_and_skips_limits() {
        let report = sample();
        assert_eq!(report.rows[0].best_peer().unwrap().contender, "quick_cache");
        assert_eq!(report.rows[1].best_peer().unwrap().contender, "moka");
    }

    #[test]
    fn json_has_the_promised_shape() {
        let value: serde_json::Value = serde_json::from_str(&sample().json()).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        assert_eq!(value["quick"], true);
        assert!(value["machine"]["cores"].as_u64().unwrap() >= 1);
        assert!(value["machine"]["packages"]["moka"].is_string());
        let figure = &value["rows"][0]["figures"][1];
        assert_eq!(figure["contender"], "quick_cache");
        assert_eq!(figure["role"], "peer");
        assert_eq!(figure["median"], 43.0);
        assert_eq!(figure["mad"], 1.0);
        assert_eq!(figure["samples"].as_array().unwrap().len(), 3);
        assert_eq!(value["rows"][1]["better"], "lower");
    }

    #[test]
    fn contender_without_turns_is_left_out() {
        let row = Row::new(
            "a/b",
            "",
            1,
            Measure::higher("rate", "op/s"),
            vec![("trimtab", Role::Ours, vec![]), ("moka", Role::Peer, vec![1.0])],
        );
        assert!(row.figure("trimtab").is_none());
        assert_eq!(row.figure("moka").unwrap().ours_ratio, None);
    }
}
