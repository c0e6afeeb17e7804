//! Bar charts as SVG, written by hand: one chart for each group and measure.
//!
//! The colours are CSS variables which follow the reader's scheme, so the same file reads well on white and on black.
//! Ours is filled with the accent, peers are grey, limits are outlined.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::bar::short;
use super::case::{Better, Role};
use super::markdown::groups;
use super::report::{Report, Row};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 120.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
/// Groups with more cases than this would make a chart nobody reads; their tables say more.
const CASES_MAX: usize = 6;

const STYLE: &str = "
  svg { --ink: #1c2330; --soft: #667085; --line: #e3e7ee; --ours: #0f766e; --peer: #b8c1cf; font: 13px system-ui, sans-serif; }
  @media (prefers-color-scheme: dark) { svg { --ink: #e8ecf3; --soft: #98a2b3; --line: #2b3443; --ours: #2dd4bf; --peer: #4b5768; } }
  text { fill: var(--ink); } .soft { fill: var(--soft); font-size: 12px; } .title { font-size: 16px; font-weight: 600; }
  .case { font-weight: 600; } .ours { fill: var(--ours); } .peer { fill: var(--peer); } .name-ours { font-weight: 600; }
  .limit { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; } .spread { stroke: var(--ink); stroke-width: 1.2; opacity: .55; }
  .axis { stroke: var(--line); } .value { font-variant-numeric: tabular-nums; }
";

/// Writes the charts of `report` into `folder` and returns their paths.
///
/// # Errors
///
/// When the folder cannot be made or a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut paths = Vec::new();
    for group in groups(&report.rows).into_iter().filter(|group| group.len() <= CASES_MAX) {
        let path = folder.join(format!("{}-{}-{}.svg", report.subject, slug(group[0].group()), slug(group[0].measure)));
        fs::write(&path, chart(report, &group))?;
        paths.push(path);
    }
    Ok(paths)
}

/// One chart.
fn chart(report: &Report, group: &[&Row]) -> String {
    let first = group[0];
    let largest = group.iter().flat_map(|row| &row.figures).map(|figure| figure.summary.max.abs()).fold(0.0, f64::max);
    let scale = if largest > 0.0 { (WIDTH - LEFT - RIGHT) / largest } else { 0.0 };
    let height = 74.0 + group.iter().map(|row| 30.0 + row.figures.len() as f64 * STEP).sum::<f64>() + 28.0;
    let direction = match first.better {
        Better::Higher => ", longer is better",
        Better::Lower => ", shorter is better",
        Better::Neither => "",
    };
    let mut out = String::new();
    let title = format!("{} · {} — {}", report.subject, first.group(), first.measure);
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>",
        escape(&title)
    );
    let _ = writeln!(out, "<text class=\"title\" x=\"16\" y=\"28\">{}</text>", escape(&title));
    let _ = writeln!(
        out,
        "<text class=\"soft\" x=\"16\" y=\"48\">{}{direction}; the thin line spans min to max</text>",
        escape(first.unit)
    );
    let mut y = 66.0;
    for row in group {
        let _ = writeln!(
            out,
            "<text class=\"case\" x=\"16\" y=\"{:.1}\">{}</text><text class=\"soft\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>",
            y + 14.0,
            escape(if row.detail().is_empty() { &row.case } else { row.detail() }),
            y + 14.0,
            escape(&row.what)
        );
        y += 24.0;
        let top = y;
        for figure in &row.figures {
            let summary = &figure.summary;
            let width = (summary.median.max(0.0) * scale).max(1.0);
            let (class, name_class) = match figure.role {
                Role::Ours => ("ours", "name-ours"),
                Role::Peer => ("peer", "name"),
                Role::Limit => ("limit", "soft"),
            };
            let middle = y + BAR / 2.0;
            let _ = writeln!(
                out,
                "<text class=\"{name_class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\"/><line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/><text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                y + 12.5,
                escape(figure.contender),
                LEFT + summary.min.max(0.0) * scale,
                LEFT + summary.max.max(0.0) * scale,
                LEFT + (summary.max.max(0.0) * scale).max(width) + 8.0,
                y + 12.5,
                short(summary.median)
            );
            y += STEP;
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            top - 3.0,
            y - 2.0
        );
        y += 6.0;
    }
    let quick = if report.quick { "quick run, no evidence · " } else { "" };
    let _ = writeln!(
        out,
        "<text class=\"soft\" x=\"16\" y=\"{:.1}\">{quick}{} · {} cores · {}</text>\n</svg>",
        height - 12.0,
        escape(&report.machine.cpu),
        report.machine.cores,
        escape(&report.date)
    );
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A part of a file name.
fn slug(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    /// Names of the tags in order, checked to nest: the part of XML that a writer can get wrong here.
    fn tags(xml: &str) -> Vec<String> {
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        let mut rest = xml;
        while let Some(at) = rest.find('<') {
            let text = &rest[..at];
            assert!(!text.contains('>') || open.last().is_some_and(|tag| tag == "style"), "stray > in {text:?}");
            for piece in text.split('&').skip(1) {
                assert!(
                    ["amp;", "lt;", "gt;", "quot;"].iter().any(|entity| piece.starts_with(entity)),
                    "bare & in {text:?}"
                );
            }
            let end = rest[at..].find('>').expect("every < is closed") + at;
            let tag = &rest[at + 1..end];
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes are paired in <{tag}>");
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap().to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop().as_deref(), Some(name.as_str()), "tags nest");
            } else {
                seen.push(name.clone());
                if !tag.ends_with('/') {
                    open.push(name);
                }
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        seen
    }

    #[test]
    fn chart_is_well_formed_and_has_a_bar_for_each_contender() {
        let report = sample();
        let svg = chart(&report, &[&report.rows[0]]);
        assert_eq!(tags(&svg).iter().filter(|tag| *tag == "rect").count(), 3);
        assert!(svg.contains("all hits &lt;&amp;&gt; warm"));
        assert!(svg.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn bars_stay_inside_the_picture() {
        let report = sample();
        for row in &report.rows {
            let svg = chart(&report, &[row]);
            for width in
                svg.split("<rect").skip(1).map(|rect| rect.split("width=\"").nth(1).unwrap().split('"').next().unwrap())
            {
                let width: f64 = width.parse().unwrap();
                assert!((1.0..=WIDTH - LEFT - RIGHT + 0.1).contains(&width), "{width}");
            }
        }
    }

    #[test]
    fn files_are_named_after_subject_group_and_measure() {
        let folder = std::env::temp_dir().join(format!("trimtab-bench-svg-{}", std::process::id()));
        let paths = write(&sample(), &folder).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["cache-read-rate.svg", "cache-latency-get-p99.9.svg"]);
        fs::remove_dir_all(folder).unwrap();
    }
}
