//! Results in words: an aligned table for the terminal, Markdown for a page, JSON for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::grid::{Outcome, Row};

/// Which figure a table shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Figure {
    Requests,
    Bytes,
}

impl Figure {
    /// The figure of the optimum, then those of the policies.
    fn of(self, outcome: &Outcome, row: &Row) -> Vec<f64> {
        std::iter::once(&row.optimum)
            .chain(&row.cells)
            .map(|hits| match self {
                Self::Requests => outcome.ratio(hits.requests),
                Self::Bytes => outcome.byte_ratio(hits.bytes.unwrap_or(0)),
            })
            .collect()
    }

    /// Figures of the policies with the best marked, the optimum last.
    fn cells(self, outcome: &Outcome, row: &Row, mark: impl Fn(String) -> String) -> Vec<String> {
        let figures = self.of(outcome, row);
        let (optimum, policies) = (figures[0], &figures[1..]);
        let best = policies.iter().copied().fold(0.0, f64::max);
        // Where all are equal, none is best.
        let differ = policies.iter().any(|figure| *figure < best);
        let mut cells: Vec<String> = policies
            .iter()
            .map(|figure| if differ && *figure >= best { mark(percent(*figure)) } else { percent(*figure) })
            .collect();
        cells.push(percent(optimum));
        cells
    }

    fn optimum(self) -> &'static str {
        match self {
            Self::Requests => "optimum",
            Self::Bytes => "bound",
        }
    }
}

fn figures(outcome: &Outcome) -> &'static [Figure] {
    if outcome.bytes.is_some() { &[Figure::Requests, Figure::Bytes] } else { &[Figure::Requests] }
}

/// The tables of one trace for a terminal.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut out = String::new();
    push(&mut out, format_args!("{}\n", outcome.name));
    push(&mut out, format_args!("  {}\n", outcome.origin));
    push(&mut out, format_args!("  {}\n", extent(outcome)));
    for note in &outcome.notes {
        push(&mut out, format_args!("  note: {note}\n"));
    }
    let mut tables = String::new();
    for figure in figures(outcome) {
        let mut lines = vec![head(outcome, *figure)];
        for row in &outcome.rows {
            let mut line = place(outcome, row);
            line.extend(figure.cells(outcome, row, |cell| format!("*{cell}")));
            lines.push(line);
        }
        if *figure == Figure::Bytes {
            tables.push_str("\n  byte hit ratio\n");
        }
        push(&mut tables, format_args!("\n{}", aligned(&lines)));
    }
    if tables.contains('*') {
        tables.push_str("\n* best policy of the row\n");
    }
    out.push_str(&tables);
    out
}

/// The tables of all traces as a Markdown page, with the means over all cells at its end.
pub(super) fn markdown(outcomes: &[Outcome], command: &str) -> String {
    let mut out =
        format!("# Hit ratios by policy and size\n\nMade by `{command}`. The best policy of each row is bold.\n");
    for outcome in outcomes {
        push(&mut out, format_args!("\n## {}\n\n{}; {}.\n", outcome.name, outcome.origin, extent(outcome)));
        for note in &outcome.notes {
            push(&mut out, format_args!("Note: {note}.\n"));
        }
        for figure in figures(outcome) {
            if *figure == Figure::Bytes {
                out.push_str("\nByte hit ratio:\n");
            }
            let head = head(outcome, *figure);
            push(&mut out, format_args!("\n| {} |\n|{}\n", head.join(" | "), "---:|".repeat(head.len())));
            for row in &outcome.rows {
                let mut line = place(outcome, row);
                line.extend(figure.cells(outcome, row, |cell| format!("**{cell}**")));
                push(&mut out, format_args!("| {} |\n", line.join(" | ")));
            }
        }
    }
    if outcomes.len() > 1 {
        push(
            &mut out,
            format_args!(
                "\n## Mean over all rows\n\n{}",
                means(outcomes, |lines| {
                    let rows: Vec<String> = lines.iter().map(|line| format!("| {} |\n", line.join(" | "))).collect();
                    format!("{}|{}\n{}", rows[0], "---:|".repeat(lines[0].len()), rows[1..].concat())
                })
            ),
        );
    }
    out
}

