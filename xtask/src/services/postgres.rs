//! A private PostgreSQL: loopback only, with a password, a fresh cluster that trusts nothing to the disk.
//!
//! `initdb --no-sync` and `fsync=off` make a cluster in under a second. What they give up is surviving a crash of the
//! *machine*; a killed server still recovers, which is what fault tests need.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use super::find;
use super::launch::{self, Launch, User};
use super::state::{Kind, Service};
use crate::error::{Context, Failure, Result};

/// The owner of the cluster, and the name to connect with.
const OWNER: &str = "trimtab";

/// Starts one with its data below `folder`.
///
/// # Errors
/// When the cluster cannot be made or the server does not come up; with its own words.
pub(crate) fn start(found: &find::Postgres, folder: &Path, user: Option<User>) -> Result<Service> {
    let folder = folder.join("postgres");
    launch::private_folder(&folder, user)?;
    let password = launch::password()?;
    let data = folder.join("data").display().to_string();
    let mut recipe = Launch {
        program: found.server.path.clone(),
        args: Vec::new(),
        log: folder.join("postgres.log"),
        folder: folder.clone(),
        user,
    };
    make_cluster(&recipe, &found.initdb, &data, &password)?;
    launch::on_free_port(|port| {
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            // No socket file: tests have the port, and a crashed server's socket would need its own tidying.
            "unix_socket_directories=".into(),
            "fsync=off".into(),
            "synchronous_commit=off".into(),
            "full_page_writes=off".into(),
            "max_connections=200".into(),
            "shared_buffers=32MB".into(),
        ];
        recipe.args = vec!["-D".into(), data.clone(), "-p".into(), port.to_string()];
        recipe.args.extend(settings.into_iter().flat_map(|setting| ["-c".into(), setting]));
        let process = recipe.bring_up(|| answers(port))?;
        Ok(Service {
            kind: Kind::Postgres,
            version: found.server.version.clone(),
            process,
            port,
            url: format!("postgres://{OWNER}:{password}@127.0.0.1:{port}/postgres"),
            password: password.clone(),
            launch: recipe.clone(),
        })
    })
}

fn make_cluster(recipe: &Launch, initdb: &Path, data: &str, password: &str) -> Result {
    let file = recipe.folder.join("password");
    launch::private_file(&file, password, recipe.user)?;
    let output = recipe
        .command(initdb)
        .args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--username", OWNER])
        .arg("--pwfile")
        .arg(&file)
        .args(["--pgdata", data])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .while_trying(|| format!("start {}", initdb.display()))?;
    std::fs::remove_file(&file).while_trying(|| format!("remove {}", file.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{} could not make a cluster in {data}: {}", initdb.display(), said.trim())))
}

/// Takes away the note by which a server claims its data, after it was seen to be gone.
///
/// A server finds out by itself that its predecessor crashed, except where nobody collects dead processes (a container
/// without init): there the number in the note seems alive for ever.
pub(crate) fn unlock(folder: &Path) {
    // A server that ended in order has removed it.
    let _ = std::fs::remove_file(folder.join("data/postmaster.pid"));
}

/// True when it takes connections: it asks for a password. While it starts or recovers it answers with an error.
pub(crate) fn answers(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let mut stream = launch::connect(port)?;
        stream.write_all(&startup_message())?;
        // The whole answer: closing on unread bytes would leave a complaint in the server's log.
        let mut answer = [0; 512];
        let length = stream.read(&mut answer)?;
        Ok(if length == 0 { b'E' } else { answer[0] })
    };
    greet().is_ok_and(|kind| kind == b'R')
}

/// The first message of the protocol, version 3.0: length, version, then pairs of names and values.
fn startup_message() -> Vec<u8> {
    let body = format!("user\0{OWNER}\0database\0postgres\0\0");
    let length = u32::try_from(8 + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend(196_608_u32.to_be_bytes());
    message.extend(body.bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_message_counts_itself() {
        let message = startup_message();
        assert_eq!(u32::from_be_bytes(message[..4].try_into().unwrap()) as usize, message.len());
        assert!(message.ends_with(b"\0\0"));
    }

    #[test]
    fn nobody_at_the_port_is_no_answer() {
        let port = launch::on_free_port(Ok).unwrap();
        assert!(!answers(port));
    }
}
