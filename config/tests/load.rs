//! What a person meets when settings are loaded: which layer wins, and how mistakes are told.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trimtab_config::{
    ByteSize, Duration, Environment, Loader, Machine, Measured, MemoryLimit, Origin, Patch, Problem, Problems, Profile,
    Rate, Secret, Settings, Share, Template,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct App {
    /// Memory of the whole.
    memory: Memory,
    /// The HTTP server.
    server: Server,
    /// Caches by name.
    cache: BTreeMap<String, Cache>,
    store: Store,
    peers: Vec<Peer>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Memory {
    limit: MemoryLimit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Server {
    port: u16,
    #[schemars(range(min = 1, max = 1024))]
    workers: u32,
    ratio: f64,
    verbose: bool,
    token: Option<Secret>,
    quota: Option<Rate>,
    tags: Vec<String>,
    level: Level,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Quiet.
    Warn,
    /// Usual.
    Info,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Cache {
    max_entries: u64,
    max_bytes: Option<ByteSize>,
    ttl: Option<Duration>,
    share: Share,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Store {
    Memory { entries: u32 },
    Redis { url: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Peer {
    host: String,
    #[serde(default)]
    weight: u8,
}

impl Default for Cache {
    fn default() -> Self {
        Self { max_entries: 1000, max_bytes: None, ttl: None, share: Share::percent(10) }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            port: 8000,
            workers: 2,
            ratio: 0.5,
            verbose: false,
            token: None,
            quota: None,
            tags: vec![],
            level: Level::Info,
        }
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            memory: Memory::default(),
            server: Server::default(),
            cache: BTreeMap::new(),
            store: Store::Memory { entries: 10 },
            peers: vec![],
        }
    }
}

impl Settings for App {
    fn for_profile(profile: Profile) -> Self {
        let mut app = Self::default();
        app.server.workers = profile.pick(1, 2, 8);
        app
    }

    fn for_environment(environment: &Environment) -> Patch {
        match environment {
            Environment::Development => Patch::none().set("server.verbose", true),
            _ => Patch::none(),
        }
    }

    fn for_machine(_: Profile, machine: &Machine) -> Patch {
        match machine.memory() {
            Some(memory) => {
                let bytes = ByteSize::b(memory.value.as_u64() / 100);
                Patch::none().because("cache.*.max_bytes", bytes, format!("1% of {}", memory.value))
            }
            None => Patch::none(),
        }
    }

    fn templates(profile: Profile) -> Vec<Template> {
        let entries = profile.pick(100, 10_000, 1_000_000);
        vec![Template::new("cache.*", json!({ "max_entries": entries, "ttl": "5m" }))]
    }

    fn check(&self, problems: &mut Problems) {
        for (name, cache) in &self.cache {
            problems.within(&format!("cache.{name}"), |problems| {
                if cache.max_entries == 0 {
                    problems.report("max_entries", 0, "must be at least 1; remove the cache if it is not wanted");
                }
            });
        }
    }

    fn shorthands() -> &'static [(&'static str, &'static str)] {
        &[("TRIMTAB_MEMORY_LIMIT", "memory.limit")]
    }
}

fn machine() -> Machine {
    Machine::unknown()
}

fn loader() -> Loader<App> {
    Loader::new().no_file().variables::<&str, &str>([]).machine(machine())
}

fn with_file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, Loader<App>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trimtab.toml");
    std::fs::write(&path, text).unwrap();
    (folder, loader().file(path))
}

/// The problems as lines, with the temporary folder cut off.
fn complaints(loader: &Loader<App>) -> Vec<String> {
    let refused = loader.load().expect_err("this must be refused");
    let line = |problem: &Problem| {
        let text = problem.to_string();
        match text.find("trimtab.toml") {
            Some(start) if text.starts_with('/') => text[start..].to_owned(),
            _ => text,
        }
    };
    refused.problems().iter().map(line).collect()
}

fn file_complaints(text: impl AsRef<[u8]>) -> Vec<String> {
    let (_folder, loader) = with_file(text);
    complaints(&loader)
}

fn variable_complaints(variables: &[(&str, &str)]) -> Vec<String> {
    complaints(&loader().variables(variables.iter().copied()))
}

#[test]
fn each_layer_overrides_the_one_below() {
    let (_folder, loader) = with_file(
        "profile = 'maximum'\n\
         [server]\nratio = 0.25\nport = 1\ntags = ['file']\n\
         [environment.development.server]\nport = 2\nlevel = 'warn'\n\
         [cache.users]\nmax_entries = 5\n",
    );
    let mut machine = machine();
    machine.memory_limit = Some(Measured::new(ByteSize::mib(100), "memory.max"));
    let loaded = loader
        .machine(machine)
        .variables([("TRIMTAB__SERVER__PORT", "3"), ("TRIMTAB__SERVER__TAGS", "a, b"), ("TRIMTAB_ENVIRONMENT", "dev")])
        .set("server.port", 4)
        .load()
        .unwrap();
    let server = &loaded.settings.server;
    assert_eq!((server.port, server.workers, server.verbose, server.level), (4, 8, true, Level::Warn));
    assert_eq!(server.tags, ["a", "b"]);
    let users = &loaded.settings.cache["users"];
    assert_eq!((users.max_entries, users.max_bytes), (5, Some(ByteSize::mib(1))));
    assert_eq!(users.ttl, Some(Duration::from_mins(5)));

    let origin = |path: &str| loaded.origin(path).unwrap();
    assert!(matches!(origin("server.port"), Origin::Code { file, .. } if file.ends_with("load.rs")));
    assert_eq!(origin("server.workers"), Origin::Profile(Profile::Maximum));
    assert_eq!(origin("server.verbose"), Origin::Environment(Environment::Development));
    assert_eq!(origin("server.tags"), Origin::Variable { name: "TRIMTAB__SERVER__TAGS".into() });
    assert!(origin("server.level").to_string().ends_with("trimtab.toml:8:1"));
    assert!(origin("cache.users.max_entries").to_string().ends_with("trimtab.toml:10:1"));
    assert_eq!(origin("cache.users.max_bytes"), Origin::Machine { reason: "1% of 100MiB".into() });
    assert_eq!(origin("cache.users.ttl"), Origin::Profile(Profile::Maximum));
    assert_eq!(origin("cache.users.share"), Origin::Default);
    assert_eq!(loaded.origin("cache.nobody"), None);

    let explained = &loaded.explain("server.port").unwrap()[0];
    let layers: Vec<_> = explained.layers.iter().map(|c| (c.value.clone(), c.effective)).collect();
    assert_eq!(
        layers,
        [(json!(4), true), (json!(3), false), (json!(2), false), (json!(1), false), (json!(8000), false)]
    );
    assert_eq!(explained.variable.as_deref(), Some("TRIMTAB__SERVER__PORT"));
}

#[test]
fn seven_mistakes_are_told_at_once_each_with_its_place() {
    let text = "[server]\n\
        port = 99999\n\
        wrokers = 3\n\
        quota = '5 per second'\n\
        [cache.users]\n\
        ttl = 30\n\
        max_entries = 0\n\
        max_bytes = '64 MO'\n";
    let (_folder, loader) = with_file(text);
    let told = complaints(&loader.variables([("TRIMTAB__CACHE__USERS__MAX_BYTE", "1"), ("TRIMTAB_PROFIL", "maximum")]));
    let wished = [
        "trimtab.toml:2:1: server.port = 99999: must be a whole number from 0 to 65535",
        "trimtab.toml:3:1: server.wrokers: unknown setting; did you mean `server.workers`?",
        "trimtab.toml:4:1: server.quota: \"5 per second\" is not a rate: it has no \"/\"",
        "trimtab.toml:6:1: cache.users.ttl: 30 is not a duration: a number alone does not say its unit",
        "trimtab.toml:7:1: cache.users.max_entries = 0: must be at least 1; remove the cache",
        "trimtab.toml:8:1: cache.users.max_bytes: \"64 MO\" is not a size: unknown unit",
        "TRIMTAB_PROFIL: unknown variable; did you mean `TRIMTAB_PROFILE`?",
        "TRIMTAB__CACHE__USERS__MAX_BYTE: unknown variable; did you mean `TRIMTAB__CACHE__USERS__MAX_BYTES`?",
    ];
    assert_eq!(told.len(), wished.len(), "{told:#?}");
    for (told, wished) in told.iter().zip(wished) {
        assert!(told.starts_with(wished), "\n{told}\n{wished}");
    }
}

#[test]
fn wrong_types_say_what_is_expected() {
    for (text, wished) in [
        ("[server]\nport = 'x'", "2:1: server.port = \"x\": is text, but a whole number from 0 to 65535 is expected"),
        ("[server]\nport = 1.5", "2:1: server.port = 1.5: is a number with a fraction, but"),
        ("[server]\nport = -1", "2:1: server.port = -1: must be a whole number from 0 to 65535"),
        ("[server]\nworkers = 0", "2:1: server.workers = 0: must be a whole number from 1 to 1024"),
        ("[server]\nratio = nan", "2:1: server.ratio = nan: must be a finite number"),
        ("[server]\nratio = 1e400", "2:1: server.ratio = 1e400: must be a finite number"),
        ("[server]\nport = 99999999999999999999", "2:1: server.port = 99999999999999999999: is too large"),
        ("[server]\nverbose = 'yes'", "2:1: server.verbose = \"yes\": is text, but true or false is expected"),
        (
            "[server]\nlevel = 'wran'",
            "2:1: server.level = \"wran\": must be one of \"warn\" or \"info\"; did you mean `warn`?",
        ),
        ("[server]\ntags = [1]", "2:9: server.tags.0 = 1: is a whole number, but text is expected"),
        ("server = 3", "1:1: server: is a whole number, but a table is expected"),
        ("[cache]\nusers = 3", "2:1: cache.users = 3: is a whole number, but a table is expected"),
        ("[memory]\nlimit = '0'", "2:1: memory.limit: \"0\" is not a memory limit: it is zero"),
        ("[[peers]]\nweight = 1", "1:1: peers.0: missing field `host`"),
        ("[cache.users]\nshare = 80", "2:1: cache.users.share: 80 is not a share: it is above 1 (100%)"),
        ("port = 1", "1:1: port: unknown setting; did you mean `server.port`?"),
        ("colour = 1", "1:1: colour: unknown setting; known at the top level: cache, memory, peers, server, store"),
        ("profile = 'turbo'", "1:1: profile = \"turbo\": must be one of \"minimal\", \"balanced\" or \"maximum\""),
        ("environment = 'a b'", "1:1: environment: \"a b\" cannot name an environment"),
    ] {
        let told = file_complaints(text);
        assert_eq!(told.len(), 1, "{text}: {told:#?}");
        assert!(
            told[0].starts_with(&format!("trimtab.toml:{wished}")),
            "{text}\n  told   {}\n  wished {wished}",
            told[0]
        );
    }
}

#[test]
fn syntax_errors_stand_beside_the_others() {
    let told = file_complaints(
        "[server]\nport = \nverbose = 3\n[cache.users]\nmax_entries = 1\nmax_entries = 2\n[server]\nlevel = 'x'\n",
    );
    let starts = [
        "trimtab.toml:2:",
        "trimtab.toml:3:1: server.verbose = 3",
        "trimtab.toml:6:1: max_entries is set twice",
        "trimtab.toml:7:",
    ];
    for start in starts {
        assert!(told.iter().any(|told| told.starts_with(start)), "{start}: {told:#?}");
    }
}

#[test]
fn files_that_are_no_settings_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    assert!(complaints(&loader().file(folder.path()))[0].contains("is a folder"));
    assert!(complaints(&loader().file(folder.path().join("none.toml")))[0].contains("does not exist; create it"));
    let told = file_complaints(b"[server]\nport = 1 # \xff");
    assert!(told[0].starts_with("trimtab.toml:2:12: is no UTF-8 text (byte 20 is 0xff)"), "{told:?}");
    let told = file_complaints(vec![b'#'; (4 << 20) + 1]);
    assert!(told[0].contains("larger than the 4194304 bytes"), "{told:?}");
    let path = folder.path().join("missing.toml");
    let told = complaints(&Loader::<App>::new().variables([("TRIMTAB_CONFIG", path.to_str().unwrap())]));
    assert!(told[0].contains("correct TRIMTAB_CONFIG or create the file"), "{told:?}");
}

#[test]
fn empty_files_byte_order_marks_and_comments_are_fine() {
    for text in ["", "\u{feff}", "# nothing\n", "\u{feff}[server]\r\nport = 8000\r\n"] {
        let (_folder, loader) = with_file(text);
        assert_eq!(*loader.load().unwrap().settings, App::default(), "{text:?}");
    }
}

#[test]
fn none_unsets_what_a_template_set() {
    let (_folder, loader) = with_file("[cache.users]\nttl = 'none'\nmax_bytes = '1MiB'\n");
    let loaded = loader.variables([("TRIMTAB__CACHE__USERS__MAX_BYTES", "none")]).load().unwrap();
    assert_eq!((loaded.settings.cache["users"].ttl, loaded.settings.cache["users"].max_bytes), (None, None));
    assert!(file_complaints("[cache.users]\nmax_entries = 'none'")[0].contains("is text, but a whole number"));
}

#[test]
fn variables_take_their_type_from_the_schema() {
    let loaded = loader()
        .variables([
            ("TRIMTAB__SERVER__VERBOSE", "on"),
            ("TRIMTAB__SERVER__RATIO", "0.75"),
            ("TRIMTAB__SERVER__TOKEN", "12345"),
            ("TRIMTAB__SERVER__QUOTA", "10/s"),
            ("TRIMTAB__CACHE__USERS", "{max_entries = 7, ttl = '1s'}"),
            ("TRIMTAB__CACHE__ORDERS", "{\"max_entries\": 8}"),
            ("TRIMTAB__PEERS", "[{\"host\": \"a\"}]"),
            ("TRIMTAB_MEMORY_LIMIT", "80%"),
            ("TRIMTAB_SERVICE_HOST", "10.0.0.1"),
            ("TRIMTAB_PORT", "tcp://10.0.0.1:8000"),
            ("OTHER", "x"),
        ])
        .load()
        .unwrap();
    let app = &loaded.settings;
    assert!(app.server.verbose);
    assert_eq!(app.server.token.as_ref().unwrap().expose(), "12345");
    assert_eq!(app.server.quota, Some("10/s".parse().unwrap()));
    assert_eq!((app.cache["users"].max_entries, app.cache["orders"].max_entries), (7, 8));
    assert_eq!(app.peers, [Peer { host: "a".into(), weight: 0 }]);
    assert_eq!(loaded.origin("memory.limit").unwrap().to_string(), "TRIMTAB_MEMORY_LIMIT");
}

#[test]
fn variables_find_names_whatever_their_case_and_dashes() {
    let (_folder, loader) = with_file("[cache.User-Sessions]\nmax_entries = 1\n");
    let loaded = loader.variables([("TRIMTAB__CACHE__USER_SESSIONS__MAX_ENTRIES", "2")]).load().unwrap();
    assert_eq!(loaded.settings.cache["User-Sessions"].max_entries, 2);
    assert_eq!(loaded.settings.cache.len(), 1);

    let (_folder, loader) = with_file("[cache.Users]\n[cache.users]\n");
    let told = complaints(&loader.variables([("TRIMTAB__CACHE__USERS__MAX_ENTRIES", "2")]));
    assert!(told[0].contains("`cache.Users` or `cache.users`, which differ only in case"), "{told:?}");

    let told = variable_complaints(&[("TRIMTAB__SERVER__PORT", "1"), ("TRIMTAB__server__port", "2")]);
    assert!(told[0].contains("is also set by TRIMTAB__SERVER__PORT"), "{told:?}");
}

#[test]
fn misspelt_and_malformed_variables_are_told_by_name() {
    for (variable, wished) in [
        (
            ("TRIMTAB_PROFILE", "maximun"),
            "TRIMTAB_PROFILE: profile = \"maximun\": must be one of \"minimal\", \"balanced\" or \"maximum\"; did you mean `maximum`?",
        ),
        (
            ("TRIMTAB_ENVIRONMENT", "prodution"),
            "TRIMTAB_ENVIRONMENT: environment = prodution: nothing is set for an environment of this name; did you mean `production`?",
        ),
        (("TRIMTAB_ENVIRONMENT", "a b"), "TRIMTAB_ENVIRONMENT: environment: \"a b\" cannot name an environment"),
        (("TRIMTAB_CACHE__USERS__TTL", "1s"), "TRIMTAB_CACHE__USERS__TTL: unknown variable"),
        (
            ("TRIMTAB__SERVR__PORT", "1"),
            "TRIMTAB__SERVR__PORT: unknown variable; did you mean `TRIMTAB__SERVER__PORT`?",
        ),
        (("TRIMTAB__SERVER__PORT", "x"), "TRIMTAB__SERVER__PORT: server.port = \"x\": is text, but a whole number"),
        (("TRIMTAB__SERVER__PORT", ""), "TRIMTAB__SERVER__PORT: server.port = \"\": is empty, but a whole number"),
        (
            ("TRIMTAB__SERVER__PORT__X", "1"),
            "TRIMTAB__SERVER__PORT__X: unknown variable; did you mean `TRIMTAB__SERVER__PORT`?",
        ),
        (("TRIMTAB__PEERS", "[{"), "TRIMTAB__PEERS: peers = \"[{\": is text, but a list is expected"),
        (("TRIMTAB__", "1"), "TRIMTAB__: unknown variable"),
        (("TRIMTAB_MEMORY_LIMIT", "64M"), "TRIMTAB_MEMORY_LIMIT: memory.limit: \"64M\" is not a memory limit"),
    ] {
        let told = variable_complaints(&[variable]);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].starts_with(wished), "\n{}\n{wished}", told[0]);
    }
    let deep = format!("TRIMTAB__{}", "A__".repeat(10_000));
    assert!(variable_complaints(&[(&deep, "1")])[0].contains("unknown variable"));
    let known = loader().known_variable("TRIMTAB_LOG").variables([("TRIMTAB_LOG", "debug"), ("TRIMTAB_PROFILE", "")]);
    assert_eq!(known.load().unwrap().profile, Profile::Balanced);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_told_by_name() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(vec![0xff]);
    let told =
        complaints(&loader().variables([("TRIMTAB__SERVER__PORT".into(), value)] as [(std::ffi::OsString, _); 1]));
    assert_eq!(told, ["TRIMTAB__SERVER__PORT: its value is no UTF-8 text"]);
}