/// The mean hit ratios over all traces and sizes, for a terminal.
pub(super) fn summary(outcomes: &[Outcome]) -> String {
    format!("mean over all rows\n\n{}", means(outcomes, aligned))
}

/// Means of every policy and of the optimum, and how much each policy has of what can be had.
fn means(outcomes: &[Outcome], table: impl Fn(&[Vec<String>]) -> String) -> String {
    let rows: Vec<Vec<f64>> =
        outcomes.iter().flat_map(|outcome| outcome.rows.iter().map(|row| Figure::Requests.of(outcome, row))).collect();
    let count = rows.len().max(1) as f64;
    let mean = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>() / count;
    let policies = outcomes.first().map_or(&[][..], |outcome| &outcome.policies);
    let mut head = vec!["rows".to_owned()];
    let mut line = vec![rows.len().to_string()];
    for (column, policy) in policies.iter().enumerate() {
        head.push(policy.to_string());
        line.push(percent(mean(column + 1)));
    }
    head.push("optimum".to_owned());
    line.push(percent(mean(0)));
    table(&[head, line])
}

/// Everything, for machines. Ratios are shares from 0 to 1.
pub(super) fn json(outcomes: &[Outcome]) -> Value {
    let hits = |outcome: &Outcome, hits: &super::replay::Hits| {
        let mut cell = json!({ "hits": hits.requests, "hit_ratio": outcome.ratio(hits.requests) });
        if let Some(bytes) = hits.bytes {
            cell["hit_bytes"] = bytes.into();
            cell["byte_hit_ratio"] = outcome.byte_ratio(bytes).into();
        }
        cell
    };
    let traces: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let rows: Vec<Value> = outcome
                .rows
                .iter()
                .map(|row| {
                    let policies: serde_json::Map<String, Value> = outcome
                        .policies
                        .iter()
                        .zip(&row.cells)
                        .map(|(policy, cell)| (policy.to_string(), hits(outcome, cell)))
                        .collect();
                    json!({
                        "max_entries": row.capacity,
                        "share_of_keys": f64::from(row.capacity) / f64::from(outcome.distinct.max(1)),
                        "optimum": hits(outcome, &row.optimum),
                        "policies": policies,
                    })
                })
                .collect();
            json!({
                "name": outcome.name,
                "origin": outcome.origin,
                "notes": outcome.notes,
                "requests": outcome.requests,
                "distinct_keys": outcome.distinct,
                "bytes": outcome.bytes,
                "infinite_hit_ratio": outcome.ratio(outcome.repeats),
                "seconds": outcome.took.as_secs_f64(),
                "rows": rows,
            })
        })
        .collect();
    json!({ "trimtab": env!("CARGO_PKG_VERSION"), "traces": traces })
}

/// Requests, keys, and what an endless cache would reach.
pub(super) fn extent(outcome: &Outcome) -> String {
    let mut text = format!(
        "{} requests for {} keys, at most {} with an endless cache",
        grouped(outcome.requests),
        grouped(outcome.distinct.into()),
        percent(outcome.ratio(outcome.repeats))
    );
    if let Some(bytes) = outcome.bytes {
        push(&mut text, format_args!("; {} bytes requested", grouped(bytes)));
    }
    text
}

fn head(outcome: &Outcome, figure: Figure) -> Vec<String> {
    let mut head = vec!["entries".to_owned(), "of keys".to_owned()];
    head.extend(outcome.policies.iter().map(ToString::to_string));
    head.push(figure.optimum().to_owned());
    head
}

