//! Quantities that carry their unit: a setting reads `"64MiB"`, never a bare `67108864`.
//!
//! Every unit parses from text, prints the shortest text that parses back to *exactly* the same value, and goes through
//! serde and JSON schema as that text. Arithmetic is exact: fractions are decimal digits times an integer factor, never
//! floating point, so `"1.5KiB"` is 1536 bytes and `"0.3B"` is refused instead of rounded.

mod bytes;
mod duration;
mod limit;
mod rate;
mod share;

pub use bytes::ByteSize;
pub use duration::Duration;
pub use limit::MemoryLimit;
pub use rate::Rate;
pub use share::Share;

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// A text that is no quantity of the wished kind: says what was given, why it fails and what is accepted.
///
/// ```
/// use trimtab_config::ByteSize;
///
/// let error = "64 MO".parse::<ByteSize>().unwrap_err().to_string();
/// assert!(error.contains("\"64 MO\"") && error.contains("unknown unit \"MO\"") && error.contains("64MiB"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} is not {what}: {why}; write {form}")]
pub struct ParseUnitError {
    text: String,
    what: &'static str,
    why: String,
    form: &'static str,
}

impl ParseUnitError {
    fn new<T: Unit>(text: impl fmt::Debug, why: impl Into<String>) -> Self {
        Self { text: shorten(format!("{text:?}")), what: T::WHAT, why: why.into(), form: T::FORM }
    }

    /// Why the text was refused, without the text itself.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What is accepted instead.
    pub fn form(&self) -> &'static str {
        self.form
    }
}

/// Cuts a text for use in a message: a 10 MB value must not become a 10 MB error.
pub(crate) fn shorten(mut text: String) -> String {
    const LIMIT: usize = 120;
    if text.len() > LIMIT {
        let mut cut = LIMIT;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// What the units share: their words in messages, and which bare numbers they accept.
trait Unit: FromStr<Err = ParseUnitError> {
    const WHAT: &'static str;
    const FORM: &'static str;

    /// A bare whole number; most units refuse it because it hides its unit.
    fn from_integer(value: i128) -> Result<Self, ParseUnitError> {
        Err(ParseUnitError::new::<Self>(Raw(value), "a number alone does not say its unit"))
    }

    /// A bare number with a fraction.
    fn from_float(value: f64) -> Result<Self, ParseUnitError> {
        Err(ParseUnitError::new::<Self>(Raw(value), "a number alone does not say its unit"))
    }
}

/// Prints a number in a message as it was written, without the quotes a text gets.
struct Raw<T>(T);

impl<T: fmt::Display> fmt::Debug for Raw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Splits `"64 MiB"` into digits and unit; the digits may hold one decimal point.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `digits × factor` without rounding. `Err` says why: no digits, too large, or a remainder below the base unit.
fn exact(digits: &str, factor: u128, base: &str) -> Result<u128, String> {
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    let (whole, fraction) = clean.split_once('.').unwrap_or((&clean, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err("it does not start with a number".into());
    }
    if fraction.contains('.') {
        return Err("it has two decimal points".into());
    }
    let too_large = || "it is too large".to_string();
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    let mut total = whole.checked_mul(factor).ok_or_else(too_large)?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let not_whole = || format!("it is no whole number of {base}");
        let scale = u32::try_from(fraction.len()).ok().and_then(|n| 10_u128.checked_pow(n)).ok_or_else(not_whole)?;
        let part: u128 = fraction.parse().map_err(|_| not_whole())?;
        let part = part.checked_mul(factor).ok_or_else(not_whole)?;
        if part % scale != 0 {
            return Err(not_whole());
        }
        total = total.checked_add(part / scale).ok_or_else(too_large)?;
    }
    Ok(total)
}

struct UnitVisitor<T>(PhantomData<T>);

impl<T: Unit> serde::de::Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", T::WHAT, T::FORM)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<T, E> {
        T::from_integer(value.into()).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        T::from_integer(value.into()).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<T, E> {
        T::from_float(value).map_err(E::custom)
    }
}

/// Text through serde and JSON schema, for a type with `Display` and [`Unit`].
macro_rules! unit_as_text {
    ($type:ident, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(crate::units::UnitVisitor::<Self>(std::marker::PhantomData))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::json_schema!($schema);
                // Tells the loader that the type's own parser explains a wrong value better than the schema could.
                schema.insert("x-unit".into(), true.into());
                schema
            }
        }
    };
}
use unit_as_text;
