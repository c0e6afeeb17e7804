//! Partial settings: what an environment, the machine or a template says about a few leaves.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::secret;

/// Values for some settings, by dotted path.
///
/// A segment `*` stands for every entry of a map: `cache.*.metrics`.
///
/// ```
/// use trimtab_config::{ByteSize, Patch};
///
/// let patch = Patch::none()
///     .set("server.workers", 4)
///     .because("memory.buffers", ByteSize::mib(8), "1% of 800MiB (memory.max)");
/// assert_eq!(patch.len(), 2);
/// ```
#[derive(Clone, Default)]
pub struct Patch {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone)]
#[cfg_attr(not(feature = "load"), allow(dead_code, reason = "read by the loader"))]
pub(crate) struct Entry {
    pub(crate) path: String,
    /// `Err` when the value could not be serialised; the loader reports it.
    pub(crate) value: Result<Value, String>,
    pub(crate) reason: Option<String>,
}

impl Patch {
    /// Changes nothing.
    pub const fn none() -> Self {
        Self { entries: Vec::new() }
    }

    /// Sets the value at `path`. A wrong path or value is reported by the loader, with all other problems.
    pub fn set(self, path: impl Into<String>, value: impl Serialize) -> Self {
        self.entry(path.into(), &value, None)
    }

    /// Sets the value at `path`, and says why: the reason is shown as the value's origin.
    pub fn because(self, path: impl Into<String>, value: impl Serialize, reason: impl Into<String>) -> Self {
        self.entry(path.into(), &value, Some(reason.into()))
    }

    /// All of `other` too, each path below `prefix`; for a type that holds other settings.
    ///
    /// ```
    /// # use trimtab_config::Patch;
    /// let inner = Patch::none().set("size", 1);
    /// assert_eq!(format!("{:?}", Patch::none().nest("pool", inner)), "Patch[pool.size]");
    /// ```
    pub fn nest(mut self, prefix: &str, other: Self) -> Self {
        self.entries
            .extend(other.entries.into_iter().map(|entry| Entry { path: format!("{prefix}.{}", entry.path), ..entry }));
        self
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(mut self, path: String, value: &impl Serialize, reason: Option<String>) -> Self {
        self.entries.push(Entry { path, value: to_tree(value), reason });
        self
    }
}

/// Only the paths: a value may be a secret.
impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Patch[")?;
        for (index, entry) in self.entries.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, entry.path)?;
        }
        f.write_str("]")
    }
}

/// Defaults for every entry of a map of named things.
///
/// ```
/// use trimtab_config::Template;
///
/// // Whoever writes `[cache.users]` starts from these values.
/// let template = Template::new("cache.*", serde_json::json!({ "max_entries": 10_000 }));
/// assert_eq!(template.path(), "cache.*");
/// ```
#[derive(Clone)]
pub struct Template {
    pub(crate) entry: Entry,
}

impl Template {
    /// Entries at `path` (which ends in `*`) start from `defaults`. A last segment with a question mark stands for a table that
    /// may be absent: `call.*.breaker?` gives defaults to those that somebody has written, and makes none.
    pub fn new(path: impl Into<String>, defaults: impl Serialize) -> Self {
        Self { entry: Entry { path: path.into(), value: to_tree(&defaults), reason: None } }
    }

    /// Where it applies.
    pub fn path(&self) -> &str {
        &self.entry.path
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template[{}]", self.entry.path)
    }
}

/// The value as a tree, with secrets in clear: it must survive on its way into the settings.
pub(crate) fn to_tree(value: &impl Serialize) -> Result<Value, String> {
    secret::reveal(|| serde_json::to_value(value)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn a_patch_keeps_secrets_but_never_prints_them() {
        let patch = Patch::none().set("token", Secret::new("canary"));
        assert_eq!(patch.entries[0].value, Ok(Value::from("canary")));
        assert!(!format!("{patch:?}").contains("canary"));
    }
}
