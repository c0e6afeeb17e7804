//! The JSON schema of a settings type, and questions to it: which keys exist, of which type, which are secret.
//!
//! Merging and checking work on trees, before any Rust type exists; the schema is what they know of it. A [`Node`] is a place in
//! the settings: all alternatives that the schema allows there, with references and `anyOf`/`oneOf`/`allOf` flattened.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::path::Path;
use super::tree;
use crate::Settings;
use crate::secret::MASK;

/// The JSON schema (draft 2020-12) of a settings file, with documentation and defaults.
///
/// ```
/// # use trimtab_config::{Profile, Settings};
/// # #[derive(Clone, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// # #[serde(default)]
/// # struct App { /// Names the service.
/// #   name: String }
/// # impl Settings for App { fn for_profile(_: Profile) -> Self { Self::default() } }
/// let schema = trimtab_config::schema::<App>();
/// assert_eq!(schema["properties"]["name"]["description"], "Names the service.");
/// assert_eq!(schema["properties"]["profile"]["enum"][2], "maximum");
/// ```
pub fn schema<T: Settings>() -> Value {
    let mut root = Schema::of::<T>().root;
    if let Some(map) = root.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| Value::Object(Map::new()));
        if let Some(properties) = properties.as_object_mut() {
            let names: Vec<_> = crate::Profile::ALL.iter().map(|profile| profile.name()).collect();
            properties.insert(
                "profile".into(),
                serde_json::json!({ "type": "string", "enum": names, "description": "The defaults to start from." }),
            );
            properties.insert(
                "environment".into(),
                serde_json::json!({
                    "type": ["string", "object"],
                    "description": "Where the program runs, or a table: `name`, and `[environment.NAME]` with settings for that one.",
                }),
            );
        }
    }
    root
}

/// An owned schema.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    root: Value,
}

/// What is allowed at one place.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a schema, no states of a machine")]
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    root: &'a Value,
    alternatives: Vec<&'a Map<String, Value>>,
    /// Anything goes: the schema says nothing here.
    pub(crate) any: bool,
    pub(crate) nullable: bool,
    pub(crate) secret: bool,
    pub(crate) unit: bool,
    /// Several forms of table: an enum with data.
    pub(crate) union: bool,
    pub(crate) description: Option<&'a str>,
}

impl Schema {
    pub(crate) fn of<T: Settings>() -> Self {
        let root = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value();
        Self { root }
    }

    pub(crate) fn node(&self) -> Node<'_> {
        let mut node = Node::nothing(&self.root);
        node.collect(&self.root, 0);
        node
    }

    /// The place at `path`; `None` when no such setting can exist.
    pub(crate) fn at(&self, path: &[String]) -> Option<Node<'_>> {
        path.iter().try_fold(self.node(), |node, segment| node.child(segment).or_else(|| node.item(segment)))
    }

    /// Whether the value at `path` is a secret or may hold one. Unknown places may.
    pub(crate) fn is_secret(&self, path: &[String]) -> bool {
        self.at(path).is_none_or(|node| node.holds_secret())
    }

    /// A copy of `value`, which stands at `path`, with every secret masked.
    pub(crate) fn masked(&self, path: &[String], value: &Value) -> Value {
        let Some(node) = self.at(path) else { return Value::from(MASK) };
        mask(&node, value)
    }
}

fn mask(node: &Node<'_>, value: &Value) -> Value {
    if node.secret {
        return if value.is_null() { Value::Null } else { Value::from(MASK) };
    }
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| {
                let shown = node.child(key).map_or_else(|| Value::from(MASK), |child| mask(&child, value));
                (key.clone(), shown)
            };
            map.iter().map(entry).collect()
        }
        Value::Array(list) => {
            let item = |(index, value): (usize, &Value)| {
                node.item(&index.to_string()).map_or_else(|| Value::from(MASK), |child| mask(&child, value))
            };
            list.iter().enumerate().map(item).collect()
        }
        plain => plain.clone(),
    }
}

impl<'a> Node<'a> {
    fn nothing(root: &'a Value) -> Self {
        Self {
            root,
            alternatives: Vec::new(),
            any: false,
            nullable: false,
            secret: false,
            unit: false,
            union: false,
            description: None,
        }
    }

