//! Everything that is wrong, at once: path, value, origin, what to do.
//!
//! A person who corrects a file wants the whole list, not the first line of it. Checks therefore report into [`Problems`] and go on.

use std::fmt;

use serde::Serialize;

use crate::Origin;
use crate::secret::MASK;
use crate::units::shorten;

/// One thing that is wrong.
///
/// Prints in one line: origin, path with value, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suggestion: Option<String>,
}

impl Problem {
    /// A problem at `path` (empty: the whole).
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), value: None, origin: None, message: message.into(), suggestion: None }
    }

    /// The value that is wrong, as it would be written. Must not be a secret.
    pub fn with_value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(shorten(value.to_string()));
        self
    }

    /// Where the value came from.
    pub fn with_origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// What was probably meant.
    pub fn with_suggestion(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Dotted path of the setting; empty when the problem concerns none, such as an unreadable file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value, shortened; absent for secrets and unknown keys (which may be misspelt secrets).
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// Where the value came from.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// What is wrong and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The name that was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    #[cfg_attr(not(feature = "load"), allow(dead_code, reason = "used by the loader"))]
    pub(crate) fn mask(&mut self) {
        if let Some(value) = self.value.replace(MASK.into()).filter(|value| !value.is_empty()) {
            self.message = self.message.replace(&value, MASK);
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.path)?;
        match &self.value {
            // A message that starts with the value needs no second copy of it.
            Some(value) if !self.message.starts_with(value.as_str()) => write!(f, " = {value}")?,
            _ => {}
        }
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// Collects problems; what [`Settings::check`](crate::Settings::check) reports into.
///
/// ```
/// use trimtab_config::Problems;
///
/// let mut problems = Problems::new();
/// problems.within("pool", |problems| problems.report("max", 0, "must be at least 1"));
/// assert_eq!(problems.into_result().unwrap_err().to_string(), "1 problem in the settings:\n  pool.max = 0: must be at least 1");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Problems {
    list: Vec<Problem>,
    prefix: String,
}

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports the `value` at `path` as wrong; `remedy` says what would be right: "must be at least 1".
    ///
    /// A value at the path of a secret is masked when the settings are loaded; elsewhere do not pass one.
    pub fn report(&mut self, path: impl AsRef<str>, value: impl fmt::Display, remedy: impl Into<String>) {
        self.push(Problem::new(path.as_ref(), remedy).with_value(value));
    }

    /// Reports a problem built by hand; its path is taken below the current prefix.
    pub fn push(&mut self, mut problem: Problem) {
        problem.path = match (self.prefix.is_empty(), problem.path.is_empty()) {
            (true, _) => problem.path,
            (false, true) => self.prefix.clone(),
            (false, false) => format!("{}.{}", self.prefix, problem.path),
        };
        // One mistake seen by two checks is still one mistake.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Runs checks whose paths lie below `prefix`.
    pub fn within(&mut self, prefix: &str, check: impl FnOnce(&mut Self)) {
        let outer = self.prefix.clone();
        if !self.prefix.is_empty() {
            self.prefix.push('.');
        }
        self.prefix.push_str(prefix);
        check(self);
        self.prefix = outer;
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems so far.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// `Ok` when there is none.
    ///
    /// # Errors
    ///
    /// All problems, as one error.
    pub fn into_result(self) -> Result<(), Invalid> {
        if self.list.is_empty() { Ok(()) } else { Err(Invalid { problems: self.list }) }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// Settings that were refused, with every problem found. Prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Invalid {
    pub(crate) problems: Vec<Problem>,
}

impl Invalid {
    /// The problems, at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{count} problem{} in the settings:", if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_place_value_and_remedy() {
        let problem = Problem::new("cache.users.ttl", "must be at least 1s")
            .with_value("0s")
            .with_origin(Origin::Variable { name: "TRIMTAB__CACHE__USERS__TTL".into() });
        assert_eq!(problem.to_string(), "TRIMTAB__CACHE__USERS__TTL: cache.users.ttl = 0s: must be at least 1s");
        let problem = Problem::new("cach", "unknown setting").with_suggestion("cache");
        assert_eq!(problem.to_string(), "cach: unknown setting; did you mean `cache`?");
    }

    #[test]
    fn nested_prefixes_join_and_return() {
        let mut problems = Problems::new();
        problems.within("a", |p| p.within("b", |p| p.report("c", 1, "too small")));
        problems.report("d", 2, "too large");
        problems.report("d", 2, "too large");
        let paths: Vec<_> = problems.iter().map(Problem::path).collect();
        assert_eq!(paths, ["a.b.c", "d"]);
    }

    #[test]
    fn masking_also_cleans_the_message() {
        let mut problem = Problem::new("token", "canary is too short").with_value("canary");
        problem.mask();
        assert!(!problem.to_string().contains("canary"));
    }
}
