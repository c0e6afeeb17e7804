//! A private Redis: loopback only, with a password, nothing kept on disk.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use super::find::Program;
use super::launch::{self, Launch, User};
use super::state::{Kind, Service};
use crate::error::Result;

/// Starts one with its data below `folder`.
///
/// # Errors
/// When it does not come up; with the end of its log.
pub(crate) fn start(program: &Program, folder: &Path, user: Option<User>) -> Result<Service> {
    let folder = folder.join("redis");
    launch::private_folder(&folder, user)?;
    let password = launch::password()?;
    launch::on_free_port(|port| {
        // In a file and not in the arguments: those can be read by everybody on the machine.
        let settings = folder.join("redis.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {}\nsave \"\"\nappendonly no\ndaemonize no\n",
            folder.display()
        );
        launch::private_file(&settings, &text, user)?;
        let launch = Launch {
            program: program.path.clone(),
            args: vec![settings.display().to_string()],
            log: folder.join("redis.log"),
            folder: folder.clone(),
            user,
        };
        let process = launch.bring_up(|| answers(port, &password))?;
        Ok(Service {
            kind: Kind::Redis,
            version: program.version.clone(),
            process,
            port,
            // Some clients take the empty user of `redis://:password@` for a name.
            url: format!("redis://default:{password}@127.0.0.1:{port}/"),
            password: password.clone(),
            launch,
        })
    })
}

/// True when it answers PING. A Redis that still loads its data answers, too, but with an error.
pub(crate) fn answers(port: u16, password: &str) -> bool {
    let ping = || -> std::io::Result<String> {
        let mut stream = launch::connect(port)?;
        write!(stream, "AUTH {password}\r\nPING\r\n")?;
        let mut lines = BufReader::new(stream).lines().skip(1);
        lines.next().unwrap_or_else(|| Ok(String::new()))
    };
    ping().is_ok_and(|line| line == "+PONG")
}
