//! Environment variables as settings: `TRIMTAB__CACHE__USERS__MAX_BYTES` is `cache.users.max_bytes`.
//!
//! Variables are text without types, upper case, and cannot hold a dash. The schema gives the types back; names are compared
//! without case and with `-` as `_`, against the keys of the schema and the names that the file already uses. Whatever starts
//! with the prefix and is nothing we know is reported, since a misspelt variable is otherwise silent. The one exception is
//! what Kubernetes injects for a *service* that happens to have our name (`TRIMTAB_SERVICE_HOST`, `TRIMTAB_PORT_80_TCP`, …).

use std::ffi::OsString;

use serde_json::{Number, Value};
use toml::de::DeTable;

use super::layer::Layer;
use super::path::{DEPTH_LIMIT, Path};
use super::schema::{Node, Schema, known_paths};
use super::suggest::nearest;
use crate::{Origin, Problem};

/// The variables of one program, sorted by what they are for.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub(crate) profile: Option<(String, String)>,
    pub(crate) environment: Option<(String, String)>,
    pub(crate) config: Option<(String, String)>,
    /// Full name, the path as the variable spells it, text.
    settings: Vec<(String, Vec<String>, String)>,
    unknown: Vec<String>,
}

pub(crate) fn origin(name: &str) -> Origin {
    Origin::Variable { name: name.to_owned() }
}

impl Variables {
    pub(crate) fn sort(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        prefix: &str,
        shorthands: &[(&str, &str)],
        known: &[String],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut sorted = Self::default();
        let mut all: Vec<_> = variables.into_iter().collect();
        all.sort();
        for (name, text) in all {
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else { continue };
            let text = text.into_string();
            if is_service_link(rest, text.as_deref().unwrap_or_default()) || known.contains(&name) {
                continue;
            }
            let Ok(text) = text else {
                problems.push(Problem::new("", "its value is no UTF-8 text").with_origin(origin(&name)));
                continue;
            };
            // Compose files and manifests pass an unset variable as an empty one.
            let chosen = Some((name.clone(), text.clone())).filter(|(_, text)| !text.trim().is_empty());
            match rest {
                "PROFILE" => sorted.profile = chosen,
                "ENVIRONMENT" => sorted.environment = chosen,
                "CONFIG" => sorted.config = chosen,
                _ => match (rest.strip_prefix('_'), shorthands.iter().find(|(short, _)| *short == name)) {
                    (_, Some((_, path))) if !text.trim().is_empty() => {
                        let segments = path.split('.').map(str::to_owned).collect();
                        sorted.settings.push((name, segments, text));
                    }
                    (_, Some(_)) => {}
                    (Some(path), None) if path.split("__").count() <= DEPTH_LIMIT => {
                        let segments = path.split("__").map(str::to_owned).collect();
                        sorted.settings.push((name, segments, text));
                    }
                    _ => sorted.unknown.push(name),
                },
            }
        }
        // The long name is the more exact one, so it is laid over the short one.
        sorted.settings.sort_by_key(|(name, ..)| name.starts_with(&format!("{prefix}__")));
        sorted
    }

    /// The variables as a layer, over the names that the layers below use.
    pub(crate) fn layer(
        &self,
        prefix: &str,
        schema: &Schema,
        below: &Value,
        others: &[String],
        problems: &mut Vec<Problem>,
    ) -> Layer {
        let mut layer = Layer::new(origin(prefix));
        let mut seen: Vec<(Path, &str)> = Vec::new();
        for (name, segments, text) in &self.settings {
            let path = match resolve(schema, below, segments) {
                Ok(path) => path,
                Err(Unresolved::Unknown) => {
                    problems.push(unknown(name, prefix, schema, below, others));
                    continue;
                }
                Err(Unresolved::Ambiguous(choices)) => {
                    let message =
                        format!("could mean {}, which differ only in case or dashes; rename one", choices.join(" or "));
                    problems.push(Problem::new("", message).with_origin(origin(name)));
                    continue;
                }
            };
            let shorthand = !name.starts_with(&format!("{prefix}__"));
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == path) {
                let message = format!("is also set by {first}, which differs only in case; unset one of them");
                problems.push(Problem::new(path.to_string(), message).with_origin(origin(name)));
                continue;
            }
            if !shorthand {
                seen.push((path.clone(), name));
            }
            let value = schema.at(&path.0).map_or_else(|| Value::from(text.as_str()), |node| coerce(&node, text));
            layer.put(&path, value, &origin(name));
        }
        for name in &self.unknown {
            problems.push(unknown(name, prefix, schema, below, others));
        }
        layer
    }
}

fn unknown(name: &str, prefix: &str, schema: &Schema, below: &Value, others: &[String]) -> Problem {
    let settings = known_paths(schema, below).into_iter().filter_map(|path| variable_name(prefix, &path));
    let special = ["PROFILE", "ENVIRONMENT", "CONFIG"].map(|word| format!("{prefix}_{word}"));
    let candidates = special.into_iter().chain(others.iter().cloned()).chain(settings);
    let problem = Problem::new("", "unknown variable").with_origin(origin(&crate::units::shorten(name.to_owned())));
    // The common prefix must not make everything look near.
    let bare = |name: &str| name.get(prefix.len()..).map(str::to_owned).unwrap_or_default();
    let pairs: Vec<_> = candidates.map(|candidate| (bare(&candidate), candidate)).collect();
    let best = nearest(&bare(name), pairs.iter().map(|(bare, _)| bare.as_str()));
    match best.and_then(|best| pairs.iter().find(|(bare, _)| bare == best)) {
        Some((_, candidate)) => problem.with_suggestion(candidate.clone()),
        None => {
            Problem { message: format!("unknown variable; settings are written {prefix}__SECTION__FIELD"), ..problem }
        }
    }
}

