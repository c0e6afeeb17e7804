//! Links in Markdown: the file must exist, and so must the heading after a `#`.
//!
//! Only links inside the repository are followed; a check that needs the network fails for reasons of its own.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::source::Source;

/// A link that leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) path: String,
    /// Counted from 0.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Looks at every link of every Markdown file; `exists` is asked for paths from the root.
pub(crate) fn check(sources: &[Source], exists: impl Fn(&Path) -> bool) -> Vec<Broken> {
    let pages: BTreeMap<PathBuf, Vec<String>> = sources
        .iter()
        .filter(|source| source.is_markdown())
        .map(|source| (PathBuf::from(&source.path), headings(&source.text)))
        .collect();
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.is_markdown()) {
        for (line, target) in links(&source.text) {
            if let Some(what) = wrong(&source.path, &target, &pages, &exists) {
                broken.push(Broken { path: source.path.clone(), line, what });
            }
        }
    }
    broken
}

fn wrong(
    page: &str,
    target: &str,
    pages: &BTreeMap<PathBuf, Vec<String>>,
    exists: &impl Fn(&Path) -> bool,
) -> Option<String> {
    let elsewhere = target.contains("://") || target.starts_with("mailto:") || target.is_empty();
    if elsewhere {
        return None;
    }
    let (file, heading) = target.split_once('#').map_or((target, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() {
        PathBuf::from(page)
    } else {
        let Some(path) = join(page, file) else {
            return Some(format!("`{target}` leads out of the repository"));
        };
        if !exists(&path) {
            return Some(format!("`{target}`: there is no {}", path.display()));
        }
        path
    };
    let (heading, known) = (heading?, pages.get(&path)?);
    (!known.iter().any(|k| k == heading)).then(|| format!("`{target}`: {} has no such heading", path.display()))
}

/// The path of `file` as seen from the folder of `page`; none when it climbs out of the root.
fn join(page: &str, file: &str) -> Option<PathBuf> {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let whole = if let Some(file) = file.strip_prefix('/') { PathBuf::from(file) } else { folder.join(file) };
    let mut path = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir if !path.pop() => return None,
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

/// Lines outside of fenced code, with their number.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The targets of `[text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (at, line) in prose(text) {
        let line = without_code(line);
        for (start, _) in line.match_indices("](") {
            let rest = &line[start + 2..];
            if let Some(end) = rest.find(')') {
                // A title may follow the target.
                let target = rest[..end].split_whitespace().next().unwrap_or("");
                links.push((at, target.trim_matches(['<', '>']).to_owned()));
            }
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|l| l.split_once("]: ")) {
            links.push((at, target.split_whitespace().next().unwrap_or("").to_owned()));
        }
    }
    links
}

/// The line with what stands between backticks blanked out.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "" }).collect::<Vec<_>>().join(" ")
}

/// The anchors of a page's headings, as code hosts make them: lower case, spaces to dashes, no punctuation.
fn headings(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        // The second of two equal headings gets a number.
        let same = anchors.iter().filter(|known| **known == anchor).count();
        if same > 0 {
            anchors.push(format!("{anchor}-{same}"));
        }
        anchors.push(anchor);
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(pages: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = pages.iter().map(|(path, text)| Source::new(path, (*text).into())).collect();
        let exists = |path: &Path| pages.iter().any(|(p, _)| Path::new(p).starts_with(path));
        check(&sources, exists).into_iter().map(|b| format!("{}:{}: {}", b.path, b.line + 1, b.what)).collect()
    }

    #[test]
    fn links_to_files_folders_and_headings_are_followed() {
        let pages = [
            ("README.md", "[a](docs/a.md#two-words) [d](docs) [e](https://example.org/x) [h](#top)\n# Top\n"),
            ("docs/a.md", "# A\n## Two `words`!\n[back](../README.md \"title\") [root](/README.md)\n"),
        ];
        assert_eq!(broken(&pages), Vec::<String>::new());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_with_its_line() {
        let pages = [("docs/a.md", "# A\n\n[b](b.md)\n[c](#none)\n[d](../../out.md)\n[ref]: gone.md\n")];
        assert_eq!(
            broken(&pages),
            [
                "docs/a.md:3: `b.md`: there is no docs/b.md",
                "docs/a.md:4: `#none`: docs/a.md has no such heading",
                "docs/a.md:5: `../../out.md` leads out of the repository",
                "docs/a.md:6: `gone.md`: there is no docs/gone.md",
            ]
        );
    }

    #[test]
    fn code_is_no_link() {
        assert!(broken(&[("a.md", "`[a](b.md)`\n```\n[a](b.md)\n```\n")]).is_empty());
    }

    #[test]
    fn equal_headings_are_numbered() {
        assert_eq!(headings("# A\n# A\n"), ["a", "a-1", "a"]);
    }
}
