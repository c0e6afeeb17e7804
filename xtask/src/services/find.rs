//! Finds the programs that tests need: in PATH first, then in the usual places beside it.
//!
//! Finding a file is not enough. A wrapper, a stub that installs a snap, or a browser whose driver belongs to another
//! version all look right and fail later with a riddle, so every candidate is asked for its version before it is taken.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// As the program says it: `7.0.15`.
    pub(crate) version: String,
}

/// PostgreSQL needs two programs of the same installation.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    pub(crate) server: Program,
    pub(crate) initdb: PathBuf,
}

/// A browser and the driver that fits it.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    pub(crate) browser: Program,
    pub(crate) driver: Program,
}

/// Where Linux distributions, Homebrew and people put programs, if not in PATH. `~` is the home folder, a `*` any name.
const PLACES: &[&str] =
    &["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin", "~/bin", "~/.local/bin"];

/// Debian and Red Hat keep PostgreSQL's server programs out of PATH, one folder a version.
const POSTGRES_PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "~/pgsql/bin",
];

const DRIVER_PLACES: &[&str] = &["/usr/lib/chromium", "/usr/lib/chromium-browser"];

/// Redis, or nothing.
pub(crate) fn redis() -> Option<Program> {
    everywhere(&["redis-server"], &[]).into_iter().find_map(|path| ask(path, redis_version))
}

/// The newest PostgreSQL whose `postgres` and `initdb` lie beside each other and agree on their version.
pub(crate) fn postgres() -> Option<Postgres> {
    everywhere(&["postgres"], POSTGRES_PLACES)
        .into_iter()
        // A link in PATH leads to the folder that has the rest.
        .flat_map(|path| [std::fs::canonicalize(&path).ok(), Some(path)])
        .flatten()
        .filter_map(|path| {
            let initdb = ask(path.with_file_name("initdb"), last_number)?;
            let server = ask(path, last_number)?;
            (server.version == initdb.version).then_some(Postgres { server, initdb: initdb.path })
        })
        .max_by_key(|found| major(&found.server.version))
}

/// The first browser for which there is a driver of the same major version.
pub(crate) fn browser() -> Option<Browser> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let drivers: Vec<_> =
        everywhere(&["chromedriver"], DRIVER_PLACES).into_iter().filter_map(|path| ask(path, first_number)).collect();
    if drivers.is_empty() {
        return None;
    }
    everywhere(&names, &[]).into_iter().filter_map(|path| ask(path, first_number)).find_map(|browser| {
        let fits = |driver: &&Program| major(&driver.version) == major(&browser.version);
        let driver = drivers.iter().find(fits)?.clone();
        Some(Browser { browser, driver })
    })
}

/// PgBouncer, or nothing. Debian keeps it where only root's PATH leads.
pub(crate) fn pooler() -> Option<Program> {
    everywhere(&["pgbouncer"], &[]).into_iter().find_map(|path| ask(path, first_number))
}

/// A program that lies in PATH or a usual place; its version is not asked for.
pub(crate) fn plain(name: &str) -> Option<PathBuf> {
    everywhere(&[name], &[]).into_iter().next()
}

/// Every file with one of these names, in the order of PATH and then of the places.
fn everywhere(names: &[&str], more: &[&str]) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::home_dir();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    folders.extend(PLACES.iter().chain(more).flat_map(|place| expand(place, home.as_deref())));
    let mut found = Vec::new();
    for name in names {
        for folder in &folders {
            let file = folder.join(name);
            if file.is_file() && !found.contains(&file) {
                found.push(file);
            }
        }
    }
    found
}

/// The folders that a place with `~` and at most one `*` stands for.
fn expand(place: &str, home: Option<&Path>) -> Vec<PathBuf> {
    let place = match (place.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest).display().to_string(),
        (Some(_), None) => return Vec::new(),
        (None, _) => place.to_owned(),
    };
    let Some((before, after)) = place.split_once('*') else {
        return vec![PathBuf::from(place)];
    };
    let (folder, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let mut folders: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| PathBuf::from(format!("{}{after}", entry.path().display())))
        .collect();
    folders.sort();
    folders
}

/// Runs `path --version` and takes the program if a version can be read from the answer.
fn ask(path: PathBuf, read: fn(&str) -> Option<String>) -> Option<Program> {
    let output = Command::new(&path).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let version = read(&String::from_utf8_lossy(&output.stdout))?;
    Some(Program { path, version })
}

/// `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64`
fn redis_version(said: &str) -> Option<String> {
    said.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

/// `ChromeDriver 148.0.7778.167 (…)`, `Chromium 148.0.7778.167 built on Debian …`, `PgBouncer 1.18.0`: the first word that is
/// a number.
fn first_number(said: &str) -> Option<String> {
    said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `initdb (PostgreSQL) 18beta1`: what stands after the name.
fn last_number(said: &str) -> Option<String> {
    first_number(said.split_once("(PostgreSQL)")?.1)
}

/// The leading number of a version.
fn major(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(redis_version("Redis server v=7.0.15 sha=0:0 malloc=libc bits=64").as_deref(), Some("7.0.15"));
        assert_eq!(last_number("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18"));
        assert_eq!(last_number("initdb (PostgreSQL) 18beta1\n").as_deref(), Some("18beta1"));
        assert_eq!(first_number("Chromium 148.0.7778.167 built on Debian 12\n").as_deref(), Some("148.0.7778.167"));
        assert_eq!(first_number("PgBouncer 1.18.0\nlibevent 2.1.12-stable\n").as_deref(), Some("1.18.0"));
        assert_eq!(redis_version("command not found"), None);
        assert_eq!(last_number("a wrapper that says nothing"), None);
    }

    #[test]
    fn the_major_version_is_a_number_not_a_word() {
        assert!(major("15.18") > major("9.6"));
        assert_eq!(major("18beta1"), 18);
    }

    #[test]
    fn places_expand_the_home_folder_and_one_star() {
        let home = tempfile::tempdir().unwrap();
        for version in ["15", "17"] {
            std::fs::create_dir_all(home.path().join("pg").join(version).join("bin")).unwrap();
        }
        let found = expand("~/pg/*/bin", Some(home.path()));
        assert_eq!(found, [home.path().join("pg/15/bin"), home.path().join("pg/17/bin")]);
        assert_eq!(expand("~/bin", None), Vec::<PathBuf>::new());
        assert_eq!(expand("/usr/bin", None), [PathBuf::from("/usr/bin")]);
    }

    #[test]
    fn a_program_that_will_not_tell_its_version_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let stub = folder.path().join("chromium");
        std::fs::write(&stub, "not a program").unwrap();
        assert_eq!(ask(stub, first_number), None);
    }
}
