//! A JSON object read field by field, so that one answer lists everything that is wrong with it.
//!
//! Derived deserialisation stops at the first mistake and names unknown fields only by a list. Here each known field
//! is asked for with its rule; [`Fields::finish`] then reports every field that is unknown (with the known one that
//! it resembles), missing, given twice, of the wrong type or out of range.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::problem::{Problem, ProblemKind, shorten};

/// One mistake in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    field: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'static str>,
}

/// The members of one JSON object, borrowed from its text.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    known: Vec<&'static str>,
    /// Given, and reported as not to be given here.
    fixed: Vec<&'static str>,
    errors: Vec<FieldError>,
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A member's name, borrowed where it holds no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'a> Fields<'a> {
    /// Reads the object's outline; values are looked at when they are asked for.
    ///
    /// # Errors
    /// [`ProblemKind::MalformedJson`] with line and column.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        match serde_json::from_slice::<Members<'a>>(body) {
            Ok(Members(members)) => Ok(Self { members, known: Vec::new(), fixed: Vec::new(), errors: Vec::new() }),
            Err(error) => {
                let what =
                    if body.trim_ascii().is_empty() { "the body is empty".to_owned() } else { error.to_string() };
                let detail = format!("{what}; send one JSON object");
                Err(Problem::new(ProblemKind::MalformedJson, detail)
                    .with("line", error.line())
                    .with("column", error.column()))
            }
        }
    }

    /// A field that may be absent or `null`; `read` answers what is wrong with its value.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(field);
        let mut found = self.members.iter().filter(|(name, _)| name == field);
        let value = found.next()?.1.get();
        if found.next().is_some() {
            self.error(field, "is given more than once; keep one");
            return None;
        }
        if value == "null" {
            return None;
        }
        match read(value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.error(field, detail);
                None
            }
        }
    }

    /// What a value is after a change: as it is `now` when the field is absent, none when it is `null`.
    pub(crate) fn change<T>(
        &mut self,
        field: &'static str,
        now: Option<T>,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.members.iter().any(|(name, _)| name == field);
        let value = self.optional(field, read);
        if given { value } else { now }
    }

    /// A field that exists elsewhere and cannot be given here; `why` says what to do instead.
    pub(crate) fn fixed(&mut self, field: &'static str, why: &str) {
        if self.members.iter().any(|(name, _)| name == field) {
            self.error(field, why);
            self.fixed.push(field);
        }
    }

    /// A field that may be left out, but for which `null` means nothing; `why` says so.
    pub(crate) fn refuse_null(&mut self, field: &'static str, why: &str) {
        if self.members.iter().any(|(name, value)| name == field && value.get() == "null") {
            self.error(field, why);
        }
    }

    /// A field that must be there; `null` counts as a value.
    pub(crate) fn required<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Option<T> {
        let null = self.members.iter().find(|(name, value)| name == field && value.get() == "null");
        if let Some((_, null)) = null {
            let null = null.get();
            self.known.push(field);
            return read(null).map_err(|detail| self.error(field, detail)).ok();
        }
        if !self.members.iter().any(|(name, _)| name == field) {
            self.known.push(field);
            self.error(field, "is missing");
            return None;
        }
        self.optional(field, read)
    }

    /// Notes a mistake that no single field shows.
    pub(crate) fn error(&mut self, field: &str, detail: impl Into<String>) {
        self.errors.push(FieldError { field: field.to_owned(), detail: detail.into(), suggestion: None });
    }

    /// Whether everything asked for so far was in order.
    pub(crate) fn is_sound(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether everything asked for so far was in order and nothing else was there.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidFields`] with one element of `errors` a mistake.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        /// A body of a hundred thousand unknown names is answered with its first few.
        const SHOWN: usize = 32;
        let handled = |name: &str| self.known.iter().chain(&self.fixed).any(|known| *known == name);
        let unknown = self.members.iter().filter(|(name, _)| !handled(name));
        let unknown: Vec<_> = unknown.take(SHOWN).map(|(name, _)| self.unknown(name)).collect();
        self.errors.extend(unknown);
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(refused(&self.errors).with("known", self.known))
    }

    /// As [`finish`](Self::finish), and then does what was asked for, which may itself find fault with a field.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidFields`]; `act` runs only when nothing else was wrong.
    pub(crate) fn finish_with<T>(self, act: impl FnOnce() -> Result<T, (&'static str, String)>) -> Result<T, Problem> {
        self.finish()?;
        act().map_err(|(field, detail)| {
            let error = FieldError { field: field.to_owned(), detail, suggestion: None };
            refused(&[error])
        })
    }

    fn unknown(&self, name: &str) -> FieldError {
        let suggestion = closest(name, self.known.iter().copied());
        let advice = match suggestion {
            Some(known) => format!("is not a field here; did you mean `{known}`?"),
            None => format!("is not a field here; known are {}", self.known.join(", ")),
        };
        FieldError { field: shorten(name), detail: advice, suggestion }
    }
}

