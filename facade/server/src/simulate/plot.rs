//! Curves of hit ratio against cache size as SVG, written by hand: a picture needs lines, text and two scales.
//!
//! Sizes stand on a logarithmic axis, since what doubles matters and not what is added. Colours come from a palette
//! that stays apart for colour-blind eyes (Okabe and Ito) and follow the reader's light or dark theme.

use std::fmt::Write as _;

use super::grid::Outcome;
use super::report::{extent, grouped, percent, short_percent};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 76.0;
/// Room between the names at the ends of the curves.
const LABEL_GAP: f64 = 17.0;

/// Light and dark shade of each curve; policies beyond the last begin anew with other dashes.
const PALETTE: [(&str, &str); 7] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff8c42"),
    ("#007f5f", "#2ecc9a"),
    ("#a83f7f", "#e08fc0"),
    ("#9a7400", "#e6b800"),
    ("#5b4db7", "#a79bff"),
    ("#7a3b1d", "#d29a74"),
];
const DASHES: [&str; 3] = ["", "9 4", "2 4"];

/// The picture of one trace.
pub(super) fn svg(outcome: &Outcome) -> String {
    let frame = Frame::around(outcome);
    let mut out = String::with_capacity(16 * 1024);
    push(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         role=\"img\" aria-labelledby=\"title description\">\n<title id=\"title\">Hit ratio of {name}</title>\n\
         <desc id=\"description\">{extent}. Curves of {count} policies and of the optimum against cache size.</desc>\n{style}\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"34\">Hit ratio of {name}</text>\n\
         <text class=\"quiet\" x=\"{LEFT}\" y=\"56\">{extent}</text>\n",
            name = escaped(&outcome.name),
            extent = escaped(&extent(outcome)),
            count = outcome.policies.len(),
            style = style(outcome.policies.len()),
        ),
    );
    frame.axes(outcome, &mut out);
    let mut curves: Vec<Curve> = vec![Curve {
        class: "optimum".to_owned(),
        name: "optimum".to_owned(),
        points: outcome.rows.iter().map(|row| (row.capacity, outcome.ratio(row.optimum.requests))).collect(),
    }];
    for (column, policy) in outcome.policies.iter().enumerate() {
        curves.push(Curve {
            class: format!("p{column}"),
            name: policy.to_string(),
            points: outcome.rows.iter().map(|row| (row.capacity, outcome.ratio(row.cells[column].requests))).collect(),
        });
    }
    for curve in &curves {
        frame.curve(curve, &mut out);
    }
    frame.legend(&curves, &mut out);
    out.push_str("</svg>\n");
    out
}

/// One line of the picture.
struct Curve {
    class: String,
    name: String,
    points: Vec<(u32, f64)>,
}

/// The scales.
struct Frame {
    size_min: f64,
    size_max: f64,
    ratio_max: f64,
}

impl Frame {
    fn around(outcome: &Outcome) -> Self {
        let sizes = || outcome.rows.iter().map(|row| f64::from(row.capacity));
        let (mut size_min, mut size_max) = (sizes().fold(f64::MAX, f64::min), sizes().fold(1.0, f64::max));
        if size_min >= size_max {
            // A single size stands in the middle of a decade.
            (size_min, size_max) = (size_max / 3.2, size_max * 3.2);
        }
        let highest = outcome.rows.iter().map(|row| outcome.ratio(row.optimum.requests)).fold(0.0, f64::max);
        let step = ratio_step(highest);
        Self { size_min, size_max, ratio_max: ((highest / step).ceil() * step).max(step) }
    }

    fn x(&self, size: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (size / self.size_min).ln() / (self.size_max / self.size_min).ln()
    }

    fn y(&self, ratio: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * ratio / self.ratio_max
    }

    fn axes(&self, outcome: &Outcome, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let step = ratio_step(self.ratio_max);
        for line in 0..=(self.ratio_max / step).round() as u32 {
            let ratio = f64::from(line) * step;
            let y = self.y(ratio);
            push(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                    LEFT - 9.0,
                    y + 4.0,
                    short_percent(ratio).replace("0.00", "0"),
                ),
            );
        }
        // Ticks stand at the simulated sizes; a label that would touch the one before it is left out.
        let mut free_from = f64::MIN;
        for row in &outcome.rows {
            let x = self.x(f64::from(row.capacity));
            push(out, format_args!("<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>"));
            let label = grouped(row.capacity.into());
            let half = 4.0 * label.len().max(6) as f64;
            if x - half >= free_from {
                let share = short_percent(f64::from(row.capacity) / f64::from(outcome.distinct.max(1)));
                push(
                    out,
                    format_args!(
                        "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\
                     <text class=\"tick faint\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share}</text>",
                        bottom + 18.0,
                        bottom + 34.0,
                    ),
                );
                free_from = x + half;
            }
            out.push('\n');
        }
        push(
            out,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>\n\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">cache size in entries, and as share of all keys (logarithmic)</text>\n\
             <text class=\"label\" transform=\"translate(20 {:.1}) rotate(-90)\" text-anchor=\"middle\">hit ratio</text>\n",
                f64::midpoint(LEFT, right),
                HEIGHT - 16.0,
                f64::midpoint(TOP, bottom),
            ),
        );
    }

    fn curve(&self, curve: &Curve, out: &mut String) {
        let points: Vec<String> = curve
            .points
            .iter()
            .map(|(size, ratio)| format!("{:.1},{:.1}", self.x(f64::from(*size)), self.y(*ratio)))
            .collect();
        push(out, format_args!("<g class=\"curve {}\"><polyline points=\"{}\"/>", curve.class, points.join(" ")));
        for ((size, ratio), point) in curve.points.iter().zip(&points) {
            let (x, y) = point.split_once(',').unwrap_or_default();
            push(
                out,
                format_args!(
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"3.2\"><title>{} at {} entries: {}</title></circle>",
                    escaped(&curve.name),
                    grouped((*size).into()),
                    percent(*ratio),
                ),
            );
        }
        out.push_str("</g>\n");
    }

    /// Names at the right, in the order in which the curves end, each as near to its end as the others allow.
    fn legend(&self, curves: &[Curve], out: &mut String) {
        let mut ends: Vec<(f64, &Curve)> =
            curves.iter().map(|curve| (self.y(curve.points.last().map_or(0.0, |(_, ratio)| *ratio)), curve)).collect();
        ends.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut lowest = TOP - LABEL_GAP;
        for (y, _) in &mut ends {
            *y = y.max(lowest + LABEL_GAP);
            lowest = *y;
        }
        // Pushed below the axis? Then move the tail up again.
        let mut highest = HEIGHT - BOTTOM + LABEL_GAP;
        for (y, _) in ends.iter_mut().rev() {
            *y = y.min(highest - LABEL_GAP);
            highest = *y;
        }
        let x = WIDTH - RIGHT + 12.0;
        for (y, curve) in ends {
            push(
                out,
                format_args!(
                    "<g class=\"curve {}\"><line x1=\"{x}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\"/></g>\
                 <text class=\"name\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
                    curve.class,
                    x + 22.0,
                    x + 29.0,
                    y + 4.0,
                    escaped(&curve.name),
                ),
            );
        }
    }
}

