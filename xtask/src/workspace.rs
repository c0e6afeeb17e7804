//! What cargo knows about the workspace: `cargo metadata`, read once and kept as plain structs.
//!
//! Only the fields that a check needs are named; serde skips the rest. That is why there is no dependency on a
//! metadata crate: the format is stable, and this is thirty lines.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{Context, Failure, Result};

/// The answer of `cargo metadata --format-version 1`.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Our packages and everything that they use, for this platform.
    pub(crate) packages: Vec<Package>,
    /// Identifiers of our packages.
    pub(crate) workspace_members: BTreeSet<String>,
}

/// One package, ours or not.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) id: String,
    /// An SPDX expression such as `MIT OR Apache-2.0`.
    #[serde(default)]
    pub(crate) license: Option<String>,
    #[serde(default)]
    pub(crate) license_file: Option<String>,
    #[serde(default)]
    pub(crate) description: Option<String>,
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) dependencies: Vec<Dependency>,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for normal, else `dev` or `build`.
    #[serde(default)]
    pub(crate) kind: Option<String>,
    /// Set for a dependency on a folder of this repository.
    #[serde(default)]
    pub(crate) path: Option<PathBuf>,
}

/// A library, program, test or example of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    /// Asks cargo. `Cargo.lock` must already agree with the manifests.
    ///
    /// # Errors
    /// When cargo refuses, with its own words: a broken manifest, or a lock file that is out of step.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let host = host()?;
        let output = cargo(root)
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host])
            .output()
            .while_trying(|| "start `cargo metadata`".into())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!(
                "`cargo metadata --locked` failed; if Cargo.lock is out of step, run any cargo command without --locked and commit it\n{}",
                said.trim_end()
            )));
        }
        serde_json::from_slice(&output.stdout).while_trying(|| "read the answer of `cargo metadata`".into())
    }

    /// Our packages, sorted by name.
    pub(crate) fn members(&self) -> Vec<&Package> {
        let mut members: Vec<_> = self.packages.iter().filter(|p| self.workspace_members.contains(&p.id)).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }
}

impl Package {
    /// The folder of the package.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }

    /// True when others can depend on it.
    pub(crate) fn is_library(&self) -> bool {
        self.targets.iter().any(|t| t.kind.iter().any(|k| k == "lib" || k == "rlib" || k == "proc-macro"))
    }
}

/// The folder with the root `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    // Set by `cargo run`; the compiled-in value serves when the program is started by its path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .filter(|folder| folder.ends_with("xtask"))
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Where build products and the state of hand-started services go.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// A cargo command of the same toolchain, at the root of the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What `cargo run` tells this program about itself must not reach the packages it builds.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The platform that the compiler builds for by default.
fn host() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .output()
        .while_trying(|| "start `rustc -vV`".into())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .ok_or_else(|| Failure::new("`rustc -vV` named no host; is the toolchain installed?"))
}
