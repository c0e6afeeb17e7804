//! Columns of text, separated by comma, tab or semicolon (RFC 4180: quoted fields may hold separators, doubled quotes
//! and line ends).
//!
//! The key column is the first one, or the one named `key`, unless chosen. A first row is taken for a header when the
//! chosen columns are named, when it holds the name of a usual key column, or when it holds no number where the row
//! after it holds one.

use std::io::BufRead;

use super::lines::{LINE_MAX, Line, Lines, shortened};
use super::{Reading, SimulateError};

/// Names under which the key column is usually found.
const KEY_NAMES: [&str; 6] = ["key", "id", "obj_id", "object_id", "url", "path"];
/// Names under which the size column is usually found.
const SIZE_NAMES: [&str; 5] = ["size", "bytes", "obj_size", "object_size", "length"];

pub(super) fn read(reading: &mut Reading<'_>, input: &mut dyn BufRead) -> Result<String, SimulateError> {
    let mut rows =
        Rows { lines: Lines::new(input), delimiter: None, record: String::new(), fields: Vec::new(), started: 0 };
    if !rows.advance(reading)? {
        return Ok("CSV".to_owned());
    }
    let first = std::mem::take(&mut rows.fields);
    let first_line = rows.started;
    let more = rows.advance(reading)?;
    let columns = Columns::choose(reading, &first, if more { Some(&rows.fields) } else { None })?;
    let understood = columns.understood(&first);
    if columns.header || columns.take(reading, &first, first_line)? {
        let mut more = more;
        while more && columns.take(reading, &rows.fields, rows.started)? {
            more = rows.advance(reading)?;
        }
    }
    Ok(understood)
}

/// The separator that a line uses, if any.
pub(super) fn delimiter(line: &str) -> Option<u8> {
    let count = |byte: u8| line.bytes().filter(|other| *other == byte).count();
    [b',', b'\t', b';'].into_iter().max_by_key(|byte| count(*byte)).filter(|byte| count(*byte) > 0)
}

/// Which columns are read.
struct Columns {
    key: usize,
    size: Option<usize>,
    header: bool,
}

impl Columns {
    fn choose(reading: &Reading<'_>, first: &[String], second: Option<&Vec<String>>) -> Result<Self, SimulateError> {
        let named = |names: &[&str]| {
            first.iter().position(|field| names.iter().any(|name| field.trim().eq_ignore_ascii_case(name)))
        };
        let number = |field: &String| field.trim().parse::<f64>().is_ok();
        let options = reading.options;
        let key = options.column.as_deref().map(|column| find(reading, "--column", column, first)).transpose()?;
        let size = match &options.size_column {
            Some(column) => Some(find(reading, "--size-column", column, first)?),
            None if options.sizes => {
                Some(named(&SIZE_NAMES).map(|at| (at, true)).ok_or_else(|| SimulateError::Option {
                    option: "--sizes",
                    value: reading.name.to_owned(),
                    what: "no column of this CSV is known to hold sizes".to_owned(),
                    remedy: "name one with --size-column".to_owned(),
                })?)
            }
            None => None,
        };
        let by_name = [key, size].iter().flatten().any(|(_, by_name)| *by_name);
        let header = by_name
            || named(&KEY_NAMES).is_some()
            || (!first.iter().any(number) && second.is_some_and(|fields| fields.iter().any(number)));
        let key = key.map_or_else(|| named(&KEY_NAMES[..1]).unwrap_or(0), |(at, _)| at);
        Ok(Self { key, size: size.map(|(at, _)| at), header })
    }

    /// For the head of the report: what was taken for what.
    fn understood(&self, first: &[String]) -> String {
        let column = |at: usize| match first.get(at) {
            Some(name) if self.header => format!("column {} ({})", at + 1, shortened(name.trim())),
            _ => format!("column {}", at + 1),
        };
        let size = self.size.map_or_else(String::new, |at| format!(", size = {}", column(at)));
        format!("CSV {} header, key = {}{size}", if self.header { "with" } else { "without" }, column(self.key))
    }

