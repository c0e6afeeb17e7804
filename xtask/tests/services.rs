//! The services command against real servers: started, spoken to, hurt, brought back, and gone afterwards.
//!
//! Each test starts a set of its own, so that nobody else's Redis is killed. Where a server is not on the machine (plain
//! `cargo test` without it) the test says so and skips itself.

#![cfg(unix)]
#![allow(clippy::print_stderr, reason = "a test that skips itself says so")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The exit code for «not on this machine».
const ABSENT: i32 = 3;

/// Services of one test; stopped with it even when it panics.
struct Services {
    folder: tempfile::TempDir,
    url: String,
}

impl Services {
    /// Starts one service, or says why there is none.
    fn start(test: &str, kind: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let started = xtask(&folder.path().join("state.json"), &["start", "--no-install", kind]);
        if started.status.code() == Some(ABSENT) {
            skip(test, &format!("{kind} is not on this machine"));
            return None;
        }
        assert!(started.status.success(), "{}", words(&started));
        let line = String::from_utf8(started.stdout).unwrap();
        let url = line.trim().split_once('=').unwrap().1.to_owned();
        Some(Self { folder, url })
    }

    fn does(&self, arguments: &[&str]) -> Output {
        xtask(&self.folder.path().join("state.json"), arguments)
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.does(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The word for what the service does: `answering`, `paused`, `gone`.
    fn is(&self) -> String {
        let output = self.does(&["status"]);
        let table = String::from_utf8(output.stdout).unwrap();
        table.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().to_owned()
    }

    /// The folder with its data.
    fn data(&self) -> String {
        let table = String::from_utf8(self.does(&["status"]).stdout).unwrap();
        table.lines().last().unwrap().strip_prefix("data and logs: ").unwrap().to_owned()
    }

    fn address(&self) -> SocketAddr {
        let after = self.url.rsplit_once('@').unwrap().1;
        after.split('/').next().unwrap().parse().unwrap()
    }

    fn password(&self) -> &str {
        let before = self.url.rsplit_once('@').unwrap().0;
        before.rsplit_once(':').unwrap().1
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.does(&["stop"]);
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.stdin(Stdio::null()).env_remove("XTASK_SERVICES_STATE");
    command
}

fn xtask(state: &Path, arguments: &[&str]) -> Output {
    program().arg("services").args(arguments).arg("--state").arg(state).output().unwrap()
}

fn words(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Says that a test cannot run, where `cargo xtask test` counts it.
fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(file) = std::env::var_os("XTASK_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "xtask::{test}: {reason}").unwrap();
    }
}

/// Processes that work below a folder: the servers of one set, whatever their numbers are.
fn left_in(folder: &str) -> Vec<String> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Ok(cwd) = std::fs::read_link(entry.path().join("cwd"))
            && cwd.starts_with(folder)
        {
            left.push(format!("{} in {}", entry.path().display(), cwd.display()));
        }
    }
    left
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(stream)
}

/// Sends commands to Redis and reads as many lines.
fn redis(services: &Services, commands: &[&str]) -> std::io::Result<Vec<String>> {
    let mut stream = connect(services.address())?;
    write!(stream, "AUTH {}\r\n", services.password())?;
    for command in commands {
        write!(stream, "{command}\r\n")?;
    }
    let lines: Vec<String> = BufReader::new(stream).lines().take(commands.len() + 1).collect::<Result<_, _>>()?;
    assert_eq!(lines[0], "+OK");
    Ok(lines[1..].to_vec())
}

#[test]
fn redis_is_started_paused_killed_restarted_and_leaves_nothing() {
    let Some(services) = Services::start("redis_is_started_…", "redis") else { return };
    assert!(services.address().ip().is_loopback());
    assert_eq!(redis(&services, &["PING"]).unwrap(), ["+PONG"]);

    // Another user of the machine reaches the port, and gets nowhere.
    let mut stranger = connect(services.address()).unwrap();
    stranger.write_all(b"PING\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stranger).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("-NOAUTH"), "{answer}");

    services.must(&["pause", "redis"]);
    assert_eq!(services.is(), "paused");
    let silent = redis(&services, &["PING"]).unwrap_err();
    assert!(matches!(silent.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{silent}");
    services.must(&["resume", "redis"]);
    assert_eq!(redis(&services, &["PING"]).unwrap(), ["+PONG"]);

    services.must(&["kill", "redis"]);
    assert_eq!(services.is(), "gone");
    assert_eq!(connect(services.address()).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    services.must(&["restart", "redis"]);
    assert_eq!(services.is(), "answering");
    assert_eq!(redis(&services, &["PING"]).unwrap(), ["+PONG"]);

    let data = services.data();
    if cfg!(target_os = "linux") {
        assert_eq!(left_in(&data).len(), 1);
    }
    services.must(&["stop"]);
    assert_eq!(left_in(&data), Vec::<String>::new());
    assert!(!Path::new(&data).exists());
    assert!(connect(services.address()).is_err());
    assert_eq!(services.does(&["status"]).status.code(), Some(2));
}

#[test]
fn postgres_survives_a_crash_and_leaves_nothing() {
    let Some(services) = Services::start("postgres_survives_…", "postgres") else { return };
    assert!(services.address().ip().is_loopback());
    let psql = |query: &str| {
        let output = Command::new("psql").arg(&services.url).args(["-Atc", query]).output().ok()?;
        assert!(output.status.success(), "{query}: {}", words(&output));
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    let speaks = psql("create table kept as select 42 as answer; select 1").is_some();
    if speaks {
        assert_eq!(psql("select current_user").unwrap(), "trimtab");
        // A backend of its own, which stands outside of the server's process group.
        let wrong = services.url.replace(services.password(), "wrong");
        let refused = Command::new("psql").arg(wrong).args(["-Atc", "select 1"]).output().unwrap();
        assert!(!refused.status.success());
    }

    services.must(&["pause", "postgres"]);
    assert_eq!(services.is(), "paused");
    // The system still takes the connection; nobody answers on it.
    let mut stream = connect(services.address()).unwrap();
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    services.must(&["resume", "postgres"]);
    assert_eq!(services.is(), "answering");

    services.must(&["kill", "postgres"]);
    assert_eq!(services.is(), "gone");
    assert_eq!(services.does(&["status"]).status.code(), Some(1));
    services.must(&["restart", "postgres"]);
    assert_eq!(services.is(), "answering");
    if speaks {
        assert_eq!(psql("select answer from kept").unwrap(), "42");
    }

    let data = services.data();
    services.must(&["stop"]);
    assert_eq!(left_in(&data), Vec::<String>::new());
    assert!(!Path::new(&data).exists());
}

/// Waits for something that another process does; none when it never comes.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(found) = look() {
            return Some(found);
        }
        // Another process works; it has no clock of ours to wind.
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

#[test]
fn a_command_gets_the_services_and_its_exit_code_comes_back() {
    let run = |script: &str| program().args(["services", "run", "--no-install", "--", "sh", "-c", script]).output();
    let output = run("echo $XTASK_REDIS_URL $XTASK_POSTGRES_URL; echo $XTASK_SERVICES_STATE; exit 7").unwrap();
    if output.status.code() == Some(ABSENT) {
        return skip("a_command_gets_…", "redis or postgres is not on this machine");
    }
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("redis://") && lines[0].contains(" postgres://"), "{said}");
    let folder = Path::new(lines[1]).parent().unwrap();
    assert!(!folder.exists());
    assert_eq!(left_in(&folder.display().to_string()), Vec::<String>::new());
}

/// Runs a command with services, sends a signal to xtask, and looks whether anything stays.
fn nothing_stays_after(test: &str, signal: &str) {
    let mut child = program()
        .args(["services", "run", "--no-install", "--", "sh", "-c", "echo $XTASK_SERVICES_STATE; exec sleep 600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        assert_eq!(child.wait().unwrap().code(), Some(ABSENT));
        return skip(test, "redis or postgres is not on this machine");
    }
    let folder = Path::new(line.trim()).parent().unwrap().to_owned();
    assert!(folder.exists());
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ended = child.wait().unwrap();
    assert!(!ended.success());
    let name = folder.display().to_string();
    let clean = eventually(|| (!folder.exists() && left_in(&name).is_empty()).then_some(()));
    assert!(clean.is_some(), "after {signal}: {:?}", left_in(&name));
}

#[test]
fn nothing_stays_after_a_polite_signal() {
    nothing_stays_after("nothing_stays_after_a_polite_signal", "TERM");
}

#[test]
fn nothing_stays_after_the_signal_that_nobody_survives() {
    nothing_stays_after("nothing_stays_after_the_signal_that_nobody_survives", "KILL");
}

#[test]
fn what_was_not_started_is_said_with_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let output = xtask(&folder.path().join("none.json"), &["kill", "redis"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("cargo xtask services start"), "{}", words(&output));
    assert!(xtask(&folder.path().join("none.json"), &["stop"]).status.success());
    let output = xtask(&folder.path().join("none.json"), &["start", "mysql"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("redis"), "{}", words(&output));
}
