//! A number of bytes, written with its unit: `"64MiB"`.
//!
//! Binary units (KiB, MiB, …) are powers of 1024, decimal ones (kB, MB, …) powers of 1000, as in IEC 80000-13. A lone
//! letter such as `64M` is refused: programs disagree about its meaning.

use std::fmt;
use std::str::FromStr;

use super::{ParseUnitError, Unit, exact, split_number, unit_as_text};

/// A number of bytes.
///
/// Written as a number and a unit: B, KiB, MiB, GiB, TiB, PiB, EiB or kB, MB, GB, TB, PB, EB. A bare whole number counts
/// bytes. Prints with the largest binary unit that divides it, hence exactly.
///
/// ```
/// use trimtab_config::ByteSize;
///
/// let size: ByteSize = "1.5GiB".parse().unwrap();
/// assert_eq!(size, ByteSize::mib(1536));
/// assert_eq!(size.to_string(), "1536MiB");
/// assert_eq!("10 MB".parse::<ByteSize>().unwrap().as_u64(), 10_000_000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("EB", 1_000_000_000_000_000_000),
];

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The largest size that can be said: 2⁶⁴ − 1 bytes.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` bytes.
    pub const fn b(n: u64) -> Self {
        Self(n)
    }

    /// `n` × 1024 bytes; stops at [`ByteSize::MAX`].
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` × 1024² bytes; stops at [`ByteSize::MAX`].
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` × 1024³ bytes; stops at [`ByteSize::MAX`].
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as a `usize`; stops at `usize::MAX` where that is smaller.
    pub const fn as_usize(self) -> usize {
        if self.0 > usize::MAX as u64 { usize::MAX } else { self.0 as usize }
    }

    /// Whether this is no bytes at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// A rounded form for people, with one decimal at most: `1.5GiB`. Does not parse back exactly; [`Display`](fmt::Display) does.
    ///
    /// ```
    /// # use trimtab_config::ByteSize;
    /// assert_eq!(ByteSize::b(1_610_612_737).rounded(), "1.5GiB");
    /// assert_eq!(ByteSize::b(900).rounded(), "900B");
    /// ```
    pub fn rounded(self) -> String {
        let (name, factor) = largest_binary(|factor| self.0 >= factor);
        let number = format!("{:.1}", self.0 as f64 / factor as f64);
        format!("{}{name}", number.strip_suffix(".0").unwrap_or(&number))
    }
}

/// The largest binary unit that satisfies the condition; bytes if none does.
fn largest_binary(fits: impl Fn(u64) -> bool) -> (&'static str, u64) {
    UNITS[1..8].iter().rev().copied().find(|(_, factor)| fits(*factor)).unwrap_or(UNITS[1])
}

impl Unit for ByteSize {
    const WHAT: &'static str = "a size";
    const FORM: &'static str = "a number with B, KiB, MiB, GiB, TiB or kB, MB, GB, TB, such as \"64MiB\"";

    fn from_integer(value: i128) -> Result<Self, ParseUnitError> {
        u64::try_from(value).map(Self).map_err(|_| {
            let why = if value < 0 { "it is negative" } else { "it is too large" };
            ParseUnitError::new::<Self>(super::Raw(value), why)
        })
    }

    fn from_float(value: f64) -> Result<Self, ParseUnitError> {
        Err(ParseUnitError::new::<Self>(super::Raw(value), "it is no whole number of bytes"))
    }
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let refuse = |why: String| ParseUnitError::new::<Self>(text, why);
        let trimmed = text.trim();
        if trimmed.starts_with('-') {
            return Err(refuse("it is negative".into()));
        }
        let (digits, unit) = split_number(trimmed);
        if digits.is_empty() {
            return Err(refuse("it does not start with a number".into()));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) else {
            return Err(refuse(why_unknown(unit)));
        };
        let bytes = exact(digits, u128::from(*factor), "bytes").map_err(refuse)?;
        u64::try_from(bytes)
            .map(Self)
            .map_err(|_| refuse("it is too large: the most is 18446744073709551615 bytes".into()))
    }
}

fn why_unknown(unit: &str) -> String {
    let short = super::shorten(format!("{unit:?}"));
    match unit.to_ascii_uppercase().as_str() {
        letter @ ("K" | "M" | "G" | "T") => {
            format!("the unit {short} may mean {letter}iB (1024) or {letter}B (1000)")
        }
        _ => format!("unknown unit {short}"),
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) = largest_binary(|factor| self.0 != 0 && self.0.is_multiple_of(factor));
        f.pad(&format!("{}{name}", self.0 / factor))
    }
}

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl From<ByteSize> for u64 {
    fn from(size: ByteSize) -> Self {
        size.0
    }
}

unit_as_text!(ByteSize, {
    "type": ["string", "integer"],
    "minimum": 0,
    "pattern": r"^\s*[0-9][0-9_]*(\.[0-9]+)?\s*([kKmMgGtTpPeE]?[iI]?[bB])?\s*$",
    "description": "A number of bytes, with its unit: \"64MiB\", \"1.5GiB\", \"10MB\"; a bare whole number counts bytes.",
    "examples": ["64MiB", "1.5GiB"],
});

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<u64, String> {
        text.parse::<ByteSize>().map(ByteSize::as_u64).map_err(|e| e.to_string())
    }

    #[test]
    fn units_are_binary_or_decimal_by_name() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("64 mib"), Ok(64 << 20));
        assert_eq!(bytes("10 MB"), Ok(10_000_000));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("1_000B"), Ok(1000));
        assert_eq!(bytes("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(bytes(".5KiB"), Ok(512));
    }

    #[test]
    fn refusals_say_why_and_what_to_write() {
        for (text, why) in [
            ("", "does not start with a number"),
            ("MiB", "does not start with a number"),
            ("-5MiB", "negative"),
            ("64M", "may mean MiB (1024) or MB (1000)"),
            ("64 XB", "unknown unit \"XB\""),
            ("1.2.3B", "two decimal points"),
            ("0.3B", "no whole number of bytes"),
            ("17EiB", "too large"),
            ("99999999999999999999999999999999999999999999B", "too large"),
            ("1e400", "unknown unit"),
            (".", "does not start with a number"),
        ] {
            let error = bytes(text).unwrap_err();
            assert!(error.contains(why) && error.contains("such as \"64MiB\""), "{text}: {error}");
        }
        assert!(bytes(&"9".repeat(10_000)).unwrap_err().len() < 400);
    }

    #[test]
    fn serde_takes_text_or_whole_bytes() {
        assert_eq!(serde_json::from_str::<ByteSize>("\"1KiB\"").unwrap(), ByteSize::kib(1));
        assert_eq!(serde_json::from_str::<ByteSize>("7").unwrap(), ByteSize::b(7));
        assert!(serde_json::from_str::<ByteSize>("-7").unwrap_err().to_string().contains("negative"));
        assert!(serde_json::from_str::<ByteSize>("1.5").unwrap_err().to_string().contains("whole number"));
        assert_eq!(serde_json::to_string(&ByteSize::gib(2)).unwrap(), "\"2GiB\"");
    }
}
