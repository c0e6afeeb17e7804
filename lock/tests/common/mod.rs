//! What the tests share: addresses of real servers, servers of one test, and looking until something has happened.

#![allow(dead_code, reason = "each test file uses some")]
#![allow(clippy::print_stderr, reason = "a test that skips itself says so")]

#[cfg(all(unix, feature = "file"))]
pub(crate) mod faults;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use trimtab_config::{Secret, Settings};
use trimtab_lock::LockSettings;

/// What keeps a test from hanging for ever, and is long enough for a machine that stands still for minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// Says that a test cannot run, where `cargo xtask test` counts it.
pub(crate) fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(file) = std::env::var_os("XTASK_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "trimtab-lock::{test}: {reason}").unwrap();
    }
}

/// A variable that `cargo xtask test` sets.
pub(crate) fn variable(test: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        skip(test, &format!("{name} is not set; run `cargo xtask test`"));
    }
    value
}

/// Settings for this store.
pub(crate) fn settings(url: &str, lease: Duration) -> LockSettings {
    let mut settings = LockSettings::for_profile(trimtab_config::Profile::Balanced);
    settings.url = Secret::new(url);
    settings.lease = lease.into();
    // A busy machine is no server that is away.
    settings.timeout = PATIENCE.into();
    settings.backoff.max = Duration::from_millis(500).into();
    settings.backoff.max_retries = 10_000;
    settings
}

/// A name that no other test, and no earlier run, has used.
pub(crate) fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{what}/{}/{}/{since}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Looks until something has happened: real servers and processes keep their own time.
pub(crate) async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < PATIENCE, "{what} did not happen");
        // A look now and then.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until a lease was renewed a few times, or is lost.
pub(crate) async fn renewed(lease: &trimtab_lock::Lease, times: u32) {
    for _ in 0..times {
        let mut last = lease.remaining();
        let rises = || {
            let now = lease.remaining();
            let risen = now > last;
            last = now;
            risen || lease.is_lost()
        };
        until("a renewal", rises).await;
    }
}

/// A server of one test, to be hurt.
pub(crate) struct Server {
    program: String,
    state: PathBuf,
    kind: &'static str,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(test: &str, kind: &'static str) -> Option<Self> {
        let program = variable(test, "XTASK_PROGRAM")?;
        let state = std::env::temp_dir().join(format!("trimtab-lock-{}.json", fresh(kind).replace('/', "-")));
        let started = Command::new(&program)
            .args(["services", "start", "--no-install", kind, "--state"])
            .arg(&state)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !started.status.success() {
            skip(test, &format!("{kind} is not on this machine"));
            return None;
        }
        let line = String::from_utf8(started.stdout).unwrap();
        let url = line.trim().split_once('=').unwrap().1.to_owned();
        Some(Self { program, state, kind, url })
    }

    pub(crate) fn does(&self, what: &str) {
        let done = Command::new(&self.program)
            .args(["services", what, self.kind, "--state"])
            .arg(&self.state)
            .output()
            .unwrap();
        assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stop = Command::new(&self.program).args(["services", "stop", "--state"]).arg(&self.state).output();
        assert!(stop.unwrap().status.success());
    }
}