/// Distance of the lines on the ratio axis: four to ten of them.
fn ratio_step(highest: f64) -> f64 {
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1].into_iter().find(|step| highest / step <= 10.0).unwrap_or(0.1)
}

fn style(policies: usize) -> String {
    let mut light = String::new();
    let mut dark = String::new();
    let mut dashes = String::new();
    for column in 0..policies {
        let (bright, dim) = PALETTE[column % PALETTE.len()];
        push(&mut light, format_args!(".p{column} {{ stroke: {bright}; fill: {bright} }}\n"));
        push(&mut dark, format_args!(".p{column} {{ stroke: {dim}; fill: {dim} }}\n"));
        let dash = DASHES[(column / PALETTE.len()) % DASHES.len()];
        if !dash.is_empty() {
            push(&mut dashes, format_args!(".p{column} polyline, .p{column} line {{ stroke-dasharray: {dash} }}\n"));
        }
    }
    format!(
        "<style>\n\
         text {{ font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif; font-size: 13px; fill: #1f2733 }}\n\
         .title {{ font-size: 19px; font-weight: 600 }}\n.quiet, .label {{ fill: #55606e }}\n\
         .tick {{ font-size: 12px; fill: #55606e; font-variant-numeric: tabular-nums }}\n.faint {{ opacity: .75 }}\n\
         .paper {{ fill: #ffffff }}\n.grid {{ stroke: #e4e8ed; stroke-width: 1 }}\n.axis {{ stroke: #8b95a1; stroke-width: 1.2 }}\n\
         .curve polyline, .curve line {{ fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round }}\n\
         .curve circle {{ stroke: none }}\n.optimum {{ stroke: #6b7683; fill: #6b7683 }}\n\
         .optimum polyline, .optimum line {{ stroke-dasharray: 5 5; stroke-width: 1.8 }}\n{light}{dashes}\
         @media (prefers-color-scheme: dark) {{\ntext {{ fill: #e6eaf0 }}\n.quiet, .label, .tick {{ fill: #9aa6b5 }}\n\
         .paper {{ fill: #14181f }}\n.grid {{ stroke: #262d37 }}\n.axis {{ stroke: #6a7584 }}\n\
         .optimum {{ stroke: #aab4c0; fill: #aab4c0 }}\n{dark}}}\n</style>\n"
    )
}

/// Text that may stand in XML. Control characters, which XML forbids even escaped, become blanks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push(' ');
            }
            letter => out.push(letter),
        }
    }
    out
}

/// Appends; a string takes everything.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::outcome;
    use super::*;

    /// All values of an attribute.
    fn numbers(svg: &str, attribute: &str) -> Vec<f64> {
        svg.split(&format!(" {attribute}=\""))
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn curves_lie_inside_the_frame_and_higher_ratios_higher() {
        let svg = svg(&outcome(false));
        let (x, y) = (numbers(&svg, "cx"), numbers(&svg, "cy"));
        assert_eq!(x.len(), 6, "two sizes of the optimum and of two policies");
        assert!(x.iter().all(|x| (LEFT..=WIDTH - RIGHT).contains(x)), "{x:?}");
        assert!(y.iter().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)), "{y:?}");
        assert!(y[0] > y[1], "more entries, more hits");
        assert!(y[0] < y[2], "the optimum is above the policy");
        assert!((x[0] - LEFT).abs() < 0.1);
    }

    #[test]
    fn a_single_size_and_a_trace_without_hits_still_have_a_frame() {
        let mut outcome = outcome(false);
        outcome.rows.truncate(1);
        outcome.rows[0].optimum.requests = 0;
        outcome.rows[0].cells.iter_mut().for_each(|cell| cell.requests = 0);
        let svg = svg(&outcome);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn names_cannot_break_out_of_the_picture() {
        let mut outcome = outcome(false);
        outcome.name = "<script>&\"\u{1}".into();
        let svg = svg(&outcome);
        assert!(!svg.contains("<script>") && !svg.contains('\u{1}'));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;"));
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }

    #[test]
    fn both_themes_know_every_curve() {
        let svg = svg(&outcome(false));
        assert!(svg.contains("prefers-color-scheme: dark"));
        assert_eq!(svg.matches(".p1 {").count(), 2);
    }
}
