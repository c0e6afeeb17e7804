//! What differs between two loads, leaf by leaf.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::load::loaded::is_restart_only;
use crate::load::path::Path;
use crate::load::tree;
use crate::{Loaded, Origin, Settings};

/// One leaf that changed. Secrets are masked, so that old and new look alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LeafChange {
    /// Dotted path.
    pub path: String,
    /// The value before; `None` when there was none.
    pub old: Option<Value>,
    /// The value now; `None` when it is gone.
    pub new: Option<Value>,
    /// Who decided the new value.
    pub origin: Origin,
    /// Whether it takes effect only after a restart.
    pub restart: bool,
}

impl fmt::Display for LeafChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "(absent)".to_owned(), Value::to_string);
        let restart = if self.restart { " (after a restart)" } else { "" };
        write!(f, "{}: {} -> {}{restart}", self.path, show(&self.old), show(&self.new))
    }
}

/// The leaves that changed, in the order of paths. Prints one line for each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Changes {
    list: Vec<LeafChange>,
}

impl Changes {
    pub(super) fn between<T: Settings>(old: &Loaded<T>, new: &Loaded<T>) -> Self {
        let mut list = Vec::new();
        let mut differ = |path: &Path, before: Option<&Value>, after: Option<&Value>| {
            let show = |loaded: &Loaded<T>, value: Option<&Value>| Some(loaded.view().schema.masked(&path.0, value?));
            list.push(LeafChange {
                path: path.to_string(),
                old: show(old, before),
                new: show(new, after),
                origin: new.view().origin(path),
                restart: is_restart_only::<T>(path),
            });
        };
        // A table that lost its last entry is a leaf now, and the other way round: such leaves are no change of their own.
        let is_leaf = |value: &&Value| value.as_object().is_none_or(serde_json::Map::is_empty);
        tree::leaves(&new.view().effective, &mut |path, value| {
            let before = tree::get(&old.view().effective, &path.0);
            if before != Some(value) && !(value.is_object() && before.is_some()) {
                differ(path, before.filter(is_leaf), Some(value));
            }
        });
        tree::leaves(&old.view().effective, &mut |path, value| {
            let after = tree::get(&new.view().effective, &path.0);
            if after.is_none() {
                differ(path, Some(value), None);
            }
        });
        list.sort_by(|a, b| a.path.cmp(&b.path));
        Self { list }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many leaves changed.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The changes.
    pub fn iter(&self) -> std::slice::Iter<'_, LeafChange> {
        self.list.iter()
    }

    /// Whether the setting at `path`, or one below it, changed.
    ///
    /// A subscriber that owns `cache` asks `touches("cache")`.
    pub fn touches(&self, path: &str) -> bool {
        let Ok(wished) = Path::parse(path) else { return false };
        self.list.iter().any(|change| Path::parse(&change.path).is_ok_and(|changed| changed.starts_with(&wished)))
    }

    /// Whether one of them waits for a restart.
    pub fn needs_restart(&self) -> bool {
        self.list.iter().any(|change| change.restart)
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a LeafChange;
    type IntoIter = std::slice::Iter<'a, LeafChange>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.list.iter().enumerate() {
            write!(f, "{}{change}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// What subscribers are told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change<T> {
    /// The settings before.
    pub old: Arc<T>,
    /// The settings now.
    pub new: Arc<T>,
    /// What differs.
    pub changes: Changes,
    /// `patch`, `reset` or `reload`.
    pub cause: &'static str,
}
