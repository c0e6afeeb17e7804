//! Holds a tree against the schema, before any Rust type is built from it: unknown keys, wrong types, numbers out of range.
//!
//! Decoding stops at its first error; this walk does not. What is wrong is reported and taken out of the layer, so that the value
//! below it shows through and decoding can go on to find the rest.

use serde_json::{Map, Value};

use super::layer::Layer;
use super::path::{DEPTH_LIMIT, Path};
use super::schema::{Node, Schema, json_type, known_paths};
use super::suggest::nearest;
use super::tree::kind;
use crate::Problem;

/// Reports what is wrong with a layer, and takes it out.
pub(crate) fn inspect(layer: &mut Layer, schema: &Schema, example: &Value, problems: &mut Vec<Problem>) {
    let mut tree = std::mem::take(&mut layer.tree);
    let mut inspector = Inspector { layer, schema, example, problems };
    inspector.visit(&mut tree, &schema.node(), &Path::default());
    layer.tree = if tree.is_object() { tree } else { Value::Object(Map::new()) };
}

struct Inspector<'a> {
    layer: &'a Layer,
    schema: &'a Schema,
    example: &'a Value,
    problems: &'a mut Vec<Problem>,
}

impl Inspector<'_> {
    /// Whether the value may stay.
    fn visit(&mut self, value: &mut Value, node: &Node<'_>, path: &Path) -> bool {
        if node.any {
            return path.0.len() < DEPTH_LIMIT || self.refuse(path, node, value, "is nested too deeply");
        }
        // A file has no word for "not set", and a variable neither.
        if node.nullable && value.as_str() == Some("none") && !node.choices().is_some_and(|c| c.contains(&"none")) {
            *value = Value::Null;
        }
        match value {
            Value::Null if node.nullable => true,
            Value::Object(map) if node.accepts("object") => {
                if path.0.len() >= DEPTH_LIMIT {
                    return self.refuse(path, node, value, "is nested too deeply");
                }
                map.retain(|key, value| {
                    let path = path.child(key.as_str());
                    match node.child(key) {
                        Some(child) => self.visit(value, &child, &path),
                        None => self.unknown(&path, node),
                    }
                });
                true
            }
            Value::Array(list) if node.accepts("array") => {
                let mut sound = true;
                for (index, item) in list.iter_mut().enumerate() {
                    let index = index.to_string();
                    sound &= match node.item(&index) {
                        Some(child) => self.visit(item, &child, &path.child(index)),
                        None => self.refuse(path, node, &Value::Null, "has too many items"),
                    };
                }
                sound
            }
            // The unit's own parser says it better.
            Value::String(_) | Value::Number(_) | Value::Bool(_) if node.unit => true,
            scalar if node.accepts(json_type(scalar)) => self.scalar(scalar, node, path),
            other => {
                let wished = node.expectation();
                let empty = other.as_str().is_some_and(|text| text.trim().is_empty());
                let found = if empty { "empty" } else { kind(other) };
                let text = format!("is {found}, but {wished} is expected");
                self.refuse(path, node, other, &text)
            }
        }
    }

    fn scalar(&mut self, value: &Value, node: &Node<'_>, path: &Path) -> bool {
        if let (Value::String(text), Some(choices)) = (value, node.choices())
            && !choices.contains(&text.as_str())
        {
            let message = format!("must be {}", super::schema::one_of(&choices));
            let mut problem = self.problem(path, node, value, &message);
            problem.suggestion = nearest(text, choices).filter(|_| !node.holds_secret()).map(str::to_owned);
            self.problems.push(problem);
            return false;
        }
        let (min, max) = node.range();
        let beyond = |limit: Option<&Value>, order| limit.and_then(|limit| compare(value, limit)) == Some(order);
        if beyond(min, std::cmp::Ordering::Less) || beyond(max, std::cmp::Ordering::Greater) {
            let message = format!("must be {}", node.expectation());
            return self.refuse(path, node, value, &message);
        }
        true
    }

    fn problem(&self, path: &Path, node: &Node<'_>, value: &Value, message: &str) -> Problem {
        let problem = Problem::new(path.to_string(), message).with_origin(self.layer.origin(&path.0));
        if node.holds_secret() || value.is_null() { problem } else { problem.with_value(value) }
    }

    fn refuse(&mut self, path: &Path, node: &Node<'_>, value: &Value, message: &str) -> bool {
        let problem = self.problem(path, node, value, message);
        self.problems.push(problem);
        false
    }

    /// The value of an unknown key is never shown: the key may be a misspelt secret.
    fn unknown(&mut self, path: &Path, parent: &Node<'_>) -> bool {
        let Some((key, before)) = path.0.split_last() else { return false };
        let before = Path::of(before);
        let keys = parent.keys();
        let here = nearest(key.as_str(), keys.iter().copied()).map(|key| before.child(key));
        // A right name at the wrong place: the only one of that name elsewhere.
        let elsewhere = || {
            let mut same =
                known_paths(self.schema, self.example).into_iter().filter(|known| known.0.last() == Some(key));
            same.next().filter(|_| same.next().is_none())
        };
        let suggestion = here.or_else(elsewhere);
        let mut message = "unknown setting".to_owned();
        if suggestion.is_none() && !keys.is_empty() {
            let place = if before.0.is_empty() { "at the top level".to_owned() } else { format!("in `{before}`") };
            let shown: Vec<_> = keys.iter().take(12).copied().collect();
            let more = if keys.len() > shown.len() { ", …" } else { "" };
            message = format!("unknown setting; known {place}: {}{more}", shown.join(", "));
        }
        let mut problem =
            Problem::new(crate::units::shorten(path.to_string()), message).with_origin(self.layer.origin(&path.0));
        problem.suggestion = suggestion.map(|path| path.to_string());
        self.problems.push(problem);
        false
    }
}

/// Exact among whole numbers, where an `f64` would lose the last digits.
fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
