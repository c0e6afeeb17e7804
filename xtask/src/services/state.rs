//! Which services run: a file that every later command reads, and the only truth about what to stop.
//!
//! `services kill redis` is another process than the one that started it, and `restart` gives the service a new
//! number. So nobody keeps handles: whoever wants to stop, pause or look reads the file, and whether a service really
//! runs is asked of the system, never remembered.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::launch::Launch;
use super::process::{Activity, Process};
use super::{postgres, redis};
use crate::error::{Context, Failure, Result, USAGE};

/// How the folder of every set of services is called, so that nothing else is ever removed.
pub(crate) const FOLDER_PREFIX: &str = "trimtab-services-";

/// A kind of server that tests may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The key-value server.
    Redis,
    /// The SQL database.
    Postgres,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Redis, Kind::Postgres];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Redis => "redis",
            Kind::Postgres => "postgres",
        }
    }

    /// Where tests find its address.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Kind::Redis => "XTASK_REDIS_URL",
            Kind::Postgres => "XTASK_POSTGRES_URL",
        }
    }

    /// What makes it end at once and in order: PostgreSQL's «fast» shutdown is SIGINT, SIGTERM would wait for clients.
    fn farewell(self) -> Signal {
        match self {
            Kind::Redis => Signal::TERM,
            Kind::Postgres => Signal::INT,
        }
    }
}

/// One server that was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) url: String,
    pub(crate) password: String,
    pub(crate) launch: Launch,
}

impl Service {
    /// True when it takes requests now.
    pub(crate) fn answers(&self) -> bool {
        match self.kind {
            Kind::Redis => redis::answers(self.port, &self.password),
            Kind::Postgres => postgres::answers(self.port),
        }
    }

    /// Ends it in order, or by force after a few seconds.
    pub(crate) fn stop(&self) {
        self.process.stop(self.kind.farewell(), Duration::from_secs(5));
    }

    /// Starts it again on the same port and data; stops it first if it runs.
    ///
    /// # Errors
    /// When it does not come up; with the end of its log.
    pub(crate) fn restart(&mut self) -> Result {
        self.stop();
        if self.kind == Kind::Postgres && self.process.activity() == Activity::Gone {
            postgres::unlock(&self.launch.folder);
        }
        self.process = self.launch.bring_up(|| self.answers())?;
        Ok(())
    }
}

/// Everything that one `start`, `run` or `test` brought up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The temporary folder with data and logs; removed with the services.
    pub(crate) folder: PathBuf,
    pub(crate) services: Vec<Service>,
}

impl State {
    /// Reads the file; none when there is none.
    ///
    /// # Errors
    /// When it exists and cannot be read.
    pub(crate) fn read(file: &Path) -> Result<Option<State>> {
        let text = match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.while_trying(|| format!("read {}", file.display()))?,
        };
        serde_json::from_slice(&text).map(Some).while_trying(|| format!("understand {}", file.display()))
    }

    /// Writes the file whole, readable by its owner alone: it holds passwords.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub(crate) fn write(&self, file: &Path) -> Result {
        let what = || format!("write {}", file.display());
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).while_trying(what)?;
        let mut fresh = tempfile::NamedTempFile::new_in(folder).while_trying(what)?;
        serde_json::to_writer_pretty(&mut fresh, self).while_trying(what)?;
        fresh.flush().while_trying(what)?;
        fresh.persist(file).while_trying(what)?;
        Ok(())
    }

    /// The service of this kind.
    ///
    /// # Errors
    /// When it was not started.
    pub(crate) fn service(&mut self, kind: Kind) -> Result<&mut Service> {
        let started: Vec<_> = self.services.iter().map(|s| s.kind.name()).collect();
        let started = if started.is_empty() { "none".into() } else { started.join(", ") };
        self.services.iter_mut().find(|service| service.kind == kind).ok_or_else(|| {
            let name = kind.name();
            Failure::new(format!(
                "{name} was not started (started: {started}); see `cargo xtask services start {name}`"
            ))
            .with_code(USAGE)
        })
    }

    /// True while any of the services is there.
    pub(crate) fn any_alive(&self) -> bool {
        self.services.iter().any(|service| service.process.activity() != Activity::Gone)
    }

    /// What tests read, as pairs of name and value.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        self.services.iter().map(|s| (s.kind.variable().to_owned(), s.url.clone())).collect()
    }

    /// Stops all of it and removes its data and the file itself. Doing it twice is no mistake.
    pub(crate) fn stop(self, file: &Path) {
        for service in &self.services {
            service.stop();
        }
        let ours = self.folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(FOLDER_PREFIX));
        if ours {
            // A server that was just coming up is in no list yet, but it works in this folder.
            for process in Process::working_below(&self.folder) {
                process.kill();
            }
            // Data that was not removed wastes a little disk; there is nobody left to tell.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        let _ = std::fs::remove_file(file);
    }
}

/// Stops what a file names, if it still names something.
pub(crate) fn stop(file: &Path) {
    if let Ok(Some(state)) = State::read(file) {
        state.stop(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(folder: &Path) -> State {
        State { folder: folder.join("data"), services: Vec::new() }
    }

    #[test]
    fn a_state_that_was_written_is_read_again_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/state.json");
        assert!(State::read(&file).unwrap().is_none());
        state(folder.path()).write(&file).unwrap();
        assert_eq!(State::read(&file).unwrap().unwrap().folder, folder.path().join("data"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_not_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        std::fs::write(&file, "{").unwrap();
        let error = State::read(&file).unwrap_err().to_string();
        assert!(error.contains("state.json"), "{error}");
    }

    #[test]
    fn a_service_that_was_not_started_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = state(folder.path()).service(Kind::Redis).unwrap_err();
        assert!(error.to_string().contains("redis was not started (started: none)"), "{error}");
        assert_eq!(error.code(), USAGE);
    }
}
