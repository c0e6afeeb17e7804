//! Loads settings from a file, variables and code, prints where each value came from, and then a file full of mistakes.
//!
//! `cargo run -p trimtab-config --example layers`; try `TRIMTAB_PROFILE=maximum` and `TRIMTAB__SERVER__PORT=x` before it.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Loader, Machine, Patch, Problems, Profile, Secret, Settings, Template};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct App {
    server: Server,
    cache: BTreeMap<String, Cache>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Server {
    /// The port on the loopback interface.
    port: u16,
    /// Threads that answer requests.
    workers: u32,
    /// Required for writes from elsewhere.
    token: Option<Secret>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Cache {
    /// The most memory for entries.
    max_bytes: ByteSize,
    /// How long an entry stays.
    ttl: Option<Duration>,
}

impl Default for Server {
    fn default() -> Self {
        Self { port: 8000, workers: 2, token: None }
    }
}

impl Settings for App {
    fn for_profile(profile: Profile) -> Self {
        let mut app = Self::default();
        app.server.workers = profile.pick(1, 2, 8);
        app
    }

    fn for_machine(_: Profile, machine: &Machine) -> Patch {
        Patch::none().because("server.workers", machine.threads(), format!("{} cpus", machine.cpus.value))
    }

    fn templates(profile: Profile) -> Vec<Template> {
        let max_bytes = profile.pick(ByteSize::mib(1), ByteSize::mib(16), ByteSize::mib(256));
        vec![Template::new("cache.*", Cache { max_bytes, ttl: Some(Duration::from_mins(5)) })]
    }

    fn check(&self, problems: &mut Problems) {
        if self.server.workers == 0 {
            problems.report("server.workers", 0, "must be at least 1");
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("trimtab.toml");

    std::fs::write(&path, "[server]\ntoken = \"s3cret\"\n[cache.users]\nttl = \"90s\"\n")?;
    let loaded = Loader::<App>::new().file(&path).set("server.port", 8080).load()?;
    println!("{}", loaded.summary());
    println!("{}", loaded.explain("cache.users.ttl")?[0]);

    std::fs::write(&path, "[server]\nport = 80000\nworkers = 0\ntokn = \"s3cret\"\n[cache.users]\nttl = 90\n")?;
    if let Err(invalid) = Loader::<App>::new().file(&path).load() {
        println!("{invalid}");
    }
    Ok(())
}