    /// Records a row; `false` when the limit is reached.
    fn take(&self, reading: &mut Reading<'_>, fields: &[String], line: u64) -> Result<bool, SimulateError> {
        let short = |at: usize| format!("{} columns, but column {} is wanted", fields.len(), at + 1);
        let Some(key) = fields.get(self.key) else {
            reading.bad_line(line, short(self.key))?;
            return Ok(true);
        };
        let size = match self.size.map(|at| fields.get(at).ok_or(at)) {
            None => 0,
            Some(Err(at)) => {
                reading.bad_line(line, short(at))?;
                return Ok(true);
            }
            Some(Ok(size)) => {
                let Ok(bytes) = size.trim().parse() else {
                    let what = format!("the size {:?} is no whole number", shortened(size));
                    reading.bad_line(line, what)?;
                    return Ok(true);
                };
                bytes
            }
        };
        Ok(reading.out.text(key.as_str(), size).is_continue())
    }
}

/// A column by number from 1, or by name; with whether it was found by name.
fn find(
    reading: &Reading<'_>,
    option: &'static str,
    column: &str,
    first: &[String],
) -> Result<(usize, bool), SimulateError> {
    if let Some(at) = first.iter().position(|field| field.trim() == column) {
        // A name that is itself a number only counts as a name when no column has that number.
        if column.parse::<usize>().is_err() {
            return Ok((at, true));
        }
    }
    match column.parse::<usize>() {
        Ok(number) if (1..=first.len()).contains(&number) => Ok((number - 1, false)),
        _ => Err(SimulateError::Option {
            option,
            value: column.to_owned(),
            what: format!("{:?} has no such column", reading.name),
            remedy: format!(
                "use a number from 1 to {}, or a name of its first row: {}",
                first.len(),
                first.iter().take(12).map(|name| shortened(name.trim())).collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}

/// Rows of a CSV, read into the same fields again and again.
struct Rows<'a> {
    lines: Lines<'a>,
    delimiter: Option<u8>,
    record: String,
    fields: Vec<String>,
    /// Line at which the present row starts.
    started: u64,
}

impl Rows<'_> {
    /// Reads the next row that is not empty; `false` at the end.
    fn advance(&mut self, reading: &mut Reading<'_>) -> Result<bool, SimulateError> {
        self.record.clear();
        loop {
            let number = self.lines.number() + 1;
            if self.record.is_empty() {
                self.started = number;
            }
            let line = match self.lines.next().map_err(|error| reading.broken(format!("line {number}"), &error))? {
                None if self.record.is_empty() => return Ok(false),
                None => {
                    reading.bad_line(self.started, "a quoted field is never closed")?;
                    return Ok(false);
                }
                Some(Line::Bad(what)) => {
                    reading.bad_line(number, what)?;
                    continue;
                }
                Some(Line::Text(line)) => line,
            };
            if self.record.is_empty() && line.trim().is_empty() {
                continue;
            }
            self.record.push_str(line);
            let delimiter = *self.delimiter.get_or_insert_with(|| delimiter(&self.record).unwrap_or(b','));
            match split(&self.record, delimiter, &mut self.fields) {
                Split::Whole => return Ok(true),
                Split::Open if self.record.len() < LINE_MAX => self.record.push('\n'),
                Split::Open => {
                    reading.bad_line(self.started, format!("a quoted field is not closed within {LINE_MAX} bytes"))?;
                    self.record.clear();
                }
                Split::Wrong(what) => {
                    reading.bad_line(self.started, what)?;
                    self.record.clear();
                }
            }
        }
    }
}

/// How a record came apart.
enum Split {
    Whole,
    /// A quoted field goes on in the next line.
    Open,
    Wrong(String),
}

/// Splits a record into fields, whose strings are used again.
fn split(record: &str, delimiter: u8, fields: &mut Vec<String>) -> Split {
    let delimiter = char::from(delimiter);
    let (mut count, mut rest) = (0, record);
    loop {
        if fields.len() == count {
            fields.push(String::new());
        }
        let field = &mut fields[count];
        field.clear();
        count += 1;
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let Some((piece, after)) = rest.split_once('"') else {
                    return Split::Open;
                };
                field.push_str(piece);
                rest = after;
                match rest.strip_prefix('"') {
                    Some(after) => {
                        field.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
            match rest.strip_prefix(delimiter) {
                Some(after) => rest = after,
                None if rest.trim().is_empty() => break,
                None => {
                    return Split::Wrong(format!("{:?} follows the closing quote of column {count}", shortened(rest)));
                }
            }
        } else if let Some((piece, after)) = rest.split_once(delimiter) {
            field.push_str(piece);
            rest = after;
        } else {
            field.push_str(rest);
            break;
        }
    }
    fields.truncate(count);
    Split::Whole
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options, read_str};

    fn with(column: Option<&str>, size: Option<&str>) -> Options {
        Options {
            column: column.map(Into::into),
            size_column: size.map(Into::into),
            sizes: size.is_some(),
            lenient: false,
        }
    }

    #[test]
    fn first_column_is_the_key_and_numbers_need_no_header() {
        let trace = read_str(Format::Csv, "5,a\n6,b\n5,c\n", &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
        assert_eq!(trace.origin, "CSV without header, key = column 1");
    }

    #[test]
    fn header_is_found_and_columns_chosen_by_name_or_number() {
        let content = "time;key;size\n1;a;10\n2;b;20\n3;a;10\n";
        let trace = read_str(Format::Csv, content, &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
        assert_eq!(trace.origin, "CSV with header, key = column 2 (key)");
        let trace = read_str(Format::Csv, content, &with(Some("time"), Some("3"))).unwrap();
        assert_eq!(trace.requests, [0, 1, 2]);
        assert_eq!(trace.sizes.as_deref(), Some(&[10, 20, 10][..]));
        let sizes = Options { sizes: true, ..Options::default() };
        assert_eq!(read_str(Format::Csv, content, &sizes).unwrap().sizes.as_deref(), Some(&[10, 20, 10][..]));
    }

    #[test]
    fn quoted_fields_hold_separators_quotes_and_line_ends() {
        let content = "\"a,\"\"b\",1\n\"x\ny\",2\n\"a,\"\"b\",3\n";
        let trace = read_str(Format::Csv, content, &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
    }

    #[test]
    fn wrong_rows_name_line_and_column() {
        for (content, part) in
            [("1,2\n\"a\"b,2\n", "line 2"), ("1,2\n\"a,2\n", "never closed"), ("1,2\n\"a,2\n\n3", "line 2")]
        {
            let error = read_str(Format::Csv, content, &Options::default()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let error = read_str(Format::Csv, "1,2\n3\n", &with(Some("2"), None)).unwrap_err();
        assert!(error.contains("line 2") && error.contains("1 columns, but column 2"), "{error}");
        let error = read_str(Format::Csv, "k,size\na,big\n", &with(None, Some("size"))).unwrap_err();
        assert!(error.contains("\"big\" is no whole number"), "{error}");
    }

    #[test]
    fn an_unknown_column_lists_the_known_ones() {
        for column in ["url", "0", "3"] {
            let error = read_str(Format::Csv, "time,key\n1,2\n", &with(Some(column), None)).unwrap_err();
            assert!(error.contains("time, key") && error.contains("1 to 2"), "{error}");
        }
        let error = read_str(Format::Csv, "1,2\n", &Options { sizes: true, ..Options::default() }).unwrap_err();
        assert!(error.contains("--size-column"), "{error}");
    }
}
