//! Cache sizes as typed: a number of entries, or a share of the trace's distinct keys.

use std::fmt;
use std::str::FromStr;

/// The sizes of a run that names none: half a decade apart, up to a third of everything.
pub(super) const DEFAULT: &str = "0.1%,0.3%,1%,3%,10%,30%";

/// The most entries: as many as a trace may have requests.
const ENTRIES_MAX: u64 = super::trace::REQUESTS_MAX;

/// One size, before the trace is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Size {
    /// So many entries.
    Entries(u32),
    /// So many per cent of the distinct keys, at least one entry.
    Percent(f64),
}

impl Size {
    /// Entries that this size means for a trace of `distinct` keys.
    pub(super) fn entries(self, distinct: u32) -> u32 {
        match self {
            Self::Entries(entries) => entries,
            Self::Percent(percent) => ((f64::from(distinct) * percent / 100.0).round() as u32).max(1),
        }
    }
}

/// Sizes in entries, ascending and each once.
pub(super) fn resolve(sizes: &[Size], distinct: u32) -> Vec<u32> {
    let mut entries: Vec<u32> = sizes.iter().map(|size| size.entries(distinct)).collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "write a number of entries such as 1000, or a share of the distinct keys such as 5%";
        let text = text.trim();
        if let Some(number) = text.strip_suffix('%') {
            let percent: f64 = number.trim().parse().map_err(|_| format!("not a percentage; {ALLOWED}"))?;
            if !(percent > 0.0 && percent <= 100.0) {
                return Err("a share must be above 0 % and at most 100 %".to_owned());
            }
            return Ok(Self::Percent(percent));
        }
        match text.replace('_', "").parse::<u32>() {
            Ok(entries) if u64::from(entries) > ENTRIES_MAX => Err(format!("more than {ENTRIES_MAX} entries")),
            Ok(0) => Err("a cache of 0 entries cannot hit; the smallest is 1".to_owned()),
            Ok(entries) => Ok(Self::Entries(entries)),
            Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!("more than {ENTRIES_MAX} entries"))
            }
            Err(_) => Err(format!("not a size; {ALLOWED}")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(entries) => write!(out, "{entries}"),
            Self::Percent(percent) => write!(out, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for text in ["1", "1000", "5%", "0.1%", "100%"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!(" 2_000 ".parse(), Ok(Size::Entries(2000)));
    }

    #[test]
    fn nonsense_is_refused_with_a_remedy() {
        for (text, part) in [
            ("0", "smallest is 1"),
            ("0%", "above 0 %"),
            ("101%", "at most 100 %"),
            ("NaN%", "above 0 %"),
            ("-3", "such as 1000"),
            ("", "such as 1000"),
            ("many%", "such as 1000"),
            ("4100000000", "more than"),
            ("99999999999", "more than"),
        ] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn shares_are_rounded_sorted_and_never_empty() {
        let sizes: Vec<Size> = DEFAULT.split(',').map(|size| size.parse().unwrap()).collect();
        assert_eq!(resolve(&sizes, 186_880), [187, 561, 1869, 5606, 18_688, 56_064]);
        assert_eq!(resolve(&sizes, 10), [1, 3]);
        assert_eq!(resolve(&sizes, 1), [1]);
    }
}
