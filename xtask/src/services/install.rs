//! Installs what is missing, where that can be done without asking: Debian's `apt-get`, as root or with a password-less
//! `sudo`.
//!
//! One run for all packages, first with the lists the machine has, then once more after `apt-get update`. The packages'
//! own services are kept from starting, since the tests bring up private ones. Where nothing can be installed the
//! caller gets a message with the very command to type, and goes on without.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::find;
use crate::error::{Context, Failure, Result};

/// How often a line of progress is printed when nobody watches a terminal.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The command a person would type.
pub(crate) fn command(packages: &[&str]) -> String {
    format!("sudo apt-get install {}", packages.join(" "))
}

/// Installs these packages.
///
/// # Errors
/// When this is not Debian, when there are no rights, or when apt fails; the message names packages and command.
pub(crate) fn install(packages: &[&str]) -> Result {
    let list = packages.join(", ");
    if find::plain("apt-get").is_none() {
        return Err(Failure::new(format!(
            "there is no apt-get here to install {list}: use this system's own packages"
        )));
    }
    let Some(rights) = rights() else {
        return Err(Failure::new(format!(
            "no right to install {list} (not root, and `sudo -n` wants a password); type: {}",
            command(packages)
        )));
    };
    say(&format!("installing {list} …"));
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    if apt(&rights, &arguments).is_ok() {
        return Ok(());
    }
    say("the package lists may be old or missing: apt-get update …");
    // A foreign source that cannot be reached fails the update, and does not matter if the package comes from another.
    let _ = apt(&rights, &["update"]);
    apt(&rights, &arguments).map_err(|error| {
        Failure::new(format!("could not install {list}; type: {} to see why\n{error}", command(packages)))
    })
}

/// What to put before `apt-get`: nothing for root, `sudo -n` where that works without a password.
fn rights() -> Option<Vec<&'static str>> {
    if rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    let works = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    works.is_ok_and(|status| status.success()).then(|| vec!["sudo", "-n"])
}

/// One run of apt-get with a line of progress; on failure its last words.
fn apt(rights: &[&str], arguments: &[&str]) -> Result {
    let line: Vec<&str> = rights
        .iter()
        .copied()
        // Variables go through `env`, since sudo drops them. The last two keep a package from starting its service.
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "RUNLEVEL=1", "SYSTEMD_OFFLINE=1"])
        .chain(["apt-get", "--option", "DPkg::Lock::Timeout=300", "--option", "Acquire::Retries=3"])
        .chain(arguments.iter().copied())
        .collect();
    let mut child = Command::new(line[0])
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .while_trying(|| "start apt-get".into())?;
    let errors = child.stderr.take();
    let errors = std::thread::spawn(move || {
        errors.map(|pipe| std::io::read_to_string(pipe).unwrap_or_default()).unwrap_or_default()
    });
    let mut tail = VecDeque::new();
    if let Some(output) = child.stdout.take() {
        let mut progress = Progress::new();
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            progress.show(&line);
            if tail.len() == 5 {
                tail.pop_front();
            }
            tail.push_back(line);
        }
    }
    let status = child.wait().while_trying(|| "wait for apt-get".into())?;
    let errors = errors.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    let tail = Vec::from(tail).join("\n");
    Err(Failure::new(format!("apt-get {}: {status}\n{tail}\n{}", arguments.join(" "), errors.trim_end())))
}

/// The last line of a long command: rewritten in place on a terminal, now and then elsewhere.
struct Progress {
    terminal: bool,
    started: Instant,
    last: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self { terminal: std::io::stderr().is_terminal(), started: now, last: now }
    }

    fn show(&mut self, line: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line: String = line.chars().filter(|c| !c.is_control()).take(90).collect();
        if self.terminal {
            eprint!("\r\x1b[2K  {seconds:>3} s  {line}");
            // A terminal that cannot be written to loses a line of progress, nothing more.
            let _ = std::io::stderr().flush();
        } else if self.last.elapsed() >= HEARTBEAT {
            self.last = Instant::now();
            eprintln!("  {seconds:>3} s  {line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }
}

/// A line about what is going on, apart from any output that a program might read.
pub(crate) fn say(line: &str) {
    eprintln!("services: {line}");
}