    fn collect(&mut self, schema: &'a Value, depth: usize) {
        let Value::Object(map) = schema else {
            self.any |= schema == &Value::Bool(true);
            return;
        };
        // References that only lead to each other would never end.
        if depth > 16 {
            return;
        }
        self.secret |= map.get("writeOnly") == Some(&Value::Bool(true));
        self.unit |= map.contains_key("x-unit");
        if self.description.is_none() {
            self.description = map.get("description").and_then(Value::as_str);
        }
        let mut composed = false;
        if let Some(target) =
            map.get("$ref").and_then(Value::as_str).and_then(|r| self.root.pointer(r.strip_prefix('#')?))
        {
            composed = true;
            self.collect(target, depth + 1);
        }
        for word in ["allOf", "anyOf", "oneOf"] {
            let Some(Value::Array(list)) = map.get(word) else { continue };
            composed = true;
            let before = self.tables();
            for part in list {
                self.collect(part, depth + 1);
            }
            self.union |= word != "allOf" && self.tables() > before + 1;
        }
        if map.get("type").is_some_and(|t| t == "null") || map.get("const").is_some_and(Value::is_null) {
            self.nullable = true;
            return;
        }
        self.nullable |= types_of(map).any(|t| t == "null");
        let says = [
            "type",
            "properties",
            "additionalProperties",
            "patternProperties",
            "enum",
            "const",
            "items",
            "prefixItems",
        ];
        if says.iter().any(|word| map.contains_key(*word)) {
            self.alternatives.push(map);
        } else if !composed {
            self.any = true;
        }
    }

    fn tables(&self) -> usize {
        self.alternatives.iter().filter(|map| types_of(map).any(|t| t == "object")).count()
    }

    /// Whether a value of that JSON type may stand here.
    pub(crate) fn accepts(&self, kind: &str) -> bool {
        self.any
            || self
                .alternatives
                .iter()
                .any(|map| types_of(map).any(|t| t == kind || (t == "number" && kind == "integer")))
    }

    /// What may stand below `key`; `None` when there is no such key.
    pub(crate) fn child(&self, key: &str) -> Option<Node<'a>> {
        let mut child = Node::nothing(self.root);
        let mut found = self.any;
        child.any = self.any;
        for map in &self.alternatives {
            let property = map.get("properties").and_then(|properties| properties.get(key));
            if let Some(schema) = property {
                found = true;
                child.collect(schema, 0);
            } else if let Some(schema) = entry_schema(map) {
                found = true;
                child.collect(schema, 0);
            } else if is_free_table(map) {
                found = true;
                child.any = true;
            }
        }
        found.then_some(child)
    }

    /// What may stand at a position of a list.
    pub(crate) fn item(&self, index: &str) -> Option<Node<'a>> {
        let index: usize = index.parse().ok()?;
        let mut item = Node::nothing(self.root);
        let mut found = self.any;
        item.any = self.any;
        for map in &self.alternatives {
            let tuple = map.get("prefixItems").and_then(|items| items.get(index));
            if let Some(schema) = tuple.or_else(|| map.get("items")) {
                found = true;
                item.collect(schema, 0);
            } else if types_of(map).any(|t| t == "array") && !map.contains_key("prefixItems") {
                found = true;
                item.any = true;
            }
        }
        found.then_some(item)
    }

    /// The keys with a name of their own, sorted.
    pub(crate) fn keys(&self) -> Vec<&'a str> {
        let properties = self.alternatives.iter().filter_map(|map| map.get("properties")?.as_object());
        let mut keys: Vec<_> = properties.flat_map(|properties| properties.keys().map(String::as_str)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether entries are named by the user.
    pub(crate) fn is_map(&self) -> bool {
        self.alternatives.iter().any(|map| entry_schema(map).is_some())
    }

    /// The only texts allowed, if the schema lists them all.
    pub(crate) fn choices(&self) -> Option<Vec<&'a str>> {
        let texts = self.alternatives.iter().filter(|map| types_of(map).any(|t| t == "string"));
        let mut choices = Vec::new();
        for map in texts {
            match (map.get("enum"), map.get("const")) {
                (Some(Value::Array(list)), _) => choices.extend(list.iter().filter_map(Value::as_str)),
                (_, Some(Value::String(text))) => choices.push(text),
                _ => return None,
            }
        }
        (!self.any && !choices.is_empty()).then_some(choices)
    }

    /// The smallest and largest number allowed.
    pub(crate) fn range(&self) -> (Option<&'a Value>, Option<&'a Value>) {
        let numeric = |map: &&&Map<String, Value>| types_of(map).any(|t| matches!(t, "integer" | "number"));
        let mut maps = self.alternatives.iter().filter(numeric);
        match (maps.next(), maps.next()) {
            (Some(map), None) => (map.get("minimum"), map.get("maximum")),
            _ => (None, None),
        }
    }

    /// Tags of an enum with data: the key whose value names the variant, if every alternative has one.
    pub(crate) fn tag(&self) -> Option<&'a str> {
        let tables = || self.alternatives.iter().filter_map(|map| map.get("properties")?.as_object());
        let first = tables().next()?;
        let fixed =
            |properties: &Map<String, Value>, key: &str| properties.get(key).is_some_and(|p| p.get("const").is_some());
        first.keys().find(|key| tables().all(|properties| fixed(properties, key))).map(String::as_str)
    }

    /// Whether a secret stands here or anywhere below.
    pub(crate) fn holds_secret(&self) -> bool {
        fn search(node: &Node<'_>, depth: usize) -> bool {
            if node.secret || depth > 8 {
                return node.secret;
            }
            let keys = node.keys().into_iter().filter_map(|key| node.child(key));
            let entries = node.alternatives.iter().filter_map(|map| {
                let mut entry = Node::nothing(node.root);
                entry.collect(entry_schema(map).or_else(|| map.get("items"))?, 0);
                Some(entry)
            });
            keys.chain(entries).any(|child| search(&child, depth + 1))
        }
        search(self, 0)
    }

    /// What may stand here, in words.
    pub(crate) fn expectation(&self) -> String {
        if let Some(choices) = self.choices() {
            return one_of(&choices);
        }
        let number = |noun: &str| match self.range() {
            (Some(min), Some(max)) => format!("{noun} from {min} to {max}"),
            (Some(min), None) => format!("{noun} of at least {min}"),
            (None, Some(max)) => format!("{noun} of at most {max}"),
            (None, None) => noun.to_owned(),
        };
        let mut parts = Vec::new();
        if self.accepts("string") {
            parts.push(self.example().map_or_else(|| "text".to_owned(), |example| format!("text such as {example}")));
        }
        if self.accepts("number") {
            parts.push(number("a number"));
        } else if self.accepts("integer") {
            parts.push(number("a whole number"));
        }
        for (kind, word) in [("boolean", "true or false"), ("array", "a list"), ("object", "a table")] {
            if self.accepts(kind) {
                parts.push(word.to_owned());
            }
        }
        if self.nullable {
            parts.push("\"none\"".to_owned());
        }
        parts.join(" or ")
    }

    fn example(&self) -> Option<String> {
        let examples = self.alternatives.iter().find_map(|map| map.get("examples")?.as_array());
        examples?.first().map(ToString::to_string)
    }
}

