//! Servers as child processes: built, started on a free port, waited for, ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::frame::Options;
use crate::subjects::without_settings;

const START_MAX: Duration = Duration::from_secs(20);

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    port: u16,
    /// A folder of its own, so that no settings file of the caller's is picked up.
    home: Option<PathBuf>,
}

impl Running {
    /// Starts the program `trimtab` with its defaults, apart from the port.
    pub(super) fn trimtab(program: &Path) -> Result<Self, String> {
        let port = free_port()?;
        let home = std::env::temp_dir().join(format!("trimtab-bench-server-{}", std::process::id()));
        std::fs::create_dir_all(&home).map_err(|error| format!("cannot make {}: {error}", home.display()))?;
        let mut command = Command::new(program);
        without_settings(&mut command);
        let child = command
            .env("TRIMTAB__SERVER__ADDRESS", format!("127.0.0.1:{port}"))
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut running = Self { child, port, home: Some(home) };
        running.wait_until_live()?;
        running.drain();
        Ok(running)
    }

    /// Starts this program as the bare handler.
    pub(super) fn bare(content_type: &str, body: &[u8]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let mut child = Command::new(program)
            .args(["__child", "axum", content_type])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the bare handler: {error}"))?;
        let fail = |error: &dyn std::fmt::Display| format!("the bare handler does not start: {error}");
        // Dropping the pipe tells it that the body is complete.
        child.stdin.take().ok_or_else(|| fail(&"no pipe"))?.write_all(body).map_err(|error| fail(&error))?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or_else(|| fail(&"no pipe"))?;
        BufReader::new(out).read_line(&mut line).map_err(|error| fail(&error))?;
        let mut running = Self { child, port: 0, home: None };
        let answer: serde_json::Value = serde_json::from_str(&line).map_err(|error| fail(&error))?;
        running.port = answer["port"].as_u64().and_then(|port| port.try_into().ok()).ok_or_else(|| fail(&"no port"))?;
        Ok(running)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn wait_until_live(&mut self) -> Result<(), String> {
        let start = Instant::now();
        loop {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let mut said = String::new();
                if let Some(mut pipe) = self.child.stderr.take() {
                    let _ = pipe.read_to_string(&mut said);
                }
                return Err(format!("the server ended with {status} before it listened: {}", said.trim()));
            }
            if start.elapsed() > START_MAX {
                return Err(format!("the server does not listen on port {} after {START_MAX:?}", self.port));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Keeps the server from blocking on a full pipe of log lines.
    fn drain(&mut self) {
        if let Some(mut pipe) = self.child.stderr.take() {
            thread::spawn(move || std::io::copy(&mut pipe, &mut std::io::sink()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(home) = &self.home {
            let _ = std::fs::remove_dir_all(home);
        }
    }
}

/// A port that nobody listens on right now.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port on loopback: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| format!("no free port on loopback: {error}"))
}

/// Builds the program as users get it and returns its path.
pub(in crate::subjects) fn build_server() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "trimtab-server", "--message-format", "json-render-diagnostics"])
        .current_dir(Options::workspace())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err("cargo build --release -p trimtab-server failed; its messages stand above".into());
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| "cargo named no executable `trimtab` in the package trimtab-server".into())
}

/// The executable `trimtab` among cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == "trimtab")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_is_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"trimtab"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/release/other"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"trimtab"},"executable":"/t/release/trimtab"}"#,
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/release/trimtab")));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn server_that_ends_at_once_is_reported_with_its_words() {
        let home = std::env::temp_dir().join(format!("trimtab-bench-fake-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        let script = home.join("fake");
        std::fs::write(&script, "#!/bin/sh\necho 'port in use' >&2\nexit 2\n").unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = Running::trimtab(&script).unwrap_err();
        assert!(error.contains("port in use") && error.contains("exit status: 2"), "{error}");
        std::fs::remove_dir_all(home).unwrap();
    }
}