#[test]
fn mistakes_in_code_name_the_line_of_the_call() {
    let line = line!() + 1;
    let told = complaints(&loader().set("server.prot", 1).set("server..x", 1).set("cache.users.ttl", "soon"));
    let ends: Vec<_> = told.iter().map(|told| told.split_once("load.rs").unwrap().1).collect();
    assert!(ends[0].starts_with(&format!(":{line}: cache.users.ttl: \"soon\" is not a duration")), "{told:#?}");
    assert!(
        ends[1].contains("server..x: a path needs a name") && ends[2].contains("did you mean `server.port`"),
        "{told:#?}"
    );
}

#[test]
fn the_choice_of_a_profile_goes_code_variable_file_default() {
    let (_folder, loader) = with_file("profile = 'minimal'\n[environment]\nname = 'staging'\n");
    let loaded = loader.clone().load().unwrap();
    assert_eq!((loaded.profile, loaded.environment), (Profile::Minimal, Environment::Staging));
    assert!(loaded.environment_origin.to_string().ends_with(":3:1"));
    let loader = loader.variables([("TRIMTAB_PROFILE", "maximum"), ("TRIMTAB_ENVIRONMENT", "test")]);
    let loaded = loader.load().unwrap();
    assert_eq!((loaded.profile, loaded.environment), (Profile::Maximum, Environment::Test));
    let loaded = loader.profile(Profile::Balanced).environment(Environment::Development).load().unwrap();
    assert_eq!((loaded.profile, loaded.environment), (Profile::Balanced, Environment::Development));
    let loaded = self::loader().default_profile(Profile::Minimal).load().unwrap();
    assert_eq!((loaded.profile, loaded.profile_origin), (Profile::Minimal, Origin::Default));
}

