//! The arrows of the house: which of our packages may use which.
//!
//! The table below is the whole design, including packages that are planned but not built yet. Everything in it that
//! is not allowed is refused, and a package of ours that it does not know is refused too: a new arrow is a decision,
//! and a decision is made in this file and in `docs/decisions`, not in passing.
//!
//! Normal and build dependencies count, and so do dev-dependencies. A test that reaches across the house would tie two
//! crates together just as firmly, only less visibly; what needs both sides is tested in the facade.

use std::path::Path;

use crate::error::{Context, Failure, Result};
use crate::workspace::{Metadata, Package};

const SUBSYSTEMS: &[&str] =
    &["trimtab-cache", "trimtab-limit", "trimtab-lock", "trimtab-monitor", "trimtab-pool", "trimtab-scheduler"];

/// What one package may use.
enum May {
    /// Only these.
    Use(&'static [&'static str]),
    /// These and every subsystem.
    UseSubsystemsAnd(&'static [&'static str]),
    UseAnything,
}

/// The house, from the ground up.
const HOUSE: &[(&str, May)] = &[
    ("trimtab-config", May::Use(&[])),
    ("trimtab-macros", May::Use(&[])),
    ("trimtab-cache", May::Use(&["trimtab-config"])),
    ("trimtab-limit", May::Use(&["trimtab-config"])),
    ("trimtab-lock", May::Use(&["trimtab-config"])),
    ("trimtab-monitor", May::Use(&["trimtab-config"])),
    ("trimtab-pool", May::Use(&["trimtab-config"])),
    ("trimtab-scheduler", May::Use(&["trimtab-config"])),
    ("trimtab-admin", May::UseSubsystemsAnd(&["trimtab-config"])),
    ("trimtab", May::UseSubsystemsAnd(&["trimtab-config", "trimtab-macros", "trimtab-admin"])),
    ("trimtab-server", May::Use(&["trimtab", "trimtab-config"])),
    ("xtask", May::UseAnything),
];

impl May {
    fn allows(&self, name: &str) -> bool {
        match self {
            May::Use(names) => names.contains(&name),
            May::UseSubsystemsAnd(names) => names.contains(&name) || SUBSYSTEMS.contains(&name),
            May::UseAnything => true,
        }
    }

    fn words(&self) -> String {
        match self {
            May::Use([]) => "none of our packages".into(),
            May::Use(names) => names.join(", "),
            May::UseSubsystemsAnd(names) => format!("{}, {}", names.join(", "), SUBSYSTEMS.join(", ")),
            May::UseAnything => "anything".into(),
        }
    }
}

/// `cargo xtask arrows`.
///
/// # Errors
/// When an arrow points where the table does not allow, naming every such arrow.
pub(crate) fn run(root: &Path) -> Result {
    let metadata = Metadata::load(root)?;
    let refused =
        refused(root, &metadata, |package| std::fs::read_to_string(&package.manifest_path).unwrap_or_default());
    let arrows: usize = metadata.members().iter().map(|p| own(&metadata, p).count()).sum();
    if refused.is_empty() {
        println!("arrows: {} packages, {arrows} arrows, all allowed", metadata.workspace_members.len());
        return Ok(());
    }
    for line in &refused {
        println!("{line}\n");
    }
    Err(Failure::new(format!("{} of {arrows} arrows refused", refused.len())))
}

/// Prints the table itself: `cargo xtask arrows --table`.
pub(crate) fn print_table(root: &Path) -> Result {
    for (package, may) in HOUSE {
        println!("{package:<18} may use {}", may.words());
    }
    // Says so when the table has outrun the house.
    let built = Metadata::load(root).while_trying(|| "list the packages".into())?;
    let names: Vec<_> = built.members().iter().map(|p| p.name.as_str()).collect();
    let planned: Vec<_> = HOUSE.iter().map(|(name, _)| *name).filter(|name| !names.contains(name)).collect();
    println!("\nnot built yet: {}", if planned.is_empty() { "none".into() } else { planned.join(", ") });
    Ok(())
}

/// One paragraph for each arrow that is not allowed and each package that the table does not know.
fn refused(root: &Path, metadata: &Metadata, manifest: impl Fn(&Package) -> String) -> Vec<String> {
    let mut refused = Vec::new();
    for package in metadata.members() {
        let place = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path).display();
        let Some((_, may)) = HOUSE.iter().find(|(name, _)| *name == package.name) else {
            refused.push(format!(
                "{place}: package `{}` is not in the table of arrows\n  remedy: add it to HOUSE in xtask/src/arrows.rs and say why in docs/decisions",
                package.name
            ));
            continue;
        };
        let text = manifest(package);
        for (name, kind) in own(metadata, package) {
            if may.allows(name) {
                continue;
            }
            let line = declared(&text, name);
            refused.push(format!(
                "{place}:{line}: {} -> {name} ({kind} dependency) is not allowed\n  allowed: {}\n  remedy: put what both need into trimtab-config, or join them in the facade",
                package.name,
                may.words()
            ));
        }
    }
    refused
}

