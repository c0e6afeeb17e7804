//! Licences of everything that we build with, held against the list in `deny.toml`.
//!
//! The list has one home, so that cargo-deny and this check agree. Cargo tells each package's licence as an SPDX
//! expression; this evaluates it: `OR` needs one side, `AND` both, `WITH` names an exception that must be listed with
//! its licence.

use std::collections::BTreeSet;

use crate::workspace::Metadata;

/// Packages whose licence is not allowed, each with what it says.
///
/// Our own packages are left out: whether theirs is right is a question for the manifest rules.
pub(crate) fn check(metadata: &Metadata, allowed: &BTreeSet<String>) -> Vec<String> {
    let mut refused = Vec::new();
    for package in metadata.packages.iter().filter(|p| !metadata.workspace_members.contains(&p.id)) {
        let who = format!("{} {}", package.name, package.version);
        match (&package.license, &package.license_file) {
            (Some(expression), _) => match evaluate(expression, allowed) {
                Ok(true) => {}
                Ok(false) => refused.push(format!("{who}: `{expression}` is not in the list")),
                Err(why) => refused.push(format!("{who}: `{expression}` cannot be read: {why}")),
            },
            (None, Some(file)) => refused.push(format!("{who}: names only a file, {file}")),
            (None, None) => refused.push(format!("{who}: names no licence")),
        }
    }
    refused.sort();
    refused
}

/// The strings of `allow = [ … ]` below `[licenses]`.
pub(crate) fn allowed(deny: &str) -> BTreeSet<String> {
    let lines = deny.lines().skip_while(|line| line.trim() != "[licenses]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    let mut list = BTreeSet::new();
    let mut inside = false;
    for line in section {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        inside |= line.starts_with("allow") && line.contains('[');
        if inside {
            list.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
            inside = !line.ends_with(']');
        }
    }
    list
}

/// True when the expression can be satisfied with these licences.
fn evaluate(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    // Before SPDX a slash meant «or».
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    let answer = reader.either()?;
    match reader.words.first() {
        None => Ok(answer),
        Some(word) => Err(format!("`{word}` was not expected")),
    }
}

struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a BTreeSet<String>,
}

impl Reader<'_> {
    fn either(&mut self) -> Result<bool, String> {
        let mut answer = self.both()?;
        while self.take("OR") {
            // Both sides are read, whatever the first one says.
            answer |= self.both()?;
        }
        Ok(answer)
    }

    fn both(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.take("AND") {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let answer = self.either()?;
            return if self.take(")") { Ok(answer) } else { Err("a bracket is not closed".into()) };
        }
        let [name, rest @ ..] = self.words else { return Err("it ends too early".into()) };
        if ["OR", "AND", "WITH", ")"].contains(name) {
            return Err(format!("`{name}` stands where a licence should"));
        }
        self.words = rest;
        if !self.take("WITH") {
            return Ok(self.allowed.contains(*name));
        }
        let [exception, rest @ ..] = self.words else { return Err("WITH names no exception".into()) };
        self.words = rest;
        Ok(self.allowed.contains(&format!("{name} WITH {exception}")))
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.words.first() == Some(&word);
        if there {
            self.words = &self.words[1..];
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(expression: &str) -> Result<bool, String> {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
        evaluate(expression, &allowed.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn one_side_of_or_is_enough_and_and_needs_both() {
        assert_eq!(ok("MIT"), Ok(true));
        assert_eq!(ok("GPL-3.0-only"), Ok(false));
        assert_eq!(ok("GPL-3.0-only OR MIT"), Ok(true));
        assert_eq!(ok("MIT AND GPL-3.0-only"), Ok(false));
        assert_eq!(ok("Unlicense/MIT"), Ok(true));
        assert_eq!(ok("(MIT OR Apache-2.0) AND Unicode-3.0"), Ok(true));
        assert_eq!(ok("GPL-3.0-only OR MIT AND GPL-2.0-only"), Ok(false));
    }

    #[test]
    fn an_exception_counts_only_with_its_licence() {
        assert_eq!(ok("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(ok("MIT WITH LLVM-exception"), Ok(false));
    }

    #[test]
    fn what_is_no_expression_is_refused_not_passed() {
        for broken in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "OR MIT", "MIT WITH"] {
            assert!(ok(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn the_list_is_read_from_its_section_alone() {
        let deny = "[bans]\nallow = [\"no\"]\n[licenses]\n# \"not this\"\nallow = [\n  \"MIT\", # why\n  \"ISC\",\n]\nother = [\"x\"]\n[sources]\n";
        assert_eq!(allowed(deny), ["ISC".to_owned(), "MIT".into()].into());
    }

    #[test]
    fn foreign_packages_are_judged_and_ours_are_not() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "packages": [
                {"name": "ours", "version": "0.1.0", "id": "a", "manifest_path": "/a", "license": "Secret"},
                {"name": "free", "version": "1.0.0", "id": "b", "manifest_path": "/b", "license": "MIT"},
                {"name": "closed", "version": "2.0.0", "id": "c", "manifest_path": "/c", "license": "Secret"},
                {"name": "silent", "version": "3.0.0", "id": "d", "manifest_path": "/d"},
            ],
            "workspace_members": ["a"],
        }))
        .unwrap();
        let refused = check(&metadata, &["MIT".to_owned()].into());
        assert_eq!(refused, ["closed 2.0.0: `Secret` is not in the list", "silent 3.0.0: names no licence"]);
    }
}
