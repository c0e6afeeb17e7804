//! Builds the Rust type from the merged tree, finding every value that its type refuses.
//!
//! Serde stops at the first error. So: decode; on an error report the value, take it out of the layer that decided it, which lets
//! the layer below show through; decode again. Each round removes something, hence it ends, at the latest with the defaults.

use serde_json::Value;
use serde_path_to_error::Segment;

use super::layer::{Layer, deciding, merge};
use super::path::Path;
use super::schema::Schema;
use super::tree;
use crate::secret::MASK;
use crate::{Origin, Problem, Settings};

/// Nobody corrects more at once, and each costs a round.
const PROBLEM_LIMIT: usize = 200;

/// The settings, if the layers give any, once all that is wrong has been reported and taken out.
pub(crate) fn settle<T: Settings>(layers: &mut [Layer], schema: &Schema, problems: &mut Vec<Problem>) -> Option<T> {
    for _ in 0..PROBLEM_LIMIT {
        let merged = merge(layers, &schema.node());
        let error = match serde_path_to_error::deserialize::<_, T>(merged.clone()) {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        let path = path_of(error.path(), &merged);
        let message = error.into_inner().to_string();
        let Some(index) = deciding(layers, &path.0).filter(|_| !path.0.is_empty()) else {
            problems.push(Problem::new(path.to_string(), message).with_origin(Origin::Default));
            return None;
        };
        report(&layers[index], schema, &path, &merged, message, problems);
        take_out(&mut layers[index], &path)?;
    }
    None
}

/// Removes the value, or the nearest value around it that the layer has.
fn take_out(layer: &mut Layer, path: &Path) -> Option<Value> {
    (1..=path.0.len()).rev().find_map(|depth| tree::remove(&mut layer.tree, &path.0[..depth]))
}

fn report(layer: &Layer, schema: &Schema, path: &Path, merged: &Value, message: String, problems: &mut Vec<Problem>) {
    let value = tree::get(merged, &path.0);
    let mut problem = Problem::new(path.to_string(), message).with_origin(layer.origin(&path.0));
    if schema.is_secret(&path.0) {
        // Serde quotes what it refuses.
        if value.and_then(Value::as_str) == Some(MASK) {
            problem.message = "is the mask of a secret, not the secret; write the secret itself".into();
        } else if !problem.message.starts_with("missing field") {
            problem.message = "cannot be used (not shown, since it may hold a secret)".into();
        }
    } else if let Some(value) = value.filter(|value| !value.is_object()) {
        problem = problem.with_value(value);
    }
    // One value may be wrong in several layers, one below the other; the same missing field is still one problem.
    if !problems.iter().any(|known| known.path == problem.path && known.message == problem.message) {
        problems.push(problem);
    }
}

/// The part of serde's path that exists in the tree; enum variants and buffered values have segments of their own.
fn path_of(path: &serde_path_to_error::Path, merged: &Value) -> Path {
    let mut known = Path::default();
    for segment in path {
        let next = match segment {
            Segment::Map { key } => known.child(key.as_str()),
            Segment::Seq { index } => known.child(index.to_string()),
            Segment::Enum { variant } => known.child(variant.as_str()),
            Segment::Unknown => break,
        };
        if tree::get(merged, &next.0).is_none() {
            break;
        }
        known = next;
    }
    known
}
