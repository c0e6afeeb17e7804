//! The effective settings as a table for people.

use std::fmt;

use serde_json::Value;

use super::loaded::{Leaf, Loaded};
use crate::Settings;

/// Prints profile, environment and every setting with its value and origin, in aligned columns.
#[derive(Clone, Debug)]
pub struct Summary {
    head: Vec<[String; 3]>,
    leaves: Vec<Leaf>,
}

/// Wider cells are not padded for: one long value must not push all origins off the screen.
const WIDEST: usize = 48;

impl Summary {
    pub(super) fn new<T: Settings>(loaded: &Loaded<T>) -> Self {
        let head = vec![
            ["profile".into(), loaded.profile.to_string(), loaded.profile_origin.to_string()],
            ["environment".into(), loaded.environment.to_string(), loaded.environment_origin.to_string()],
        ];
        Self { head, leaves: loaded.leaves() }
    }
}

/// As it would be written in a file, without quotes where none are needed to read it.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains(char::is_control) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.leaves.iter().map(|leaf| [leaf.path.clone(), cell(&leaf.value), leaf.origin.to_string()]);
        let title = ["setting", "value", "origin"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(title).chain(self.head.clone()).chain(rows).collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        for [path, value, origin] in &rows {
            writeln!(f, "{path:<first$}  {value:<second$}  {origin}")?;
        }
        Ok(())
    }
}
