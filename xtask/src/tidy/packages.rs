//! What every package of the workspace owes: a description, a README, the shared lints, a promise about `unsafe`.

use std::path::Path;

use super::Finding;
use super::source::{Source, words};
use crate::workspace::{Metadata, Package};

/// Whoever meets these packages alone does not need a page of theirs.
const WITHOUT_README: &[&str] = &["xtask"];

/// The texts that `MIT OR Apache-2.0` promises.
const LICENCE_TEXTS: &[&str] = &["LICENSE-MIT", "LICENSE-APACHE"];

/// Looks at manifests, and at what must stand beside them.
pub(crate) fn check(root: &Path, metadata: &Metadata, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in LICENCE_TEXTS.iter().filter(|text| !root.join(text).is_file()) {
        findings.push(Finding::new(
            "licence-text",
            (*text).to_owned(),
            "is missing",
            "add the full text of the licence",
        ));
    }
    for package in metadata.members() {
        let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
        let text = std::fs::read_to_string(&package.manifest_path).unwrap_or_default();
        let has_readme = package.folder().join("README.md").is_file();
        for (rule, found, remedy) in owed(package, &text, has_readme) {
            findings.push(Finding::new(rule, manifest.display().to_string(), found, remedy));
        }
        findings.extend(promise(root, package, sources));
    }
    findings
}

/// What a manifest lacks: rule, finding, remedy.
fn owed(package: &Package, manifest: &str, has_readme: bool) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut owed = Vec::new();
    if package.description.as_deref().unwrap_or("").trim().is_empty() {
        owed.push(("description", "has no description", "say in one line what the package is for"));
    }
    if package.license.is_none() {
        owed.push(("licence", "names no licence", "write `license.workspace = true`"));
    }
    if !has_readme && !WITHOUT_README.contains(&package.name.as_str()) {
        owed.push((
            "readme",
            "has no README.md beside it",
            "write one: what it is for, the line to add, 15 lines that run",
        ));
    }
    if !inherits_lints(manifest) {
        owed.push(("lints", "does not take the workspace's lints", "write `[lints]` and below it `workspace = true`"));
    }
    owed
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    let mut section = lines.by_ref().take_while(|line| !line.starts_with('['));
    section.any(|line| line.replace(' ', "") == "workspace=true")
}

/// A package without unsafe code says so, and the compiler holds it to that.
fn promise(root: &Path, package: &Package, sources: &[Source]) -> Option<Finding> {
    let folder = package.folder().strip_prefix(root).ok()?.join("src");
    let inside: Vec<_> = sources.iter().filter(|s| s.is_rust() && Path::new(&s.path).starts_with(&folder)).collect();
    let uses_it = inside.iter().any(|s| words(&s.code).any(|(_, word)| word == "unsafe"));
    let root_file = inside
        .iter()
        .find(|s| Path::new(&s.path) == folder.join("lib.rs"))
        .or_else(|| inside.iter().find(|s| Path::new(&s.path) == folder.join("main.rs")))?;
    let promises = root_file.code.contains("#![forbid(unsafe_code)]");
    (!uses_it && !promises).then(|| {
        Finding::new(
            "forbid-unsafe",
            format!("{}:1", root_file.path),
            "the package holds no unsafe code and does not promise it",
            "write `#![forbid(unsafe_code)]`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(description: Option<&str>) -> Package {
        serde_json::from_value(serde_json::json!({
            "name": "trimtab-cache", "version": "0.1.0", "id": "x", "license": "MIT",
            "manifest_path": "/r/cache/Cargo.toml", "description": description,
        }))
        .unwrap()
    }

    #[test]
    fn a_complete_manifest_owes_nothing() {
        assert_eq!(owed(&package(Some("A cache")), "[lints]\nworkspace = true\n", true), []);
    }

    #[test]
    fn each_thing_that_lacks_is_named() {
        let rules: Vec<_> = owed(&package(None), "[package]\n", false).into_iter().map(|(rule, ..)| rule).collect();
        assert_eq!(rules, ["description", "readme", "lints"]);
    }

    #[test]
    fn lints_of_another_section_do_not_count() {
        assert!(inherits_lints("[package]\n[lints]\n# shared\nworkspace=true"));
        assert!(!inherits_lints("[lints]\n[dependencies.a]\nworkspace = true"));
    }

    #[test]
    fn the_promise_is_wanted_where_it_can_be_given() {
        let found = |lib: &str| {
            let sources = [Source::new("cache/src/lib.rs", lib.into())];
            promise(Path::new("/r"), &package(None), &sources).is_some()
        };
        assert!(found("//! A cache."));
        assert!(!found("#![forbid(unsafe_code)]"));
        assert!(!found("unsafe { f() }"));
        assert!(found("// #![forbid(unsafe_code)]"));
    }
}
