//! Bars: what must hold, written beside each bench as data, and the verdict on each.

use serde::Serialize;

use super::case::Better;
use super::report::Row;
use super::stats;

/// One thing that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// The case, where `*` stands for any text: `read/1t`, `hits/*`.
    pub case: &'static str,
    /// The measure.
    pub measure: &'static str,
    /// Which of our contenders is held against it.
    pub ours: &'static str,
    /// What is wanted.
    pub wanted: Wanted,
    /// Why this figure: the sentence in which the promise is made.
    pub source: &'static str,
}

/// What a bar wants of our figure.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Ours ÷ peer ≥ this, median over rounds.
    RatioAtLeast(f64, &'static str),
    /// Ours ÷ peer ≤ this, median over rounds.
    RatioAtMost(f64, &'static str),
    /// Ours − other ≤ this, in the unit of the measure, median over rounds.
    ExcessAtMost(f64, &'static str),
    /// Ours ≥ this.
    AtLeast(f64),
    /// Ours ≤ this.
    AtMost(f64),
    /// Ours is better than every single peer of the row.
    AheadOfEveryPeer,
}

/// A bar held against a figure.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Whether the figure reaches the bar.
    pub ok: bool,
    /// The figure; absent when it was not measured, which is short too.
    pub figure: Option<f64>,
    /// The figure as text, with unit.
    pub shown: String,
    /// What is wanted, as text.
    pub wanted: String,
    /// Which case, measure and contender.
    pub what: String,
    /// Where the promise is made.
    pub source: &'static str,
}

impl Verdict {
    /// The line that `--check` prints: `ok|SHORT  figure  wanted  what`.
    pub fn line(&self) -> String {
        format!(
            "{:<5}  {:<16}  {:<34}  {}  ({})",
            if self.ok { "ok" } else { "SHORT" },
            self.shown,
            self.wanted,
            self.what,
            self.source
        )
    }
}

/// Holds `rows` against `bars`. What was not measured is short, unless the caller ran only a part.
pub fn judge(bars: &[Bar], rows: &[Row], partial: bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for bar in bars {
        let found: Vec<&Row> =
            rows.iter().filter(|row| row.measure == bar.measure && matches(bar.case, &row.case)).collect();
        if found.is_empty() && !partial {
            verdicts.push(Verdict {
                ok: false,
                figure: None,
                shown: "not measured".into(),
                wanted: bar.wanted.text(""),
                what: format!("{} {} of {}", bar.case, bar.measure, bar.ours),
                source: bar.source,
            });
        }
        verdicts.extend(found.into_iter().map(|row| verdict(bar, row)));
    }
    verdicts
}

fn verdict(bar: &Bar, row: &Row) -> Verdict {
    let measured = bar.wanted.hold(bar.ours, row);
    let unit = if bar.wanted.is_ratio() { "x" } else { row.unit };
    Verdict {
        ok: measured.is_some_and(|(_, ok)| ok),
        figure: measured.map(|(figure, _)| figure),
        shown: measured.map_or_else(|| "not measured".to_owned(), |(figure, _)| with_unit(figure, unit)),
        wanted: bar.wanted.text(row.unit),
        what: format!("{} {} of {}", row.case, row.measure, bar.ours),
        source: bar.source,
    }
}

impl Wanted {
    /// The figure this bar looks at, and whether it is good enough.
    fn hold(self, ours: &str, row: &Row) -> Option<(f64, bool)> {
        let mine = row.figure(ours)?;
        let against = |name: &str| row.figure(name).map(|figure| figure.samples.as_slice());
        Some(match self {
            Self::RatioAtLeast(bar, peer) => {
                let ratio = stats::ratio(&mine.samples, against(peer)?)?;
                (ratio, ratio >= bar)
            }
            Self::RatioAtMost(bar, peer) => {
                let ratio = stats::ratio(&mine.samples, against(peer)?)?;
                (ratio, ratio <= bar)
            }
            Self::ExcessAtMost(bar, other) => {
                let excess = stats::difference(&mine.samples, against(other)?)?;
                (excess, excess <= bar)
            }
            Self::AtLeast(bar) => (mine.summary.median, mine.summary.median >= bar),
            Self::AtMost(bar) => (mine.summary.median, mine.summary.median <= bar),
            Self::AheadOfEveryPeer => {
                let best = row.best_peer()?.summary.median;
                let ahead = match row.better {
                    Better::Higher => mine.summary.median > best,
                    Better::Lower => mine.summary.median < best,
                    Better::Neither => false,
                };
                (mine.summary.median, ahead)
            }
        })
    }

    fn is_ratio(self) -> bool {
        matches!(self, Self::RatioAtLeast(..) | Self::RatioAtMost(..))
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::RatioAtLeast(bar, peer) => format!("≥ {bar}x {peer}"),
            Self::RatioAtMost(bar, peer) => format!("≤ {bar}x {peer}"),
            Self::ExcessAtMost(bar, other) => format!("≤ {} above {other}", with_unit(bar, unit)),
            Self::AtLeast(bar) => format!("≥ {}", with_unit(bar, unit)),
            Self::AtMost(bar) => format!("≤ {}", with_unit(bar, unit)),
            Self::AheadOfEveryPeer => "better than every peer".into(),
        }
    }
}

