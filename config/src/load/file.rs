//! A TOML file as a tree in which every key has its line and column.
//!
//! The parser recovers from syntax errors, so that they stand in the report beside everything else. Lines with such an error
//! give no values: what recovery makes of them would only cause more complaints.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layer::Layer;
use super::path::Path;
use crate::{Origin, Problem};

/// A settings file is written by people; a larger one is a mistake in its name.
const SIZE_LIMIT: u64 = 4 << 20;

/// What became of the file.
pub(crate) enum FileText {
    Missing,
    Failed(Problem),
    Text(String),
}

/// Reads the text of a settings file.
pub(crate) fn read(path: &Arc<PathBuf>) -> FileText {
    let fail = |message: String| FileText::Failed(Problem::new("", message).with_origin(at(path, 1, 1)));
    let mut bytes = Vec::new();
    let result = File::open(path.as_path()).and_then(|file| {
        if file.metadata()?.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)
    });
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => return FileText::Missing,
        Err(error) if error.kind() == ErrorKind::IsADirectory => return fail("is a folder; name a TOML file".into()),
        Err(error) => return fail(format!("cannot be read ({error}); check its permissions")),
        Ok(_) if bytes.len() as u64 > SIZE_LIMIT => {
            return fail(format!("is larger than the {SIZE_LIMIT} bytes of any settings file; is this the right one?"));
        }
        Ok(_) => {}
    }
    match String::from_utf8(bytes) {
        Ok(text) => FileText::Text(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let (line, column) = position(&String::from_utf8_lossy(&bytes[..good]), good);
            let message = format!("is no UTF-8 text (byte {good} is 0x{:02x}); save it as UTF-8", bytes[good]);
            FileText::Failed(Problem::new("", message).with_origin(at(path, line, column)))
        }
    }
}

fn at(path: &Arc<PathBuf>, line: u32, column: u32) -> Origin {
    Origin::File { path: path.clone(), line, column }
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() as u32 + 1, before[start..].chars().count() as u32 + 1)
}

/// Parses the text of `path`; problems go to `problems`, and what is sound into the layer.
pub(crate) fn parse(path: &Arc<PathBuf>, text: &str, problems: &mut Vec<Problem>) -> Layer {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        file: path,
        lines: Lines::new(text),
        broken: BTreeSet::new(),
        problems,
        layer: Layer::new(at(path, 1, 1)),
    };
    for error in errors {
        // The error's own Display quotes the line, and the line may hold a secret: only the message is safe.
        let span = error.span().unwrap_or(0..0);
        let (line, column) = reader.lines.position(span.start);
        let name = text.get(span).filter(|name| error.message().starts_with("duplicate key") && name.len() <= 64);
        let message = match name {
            Some(name) => format!("{name} is set twice; keep one of them"),
            None => format!("is no valid TOML: {}", error.message()),
        };
        // One slip often derails the parser several times in the same line.
        if reader.broken.insert(line) {
            reader.problems.push(Problem::new("", message).with_origin(at(path, line, column)));
        }
    }
    let tree = reader.table(table.get_ref(), &Path::default());
    let mut layer = reader.layer;
    layer.tree = tree;
    layer
}

/// A sound document as a plain tree; `None` when it holds a value that no setting can have.
pub(super) fn plain(table: &Spanned<DeTable<'_>>) -> Option<Value> {
    let mut problems = Vec::new();
    let file = Arc::new(PathBuf::new());
    let lines = Lines::new("");
    let layer = Layer::new(Origin::Default);
    let mut reader = Reader { file: &file, lines, broken: BTreeSet::new(), problems: &mut problems, layer };
    let tree = reader.table(table.get_ref(), &Path::default());
    problems.is_empty().then_some(tree)
}

/// Starts of lines, for many look-ups.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Self { text, starts }
    }

    fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        (line as u32, self.text[start.min(end)..end].chars().count() as u32 + 1)
    }
}

struct Reader<'a> {
    file: &'a Arc<PathBuf>,
    lines: Lines<'a>,
    broken: BTreeSet<u32>,
    problems: &'a mut Vec<Problem>,
    layer: Layer,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &Path) -> Value {
        let mut map = Map::new();
        for (key, value) in table {
            let path = path.child(key.get_ref().as_ref());
            let (line, column) = self.lines.position(key.span().start);
            let origin = at(self.file, line, column);
            self.layer.place(path.clone(), origin.clone());
            let nested = value.get_ref().is_table() || value.get_ref().is_array();
            if !nested && self.broken.contains(&line) {
                continue;
            }
            if let Some(value) = self.value(value, &path, &origin) {
                map.insert(key.get_ref().to_string(), value);
            }
        }
        Value::Object(map)
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &Path, origin: &Origin) -> Option<Value> {
        Some(match value.get_ref() {
            DeValue::String(text) => Value::from(text.as_ref()),
            DeValue::Boolean(flag) => Value::from(*flag),
            // Settings have no type for dates; as text they may still serve.
            DeValue::Datetime(date) => Value::from(date.to_string()),
            DeValue::Integer(integer) => match whole(integer.as_str(), integer.radix()) {
                Some(number) => Value::Number(number),
                None => return self.refuse(path, origin, integer.as_str(), "is too large for any setting"),
            },
            DeValue::Float(float) => {
                match float.as_str().replace('_', "").parse::<f64>().ok().and_then(Number::from_f64) {
                    Some(number) => Value::Number(number),
                    None => return self.refuse(path, origin, float.as_str(), "must be a finite number"),
                }
            }
            DeValue::Array(list) => {
                let mut items = Vec::new();
                let mut whole = true;
                for (index, item) in list.iter().enumerate() {
                    let path = path.child(index.to_string());
                    let (line, column) = self.lines.position(item.span().start);
                    let origin = at(self.file, line, column);
                    self.layer.place(path.clone(), origin.clone());
                    whole &= !self.broken.contains(&line);
                    match self.value(item, &path, &origin) {
                        Some(item) => items.push(item),
                        None => whole = false,
                    }
                }
                // A list with a hole would put its items at wrong positions.
                if !whole {
                    return None;
                }
                Value::Array(items)
            }
            DeValue::Table(table) => self.table(table, path),
        })
    }

    fn refuse(&mut self, path: &Path, origin: &Origin, text: &str, why: &str) -> Option<Value> {
        self.problems.push(Problem::new(path.to_string(), why).with_value(text).with_origin(origin.clone()));
        None
    }
}

fn whole(text: &str, radix: u32) -> Option<Number> {
    let digits = text.replace('_', "");
    i64::from_str_radix(&digits, radix)
        .map(Number::from)
        .or_else(|_| u64::from_str_radix(&digits, radix).map(Number::from))
        .ok()
}
