//! How many packages each of ours brings along, with default features and nothing else of ours asking for more.
//!
//! Counted by `cargo tree`, one package at a time: in the whole workspace they would lend each other features.

use std::collections::BTreeSet;
use std::path::Path;

use super::Finding;
use crate::error::{Context, Failure, Result};
use crate::workspace::{self, Metadata};

/// A package that somebody takes alone.
const SUBSYSTEM: usize = 40;
/// The lanes and manners: governor and backoff, which the pace and retries stand on, bring eighteen along.
const SCHEDULER: usize = 64;
/// The limits, which stand on governor.
const LIMIT: usize = 44;
/// The assembled system.
const FACADE: usize = 150;

/// How many packages one of ours brings along.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: String,
    pub(crate) packages: usize,
    /// None where the design sets none.
    pub(crate) budget: Option<usize>,
}

/// The budget of a package.
fn budget(name: &str) -> Option<usize> {
    match name {
        "trimtab" => Some(FACADE),
        "trimtab-scheduler" => Some(SCHEDULER),
        "trimtab-limit" => Some(LIMIT),
        // The ground is used lean, and its lean part counts in each subsystem's own budget. A router to mount brings
        // a web framework along, and a program everything.
        "trimtab-config" | "trimtab-admin" | "trimtab-server" | "xtask" => None,
        _ => Some(SUBSYSTEM),
    }
}

/// Counts for each of our packages.
///
/// # Errors
/// When cargo cannot resolve the workspace.
pub(crate) fn measure(root: &Path, metadata: &Metadata) -> Result<Vec<Tree>> {
    let count = |name: &str| {
        let output = workspace::cargo(root)
            .args(["tree", "--locked", "--quiet", "--package", name, "--edges", "normal"])
            .args(["--prefix", "none", "--no-dedupe", "--format", "{p}"])
            .output()
            .while_trying(|| "start `cargo tree`".into())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("`cargo tree -p {name}` failed: {}", said.trim_end())));
        }
        Ok(count(&String::from_utf8_lossy(&output.stdout)))
    };
    let members = metadata.members().into_iter();
    members.map(|p| Ok(Tree { name: p.name.clone(), packages: count(&p.name)?, budget: budget(&p.name) })).collect()
}

/// The packages in a tree, without its root.
fn count(tree: &str) -> usize {
    let packages: BTreeSet<&str> = tree.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    packages.len().saturating_sub(1)
}

/// Trees over their budget.
pub(crate) fn check(trees: &[Tree]) -> Vec<Finding> {
    let over = trees.iter().filter(|tree| tree.budget.is_some_and(|budget| tree.packages > budget));
    over.map(|tree| {
        Finding::new(
            "budget",
            tree.name.clone(),
            format!("brings {} packages along; the budget is {}", tree.packages, tree.budget.unwrap_or_default()),
            "`cargo tree -e normal -p` shows whence; put what few need behind a feature",
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_comes_twice_is_counted_once_and_two_versions_twice() {
        let tree = "trimtab-cache v0.1.0 (/r/cache)\nserde v1.0.1\nsyn v2.0.0\nserde v1.0.1\nsyn v1.0.0\n\n";
        assert_eq!(count(tree), 3);
        assert_eq!(count("alone v0.1.0\n"), 0);
    }

    #[test]
    fn a_tree_over_its_budget_is_found() {
        let tree = |name: &str, packages| Tree { name: name.into(), packages, budget: budget(name) };
        assert!(check(&[tree("trimtab-cache", 40), tree("trimtab", 150), tree("xtask", 999)]).is_empty());
        let found = check(&[tree("trimtab-cache", 41), tree("trimtab", 151)]);
        assert_eq!(found.len(), 2);
        assert!(found[0].found.contains("41 packages along; the budget is 40"));
    }
}
