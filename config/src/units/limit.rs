//! How much memory a program may use: measured, absolute or relative.

use std::fmt;
use std::str::FromStr;

use super::{ByteSize, ParseUnitError, Share, Unit, unit_as_text};
use crate::machine::{Machine, Measured};

/// A limit on memory: `"auto"`, `"1800MiB"` or `"80%"`.
///
/// ```
/// use trimtab_config::{ByteSize, MemoryLimit};
///
/// assert_eq!("auto".parse::<MemoryLimit>().unwrap(), MemoryLimit::Auto);
/// assert_eq!("1800MiB".parse::<MemoryLimit>().unwrap(), MemoryLimit::Bytes(ByteSize::mib(1800)));
/// assert_eq!("80%".parse::<MemoryLimit>().unwrap().to_string(), "80%");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum MemoryLimit {
    /// 90 % of the smallest control-group limit; 75 % of the machine's memory where there is none.
    #[default]
    Auto,
    /// That many bytes.
    Bytes(ByteSize),
    /// That share of the control-group limit, or of the machine's memory where there is none.
    Share(Share),
}

impl MemoryLimit {
    /// The limit in bytes on this machine, with the reasoning as its source.
    ///
    /// `None` when the limit is relative and the machine does not tell its memory.
    ///
    /// ```
    /// use trimtab_config::{ByteSize, Machine, Measured, MemoryLimit};
    ///
    /// let mut machine = Machine::unknown();
    /// assert_eq!(MemoryLimit::Auto.resolve(&machine), None);
    /// machine.memory_limit = Some(Measured::new(ByteSize::mib(1000), "memory.max"));
    /// let limit = MemoryLimit::Auto.resolve(&machine).unwrap();
    /// assert_eq!(limit.value, ByteSize::mib(900));
    /// assert_eq!(limit.source, "90% of 1000MiB (memory.max)");
    /// ```
    pub fn resolve(self, machine: &Machine) -> Option<Measured<ByteSize>> {
        let of = |share: Share, whole: Measured<ByteSize>| {
            let source = format!("{share} of {} ({})", whole.value.rounded(), whole.source);
            Measured::new(ByteSize::b(share.of(whole.value.as_u64())), source)
        };
        match self {
            Self::Bytes(bytes) => Some(Measured::new(bytes, "set")),
            Self::Share(share) => Some(of(share, machine.memory()?)),
            Self::Auto => {
                let share = if machine.memory_is_limited() { Share::percent(90) } else { Share::percent(75) };
                Some(of(share, machine.memory()?))
            }
        }
    }
}

impl Unit for MemoryLimit {
    const WHAT: &'static str = "a memory limit";
    const FORM: &'static str = "\"auto\", a size such as \"1800MiB\", or a share such as \"80%\"";

    fn from_integer(value: i128) -> Result<Self, ParseUnitError> {
        let size =
            ByteSize::from_integer(value).map_err(|e| ParseUnitError::new::<Self>(super::Raw(value), e.why()))?;
        Self::checked(Self::Bytes(size)).map_err(|why| ParseUnitError::new::<Self>(super::Raw(value), why))
    }

    fn from_float(value: f64) -> Result<Self, ParseUnitError> {
        let share = Share::from_float(value).map_err(|e| ParseUnitError::new::<Self>(super::Raw(value), e.why()))?;
        Self::checked(Self::Share(share)).map_err(|why| ParseUnitError::new::<Self>(super::Raw(value), why))
    }
}

impl MemoryLimit {
    /// A limit of nothing cannot be kept by any program.
    fn checked(limit: Self) -> Result<Self, &'static str> {
        match limit {
            Self::Bytes(bytes) if bytes.is_zero() => Err("it is zero"),
            Self::Share(share) if share.get() <= 0.0 => Err("it is zero"),
            limit => Ok(limit),
        }
    }
}

impl FromStr for MemoryLimit {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let trimmed = text.trim();
        let limit = if trimmed.eq_ignore_ascii_case("auto") {
            Ok(Self::Auto)
        } else if trimmed.ends_with('%') {
            trimmed.parse().map(Self::Share)
        } else {
            trimmed.parse().map(Self::Bytes)
        };
        let refuse = |why: &str| ParseUnitError::new::<Self>(text, why);
        limit.map_err(|error| refuse(error.why())).and_then(|limit| Self::checked(limit).map_err(refuse))
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Share(share) => {
                let text = share.to_string();
                // Tiny shares print without the sign that tells a share from a size; no such limit makes sense anyway.
                if text.ends_with('%') { f.pad(&text) } else { f.pad(&format!("{:.20}%", share.get() * 100.0)) }
            }
        }
    }
}

unit_as_text!(MemoryLimit, {
    "type": ["string", "integer"],
    "minimum": 1,
    "description": "How much memory to use: \"auto\" (90% of the control group's limit, else 75% of the machine), \"1800MiB\" or \"80%\".",
    "examples": ["auto", "1800MiB", "80%"],
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_parses_and_prints() {
        for text in ["auto", "1800MiB", "80%", "0.5%"] {
            assert_eq!(text.parse::<MemoryLimit>().unwrap().to_string(), text);
        }
        assert_eq!("AUTO".parse::<MemoryLimit>().unwrap(), MemoryLimit::Auto);
    }

    #[test]
    fn wrong_limits_name_all_three_forms() {
        for text in ["", "lots", "120%", "0", "0%", "-5MiB", "64M"] {
            let error = text.parse::<MemoryLimit>().unwrap_err().to_string();
            assert!(error.contains("\"auto\", a size") && error.contains("a memory limit"), "{text}: {error}");
        }
        assert!(serde_json::from_str::<MemoryLimit>("0").unwrap_err().to_string().contains("zero"));
    }
}