fn place(outcome: &Outcome, row: &Row) -> Vec<String> {
    vec![grouped(row.capacity.into()), short_percent(f64::from(row.capacity) / f64::from(outcome.distinct.max(1)))]
}

/// Columns of equal width, right-aligned, two blanks apart.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            push(&mut out, format_args!("  {cell:>width$}"));
        }
        out.push('\n');
    }
    out
}

/// A share as percentage with two digits.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A share as percentage with about two significant digits.
pub(super) fn short_percent(share: f64) -> String {
    let value = share * 100.0;
    let digits = if value >= 9.95 {
        0
    } else if value >= 0.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A number with commas between groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Appends; a string takes everything.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use trimtab::cache::PolicyKind;

    use super::super::replay::Hits;
    use super::*;

    /// A small outcome with two policies and two sizes.
    pub(in super::super) fn outcome(bytes: bool) -> Outcome {
        let hits = |requests| Hits { requests, bytes: bytes.then_some(requests * 10) };
        Outcome {
            name: "demo".into(),
            origin: "text, one key a line".into(),
            notes: vec!["something".into()],
            requests: 12_000,
            distinct: 2000,
            repeats: 10_000,
            bytes: bytes.then_some(120_000),
            policies: vec![PolicyKind::Adaptive, PolicyKind::Lru],
            rows: vec![
                Row { capacity: 2, optimum: hits(1500), cells: vec![hits(1200), hits(600)] },
                Row { capacity: 1000, optimum: hits(9000), cells: vec![hits(8000), hits(8000)] },
            ],
            took: Duration::from_millis(1500),
        }
    }

    #[test]
    fn table_is_aligned_and_marks_the_best_where_there_is_one() {
        let text = text(&outcome(false));
        let expected = [
            "  entries  of keys  adaptive      lru  optimum",
            "        2    0.1 %  *10.00 %   5.00 %  12.50 %",
            "    1,000     50 %   66.67 %  66.67 %  75.00 %",
        ];
        for line in expected {
            assert!(text.contains(line), "{line:?} is missing in\n{text}");
        }
        assert!(text.contains("12,000 requests for 2,000 keys, at most 83.33 %"), "{text}");
        assert!(text.contains("note: something"), "{text}");
    }

    #[test]
    fn byte_table_stands_below_with_its_bound() {
        let text = text(&outcome(true));
        assert!(text.contains("  byte hit ratio\n\n  entries") && text.contains("bound"), "{text}");
    }

    #[test]
    fn markdown_has_all_tables_and_the_means() {
        let page = markdown(&[outcome(false), outcome(true)], "trimtab simulate demo");
        assert!(
            page.contains("| entries | of keys | adaptive | lru | optimum |\n|---:|---:|---:|---:|---:|\n"),
            "{page}"
        );
        assert!(page.contains("| 2 | 0.1 % | **10.00 %** | 5.00 % | 12.50 % |"), "{page}");
        assert!(page.contains("## Mean over all rows\n\n| rows | adaptive | lru | optimum |"), "{page}");
        assert!(page.contains("| 4 | 38.33 % | 35.83 % | 43.75 % |"), "{page}");
    }

    #[test]
    fn json_holds_every_figure() {
        let value = json(&[outcome(true)]);
        let row = &value["traces"][0]["rows"][1];
        assert_eq!(row["max_entries"], 1000);
        assert_eq!(row["policies"]["lru"]["hits"], 8000);
        assert_eq!(row["optimum"]["hit_ratio"], 0.75);
        assert_eq!(row["optimum"]["byte_hit_ratio"], 0.75);
        assert_eq!(json(&[outcome(false)])["traces"][0]["bytes"], Value::Null);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.001, 0.003, 0.01, 0.0999, 0.3, 1.0].map(short_percent),
            ["0.1 %", "0.3 %", "1 %", "10 %", "30 %", "100 %"]
        );
        assert_eq!(short_percent(2.0 / 37.0), "5.4 %");
    }
}
