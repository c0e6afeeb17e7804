//! What can be benchmarked: one entry in [`all`] for each subject.

pub mod cache;
pub mod lock;
pub mod overhead;
pub mod pool;
pub mod scheduler;
pub mod server;

use crate::frame::Subject;

/// Every subject, in the order of `bench list`.
pub fn all() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(cache::CacheSubject::default()),
        Box::new(lock::LockSubject),
        Box::new(overhead::OverheadSubject),
        Box::new(pool::PoolSubject),
        Box::new(scheduler::SchedulerSubject),
        Box::new(server::ServerSubject),
    ]
}

/// Runs this program again as a child that does one thing and prints one line of JSON.
///
/// # Errors
///
/// When the child cannot be started, fails, or prints something else.
pub fn child(arguments: &[&str]) -> Result<serde_json::Value, String> {
    let what = arguments.join(" ");
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = std::process::Command::new(program);
    without_settings(&mut command);
    let output = command
        .arg("__child")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start the child `{what}`: {error}"))?;
    if !output.status.success() {
        return Err(format!("the child `{what}` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or("");
    serde_json::from_str(line)
        .map_err(|error| format!("the child `{what}` printed {line:?}, which is no JSON: {error}"))
}

/// Takes the caller's own settings away from `command`: what is measured runs with its defaults.
pub fn without_settings(command: &mut std::process::Command) {
    let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("TRIMTAB_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// The number under `key` in what a child printed.
///
/// # Errors
///
/// When there is none.
pub fn number(value: &serde_json::Value, key: &str) -> Result<f64, String> {
    value[key].as_f64().ok_or_else(|| format!("the child's answer has no number {key:?}: {value}"))
}
