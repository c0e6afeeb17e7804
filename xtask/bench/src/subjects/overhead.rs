//! What a started, idle system costs in resident memory, above an empty tokio program.
//!
//! Every contender is this same program as a child: it starts a runtime and, except for `none`, a system of one profile
//! without a settings file; waits a second; and reads its own `smaps_rollup`. So the baseline has the same program image,
//! allocator and runtime, and the difference is what trimtab itself takes, pages of its code included.

use std::time::Duration;

use serde_json::{Value, json};
use trimtab::Trimtab;
use trimtab::config::Profile;

use super::{child, number};
use crate::frame::{Bar, Case, Contender, Measure, Options, Plan, Role, Rounds, Subject, Wanted};

const KINDS: [(&str, Role); 4] =
    [("none", Role::Limit), ("minimal", Role::Ours), ("balanced", Role::Ours), ("maximum", Role::Ours)];

const SETTLE: Duration = Duration::from_secs(1);

/// The subject `overhead`.
#[derive(Debug)]
pub struct OverheadSubject;

impl Subject for OverheadSubject {
    fn name(&self) -> &'static str {
        "overhead"
    }

    fn about(&self) -> &'static str {
        "resident memory of a started, idle system by profile, above an empty tokio program"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab", "tokio"]
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        if !cfg!(target_os = "linux") {
            return Err("overhead reads /proc/self/smaps_rollup, which only Linux has".into());
        }
        // A child needs over a second, and its memory hardly varies.
        let rounds = Rounds::Exact(options.rounds_or(7, 3));
        let case = Case {
            name: "idle".into(),
            what: "a child one second after its start; `none` is an empty tokio program".into(),
            threads: 1,
            measures: vec![
                Measure::lower("resident", "MiB"),
                Measure::lower("proportional", "MiB"),
                Measure::context("threads", "threads"),
            ],
            contenders: KINDS
                .into_iter()
                .map(|(kind, role)| {
                    Contender::new(kind, role, move |_| {
                        let answer = child(&["overhead", kind])?;
                        ["rss_mib", "pss_mib", "threads"].into_iter().map(|key| number(&answer, key)).collect()
                    })
                })
                .collect(),
            rounds,
        };
        Ok(Plan { cases: vec![case], notes: Vec::new() })
    }

    fn derive(&self, rows: &[crate::frame::Row]) -> Vec<crate::frame::Row> {
        // The same figures with the empty program's taken off, round by round.
        let Some(row) = rows.iter().find(|row| row.measure == "resident") else {
            return Vec::new();
        };
        let Some(base) = row.figure("none") else {
            return Vec::new();
        };
        let samples = row
            .figures
            .iter()
            .filter(|figure| figure.role == Role::Ours && figure.samples.len() == base.samples.len())
            .map(|figure| {
                let above = figure.samples.iter().zip(&base.samples).map(|(mine, base)| mine - base).collect();
                (figure.contender, figure.role, above)
            })
            .collect();
        let what = "resident memory less that of the empty program";
        vec![crate::frame::Row::new("above", what, 1, Measure::lower("resident", "MiB"), samples)]
    }

    fn bars(&self) -> Vec<Bar> {
        [("minimal", 4.0), ("balanced", 12.0), ("maximum", 40.0)]
            .map(|(profile, most)| Bar {
                case: "idle",
                measure: "resident",
                ours: profile,
                wanted: Wanted::ExcessAtMost(most, "none"),
                source: "idle overhead at most 4, 12 and 40 MiB",
            })
            .to_vec()
    }
}

/// What the child does.
///
/// # Errors
///
/// When `kind` is unknown, the system does not start, or `/proc` cannot be read.
pub fn measure(kind: &str) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let profile = match kind {
        "none" => None,
        "minimal" => Some(Profile::Minimal),
        "balanced" => Some(Profile::Balanced),
        "maximum" => Some(Profile::Maximum),
        _ => {
            return Err(format!("unknown profile {kind:?}; known: none, minimal, balanced, maximum"));
        }
    };
    runtime.block_on(async {
        let system = match profile {
            None => None,
            Some(profile) => {
                let started = Trimtab::builder().profile(profile).no_file().start().await;
                Some(started.map_err(|error| format!("the system does not start: {error}"))?)
            }
        };
        tokio::time::sleep(SETTLE).await;
        let answer = resident();
        std::hint::black_box(&system); // it lives until here
        answer
    })
}

fn resident() -> Result<Value, String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let rollup = read("/proc/self/smaps_rollup")?;
    let status = read("/proc/self/status")?;
    let field = |text: &str, name: &str| -> Result<f64, String> {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().split(' ').next()?.parse().ok())
            .ok_or_else(|| format!("no line {name} in /proc"))
    };
    Ok(json!({
        "rss_mib": field(&rollup, "Rss:")? / 1024.0,
        "pss_mib": field(&rollup, "Pss:")? / 1024.0,
        "threads": field(&status, "Threads:")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Row;

    #[test]
    fn overhead_is_taken_round_by_round() {
        let samples = vec![("none", Role::Limit, vec![10.0, 20.0]), ("minimal", Role::Ours, vec![12.0, 23.0])];
        let rows = [Row::new("idle", "", 1, Measure::lower("resident", "MiB"), samples)];
        let above = OverheadSubject.derive(&rows);
        assert_eq!(above[0].figure("minimal").unwrap().samples, [2.0, 3.0]);
        assert!(above[0].figure("none").is_none());
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let answer = resident().unwrap();
        assert!(number(&answer, "rss_mib").unwrap() > 0.1);
        assert!(number(&answer, "threads").unwrap() >= 1.0);
    }

    #[test]
    fn unknown_profile_names_the_known_ones() {
        assert!(measure("huge").unwrap_err().contains("minimal, balanced, maximum"));
    }
}
