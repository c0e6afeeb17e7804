//! Walking and changing JSON-like trees by path.

use serde_json::{Map, Value};

use super::path::Path;

/// The value at `path`.
pub(crate) fn get<'a>(tree: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(tree, |value, segment| match value {
        Value::Object(map) => map.get(segment),
        Value::Array(list) => list.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Puts `value` at `path`, making tables on the way and replacing what is no table.
pub(crate) fn set(tree: &mut Value, path: &[String], value: Value) {
    let mut place = tree;
    for segment in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(segment.clone()).or_insert(Value::Null);
    }
    *place = value;
}

/// Takes out the value at `path`; an item takes its whole list with it, since positions must not shift.
pub(crate) fn remove(tree: &mut Value, path: &[String]) -> Option<Value> {
    let (last, before) = path.split_last()?;
    let mut place = tree;
    for (depth, segment) in before.iter().enumerate() {
        match place {
            Value::Object(map) if map.get(segment).is_some_and(Value::is_array) => {
                return map.remove(segment).filter(|list| get(list, &path[depth + 1..]).is_some());
            }
            Value::Object(map) => place = map.get_mut(segment)?,
            _ => return None,
        }
    }
    place.as_object_mut()?.remove(last)
}

/// Calls `visit` for every leaf: whatever is no table, and tables without entries.
pub(crate) fn leaves<'a>(tree: &'a Value, visit: &mut impl FnMut(&Path, &'a Value)) {
    fn walk<'a>(value: &'a Value, path: &mut Path, visit: &mut impl FnMut(&Path, &'a Value)) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    path.0.push(key.clone());
                    walk(value, path, visit);
                    path.0.pop();
                }
            }
            leaf => visit(path, leaf),
        }
    }
    walk(tree, &mut Path::default(), visit);
}

/// How a value is called in a message.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a whole number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Vec<String> {
        Path::parse(text).unwrap().0
    }

    #[test]
    fn set_get_and_remove_agree() {
        let mut tree = json!({ "a": 1 });
        set(&mut tree, &path("a.b.c"), json!([1, { "x": 2 }]));
        assert_eq!(get(&tree, &path("a.b.c.1.x")), Some(&json!(2)));
        assert!(remove(&mut tree, &path("a.b.c.1.x")).is_some());
        assert_eq!(tree, json!({ "a": { "b": {} } }));
        assert!(remove(&mut tree, &path("a.q.c")).is_none());
        assert!(remove(&mut tree, &[]).is_none());
    }

    #[test]
    fn an_empty_table_is_a_leaf() {
        let mut seen = Vec::new();
        leaves(&json!({ "a": { "b": {} }, "c": [1] }), &mut |path, _| seen.push(path.to_string()));
        assert_eq!(seen, ["a.b", "c"]);
    }
}
