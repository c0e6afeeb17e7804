//! `cargo xtask tidy`: what a reviewer would otherwise have to remember.
//!
//! [`rules`] looks at single files, [`links`] at Markdown, [`packages`] at manifests, [`licences`] and [`budgets`] at
//! what we build with. Each finding has a place, what is wrong there, and a remedy. All are reported, not the first.

mod budgets;
mod licences;
mod links;
mod mask;
mod packages;
mod rules;
mod source;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use clap::Args;

use self::budgets::Tree;
use self::source::Source;
use crate::error::{Context, Failure, Result};
use crate::workspace::Metadata;

/// How to report.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print, besides, the lines of each package and how many packages it brings along
    #[arg(long)]
    report: bool,
}

/// Something that is not as it should be.
#[derive(Debug)]
pub(crate) struct Finding {
    rule: &'static str,
    /// `file:line`, or a file or package alone.
    place: String,
    found: String,
    remedy: &'static str,
    /// Only mentioned.
    note: bool,
}

impl Finding {
    fn new(rule: &'static str, place: String, found: impl Into<String>, remedy: &'static str) -> Self {
        Self { rule, place, found: found.into(), remedy, note: false }
    }
}

/// `cargo xtask tidy`.
///
/// # Errors
/// When anything was found that is more than a note.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let sources = sources(root)?;
    // Also the check that Cargo.lock is in step.
    let metadata = Metadata::load(root)?;
    let trees = budgets::measure(root, &metadata)?;
    let deny = std::fs::read_to_string(root.join("deny.toml")).while_trying(|| "read deny.toml".into())?;

    let mut findings = in_files(&sources);
    findings.extend(links::check(&sources, |path| root.join(path).exists()).into_iter().map(|broken| {
        let place = format!("{}:{}", broken.path, broken.line + 1);
        Finding::new("link", place, broken.what, "mend the link, or write what it promises")
    }));
    findings.extend(packages::check(root, &metadata, &sources));
    findings.extend(licences::check(&metadata, &licences::allowed(&deny)).into_iter().map(|found| {
        Finding::new(
            "licence",
            "Cargo.lock".into(),
            found,
            "do without the package; or allow it in deny.toml, and say why",
        )
    }));
    findings.extend(budgets::check(&trees));

    for finding in &findings {
        let word = if finding.note { "note: " } else { "" };
        println!("{}: {word}{}: {}\n  remedy: {}", finding.place, finding.rule, finding.found, finding.remedy);
    }
    if arguments.report {
        println!("\n{}", report(root, &metadata, &sources, &trees));
    }
    let notes = findings.iter().filter(|finding| finding.note).count();
    let failures = findings.len() - notes;
    println!(
        "tidy: {} files, {} packages: {failures} to mend, {notes} to note",
        sources.len(),
        metadata.packages.len()
    );
    if failures == 0 { Ok(()) } else { Err(Failure::new(format!("{failures} to mend"))) }
}

fn in_files(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for rule in rules::RULES {
            findings.extend((rule.look)(source).into_iter().map(|(line, found)| Finding {
                rule: rule.name,
                place: format!("{}:{}", source.path, line + 1),
                found,
                remedy: rule.remedy,
                note: rule.note,
            }));
        }
    }
    let remedy = "remove the row from UNSAFE";
    let stale = rules::stale_unsafe(sources).into_iter();
    findings.extend(stale.map(|row| Finding::new("unsafe", "xtask/src/tidy/rules.rs".into(), row, remedy)));
    findings
}

/// Every text file that is checked in or about to be.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
        .output()
        .while_trying(|| "start git to list the files".into())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("git cannot list the files of {}: {}", root.display(), said.trim_end())));
    }
    let list = String::from_utf8_lossy(&output.stdout);
    let ours = list.split('\0').filter(|path| !path.is_empty() && *path != "Cargo.lock" && Source::is_ours(path));
    // What is no text, or was deleted but not yet from the index, is no business of these rules.
    Ok(ours.filter_map(|path| Some(Source::new(path, std::fs::read_to_string(root.join(path)).ok()?))).collect())
}

/// Lines of each package, and how many packages it brings along.
fn report(root: &Path, metadata: &Metadata, sources: &[Source], trees: &[Tree]) -> String {
    /// What a package is made of.
    #[derive(Default)]
    struct Size {
        files: usize,
        lines: usize,
        tests: usize,
        longest: (usize, String),
    }
    let folders: Vec<_> = metadata
        .members()
        .into_iter()
        .filter_map(|p| Some((p.name.as_str(), p.folder().strip_prefix(root).ok()?)))
        .collect();
    let mut sizes: BTreeMap<&str, Size> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        // Packages nest: a file belongs to the deepest.
        let inside = folders.iter().filter(|(_, folder)| Path::new(&source.path).starts_with(folder));
        let owner = inside.max_by_key(|(_, folder)| folder.components().count()).map_or("(none)", |(name, _)| name);
        let size = sizes.entry(owner).or_default();
        let lines = source.text.lines().count();
        size.files += 1;
        size.lines += lines;
        size.tests += (0..lines).filter(|line| source.is_test(*line)).count();
        size.longest = std::mem::take(&mut size.longest).max((lines, source.path.clone()));
    }
    let mut text = format!(
        "{:<18} {:>6} {:>7} {:>7} {:>9} {:>7}  longest file\n",
        "package", "files", "lines", "tests", "packages", "budget"
    );
    for (name, size) in &sizes {
        let tree = trees.iter().find(|tree| tree.name == *name);
        let packages = tree.map_or_else(String::new, |tree| tree.packages.to_string());
        let budget = tree.and_then(|tree| tree.budget).map_or_else(String::new, |budget| budget.to_string());
        let Size { files, lines, tests, longest: (longest, path) } = size;
        // Writing into a string cannot fail.
        let _ =
            writeln!(text, "{name:<18} {files:>6} {lines:>7} {tests:>7} {packages:>9} {budget:>7}  {path} ({longest})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_line_and_remedy() {
        let sources = [Source::new("cache/src/a.rs", "//! A.\nlet a = 1; \n".into())];
        let findings = in_files(&sources);
        let found = findings.iter().find(|finding| finding.rule == "trailing-space").unwrap();
        assert_eq!(found.place, "cache/src/a.rs:2");
        assert_eq!(found.remedy, "remove it");
    }
}
