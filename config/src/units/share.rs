//! A fraction of something, from nothing to all of it: `"80%"` or `0.8`.
//!
//! A percentage is read by shifting the decimal exponent of its *text* (`80%` is `80e-2`), and printed by shifting it back,
//! so that no division by 100 can disturb the last bit.

use std::fmt;
use std::str::FromStr;

use super::{ParseUnitError, Raw, Unit, unit_as_text};

/// A fraction from 0 to 1.
///
/// ```
/// use trimtab_config::Share;
///
/// let share: Share = "80%".parse().unwrap();
/// assert_eq!(share.get(), 0.8);
/// assert_eq!(share, "0.8".parse().unwrap());
/// assert_eq!(share.to_string(), "80%");
/// assert_eq!(share.of(1000), 800);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0.0);
    /// All of it.
    pub const ALL: Self = Self(1.0);

    /// A share of `percent` hundredths; more than 100 counts as 100.
    pub const fn percent(percent: u32) -> Self {
        if percent >= 100 { Self::ALL } else { Self(percent as f64 / 100.0) }
    }

    /// A share from a fraction.
    ///
    /// # Errors
    ///
    /// When it is not from 0 to 1.
    pub fn new(fraction: f64) -> Result<Self, ParseUnitError> {
        Self::from_float(fraction)
    }

    /// The fraction, 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// That share of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        if self.0 >= 1.0 { whole } else { (whole as f64 * self.0) as u64 }
    }
}

impl Unit for Share {
    const WHAT: &'static str = "a share";
    const FORM: &'static str = "a percentage from 0% to 100% or a number from 0 to 1, such as \"80%\" or 0.8";

    fn from_integer(value: i128) -> Result<Self, ParseUnitError> {
        Self::from_float(value as f64)
    }

    fn from_float(value: f64) -> Result<Self, ParseUnitError> {
        check(value).map_err(|why| ParseUnitError::new::<Self>(Raw(value), why))
    }
}

/// Zero loses its sign: `-0` and `0` are one share and must print alike.
fn check(value: f64) -> Result<Share, &'static str> {
    if value.is_nan() {
        Err("it is no number")
    } else if value < 0.0 {
        Err("it is below 0")
    } else if value > 1.0 {
        Err("it is above 1 (100%)")
    } else {
        Ok(Share(value + 0.0))
    }
}

impl FromStr for Share {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let refuse = |why: &str| ParseUnitError::new::<Self>(text, why);
        let trimmed = text.trim();
        let number = match trimmed.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.trim_end();
                // The exponent is ours to append: digits, point and sign only.
                if percent.is_empty()
                    || percent.contains(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
                {
                    return Err(refuse("it is no percentage"));
                }
                format!("{percent}e-2").parse::<f64>()
            }
            None => trimmed.parse::<f64>(),
        };
        check(number.map_err(|_| refuse("it is no number"))?).map_err(refuse)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&percent_text(self.0).unwrap_or_else(|| format!("{:e}", self.0)))
    }
}

/// The shortest decimal of `value`, shifted by two digits; `None` below 1e-6, where zeros would crowd the line.
fn percent_text(value: f64) -> Option<String> {
    if value == 0.0 {
        return Some("0%".into());
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let digits = mantissa.replace('.', "");
    let point = exponent.parse::<i32>().ok()? + 3; // digits before the decimal point, after the shift
    if point < -3 {
        return None;
    }
    let text = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{digits:0<point$}"),
        Ok(point) if point > 0 => format!("{}.{}", &digits[..point], &digits[point..]),
        _ => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    };
    Some(format!("{text}%"))
}

unit_as_text!(Share, {
    "type": ["string", "number"],
    "minimum": 0,
    "maximum": 1,
    "pattern": r"^\s*[0-9]*(\.[0-9]+)?\s*%?\s*$",
    "description": "A share from 0 to 1: \"80%\" or 0.8.",
    "examples": ["80%", 0.8],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_fraction_agree() {
        for (text, printed) in [
            ("80%", "80%"),
            ("0.8", "80%"),
            ("0", "0%"),
            ("1", "100%"),
            ("100%", "100%"),
            ("12.5 %", "12.5%"),
            ("0.07", "7%"),
            ("0.001", "0.1%"),
            ("0.00001", "0.001%"),
            ("-0", "0%"),
            ("1e-9", "1e-9"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<Share>().unwrap(), share);
        }
    }

    #[test]
    fn outside_zero_to_one_is_refused() {
        for text in ["101%", "1.5", "-1%", "-0.1", "NaN", "inf", "", "%", "1e5%", "eighty", "1e400"] {
            let error = text.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains("from 0% to 100%"), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Share>("80").unwrap_err().to_string().contains("above 1 (100%)"));
    }
}