enum Unresolved {
    Unknown,
    Ambiguous(Vec<String>),
}

/// Variables have neither lower case nor dashes.
fn plain(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The path that a variable's segments mean.
fn resolve(schema: &Schema, below: &Value, segments: &[String]) -> Result<Path, Unresolved> {
    let mut path = Path::default();
    let mut node = schema.node();
    for segment in segments {
        if segment.is_empty() {
            return Err(Unresolved::Unknown);
        }
        let wished = plain(segment);
        let key = node.keys().into_iter().find(|key| plain(key) == wished).map(str::to_owned);
        let key = match key {
            Some(key) => key,
            None if node.is_map() || node.any => {
                let here = super::tree::get(below, &path.0).and_then(Value::as_object);
                let mut named: Vec<_> =
                    here.into_iter().flat_map(|map| map.keys()).filter(|key| plain(key) == wished).collect();
                match (named.len(), named.pop()) {
                    (1, Some(name)) => name.clone(),
                    (0, _) => segment.to_lowercase(),
                    (_, last) => {
                        let all = named.into_iter().chain(last).map(|name| format!("`{}`", path.child(name.as_str())));
                        return Err(Unresolved::Ambiguous(all.collect()));
                    }
                }
            }
            None => segment.to_lowercase(),
        };
        node = node.child(&key).ok_or(Unresolved::Unknown)?;
        path.0.push(key);
    }
    Ok(path)
}

/// The variable that sets `path`; `None` when a segment cannot be written in one.
pub(crate) fn variable_name(prefix: &str, path: &Path) -> Option<String> {
    let mut name = prefix.to_owned();
    for segment in &path.0 {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let clear =
            !segment.is_empty() && !segment.contains("__") && !segment.starts_with('_') && !segment.ends_with('_');
        if !clear || !segment.chars().all(fits) {
            return None;
        }
        name.push_str("__");
        name.push_str(&segment.to_ascii_uppercase().replace('-', "_"));
    }
    Some(name)
}

/// Gives a text the type that the schema wishes; a text that does not fit stays text and is refused later, with its place.
pub(super) fn coerce(node: &Node<'_>, text: &str) -> Value {
    let asis = || Value::from(text);
    let trimmed = text.trim();
    if node.accepts("string") && !node.any {
        return asis();
    }
    if node.accepts("integer")
        && let Ok(number) =
            trimmed.parse::<i64>().map(Number::from).or_else(|_| trimmed.parse::<u64>().map(Number::from))
    {
        return Value::Number(number);
    }
    if node.accepts("number")
        && let Some(number) = trimmed.parse::<f64>().ok().and_then(Number::from_f64)
    {
        return Value::Number(number);
    }
    if node.accepts("boolean") {
        match trimmed.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => return Value::Bool(true),
            "false" | "no" | "off" => return Value::Bool(false),
            "1" if !node.any => return Value::Bool(true),
            "0" if !node.any => return Value::Bool(false),
            _ => {}
        }
    }
    if node.accepts("array") || node.accepts("object") {
        if let Some(value) = structured(trimmed) {
            return value;
        }
        // `a, b` for a list of texts, as everyone writes it.
        if node.accepts("array") && !node.any && !trimmed.starts_with(['[', '{']) {
            let items = trimmed.split(',').map(str::trim).filter(|item| !item.is_empty()).enumerate();
            return items
                .map(|(index, item)| node.item(&index.to_string()).map_or_else(|| item.into(), |n| coerce(&n, item)))
                .collect();
        }
    }
    asis()
}

/// A list or table in JSON or TOML.
fn structured(text: &str) -> Option<Value> {
    if !text.starts_with(['[', '{']) {
        return None;
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let document = format!("value = {text}");
    let (table, errors) = DeTable::parse_recoverable(&document);
    if !errors.is_empty() || table.get_ref().len() != 1 {
        return None;
    }
    super::file::plain(&table).and_then(|mut tree| tree.get_mut("value").map(Value::take))
}

/// Whether Kubernetes injects such a variable for a service: host and port of every service of the namespace.
fn is_service_link(rest: &str, text: &str) -> bool {
    let is_port = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
    let protocol = |text: &str| ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    let words: Vec<_> = rest.split('_').collect();
    let inner = words.windows(3).any(|w| w[0] == "PORT" && is_port(w[1]) && matches!(w[2], "TCP" | "UDP" | "SCTP"));
    let service = words.windows(2).any(|w| w[0] == "SERVICE" && matches!(w[1], "HOST" | "PORT"));
    !rest.starts_with('_') && (inner || service || (words.last() == Some(&"PORT") && protocol(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_not_ours() {
        for (name, text) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT_HTTP", "8000"),
            ("PORT", "tcp://10.0.0.1:8000"),
            ("PORT_8000_TCP_ADDR", "10.0.0.1"),
            ("REDIS_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ] {
            assert!(is_service_link(name, text), "{name}");
        }
        assert!(!is_service_link("PORT", "8000"));
        assert!(!is_service_link("PROFILE", "maximum"));
        assert!(!is_service_link("_SERVICE__PORT", "1"));
    }

    #[test]
    fn names_that_no_variable_can_say_have_none() {
        let name = |text: &str| variable_name("TRIMTAB", &Path::parse(text).unwrap());
        assert_eq!(name("cache.user-sessions.ttl").as_deref(), Some("TRIMTAB__CACHE__USER_SESSIONS__TTL"));
        assert_eq!(name("hosts.\"a.b\""), None);
        assert_eq!(name("a.x__y"), None);
    }
}
