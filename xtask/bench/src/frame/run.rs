//! Runs cases: alternating rounds whose order rotates.

use super::case::{Case, Contender, Plan, Rounds, Subject, Turn};
use super::machine::{self, Machine};
use super::progress::Progress;
use super::report::{Failure, Report, Row, SCHEMA};
use super::{Options, bar};

/// Runs what `options` select of `subject`.
///
/// # Errors
///
/// When the subject cannot be planned, or nothing is selected. Failed assertions do not end a run; they stand in the
/// report, and the contender that failed has no figures.
pub fn run(subject: &dyn Subject, options: &Options, command: &str) -> Result<Report, String> {
    let date = machine::now();
    let machine = Machine::detect(subject.packages());
    let Plan { cases, notes } = subject.plan(options)?;
    let known: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let chosen: Vec<Case> = cases.into_iter().filter(|case| options.selects(subject.name(), &case.name)).collect();
    if chosen.is_empty() {
        return Err(format!(
            "no case of {} matches the filter {:?}; there are: {}",
            subject.name(),
            options.filter.join(","),
            known.join(", ")
        ));
    }
    let mut progress = Progress::new(chosen.len());
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for case in chosen {
        progress.case(&case.name);
        let outcome = run_case(case, options, &progress);
        progress.figures(&outcome.0);
        rows.extend(outcome.0);
        failures.extend(outcome.1);
    }
    drop(progress);
    rows.extend(subject.derive(&rows));
    let bars = bar::judge(&subject.bars(), &rows, !options.filter.is_empty());
    Ok(Report {
        schema: SCHEMA,
        subject: subject.name().to_owned(),
        quick: options.quick,
        command: command.to_owned(),
        date,
        machine,
        notes,
        rows,
        bars,
        failures,
    })
}

/// Runs one case and drops it, with all the data it prepared.
fn run_case(mut case: Case, options: &Options, progress: &Progress) -> (Vec<Row>, Vec<Failure>) {
    let (warm_up, rounds) = match case.rounds {
        Rounds::Timed => (true, options.rounds_or(9, 3)),
        Rounds::Warmed(rounds) => (true, rounds),
        Rounds::Exact(rounds) => (false, rounds),
    };
    let count = case.contenders.len();
    // samples[contender][measure][round]
    let mut samples = vec![vec![Vec::with_capacity(rounds); case.measures.len()]; count];
    let mut failures: Vec<Failure> = Vec::new();
    for round in u64::from(!warm_up)..=rounds as u64 {
        for place in 0..count {
            let index = (place + round as usize) % count;
            let Contender { name, work, .. } = &mut case.contenders[index];
            if failures.iter().any(|failure| failure.contender == *name) {
                continue;
            }
            let label = if round == 0 { "warm-up".to_owned() } else { format!("round {round} of {rounds}") };
            progress.turn(&case.name, &label, name);
            let turn = Turn { round, time: options.turn_time(), quick: options.quick };
            let outcome = work(&turn).and_then(|figures| check(figures, case.measures.len()));
            match outcome {
                Ok(figures) if round > 0 => {
                    for (samples, figure) in samples[index].iter_mut().zip(figures) {
                        samples.push(figure);
                    }
                }
                Ok(_) => {}
                Err(message) => {
                    samples[index].iter_mut().for_each(Vec::clear);
                    failures.push(Failure { case: case.name.clone(), contender: name, message });
                }
            }
        }
    }
    let rows = case
        .measures
        .iter()
        .enumerate()
        .map(|(at, measure)| {
            let turns = case
                .contenders
                .iter()
                .zip(&mut samples)
                .map(|(contender, samples)| (contender.name, contender.role, std::mem::take(&mut samples[at])))
                .collect();
            Row::new(case.name.clone(), case.what.clone(), case.threads, *measure, turns)
        })
        .collect();
    (rows, failures)
}

/// Every measure must have got a figure that is one.
fn check(figures: Vec<f64>, measures: usize) -> Result<Vec<f64>, String> {
    if figures.len() != measures {
        return Err(format!("the turn returned {} figures for {measures} measures", figures.len()));
    }
    match figures.iter().find(|figure| !figure.is_finite()) {
        Some(figure) => Err(format!("the turn returned {figure}, which is no figure")),
        None => Ok(figures),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::frame::{Measure, Role};

    fn case(contenders: Vec<Contender>, rounds: Rounds) -> Case {
        Case {
            name: "group/case".into(),
            what: String::new(),
            threads: 1,
            measures: vec![Measure::higher("rate", "op/s")],
            contenders,
            rounds,
        }
    }

    fn recorder(name: &'static str, log: &Rc<RefCell<Vec<(u64, &'static str)>>>) -> Contender {
        let log = Rc::clone(log);
        Contender::new(name, Role::Peer, move |turn| {
            log.borrow_mut().push((turn.round, name));
            Ok(vec![turn.round as f64])
        })
    }

    #[test]
    fn order_rotates_and_the_warm_up_is_not_counted() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let options = Options { rounds: Some(2), ..Options::default() };
        let case = case(vec![recorder("a", &log), recorder("b", &log), recorder("c", &log)], Rounds::Timed);
        let (rows, failures) = run_case(case, &options, &Progress::new(1));
        assert!(failures.is_empty());
        assert_eq!(
            *log.borrow(),
            [(0, "a"), (0, "b"), (0, "c"), (1, "b"), (1, "c"), (1, "a"), (2, "c"), (2, "a"), (2, "b")]
        );
        assert_eq!(rows[0].figure("b").unwrap().samples, [1.0, 2.0]);
    }

    #[test]
    fn failed_assertion_is_reported_and_costs_only_that_contender_its_figures() {
        let failing = Contender::new("liar", Role::Peer, |turn| {
            if turn.round == 2 { Err("11 entries in a cache of 10".into()) } else { Ok(vec![1.0]) }
        });
        let honest = Contender::new("honest", Role::Ours, |_| Ok(vec![2.0]));
        let (rows, failures) =
            run_case(case(vec![failing, honest], Rounds::Exact(3)), &Options::default(), &Progress::new(1));
        assert_eq!(failures.len(), 1);
        assert_eq!((failures[0].contender, failures[0].message.as_str()), ("liar", "11 entries in a cache of 10"));
        assert!(rows[0].figure("liar").is_none());
        assert_eq!(rows[0].figure("honest").unwrap().samples.len(), 3);
    }

    #[test]
    fn a_figure_that_is_none_fails_the_turn() {
        let nan = Contender::new("nan", Role::Ours, |_| Ok(vec![f64::NAN]));
        let few = Contender::new("few", Role::Peer, |_| Ok(vec![]));
        let (_, failures) = run_case(case(vec![nan, few], Rounds::Exact(1)), &Options::default(), &Progress::new(1));
        assert_eq!(failures.len(), 2);
    }
}