/// The dependencies of a package on packages of ours, with their kind.
fn own<'a>(metadata: &'a Metadata, package: &'a Package) -> impl Iterator<Item = (&'a str, &'a str)> {
    let members: Vec<_> = metadata.members().iter().map(|p| p.name.as_str()).collect();
    package
        .dependencies
        .iter()
        // A folder of this repository that is no member would otherwise slip through.
        .filter(move |d| d.path.is_some() || members.contains(&d.name.as_str()))
        .map(|d| (d.name.as_str(), d.kind.as_deref().unwrap_or("normal")))
}

/// The line of a manifest where a dependency stands; 1 when it is written in some other way.
fn declared(manifest: &str, name: &str) -> usize {
    let starts = |line: &str| {
        let line = line.trim_start();
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '=']))
            || line.strip_prefix('[').is_some_and(|l| l.ends_with(&format!("dependencies.{name}]")))
    };
    manifest.lines().position(starts).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metadata of packages `(name, [(dependency, kind)])`, as cargo would print it.
    fn house(packages: &[(&str, &[(&str, &str)])]) -> Metadata {
        let list: Vec<_> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<_> = dependencies
                    .iter()
                    .map(|(name, kind)| {
                        let kind = if *kind == "normal" { None } else { Some(kind) };
                        serde_json::json!({"name": name, "kind": kind, "path": format!("/r/{name}"), "req": "^0.1"})
                    })
                    .collect();
                serde_json::json!({
                    "name": name, "version": "0.1.0", "id": format!("path+{name}"),
                    "manifest_path": format!("/r/{name}/Cargo.toml"), "dependencies": dependencies,
                })
            })
            .collect();
        let members: Vec<_> = packages.iter().map(|(name, _)| format!("path+{name}")).collect();
        serde_json::from_value(serde_json::json!({"packages": list, "workspace_members": members})).unwrap()
    }

    #[test]
    fn the_house_of_the_design_is_allowed() {
        let house = house(&[
            ("trimtab-config", &[]),
            ("trimtab-cache", &[("trimtab-config", "normal")]),
            ("trimtab-monitor", &[("trimtab-config", "normal")]),
            (
                "trimtab-admin",
                &[("trimtab-cache", "normal"), ("trimtab-monitor", "normal"), ("trimtab-config", "normal")],
            ),
            ("trimtab", &[("trimtab-admin", "normal"), ("trimtab-cache", "normal"), ("trimtab-macros", "normal")]),
            ("trimtab-server", &[("trimtab", "normal")]),
            ("xtask", &[("trimtab-server", "dev")]),
        ]);
        assert_eq!(refused(Path::new("/r"), &house, |_| String::new()), Vec::<String>::new());
    }

    #[test]
    fn one_subsystem_on_another_is_refused_with_place_and_remedy() {
        let house = house(&[("trimtab-cache", &[("trimtab-monitor", "normal")]), ("trimtab-monitor", &[])]);
        let refused = refused(Path::new("/r"), &house, |_| {
            "[package]\n\n[dependencies]\ntrimtab-monitor.workspace = true\n".into()
        });
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("trimtab-cache/Cargo.toml:4: trimtab-cache -> trimtab-monitor (normal"));
        assert!(refused[0].contains("allowed: trimtab-config\n"), "{}", refused[0]);
    }

    #[test]
    fn a_test_may_not_reach_across_the_house_either() {
        let house = house(&[("trimtab-cache", &[("trimtab", "dev")]), ("trimtab", &[])]);
        assert!(
            refused(Path::new("/r"), &house, |_| String::new())[0]
                .contains("trimtab-cache -> trimtab (dev dependency)")
        );
    }

    #[test]
    fn a_package_nobody_planned_is_refused() {
        let house = house(&[("trimtab-tools", &[])]);
        assert!(refused(Path::new("/r"), &house, |_| String::new())[0].contains("`trimtab-tools` is not in the table"));
    }

    #[test]
    fn a_folder_outside_the_workspace_does_not_slip_through() {
        let house = house(&[("trimtab-cache", &[("cache-helpers", "normal")])]);
        assert!(refused(Path::new("/r"), &house, |_| String::new())[0].contains("trimtab-cache -> cache-helpers"));
    }

    #[test]
    fn every_name_in_the_table_is_known_to_the_table() {
        for (_, may) in HOUSE {
            let (May::Use(names) | May::UseSubsystemsAnd(names)) = may else { continue };
            for name in names.iter().chain(SUBSYSTEMS) {
                assert!(HOUSE.iter().any(|(known, _)| known == name), "{name}");
            }
        }
    }

    #[test]
    fn the_longer_name_is_not_taken_for_the_shorter() {
        let text = "[dependencies]\ntrimtab-cache = \"1\"\ntrimtab = { path = \"..\" }\n";
        assert_eq!(declared(text, "trimtab"), 3);
        assert_eq!(declared("[dependencies.trimtab-cache]\n", "trimtab-cache"), 1);
    }
}
