//! So many per so long, with a short excess allowed: `"100/s burst 20"`.
//!
//! The words follow the generic cell rate algorithm (ITU-T I.371): a *rate* that holds in the long run, and a *burst*, the most
//! that may come at once after a pause.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::{Duration, ParseUnitError, Unit, unit_as_text};

/// A number of permits per period, and how many may be taken at once.
///
/// Written `permits/period`, where the period is a unit (`s`) or a duration (`10s`), and optionally `burst n`. Without a burst,
/// all permits of one period may come at once.
///
/// ```
/// use trimtab_config::Rate;
///
/// let rate: Rate = "100/s burst 20".parse().unwrap();
/// assert_eq!((rate.permits().get(), rate.burst().get()), (100, 20));
/// assert_eq!(rate.interval(), std::time::Duration::from_millis(10));
/// assert_eq!("6000/1m".parse::<Rate>().unwrap().to_string(), "6000/m");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    permits: NonZeroU32,
    period: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `permits` per `period`; all permits of one period may come at once.
    ///
    /// # Errors
    ///
    /// When either is zero.
    pub fn new(permits: u32, period: impl Into<Duration>) -> Result<Self, ParseUnitError> {
        let period = period.into();
        let refuse = |why| ParseUnitError::new::<Self>(super::Raw(format!("{permits}/{period}")), why);
        let permits = NonZeroU32::new(permits).ok_or_else(|| refuse("it permits nothing"))?;
        if period.is_zero() {
            return Err(refuse("its period is zero"));
        }
        Ok(Self { permits, period, burst: permits })
    }

    /// The same rate with another burst; zero counts as one, since a rate that never permits anything is no rate.
    pub fn with_burst(self, burst: u32) -> Self {
        Self { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), ..self }
    }

    /// Permits per period.
    pub const fn permits(self) -> NonZeroU32 {
        self.permits
    }

    /// The period, never zero.
    pub const fn period(self) -> Duration {
        self.period
    }

    /// The most permits at once.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// The time in which one permit comes back.
    pub fn interval(self) -> std::time::Duration {
        self.period.get() / self.permits.get()
    }

    /// Permits per second.
    pub fn per_second(self) -> f64 {
        f64::from(self.permits.get()) / self.period.as_secs_f64()
    }
}

impl Unit for Rate {
    const WHAT: &'static str = "a rate";
    const FORM: &'static str = "permits/period and a burst if wished, such as \"100/s\" or \"100/10s burst 20\"";
}

impl FromStr for Rate {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let refuse = |why: String| ParseUnitError::new::<Self>(text, why);
        let Some((permits, rest)) = text.split_once('/') else {
            return Err(refuse("it has no \"/\"".into()));
        };
        let permits = count(permits, "number of permits").map_err(refuse)?;
        let (period, burst) = match rest.split_once("burst") {
            Some((period, burst)) => (period.trim(), Some(count(burst, "burst").map_err(refuse)?)),
            None => (rest.trim(), None),
        };
        // A bare unit means one of it: `100/s`.
        let spelt =
            if period.starts_with(|c: char| c.is_alphabetic()) { format!("1{period}") } else { period.to_owned() };
        let period: Duration =
            spelt.parse().map_err(|e: ParseUnitError| refuse(format!("in the period, {}", e.why())))?;
        if period.is_zero() {
            return Err(refuse("its period is zero".into()));
        }
        Ok(Self { permits, period, burst: burst.unwrap_or(permits) })
    }
}

fn count(text: &str, what: &str) -> Result<NonZeroU32, String> {
    let text = text.trim();
    let value: i128 = text.parse().map_err(|_| format!("its {what} is no whole number"))?;
    let value = u32::try_from(value).map_err(|_| format!("its {what} is not from 1 to {}", u32::MAX))?;
    NonZeroU32::new(value).ok_or_else(|| format!("its {what} is zero"))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = self.period.to_string();
        // `1s` prints as `s`, but `11s` stays: only a lone 1 may go.
        let unit = period.strip_prefix('1').filter(|unit| !unit.starts_with(|c: char| c.is_ascii_digit()));
        let burst = if self.burst == self.permits { String::new() } else { format!(" burst {}", self.burst) };
        f.pad(&format!("{}/{}{burst}", self.permits, unit.unwrap_or(&period)))
    }
}

unit_as_text!(Rate, {
    "type": "string",
    "pattern": r"^\s*[0-9]+\s*/.+$",
    "description": "Permits per period and, if wished, a burst: \"100/s\", \"6000/m burst 50\".",
    "examples": ["100/s", "100/s burst 20"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_unit_is_one_of_it() {
        for (text, printed) in [
            ("100/s", "100/s"),
            ("100/1s", "100/s"),
            ("100 / 10s burst 20", "100/10s burst 20"),
            ("5/250ms burst 5", "5/250ms"),
            ("1/11s", "1/11s"),
            ("60/m", "60/m"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn refusals_say_which_part() {
        for (text, why) in [
            ("100", "no \"/\""),
            ("0/s", "permits is zero"),
            ("-1/s", "permits is not from 1"),
            ("99999999999/s", "permits is not from 1"),
            ("x/s", "permits is no whole number"),
            ("100/", "in the period"),
            ("100/10", "in the period, a number alone"),
            ("100/0s", "period is zero"),
            ("100/s burst 0", "burst is zero"),
            ("100/s burst", "burst is no whole number"),
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