fn refused(errors: &[FieldError]) -> Problem {
    let listed: Vec<_> = errors.iter().map(|error| format!("`{}` {}", error.field, error.detail)).collect();
    let errors = serde_json::to_value(errors).unwrap_or_default();
    Problem::new(ProblemKind::InvalidFields, listed.join("; ")).with("errors", errors)
}

/// The candidate that a misspelt name most likely means.
pub(crate) fn closest<'k>(name: &str, candidates: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Names are short; a long text resembles none of them and would only cost time.
    if name.len() > 128 {
        return None;
    }
    candidates
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, String> {
    serde_json::from_str(text).map_err(|_| format!("must be true or false, not {}", shorten(text)))
}

/// A text.
pub(crate) fn string(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|error| {
        if text.starts_with('"') {
            format!("is not valid text: {error}")
        } else {
            format!("must be a text, not {}", shorten(text))
        }
    })
}

/// A whole number from 1 to `max`.
pub(crate) fn count(text: &str, max: u64) -> Result<u64, String> {
    match serde_json::from_str::<u64>(text) {
        Ok(value) if (1..=max).contains(&value) => Ok(value),
        _ => Err(format!("must be a whole number from 1 to {max}, not {}", shorten(text))),
    }
}

/// A number above 0 and up to `max`.
pub(crate) fn positive(text: &str, unit: &str, max: f64) -> Result<f64, String> {
    match serde_json::from_str::<f64>(text) {
        Ok(value) if value > 0.0 && value <= max => Ok(value),
        _ => Err(format!("must be a number of {unit} above 0 and at most {max}, not {}", shorten(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mut fields =
            Fields::parse(br#"{"max_sise": 1, "policy": 3, "ttl_seconds": -1, "a": 1, "a": 2}"#).expect("JSON");
        assert_eq!(fields.optional("policy", string), None);
        assert_eq!(fields.optional("ttl_seconds", |text| positive(text, "seconds", 10.0)), None);
        assert_eq!(fields.optional("max_size", |text| count(text, 10)), None);
        assert_eq!(fields.required("key", string), None);
        let problem = fields.finish().expect_err("six mistakes");
        assert_eq!(problem.kind(), ProblemKind::InvalidFields);
        for part in [
            "did you mean `max_size`",
            "`policy` must be a text",
            "`ttl_seconds` must",
            "`key` is missing",
            "`a` is not",
        ] {
            assert!(problem.detail().contains(part), "{part}: {}", problem.detail());
        }
    }

    #[test]
    fn null_is_absent_where_optional_and_a_value_where_required() {
        let mut fields = Fields::parse(br#"{"a": null, "b": null}"#).expect("JSON");
        assert_eq!(fields.optional("a", boolean), None);
        assert_eq!(fields.required("b", |text| Ok(text.to_owned())), Some("null".to_owned()));
        fields.finish().expect("nothing wrong");
    }

    #[test]
    fn broken_json_is_located() {
        let problem = Fields::parse(b"{\n  \"a\": }").expect_err("broken");
        assert_eq!(problem.kind(), ProblemKind::MalformedJson);
        assert!(problem.detail().contains("line 2"), "{}", problem.detail());
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for text in ["0", "-1", "1e999", "18446744073709551616", "1.5", "\"7\"", "NaN"] {
            assert!(count(text, 100).is_err(), "{text}");
        }
        for text in ["0", "-0.5", "1e999", "null", "[]"] {
            assert!(positive(text, "seconds", 1e9).is_err(), "{text}");
        }
        assert_eq!(positive("0.25", "seconds", 1.0), Ok(0.25));
    }
}
