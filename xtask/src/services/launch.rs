//! How a server is brought up: on a free loopback port, as an unprivileged user, detached from this terminal.
//!
//! The recipe ([`Launch`]) is kept, so that a server that was killed can be started again on the same port and data by
//! another process much later.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::{Activity, Process};
use crate::error::{Context, Failure, Result};

/// How long a server may take until it answers. Half a second is usual; a loaded machine may need long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A port can be taken between the moment it is chosen and the moment the server binds it.
const ATTEMPTS: usize = 5;

/// A command to start a server with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Working directory; also where its data lives.
    pub(crate) folder: PathBuf,
    /// Everything it prints.
    pub(crate) log: PathBuf,
    pub(crate) user: Option<User>,
}

/// Whom a server runs as when this process is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// None when this process is not root: then servers run as whoever runs this.
    ///
    /// PostgreSQL refuses to run as root, and Redis needs no such right either. The user `postgres` comes with
    /// Debian's package; `nobody` is everywhere.
    pub(crate) fn unprivileged() -> Result<Option<User>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let id = |flag: &str, name: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, name]).stderr(Stdio::null()).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Some(User { uid: id("-u", name)?, gid: id("-g", name)? }))
            .filter(|user| user.uid != 0)
            .map(Some)
            .ok_or_else(|| {
                Failure::new("running as root, and neither user `postgres` nor `nobody` exists to run servers as")
            })
    }
}

/// Makes a folder that only the server's user can enter.
pub(crate) fn private_folder(folder: &Path, user: Option<User>) -> Result {
    let what = || format!("make the folder {}", folder.display());
    std::fs::create_dir_all(folder).while_trying(what)?;
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).while_trying(what)?;
    give(folder, user)
}

/// Writes a file that only the server's user can read.
pub(crate) fn private_file(file: &Path, text: &str, user: Option<User>) -> Result {
    let what = || format!("write {}", file.display());
    std::fs::write(file, "").while_trying(what)?;
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).while_trying(what)?;
    std::fs::write(file, text).while_trying(what)?;
    give(file, user)
}

fn give(path: &Path, user: Option<User>) -> Result {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid)).while_trying(|| format!("hand over {}", path.display()))
}

/// A folder for temporary data in which another user can reach a folder of his own.
pub(crate) fn temporary(user: Option<User>) -> Result<PathBuf> {
    let usual = std::env::temp_dir();
    let open = |folder: &Path| {
        folder.ancestors().all(|f| f.metadata().is_ok_and(|m| m.is_dir() && m.permissions().mode() & 0o001 != 0))
    };
    if user.is_none() || open(&usual) {
        return Ok(usual);
    }
    ["/tmp", "/var/tmp"].into_iter().map(PathBuf::from).find(|folder| open(folder)).ok_or_else(|| {
        Failure::new(format!(
            "{} is closed to other users, and so are /tmp and /var/tmp; set TMPDIR to a folder that they can enter",
            usual.display()
        ))
    })
}

impl Launch {
    /// The command, without its arguments: right user, right folder, no terminal.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).env("LC_ALL", "C");
        // PGPORT, PGDATA and their like belong to somebody's own server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    /// Starts it in a process group of its own, so that ctrl-C at the terminal does not reach it.
    pub(crate) fn spawn(&self) -> Result<Process> {
        let log = self.open_log()?;
        let errors = log.try_clone().while_trying(|| format!("write {}", self.log.display()))?;
        let child = self
            .command(&self.program)
            .args(&self.args)
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .while_trying(|| format!("start {}", self.program.display()))?;
        Ok(Process::of(child.id()))
    }

    fn open_log(&self) -> Result<File> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        log.while_trying(|| format!("write {}", self.log.display()))
    }

    /// Starts it and waits until `ready` says so.
    ///
    /// # Errors
    /// When it ends before it answers, or does not answer in time; with the end of its log.
    pub(crate) fn bring_up(&self, ready: impl Fn() -> bool) -> Result<Process> {
        let process = self.spawn()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if ready() {
                return Ok(process);
            }
            let why = match process.activity() {
                Activity::Gone => "ended before it answered",
                _ if Instant::now() > deadline => "did not answer within 5 minutes",
                _ => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            process.kill();
            return Err(Failure::new(format!(
                "{} {why}; its last words:\n{}",
                self.program.display(),
                self.last_words()
            )));
        }
    }

    /// The last lines of the log.
    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

/// Calls `start` with a free port; with another one if that was taken meanwhile.
pub(crate) fn on_free_port<T>(mut start: impl FnMut(u16) -> Result<T>) -> Result<T> {
    let mut tried = 0;
    loop {
        tried += 1;
        match start(free_port()?) {
            Err(error) if tried < ATTEMPTS && port_was_taken(&error.to_string()) => {}
            result => return result,
        }
    }
}

/// Redis and PostgreSQL both print the system's own words.
fn port_was_taken(words: &str) -> bool {
    words.contains("Address already in use") || words.contains("address already in use")
}

/// A port that nobody on this machine's loopback uses at the moment.
fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).while_trying(|| "find a free port on 127.0.0.1".into())?;
    Ok(listener.local_addr().while_trying(|| "read the number of a free port".into())?.port())
}

/// A connection to a server on this machine that gives up after a second of silence.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let second = Duration::from_secs(1);
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), second)?;
    stream.set_read_timeout(Some(second))?;
    stream.set_write_timeout(Some(second))?;
    Ok(stream)
}

/// A password for one run. Other users of the machine can reach a loopback port, and a database's owner can run
/// commands through it.
pub(crate) fn password() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .while_trying(|| "read /dev/urandom".into())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_meanwhile_is_replaced() {
        let mut ports = Vec::new();
        let port = on_free_port(|port| {
            ports.push(port);
            if ports.len() < 3 { Err(Failure::new("bind: Address already in use")) } else { Ok(port) }
        });
        assert_eq!(ports.len(), 3);
        assert_eq!(port.unwrap(), ports[2]);
    }

    #[test]
    fn another_failure_is_not_tried_again_and_a_taken_port_not_for_ever() {
        let mut calls = 0;
        let result: Result = on_free_port(|_| {
            calls += 1;
            Err(Failure::new("no such file"))
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
        let result: Result = on_free_port(|_| Err(Failure::new("Address already in use")));
        assert!(result.is_err());
    }

    #[test]
    fn a_free_port_can_be_bound_on_loopback() {
        let port = free_port().unwrap();
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }

    #[test]
    fn two_passwords_differ() {
        let (one, two) = (password().unwrap(), password().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), "echo no such option >&2; exit 3".into()],
            folder: folder.path().into(),
            log: folder.path().join("log"),
            user: None,
        };
        let error = launch.bring_up(|| false).unwrap_err().to_string();
        assert!(error.contains("ended before it answered") && error.contains("no such option"), "{error}");
    }
}