#[test]
fn mistakes_for_another_environment_are_told_today() {
    let told = file_complaints(
        "[environment.staging.server]\nport = 'x'\n[environment.staging.cache.users]\nttl = 'soon'\n[environment.test]\nservr = 1\n",
    );
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told[0].starts_with("trimtab.toml:2:1: server.port")
            && told[1].starts_with("trimtab.toml:4:1: cache.users.ttl")
    );
}

#[test]
fn another_variant_replaces_the_whole_enum() {
    let (_folder, loader) = with_file("[store]\nkind = 'redis'\nurl = 'redis://x'\n");
    assert_eq!(loader.load().unwrap().settings.store, Store::Redis { url: "redis://x".into() });
    let (_folder, loader) = with_file("[store]\nentries = 5\n");
    assert_eq!(loader.load().unwrap().settings.store, Store::Memory { entries: 5 });
    let told = file_complaints("[store]\nkind = 'disk'\n");
    assert!(told[0].contains("\"disk\"") && told[0].contains("trimtab.toml:2:1"), "{told:?}");
}

#[test]
fn explaining_an_unknown_path_suggests_one() {
    let loaded = loader().load().unwrap();
    assert_eq!(loaded.explain("server.prot").unwrap_err().problems()[0].suggestion(), Some("server.port"));
    assert_eq!(loaded.explain("server").unwrap().len(), 7 + 1);
    let text = loaded.explain("server.workers").unwrap()[0].to_string();
    assert!(
        text.contains("server.workers = 2  (default)") && text.contains("variable TRIMTAB__SERVER__WORKERS"),
        "{text}"
    );
}

