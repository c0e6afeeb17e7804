//! Services for the time of one command: `cargo xtask test` and `services run`.
//!
//! They end with the [`Session`], on every way out: return, error, panic, signal. The one way that no code of ours
//! survives is SIGKILL, and for that there is the *guard*: a second process that reads a pipe from this one. The
//! system closes the pipe when this process ends, whatever ended it, and the guard then stops what is still there.

use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use super::install::say;
use super::launch::{self, User};
use super::need::{Found, Need};
use super::state::{self, Kind, Service, State};
use super::{postgres, redis};
use crate::error::{Context, Failure, Result};
use crate::interrupt::Interrupt;

/// Which state file `services kill` and the like work on: exported, so that they find this session's.
pub(crate) const STATE_VARIABLE: &str = "XTASK_SERVICES_STATE";

/// Services that live as long as this value.
#[derive(Debug)]
pub(crate) struct Session {
    file: PathBuf,
    guard: Child,
    variables: Vec<(String, String)>,
    /// One message for each thing that is not there.
    pub(crate) absent: Vec<String>,
}

impl Session {
    /// Finds or installs what is needed and starts it. What cannot be had is listed in `absent`, not an error.
    ///
    /// # Errors
    /// When a server that is there does not start, or a signal came.
    pub(crate) fn open(needs: &[Need], install: bool, interrupt: &Interrupt) -> Result<Self> {
        let found = Found::provide(needs, install);
        interrupt.check()?;
        let user = User::unprivileged()?;
        let mut state = State { folder: folder(user)?, services: Vec::new() };
        let file = state.folder.join("state.json");
        state.write(&file)?;
        let mut session = Self {
            guard: guard(&file)?,
            variables: found.variables(),
            absent: found.absent.clone(),
            file: file.clone(),
        };
        for kind in Kind::ALL {
            if let Some(service) = start(kind, &found, &state.folder, user)? {
                state.services.push(service);
                state.write(&file)?;
            }
            interrupt.check()?;
        }
        session.variables.extend(state.variables());
        session.variables.push((STATE_VARIABLE.into(), file.display().to_string()));
        Ok(session)
    }

    /// The environment for the command that uses the services.
    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// A folder that is removed with the session.
    pub(crate) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// Tells the guard which process group must not outlive this process; none when it has ended.
    pub(crate) fn guard_group(&mut self, group: Option<u32>) {
        if let Some(pipe) = &mut self.guard.stdin {
            // Without a guard there is one net less, and the work goes on.
            let _ = writeln!(pipe, "{}", group.unwrap_or(0));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        state::stop(&self.file);
        self.guard_group(None);
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A new folder for data and logs, which the servers' user can pass through.
pub(crate) fn folder(user: Option<User>) -> Result<PathBuf> {
    let base = launch::temporary(user)?;
    let mode = PermissionsExt::from_mode(0o711);
    tempfile::Builder::new()
        .prefix(state::FOLDER_PREFIX)
        .permissions(mode)
        .tempdir_in(&base)
        .map(tempfile::TempDir::keep)
        .while_trying(|| format!("make a folder in {}", base.display()))
}

/// Starts one service if its program was found.
pub(crate) fn start(kind: Kind, found: &Found, folder: &Path, user: Option<User>) -> Result<Option<Service>> {
    let service = match kind {
        Kind::Redis => found.redis.as_ref().map(|program| redis::start(program, folder, user)),
        Kind::Postgres => found.postgres.as_ref().map(|program| postgres::start(program, folder, user)),
    };
    let Some(service) = service.transpose()? else { return Ok(None) };
    say(&format!("{} {} on 127.0.0.1:{}", kind.name(), service.version, service.port));
    Ok(Some(service))
}

/// Starts the second process: this program again, out of reach of the terminal's ctrl-C.
fn guard(file: &Path) -> Result<Child> {
    let program = std::env::current_exe().while_trying(|| "find this program".into())?;
    Command::new(program)
        .args(["services", "guard", "--state"])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .while_trying(|| "start the guard".into())
}

/// What the guard does: reads until the pipe closes, then stops what is left.
///
/// # Errors
/// When the pipe gives something that is no number.
pub(crate) fn stand_guard(file: &Path) -> Result {
    let mut group = None;
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let number: i32 = line.parse().map_err(|_| Failure::new(format!("the guard was told `{line}`")))?;
        group = Pid::from_raw(number);
    }
    if let Some(group) = group {
        // Ended already is what it should be.
        let _ = kill_process_group(group, Signal::KILL);
    }
    state::stop(file);
    Ok(())
}
