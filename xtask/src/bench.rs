//! `cargo xtask bench`: hands everything over to the benchmark program.
//!
//! The peers that it measures against are heavy, so the benchmarks are a workspace of their own in `xtask/bench` that
//! a normal build never sees. This file only starts it, in release mode, and passes its exit code on.

use std::path::Path;

use crate::error::{Context, Failure, Result};
use crate::workspace;

/// Runs the benchmarks with these arguments.
///
/// # Errors
/// When the program cannot be built, or ends with anything but 0: its code is kept.
pub(crate) fn run(root: &Path, args: &[String]) -> Result {
    let manifest = root.join("xtask/bench/Cargo.toml");
    if !manifest.exists() {
        return Err(Failure::new(format!("there are no benchmarks: {} does not exist", manifest.display())));
    }
    let status = workspace::cargo(root)
        .args(["run", "--release", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--")
        .args(args)
        .status()
        .while_trying(|| "start cargo".into())?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::new("the benchmark did not succeed").with_code(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::new(format!("the benchmark was stopped: {status}"))),
    }
}
