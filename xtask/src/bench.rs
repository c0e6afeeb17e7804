//! `cargo xtask bench`: hands everything over to the benchmark program.
//!
//! The peers that it measures against are heavy, so the benchmarks are a workspace of their own in `xtask/bench` that
//! a normal build never sees. This file only starts it, in release mode, and passes its exit code on.

use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::error::{Failure, Result};
use crate::workspace;

/// Runs the benchmarks with these arguments: becomes them, so that signals and exit code are theirs.
///
/// # Errors
/// When there are no benchmarks, or cargo cannot be started; else it does not return.
pub(crate) fn run(root: &Path, args: &[String]) -> Result {
    let manifest = root.join("xtask/bench/Cargo.toml");
    if !manifest.exists() {
        return Err(Failure::new(format!("there are no benchmarks: {} does not exist", manifest.display())));
    }
    let error = workspace::cargo(root)
        .args(["run", "--release", "--quiet", "--bin", "bench", "--manifest-path"])
        .arg(&manifest)
        .arg("--")
        .args(args)
        .exec();
    Err(Failure::new(format!("cannot start cargo: {error}")))
}
