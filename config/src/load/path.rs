//! Dotted paths of settings: `cache.users.max_bytes`, with quotes around a segment that is no bare TOML key.

use std::fmt;

/// Deeper than any settings type; keeps recursion over trees within the stack.
pub(crate) const DEPTH_LIMIT: usize = 32;

/// The segments of a path; list items are numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(pub(crate) Vec<String>);

impl Path {
    pub(crate) fn child(&self, segment: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.0.push(segment.into());
        path
    }

    pub(crate) fn of(segments: &[String]) -> Self {
        Self(segments.to_vec())
    }

    /// Reads `a.b."c.d"`; the error says what is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, tail) = if let Some(quoted) = rest.strip_prefix('"') {
                read_quoted(quoted)?
            } else {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            };
            if segment.is_empty() && !rest.starts_with('"') {
                return Err("a path needs a name on each side of a dot".into());
            }
            segments.push(segment);
            if segments.len() > DEPTH_LIMIT {
                return Err(format!("a path has at most {DEPTH_LIMIT} segments"));
            }
            rest = match tail.strip_prefix('.') {
                Some(tail) => tail,
                None if tail.is_empty() => return Ok(Self(segments)),
                None => return Err("after a closing quote only a dot may follow".into()),
            };
        }
    }

    /// Whether the path fits a pattern whose `*` stands for one segment, or lies below it.
    pub(crate) fn matches(&self, pattern: &Self) -> bool {
        self.0.len() >= pattern.0.len() && pattern.0.iter().zip(&self.0).all(|(wish, have)| wish == "*" || wish == have)
    }

    pub(crate) fn starts_with(&self, prefix: &Self) -> bool {
        self.0.starts_with(&prefix.0)
    }
}

fn read_quoted(text: &str) -> Result<(String, &str), String> {
    let mut segment = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((segment, &text[index + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => segment.push(c),
                _ => return Err("a backslash in quotes goes before a quote or a backslash".into()),
            },
            c => segment.push(c),
        }
    }
    Err("a quote is not closed".into())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            let bare = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '*');
            if !segment.is_empty() && segment.chars().all(bare) {
                write!(f, "{dot}{segment}")?;
            } else {
                write!(f, "{dot}\"{}\"", segment.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(segments: &[&str]) -> Path {
        Path(segments.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn odd_segments_are_quoted() {
        for segments in [&["a", "b-c"][..], &["hosts", "example.com", "x"], &["a\"b\\c", ""]] {
            let path = path(segments);
            assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }
        assert_eq!(path(&["hosts", "a.b"]).to_string(), "hosts.\"a.b\"");
    }

    #[test]
    fn malformed_paths_are_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"\\x\"", &"a.".repeat(40)] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_star_matches_one_segment_and_all_below() {
        let pattern = path(&["server", "*"]);
        assert!(path(&["server", "bind"]).matches(&pattern));
        assert!(path(&["server", "tls", "key"]).matches(&pattern));
        assert!(!path(&["server"]).matches(&pattern));
        assert!(!path(&["cache", "users"]).matches(&pattern));
    }
}
