//! A length of time, written with its unit: `"250ms"`, `"1m 30s"`.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::{ParseUnitError, Unit, exact, split_number, unit_as_text};

/// A length of time; dereferences to [`std::time::Duration`].
///
/// Written as one or more numbers with units, added up: ns, us (or µs), ms, s, m (or min), h, d, w. A bare number is refused,
/// since it hides its unit; only `0` needs none. Prints with the largest unit that divides it, hence exactly.
///
/// ```
/// use trimtab_config::Duration;
///
/// let wait: Duration = "1m 30s".parse().unwrap();
/// assert_eq!(wait.as_secs(), 90);
/// assert_eq!(wait.to_string(), "90s");
/// assert_eq!(std::time::Duration::from(wait), std::time::Duration::from_secs(90));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// Names and nanoseconds, largest first; the first of each length is printed.
const UNITS: [(&str, u128); 14] = [
    ("w", 604_800 * NANOS_PER_SEC),
    ("d", 86_400 * NANOS_PER_SEC),
    ("h", 3_600 * NANOS_PER_SEC),
    ("m", 60 * NANOS_PER_SEC),
    ("min", 60 * NANOS_PER_SEC),
    ("s", NANOS_PER_SEC),
    ("sec", NANOS_PER_SEC),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000), // micro sign
    ("μs", 1_000), // Greek mu: what some keyboards type
    ("ns", 1),
    ("hour", 3_600 * NANOS_PER_SEC),
    ("day", 86_400 * NANOS_PER_SEC),
];

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(std::time::Duration::ZERO);
    /// The longest time that can be said.
    pub const MAX: Self = Self(std::time::Duration::MAX);

    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> Self {
        Self(std::time::Duration::from_millis(n))
    }

    /// `n` seconds.
    pub const fn from_secs(n: u64) -> Self {
        Self(std::time::Duration::from_secs(n))
    }

    /// `n` minutes; stops at the largest number of seconds.
    pub const fn from_mins(n: u64) -> Self {
        Self::from_secs(n.saturating_mul(60))
    }

    /// `n` hours; stops at the largest number of seconds.
    pub const fn from_hours(n: u64) -> Self {
        Self::from_secs(n.saturating_mul(3600))
    }

    /// The plain standard type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    fn from_nanos(nanos: u128) -> Option<Self> {
        let secs = u64::try_from(nanos / NANOS_PER_SEC).ok()?;
        Some(Self(std::time::Duration::new(secs, (nanos % NANOS_PER_SEC) as u32)))
    }
}

impl Unit for Duration {
    const WHAT: &'static str = "a duration";
    const FORM: &'static str = "numbers with ns, us, ms, s, m, h, d or w, such as \"250ms\" or \"1m 30s\"";

    fn from_integer(value: i128) -> Result<Self, ParseUnitError> {
        let why = if value < 0 { "it is negative" } else { "a number alone does not say its unit" };
        if value == 0 { Ok(Self::ZERO) } else { Err(ParseUnitError::new::<Self>(super::Raw(value), why)) }
    }
}

impl FromStr for Duration {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let refuse = |why: String| ParseUnitError::new::<Self>(text, why);
        let mut rest = text.trim();
        if rest.starts_with('-') {
            return Err(refuse("it is negative".into()));
        }
        if rest == "0" {
            return Ok(Self::ZERO);
        }
        let mut total = 0_u128;
        loop {
            let (digits, tail) = split_number(rest);
            if digits.is_empty() {
                return Err(refuse("it does not start with a number".into()));
            }
            let end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, after) = tail.split_at(end);
            let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(refuse(why_unknown(unit)));
            };
            let part = exact(digits, *factor, "nanoseconds").map_err(refuse)?;
            total = total.checked_add(part).ok_or_else(|| refuse("it is too long".into()))?;
            rest = after.trim_start();
            if rest.is_empty() {
                return Self::from_nanos(total).ok_or_else(|| refuse("it is too long".into()));
            }
        }
    }
}

fn why_unknown(unit: &str) -> String {
    if unit.is_empty() {
        return "a number alone does not say its unit".into();
    }
    let lower = unit.to_lowercase();
    let hint = match lower.as_str() {
        "seconds" | "second" | "secs" => Some("s"),
        "minutes" | "minute" | "mins" => Some("m"),
        "hours" | "hrs" | "hr" => Some("h"),
        "days" => Some("d"),
        "weeks" | "week" => Some("w"),
        "millis" | "milliseconds" | "millisecond" | "msec" => Some("ms"),
        other => UNITS.iter().map(|(name, _)| *name).find(|name| *name == other),
    };
    let short = super::shorten(format!("{unit:?}"));
    match hint {
        Some(hint) => format!("unknown unit {short}, did you mean \"{hint}\"?"),
        None => format!("unknown unit {short}"),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.pad("0s");
        }
        let (name, factor) = UNITS.into_iter().find(|(_, factor)| nanos.is_multiple_of(*factor)).unwrap_or(("ns", 1));
        f.pad(&format!("{}{name}", nanos / factor))
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Deref for Duration {
    type Target = std::time::Duration;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

unit_as_text!(Duration, {
    "type": "string",
    "pattern": r"^\s*(0|([0-9][0-9_]*(\.[0-9]+)?\s*(ns|us|µs|μs|ms|s|sec|m|min|h|hour|d|day|w)\s*)+)$",
    "description": "A length of time, with its unit: \"250ms\", \"30s\", \"1m 30s\", \"2h\".",
    "examples": ["250ms", "30s", "5m"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("1m30s", 90 * NANOS_PER_SEC),
            ("1h 1m 1s", 3661 * NANOS_PER_SEC),
            ("1.5s", 1_500_000_000),
            ("3µs", 3_000),
            ("0", 0),
            ("0ms", 0),
            ("2w", 14 * 86_400 * NANOS_PER_SEC),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().as_nanos(), nanos, "{text}");
        }
    }

    #[test]
    fn refusals_say_why() {
        for (text, why) in [
            ("", "does not start with a number"),
            ("soon", "does not start with a number"),
            ("30", "does not say its unit"),
            ("-1s", "negative"),
            ("30 seconds", "did you mean \"s\"?"),
            ("5S", "did you mean \"s\"?"),
            ("5 fortnights", "unknown unit"),
            ("1s,2s", "does not start with a number"),
            ("0.1ns", "no whole number of nanoseconds"),
            ("99999999999999999999999w", "too"),
        ] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("such as \"250ms\""), "{text}: {error}");
        }
        let error = serde_json::from_str::<Duration>("30").unwrap_err().to_string();
        assert!(error.starts_with("30 is not a duration: a number alone"), "{error}");
    }

    #[test]
    fn the_longest_duration_survives_printing() {
        assert_eq!(Duration::MAX.to_string().parse::<Duration>().unwrap(), Duration::MAX);
    }
}
