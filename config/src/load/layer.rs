//! One source of settings: a partial tree in which every leaf knows where it was written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Path;
use super::schema::Node;
use super::tree;
use crate::Origin;

/// A partial tree of settings from one source.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) tree: Value,
    /// The origin of what no place below tells.
    fallback: Origin,
    /// Where tables and leaves were written.
    places: BTreeMap<Path, Origin>,
}

impl Layer {
    pub(crate) fn new(fallback: Origin) -> Self {
        Self::from_tree(fallback, Value::Object(Map::new()))
    }

    pub(crate) fn from_tree(fallback: Origin, tree: Value) -> Self {
        Self { tree, fallback, places: BTreeMap::new() }
    }

    pub(crate) fn place(&mut self, path: Path, origin: Origin) {
        self.places.insert(path, origin);
    }

    /// Lays `value` over what is at `path`; a table joins a table.
    pub(crate) fn put(&mut self, path: &Path, value: Value, origin: &Origin) {
        tree::leaves(&value, &mut |below, _| {
            self.places.insert(Path([path.0.as_slice(), below.0.as_slice()].concat()), origin.clone());
        });
        for depth in 1..=path.0.len() {
            self.places.entry(Path::of(&path.0[..depth])).or_insert_with(|| origin.clone());
        }
        let joined = match (tree::get(&self.tree, &path.0), &value) {
            (Some(Value::Object(_)), Value::Object(_)) => {
                let mut base = tree::get(&self.tree, &path.0).cloned().unwrap_or_default();
                lay_over(&mut base, &value, None);
                base
            }
            _ => value,
        };
        if path.0.is_empty() {
            self.tree = joined;
        } else {
            tree::set(&mut self.tree, &path.0, joined);
        }
    }

    /// Where the value at `path` was written: its own place, or that of the nearest table or list around it.
    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        let known = (1..=path.len()).rev().find_map(|depth| self.places.get(&Path::of(&path[..depth])));
        known.unwrap_or(&self.fallback).clone()
    }

    /// The part below `path`, with paths taken from there.
    pub(crate) fn below(&self, path: &Path) -> Self {
        let inside = |(place, origin): (&Path, &Origin)| {
            let rest = &place.0[path.0.len().min(place.0.len())..];
            (place.starts_with(path) && !rest.is_empty()).then(|| (Path::of(rest), origin.clone()))
        };
        Self {
            tree: self.get(&path.0).cloned().unwrap_or_default(),
            fallback: self.origin(&path.0),
            places: self.places.iter().filter_map(inside).collect(),
        }
    }

    pub(crate) fn get(&self, path: &[String]) -> Option<&Value> {
        tree::get(&self.tree, path)
    }
}

/// Lays one tree over another: tables join key by key, anything else is replaced.
///
/// An enum with data is replaced when the upper layer names another variant: fields of two variants must not mix.
pub(crate) fn lay_over(base: &mut Value, upper: &Value, node: Option<&Node<'_>>) {
    match (base, upper) {
        (Value::Object(base), Value::Object(upper)) if !node.is_some_and(|node| changes_variant(node, base, upper)) => {
            for (key, value) in upper {
                match base.get_mut(key) {
                    Some(below) => lay_over(below, value, node.and_then(|node| node.child(key)).as_ref()),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (base, upper) => *base = upper.clone(),
    }
}

fn changes_variant(node: &Node<'_>, base: &Map<String, Value>, upper: &Map<String, Value>) -> bool {
    node.union
        && match node.tag() {
            Some(tag) => upper.get(tag).is_some_and(|value| base.get(tag) != Some(value)),
            // The variant is the key itself.
            None => !upper.keys().all(|key| base.contains_key(key)),
        }
}

/// The whole stack, lowest first, as one tree.
pub(crate) fn merge(layers: &[Layer], node: &Node<'_>) -> Value {
    let mut merged = Value::Object(Map::new());
    for layer in layers {
        lay_over(&mut merged, &layer.tree, Some(node));
    }
    merged
}

/// The index of the layer that decides the value at `path`.
pub(crate) fn deciding(layers: &[Layer], path: &[String]) -> Option<usize> {
    layers.iter().rposition(|layer| {
        // A layer that replaced a table around the path decides it too.
        layer.get(path).is_some()
            || (1..path.len()).any(|depth| layer.get(&path[..depth]).is_some_and(|v| !v.is_object()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_joins_and_a_later_leaf_wins() {
        let mut layer = Layer::new(Origin::Patch);
        let code = |line| Origin::Code { file: "main.rs", line };
        layer.put(&Path::parse("a.b").unwrap(), json!(1), &code(1));
        layer.put(&Path::parse("a").unwrap(), json!({ "b": 2, "c": 3 }), &code(2));
        assert_eq!(layer.tree, json!({ "a": { "b": 2, "c": 3 } }));
        assert_eq!(layer.origin(&Path::parse("a.b").unwrap().0), code(2));
        assert_eq!(layer.origin(&Path::parse("x").unwrap().0), Origin::Patch);
    }
}
