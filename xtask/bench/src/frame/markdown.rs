//! The report as Markdown: tables per group, then the bars.

use std::fmt::Write as _;

use super::bar::short;
use super::case::{Better, Role};
use super::report::{Report, Row};

/// More cases than this in a group are shown as one matrix rather than a table each.
const MATRIX_FROM: usize = 7;

/// Writes the whole report.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let machine = &report.machine;
    let _ = writeln!(out, "# Benchmark `{}`\n", report.subject);
    if report.quick {
        let _ = writeln!(
            out,
            "> **Quick run**: few rounds, little work. Good for seeing that it works, not as evidence.\n"
        );
    }
    if !machine.optimised {
        let _ = writeln!(out, "> **Build without optimisation**: these figures mean nothing.\n");
    }
    let _ = writeln!(
        out,
        "{} · {} ({} cores, {} MiB) · {} · {} · load {:.1} at the start\n",
        report.date, machine.cpu, machine.cores, machine.memory_mib, machine.kernel, machine.rustc, machine.load
    );
    if machine.busy() {
        let _ = writeln!(
            out,
            "> **The machine was busy** when this run began: figures by the clock are low and their spread is wide.\n"
        );
    }
    let packages: Vec<String> = machine.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = writeln!(out, "Compared: {}\n\nCommand: `{}`\n", packages.join(", "), report.command);
    for note in &report.notes {
        let _ = writeln!(out, "> {note}\n");
    }
    for group in groups(&report.rows) {
        if group.len() >= MATRIX_FROM {
            matrix(&mut out, &group);
            continue;
        }
        for row in group {
            table(&mut out, row);
        }
    }
    bars(&mut out, report);
    if !report.failures.is_empty() {
        let _ = writeln!(out, "## Failed assertions\n");
        for failure in &report.failures {
            let _ = writeln!(out, "- `{}`, {}: {}", failure.case, failure.contender, failure.message);
        }
    }
    out
}

/// Rows with the same group and measure, in the order in which they first appear.
pub fn groups(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<&Row>| group[0].group() == row.group() && group[0].measure == row.measure;
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// One case: a line for each contender, best first.
fn table(out: &mut String, row: &Row) {
    let direction = match row.better {
        Better::Higher => ", higher is better",
        Better::Lower => ", lower is better",
        Better::Neither => "",
    };
    let threads = count(row.threads, "thread");
    let _ = writeln!(out, "### {} — {} ({}{direction})\n", row.case, row.measure, row.unit);
    let _ = writeln!(out, "{}; {threads}, {}.\n", row.what, count(row.rounds, "round"));
    let per_op = row.unit == "Mop/s";
    let _ = writeln!(
        out,
        "| contender | median |{} min – max | MAD | trimtab ÷ it |",
        if per_op { " ns/op |" } else { "" }
    );
    let _ = writeln!(out, "|---|---:|{}---:|---:|---:|", if per_op { "---:|" } else { "" });
    let mut figures: Vec<_> = row.figures.iter().collect();
    figures.sort_by(|a, b| a.summary.median.total_cmp(&b.summary.median));
    if row.better == Better::Higher {
        figures.reverse();
    }
    for figure in figures {
        let name = match figure.role {
            Role::Ours => format!("**{}**", figure.contender),
            Role::Peer => figure.contender.to_owned(),
            Role::Limit => format!("_{}_", figure.contender),
        };
        let summary = &figure.summary;
        // Wall time of one operation on one thread, which is what a caller waits.
        let per_op =
            if per_op { format!(" {} |", short(1_000.0 * row.threads as f64 / summary.median)) } else { String::new() };
        let _ = writeln!(
            out,
            "| {name} | {} |{per_op} {} – {} | {} | {} |",
            short(summary.median),
            short(summary.min),
            short(summary.max),
            short(summary.mad),
            figure.ours_ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}×"))
        );
    }
    out.push('\n');
}

/// Many cases of one shape: a line for each case, a column for each contender.
fn matrix(out: &mut String, group: &[&Row]) {
    let first = group[0];
    let _ = writeln!(out, "### {} — {} ({})\n", first.group(), first.measure, first.unit);
    let mut names: Vec<&str> = Vec::new();
    for figure in group.iter().flat_map(|row| &row.figures) {
        if !names.contains(&figure.contender) {
            names.push(figure.contender);
        }
    }
    let _ = writeln!(out, "| case | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(names.len()));
    for row in group {
        let best = row
            .figures
            .iter()
            .filter(|figure| figure.role != Role::Limit)
            .map(|figure| figure.summary.median)
            .reduce(if row.better == Better::Lower { f64::min } else { f64::max });
        let cells: Vec<String> = names
            .iter()
            .map(|name| match row.figure(name) {
                Some(figure) if figure.role != Role::Limit && Some(figure.summary.median) == best => {
                    format!("**{:.2}**", figure.summary.median)
                }
                Some(figure) => format!("{:.2}", figure.summary.median),
                None => "–".into(),
            })
            .collect();
        let _ = writeln!(out, "| {} | {} |", row.detail(), cells.join(" | "));
    }
    out.push('\n');
}

fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn bars(out: &mut String, report: &Report) {
    if report.bars.is_empty() {
        return;
    }
    let reached = report.bars.iter().filter(|verdict| verdict.ok).count();
    let _ = writeln!(out, "## Bars: {reached} of {} reached\n", report.bars.len());
    let _ = writeln!(out, "| | figure | wanted | what | promise |\n|---|---:|---|---|---|");
    for verdict in &report.bars {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            if verdict.ok { "ok" } else { "**SHORT**" },
            verdict.shown,
            verdict.wanted,
            verdict.what,
            verdict.source
        );
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn best_contender_stands_first_in_the_good_direction() {
        let text = render(&sample());
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} is missing in\n{text}"));
        assert!(at("_bare map_") < at("**trimtab**") && at("**trimtab**") < at("| quick_cache"));
        let latency = &text[at("### latency/2t")..];
        assert!(latency.find("**trimtab**").unwrap() < latency.find("| moka").unwrap());
    }

    #[test]
    fn quick_runs_say_so() {
        assert!(render(&sample()).contains("Quick run"));
        assert!(!render(&Report { quick: false, ..sample() }).contains("Quick run"));
    }

    #[test]
    fn every_table_line_has_as_many_cells_as_its_head() {
        let mut report = sample();
        let rows: Vec<_> = (0..8).map(|at| Row { case: format!("hits/cell {at}"), ..report.rows[1].clone() }).collect();
        report.rows.extend(rows);
        let text = render(&report);
        let mut width = None;
        for line in text.lines() {
            if line.starts_with('|') {
                let cells = line.matches('|').count();
                assert_eq!(*width.get_or_insert(cells), cells, "{line}");
            } else {
                width = None;
            }
        }
        assert!(text.contains("| cell 7 |"));
    }
}