/// A figure with three significant digits and its unit.
pub fn with_unit(figure: f64, unit: &str) -> String {
    let gap = if unit.is_empty() || unit == "x" { "" } else { " " };
    format!("{}{gap}{unit}", short(figure))
}

/// A figure with three significant digits, thousands parted by a thin mark.
pub fn short(figure: f64) -> String {
    let size = figure.abs();
    let decimals = match size {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.001 => 3,
        _ => 6,
    };
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut parted = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            parted.push(',');
        }
        parted.push(digit);
    }
    if rest.is_empty() { format!("{sign}{parted}") } else { format!("{sign}{parted}.{rest}") }
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    fn bar(case: &'static str, measure: &'static str, wanted: Wanted) -> Bar {
        Bar { case, measure, ours: "trimtab", wanted, source: "a test" }
    }

    #[test]
    fn each_kind_of_bar_can_hold_and_fall_short() {
        let rows = sample().rows;
        let pairs = [
            (Wanted::RatioAtLeast(1.1, "quick_cache"), Wanted::RatioAtLeast(1.2, "quick_cache")),
            (Wanted::RatioAtMost(0.8, "bare map"), Wanted::RatioAtMost(0.7, "bare map")),
            (Wanted::ExcessAtMost(10.0, "quick_cache"), Wanted::ExcessAtMost(6.5, "quick_cache")),
            (Wanted::AtLeast(51.0), Wanted::AtLeast(51.5)),
            (Wanted::AtMost(51.0), Wanted::AtMost(50.5)),
        ];
        for (holds, short) in pairs {
            let verdicts = judge(&[bar("read/1t", "rate", holds), bar("read/1t", "rate", short)], &rows, false);
            assert!(verdicts[0].ok, "{}", verdicts[0].line());
            assert!(!verdicts[1].ok, "{}", verdicts[1].line());
        }
    }

    #[test]
    fn ahead_of_every_peer_follows_the_good_direction() {
        let rows = sample().rows;
        let verdicts = judge(
            &[
                bar("read/1t", "rate", Wanted::AheadOfEveryPeer),
                bar("latency/*", "get p99.9", Wanted::AheadOfEveryPeer),
            ],
            &rows,
            false,
        );
        assert!(verdicts.iter().all(|verdict| verdict.ok));
        let behind = Bar { ours: "quick_cache", ..bar("read/1t", "rate", Wanted::AheadOfEveryPeer) };
        assert!(!judge(&[behind], &rows, false)[0].ok, "a peer is not ahead of itself");
    }

    #[test]
    fn what_was_not_measured_is_short_unless_the_run_was_partial() {
        let bars = [bar("absent/*", "rate", Wanted::AtLeast(1.0))];
        let whole = judge(&bars, &sample().rows, false);
        assert!(!whole[0].ok);
        assert!(whole[0].line().starts_with("SHORT  not measured"));
        assert!(judge(&bars, &sample().rows, true).is_empty());
    }

    #[test]
    fn bar_against_a_contender_that_failed_is_short() {
        let verdicts = judge(&[bar("read/1t", "rate", Wanted::RatioAtLeast(1.0, "moka"))], &sample().rows, true);
        assert!(!verdicts[0].ok && verdicts[0].figure.is_none());
    }

    #[test]
    fn line_has_verdict_figure_wanted_and_what() {
        let verdicts =
            judge(&[bar("read/1t", "rate", Wanted::RatioAtLeast(1.2, "quick_cache"))], &sample().rows, false);
        let line = verdicts[0].line();
        assert!(line.starts_with("SHORT  1.16x"), "{line}");
        assert!(line.contains("≥ 1.2x quick_cache") && line.contains("read/1t rate of trimtab"), "{line}");
    }

    #[test]
    fn star_stands_for_any_text() {
        assert!(matches("read/*t", "read/4t"));
        assert!(matches("*", ""));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("read/1t", "read/1tx"));
        assert!(!matches("a*b", "a"));
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(short(18_500.4), "18,500");
        assert_eq!(short(-1_234_567.0), "-1,234,567");
        assert_eq!(short(43.21), "43.2");
        assert_eq!(short(1.234), "1.23");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(0.05), "0.050");
        assert_eq!(with_unit(4.0, "MiB"), "4.00 MiB");
    }
}
