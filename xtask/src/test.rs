//! `cargo xtask test`: every test of the workspace, with real Redis, PostgreSQL, PgBouncer and Chromium beside them.
//!
//! It runs plain `cargo test`, documentation examples included, and all features, so that nothing is left out because
//! a feature is off. The output passes through live and is counted by [`tally`]. Tests find the servers by these
//! variables, and skip themselves where one is not set:
//!
//! | variable | value |
//! |---|---|
//! | `XTASK_REDIS_URL`, `XTASK_POSTGRES_URL` | address with password of a private server |
//! | `XTASK_CHROMIUM`, `XTASK_CHROMEDRIVER` | path of the browser, and of the driver that fits it |
//! | `XTASK_PGBOUNCER` | path of the pooler, which a test puts before the PostgreSQL |
//! | `XTASK_SKIPS` | file to which a test that cannot run appends `name: reason` |
//! | `XTASK_PROGRAM` | path of this program, for tests that start a private server and hurt it |

mod tally;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group};

use self::tally::Tally;
use crate::error::{Context, Failure, Result};
use crate::interrupt::Interrupt;
use crate::services::need::Need;
use crate::services::session::Session;
use crate::workspace;

/// How long output may still come after cargo has ended: longer means a test left a process behind.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What to test, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Test only this package; may be given several times
    #[arg(short, long, value_name = "NAME")]
    package: Vec<String>,
    /// Use only what is on this machine
    #[arg(long)]
    no_install: bool,
    /// Start no servers; tests that need one skip themselves
    #[arg(long)]
    no_services: bool,
    /// Passed on to `cargo test`, such as a name, `--lib` or `-- --nocapture`
    #[arg(last = true, value_name = "ARGS")]
    cargo: Vec<String>,
}

impl Arguments {
    /// What to call `cargo` with.
    fn for_cargo(&self) -> Vec<String> {
        let mut arguments = vec!["test".to_owned(), "--no-fail-fast".into()];
        if self.package.is_empty() {
            arguments.push("--workspace".into());
        }
        arguments.extend(self.package.iter().flat_map(|name| ["--package".into(), name.clone()]));
        let to_cargo = self.cargo.iter().take_while(|a| *a != "--");
        let chosen = ["--features", "--all-features", "--no-default-features", "-F"];
        if !to_cargo.clone().any(|a| chosen.iter().any(|c| a.starts_with(c))) {
            arguments.push("--all-features".into());
        }
        arguments.extend(self.cargo.iter().cloned());
        arguments
    }
}

/// `cargo xtask test`.
///
/// # Errors
/// When a test failed, a test program crashed or did not compile, or no test ran.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result {
    let started = Instant::now();
    let interrupt = Interrupt::listen()?;
    let needs = if arguments.no_services { &[][..] } else { &Need::ALL[..] };
    let mut session = Session::open(needs, !arguments.no_install, &interrupt)?;
    let skips = session.folder().join("skips");

    let mut command = workspace::cargo(root);
    command.args(arguments.for_cargo()).envs(session.variables().iter().cloned()).env("XTASK_SKIPS", &skips);
    if let Ok(program) = std::env::current_exe() {
        command.env("XTASK_PROGRAM", program);
    }
    let mut tally = Tally::default();
    let succeeded = run_counting(&mut command, &mut tally, &mut session, &interrupt)?;
    tally.read_skips(&std::fs::read_to_string(&skips).unwrap_or_default());
    if !succeeded {
        tally.count_crash();
    }
    let absent = std::mem::take(&mut session.absent);
    drop(session);
    interrupt.check()?;
    report(&tally, &absent, started.elapsed());
    // The tally is the last line, whatever happened.
    if tally.failed() == 0 && tally.passed() > 0 { Ok(()) } else { Err(Failure::told()) }
}

/// Runs the command in a process group of its own, which is ended with it; true when it succeeded.
fn run_counting(
    command: &mut Command,
    tally: &mut Tally,
    session: &mut Session,
    interrupt: &Interrupt,
) -> Result<bool> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .while_trying(|| "start `cargo test`".into())?;
    session.guard_group(Some(child.id()));
    interrupt.forward_to_group(child.id());
    let lines = child.stdout.take().map(lines_of);
    let mut ended: Option<(bool, Instant)> = None;
    while let Some(lines) = &lines {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) => {
                tally.read(&String::from_utf8_lossy(&line));
                pass_through(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => match ended {
                Some((_, since)) if since.elapsed() > AFTERMATH => {
                    eprintln!("warning: a test left a process behind that still holds its output; it is killed");
                    break;
                }
                Some(_) => {}
                None => {
                    let status = child.try_wait().while_trying(|| "ask after cargo".into())?;
                    ended = status.map(|status| (status.success(), Instant::now()));
                }
            },
        }
    }
    let succeeded = child.wait().while_trying(|| "wait for cargo".into())?.success();
    interrupt.forward_to_nobody();
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // What a test left behind; usually there is nothing.
        let _ = kill_process_group(group, Signal::KILL);
    }
    session.guard_group(None);
    Ok(succeeded)
}

/// Lines as they come, read by a thread, so that waiting for one can end.
fn lines_of(output: ChildStdout) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(std::result::Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn pass_through(line: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the tests still count.
    let _ = out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

fn report(tally: &Tally, absent: &[String], took: Duration) {
    println!();
    for message in absent {
        println!("not available: {message}");
    }
    for skip in &tally.skips {
        println!("skipped: {skip}");
    }
    for name in &tally.failures {
        println!("failed: {name}");
    }
    if tally.failed() == 0 && tally.passed() == 0 {
        println!("no test ran");
    }
    println!("took {} s", took.as_secs());
    println!("{}", tally.line());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(package: &[&str], cargo: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Arguments { package: own(package), no_install: true, no_services: true, cargo: own(cargo) }.for_cargo()
    }

    #[test]
    fn without_a_word_everything_is_tested_with_all_features() {
        assert_eq!(arguments(&[], &[]), ["test", "--no-fail-fast", "--workspace", "--all-features"]);
    }

    #[test]
    fn packages_and_features_that_were_chosen_are_kept() {
        let all = arguments(&["trimtab-cache"], &["--features=compress", "expiry", "--", "--nocapture"]);
        assert_eq!(
            all,
            [
                "test",
                "--no-fail-fast",
                "--package",
                "trimtab-cache",
                "--features=compress",
                "expiry",
                "--",
                "--nocapture"
            ]
        );
    }

    #[test]
    fn what_goes_to_the_test_program_does_not_choose_features() {
        assert!(arguments(&[], &["--", "--features"]).contains(&"--all-features".to_owned()));
    }
}