#[test]
fn the_summary_names_the_origin_of_every_value() {
    let loaded = loader().variables([("TRIMTAB_PROFILE", "maximum")]).load().unwrap();
    let table = loaded.summary().to_string();
    let row =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("profile"), ["profile", "maximum", "TRIMTAB_PROFILE"]);
    assert_eq!(row("server.workers"), ["server.workers", "8", "profile", "maximum"]);
    assert_eq!(row("server.token"), ["server.token", "none", "default"]);
    assert_eq!(table.lines().count(), 3 + loaded.leaves().len());
}

#[test]
fn the_schema_carries_documentation_defaults_and_limits() {
    let schema = trimtab_config::schema::<App>();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["server"]["description"], "The HTTP server.");
    assert_eq!(schema["$defs"]["Server"]["properties"]["workers"]["maximum"], 1024);
    assert_eq!(schema["$defs"]["Server"]["properties"]["port"]["default"], 8000);
    assert_eq!(schema["$defs"]["Secret"]["writeOnly"], true);
}

#[test]
fn deeply_nested_files_are_refused_without_overflow() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("{}x = 1", "a.".repeat(100_000)),
        format!("[{}x]", "a.".repeat(100_000)),
    ] {
        assert!(!file_complaints(text).is_empty());
    }
}
