//! A pooler before PostgreSQL: refused in transaction mode, where locks would stay on strangers' backends; good in session mode.
//!
//! `cargo xtask test` finds or installs PgBouncer and names it in `XTASK_PGBOUNCER`; without it the test skips itself and is
//! counted as skipped.

#![cfg(all(unix, feature = "postgres"))]

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trimtab_lock::Locks;

struct Pooler {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number of a user without rights, when this runs as one with all: the pooler refuses those.
fn unprivileged() -> Option<u32> {
    let number = |args: &[&str]| {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
    };
    if number(&["-u"]) == Some(0) { number(&["-u", "nobody"]) } else { None }
}

async fn pooler(program: &str, server: &str, mode: &str) -> Pooler {
    let rest = server.strip_prefix("postgres://").unwrap();
    let (login, address) = rest.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let (host, database) = address.split_once('/').unwrap();
    let (host, port) = host.split_once(':').unwrap();
    let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let users = write("users", format!("\"{user}\" \"{password}\"\n"));
    let settings = write(
        "settings",
        format!(
            "[databases]\n{database} = host={host} port={port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own}\n\
             auth_type = trust\nauth_file = {}\npool_mode = {mode}\nunix_socket_dir =\n",
            users.display()
        ),
    );
    let mut command = Command::new(program);
    command.arg("-q").arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    if let Some(user) = unprivileged() {
        for path in [&users, &settings] {
            chown(path, Some(user), None).unwrap();
        }
        command.uid(user);
    }
    let child = command.spawn().unwrap();
    let pooler = Pooler { child, url: format!("postgres://{login}@127.0.0.1:{own}/{database}"), _folder: folder };
    common::until("the pooler's start", || TcpStream::connect(("127.0.0.1", own)).is_ok()).await;
    pooler
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_refused_in_transaction_mode_and_serves_in_session_mode() {
    let test = "a_pooler_is_refused_in_transaction_mode_and_serves_in_session_mode";
    let Some(url) = common::variable(test, "XTASK_POSTGRES_URL") else { return };
    let Some(program) = common::variable(test, "XTASK_PGBOUNCER") else { return };
    let transaction = pooler(&program, &url, "transaction").await;
    let error = Locks::connect("pooled", &transaction.url).await.unwrap_err().to_string();
    assert!(error.contains("a pooler in transaction mode"), "{error}");
    let session = pooler(&program, &url, "session").await;
    let locks = Locks::connect("pooled", &session.url).await.unwrap();
    let (near, name) = (Locks::connect("near", &url).await.unwrap(), common::fresh("pooled"));
    let lease = locks.acquire(&name, Duration::from_secs(60)).await.unwrap();
    assert!(near.try_acquire(&name).await.unwrap().is_none());
    lease.release().await.unwrap();
    assert!(near.try_acquire(&name).await.unwrap().is_some());
}
