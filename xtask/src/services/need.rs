//! What tests may need, which Debian packages bring it, and what of it this machine has.

use super::find::{self, Browser, Program};
use super::install::{self, say};
use super::state::Kind;

/// Something outside of this repository that a test works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Service(Kind),
    /// A headless browser with its driver.
    Browser,
    /// A pooler of connections to PostgreSQL; a test that needs one starts it itself.
    Pooler,
}

impl Need {
    pub(crate) const ALL: [Need; 4] =
        [Need::Service(Kind::Redis), Need::Service(Kind::Postgres), Need::Browser, Need::Pooler];

    fn name(self) -> &'static str {
        match self {
            Need::Service(Kind::Redis) => "Redis",
            Need::Service(Kind::Postgres) => "PostgreSQL",
            Need::Browser => "Chromium with its driver",
            Need::Pooler => "PgBouncer",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Need::Service(Kind::Redis) => &["redis-server"],
            Need::Service(Kind::Postgres) => &["postgresql"],
            Need::Browser => &["chromium", "chromium-driver"],
            Need::Pooler => &["pgbouncer"],
        }
    }
}

/// The programs that were found, and a message for each need that stays open.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) redis: Option<Program>,
    pub(crate) postgres: Option<find::Postgres>,
    pub(crate) browser: Option<Browser>,
    pub(crate) pooler: Option<Program>,
    pub(crate) absent: Vec<String>,
}

impl Found {
    /// Looks for everything, installs what is missing if `install`, and looks again.
    pub(crate) fn provide(needs: &[Need], install: bool) -> Self {
        let mut found = Self::default();
        let missing = found.look(needs);
        if missing.is_empty() {
            return found;
        }
        let reasons = if install { install_all(&missing) } else { Vec::new() };
        for need in found.look(&missing) {
            let why = reasons
                .iter()
                .find(|(refused, _)| *refused == need)
                .map_or_else(|| format!("type: {}", install::command(need.packages())), |(_, reason)| reason.clone());
            let message = format!("{} is not on this machine: {why}", need.name());
            say(&message);
            found.absent.push(message);
        }
        found
    }

    /// Fills in what is there and returns what is not.
    fn look(&mut self, needs: &[Need]) -> Vec<Need> {
        let mut missing = Vec::new();
        for &need in needs {
            let there = match need {
                Need::Service(Kind::Redis) => {
                    self.redis = find::redis();
                    self.redis.is_some()
                }
                Need::Service(Kind::Postgres) => {
                    self.postgres = find::postgres();
                    self.postgres.is_some()
                }
                Need::Browser => {
                    self.browser = find::browser();
                    self.browser.is_some()
                }
                Need::Pooler => {
                    self.pooler = find::pooler();
                    self.pooler.is_some()
                }
            };
            if !there {
                missing.push(need);
            }
        }
        missing
    }

    /// Where tests find the programs that they start themselves.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let browser = self.browser.as_ref();
        [
            ("XTASK_CHROMIUM", browser.map(|found| &found.browser)),
            ("XTASK_CHROMEDRIVER", browser.map(|found| &found.driver)),
            ("XTASK_PGBOUNCER", self.pooler.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, program)| Some((name.to_owned(), program?.path.display().to_string())))
        .collect()
    }
}

/// All packages in one go, which is quick; one need after the other if that fails, so that one cannot spoil the rest.
fn install_all(missing: &[Need]) -> Vec<(Need, String)> {
    let together: Vec<_> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    match install::install(&together) {
        Ok(()) => Vec::new(),
        Err(error) if missing.len() == 1 => vec![(missing[0], error.to_string())],
        Err(_) => missing
            .iter()
            .filter_map(|need| Some((*need, install::install(need.packages()).err()?.to_string())))
            .collect(),
    }
}