/// `one of "a", "b" or "c"`.
pub(crate) fn one_of(choices: &[&str]) -> String {
    let quoted: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("one of {} or {last}", rest.join(", ")),
        None => "nothing".into(),
    }
}

fn types_of(map: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let listed = match map.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        // Without a type, the form of the other words tells it.
        _ if map.contains_key("properties") || entry_schema(map).is_some() => vec!["object"],
        _ => {
            let constants = map.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            constants.iter().chain(map.get("const")).map(json_type).collect()
        }
    };
    listed.into_iter()
}

pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The schema of entries that the user names; keys that are numbers come as a pattern.
fn entry_schema(map: &Map<String, Value>) -> Option<&Value> {
    let pattern = || map.get("patternProperties")?.as_object()?.values().next();
    let extra = ["additionalProperties", "unevaluatedProperties"].into_iter().find_map(|word| map.get(word));
    extra.filter(|schema| **schema != Value::Bool(false)).or_else(pattern)
}

/// A table of which the schema tells nothing.
fn is_free_table(map: &Map<String, Value>) -> bool {
    let closed = ["properties", "additionalProperties", "unevaluatedProperties", "patternProperties"];
    types_of(map).any(|t| t == "object") && !closed.iter().any(|word| map.contains_key(*word))
}

/// Every known path below a node whose maps are filled as in `example`, for suggestions.
pub(crate) fn known_paths(schema: &Schema, example: &Value) -> Vec<Path> {
    fn walk(node: &Node<'_>, example: Option<&Value>, path: &Path, found: &mut Vec<Path>) {
        if path.0.len() > 8 || found.len() > 4096 {
            return;
        }
        let mut keys: Vec<String> = node.keys().into_iter().map(str::to_owned).collect();
        if node.is_map() {
            keys.extend(example.and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned());
        }
        for key in keys {
            let path = path.child(key.clone());
            let below = example.and_then(|value| tree::get(value, std::slice::from_ref(&key)));
            if let Some(child) = node.child(&key) {
                found.push(path.clone());
                walk(&child, below, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(&schema.node(), Some(example), &Path::default(), &mut found);
    found
}
