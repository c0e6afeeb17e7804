//! A text file of the repository, prepared once for all rules.

use super::mask;

/// Checked in as others made them: no rule of ours applies.
const FOREIGN: &[&str] = &["facade/admin/src/dashboard/uplot."];

/// One file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust the code alone, without comments and literals; empty for other files.
    pub(crate) code: String,
    /// The first line of the unit tests at the end, counted from 0.
    tests_from: usize,
}

impl Source {
    /// Reads nothing itself, so that rules can be tried on snippets.
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = if has_ending(path, "rs") { mask::code_only(&text) } else { String::new() };
        let folder_of_tests = path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"));
        let tests_from = if folder_of_tests { 0 } else { tests_begin(&code) };
        Self { path: path.to_owned(), text, code, tests_from }
    }

    /// True when the rules are for this file.
    pub(crate) fn is_ours(path: &str) -> bool {
        !FOREIGN.iter().any(|foreign| path.starts_with(foreign))
    }

    pub(crate) fn is_rust(&self) -> bool {
        has_ending(&self.path, "rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        has_ending(&self.path, "md")
    }

    pub(crate) fn is_toml(&self) -> bool {
        has_ending(&self.path, "toml")
    }

    /// True for a line (counted from 0) of a test or benchmark.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        line >= self.tests_from
    }

    /// Lines of code with their number, counted from 0.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate()
    }

    /// Lines as they stand, with their number, counted from 0.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate()
    }
}

fn has_ending(path: &str, ending: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, e)| e == ending)
}

/// Unit tests stand last, in `mod tests { … }` behind `#[cfg(test)]`.
fn tests_begin(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    let opens = |at: usize| {
        let next = lines[at + 1..].iter().find(|line| !line.is_empty() && !line.starts_with("#["));
        next.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    (0..lines.len()).find(|&at| lines[at].starts_with("#[cfg(test)]") && opens(at)).unwrap_or(usize::MAX)
}

/// Words of a line of code: identifiers, keywords and numbers, with the byte at which each begins.
pub(crate) fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].find(is_word)?;
        let length = line[start..].find(|c| !is_word(c)).unwrap_or(line.len() - start);
        at = start + length;
        Some((start, &line[start..at]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_begin_at_their_attribute() {
        let source = Source::new("a/src/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n".into());
        assert!(!source.is_test(0));
        assert!(source.is_test(1) && source.is_test(3));
    }

    #[test]
    fn one_helper_for_tests_does_not_turn_the_rest_into_tests() {
        let source = Source::new("a/src/b.rs", "#[cfg(test)]\nfn helper() {}\nfn real() {}\n".into());
        assert!(!source.is_test(2));
    }

    #[test]
    fn files_in_tests_are_tests_from_the_first_line() {
        assert!(Source::new("cache/tests/expiry.rs", "fn a() {}".into()).is_test(0));
        assert!(!Source::new("cache/src/latest.rs", "fn a() {}".into()).is_test(0));
    }

    #[test]
    fn vendored_files_are_not_ours() {
        assert!(!Source::is_ours("facade/admin/src/dashboard/uplot.min.js"));
        assert!(Source::is_ours("facade/admin/src/dashboard/app.js"));
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("use a::b_c{d};").map(|(_, word)| word).collect();
        assert_eq!(found, ["use", "a", "b_c", "d"]);
    }
}
