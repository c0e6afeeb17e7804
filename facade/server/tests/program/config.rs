//! `trimtab config`: every origin is named, and every mistake is told at once.

use std::path::Path;
use std::process::Output;

use crate::running::trimtab;

fn config(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        trimtab(folder).arg("config").args(arguments).envs(variables.iter().copied()).output().expect("runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("a status"), text(stdout), text(stderr))
}

#[test]
fn seven_mistakes_are_told_at_once_each_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trimtab.toml");
    std::fs::write(
        &file,
        "[cache.users]\n\
         max_entrys = 100\n\
         ttl = \"5 parsecs\"\n\
         max_bytes = \"64 MB of fun\"\n\
         policy = \"fifoo\"\n\
         [monitor]\n\
         interval = 0\n\
         [cache.orders]\n\
         max_entries = 0\n",
    )
    .expect("written");
    let (status, _, error) = config(folder.path(), &["check"], &[("TRIMTAB__CACHE__USERS__MAX_ENTRIES", "-3")]);
    assert_eq!(status, 2, "{error}");
    for place in [
        "trimtab.toml:2",
        "trimtab.toml:3",
        "trimtab.toml:4",
        "trimtab.toml:5",
        "trimtab.toml:7",
        "trimtab.toml:9",
        "TRIMTAB__CACHE__USERS__MAX_ENTRIES",
    ] {
        assert!(error.contains(place), "{place} is missing in:\n{error}");
    }
    assert!(error.contains("max_entries"), "the misspelt key gets a suggestion:\n{error}");
}

#[test]
fn a_sound_file_passes_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("good.toml"), "[cache.users]\nttl = \"5m\"\n").expect("written");
    let (status, out, _) = config(folder.path(), &["check", "good.toml"], &[]);
    assert_eq!(status, 0);
    assert!(out.starts_with("sound: good.toml"), "{out}");
    let (status, _, error) = config(folder.path(), &["check", "absent.toml"], &[]);
    assert_eq!(status, 2);
    assert!(error.contains("absent.toml"), "{error}");
}

#[test]
fn show_names_the_origin_of_every_value() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), "[cache.users]\nttl = \"5m\"\n").expect("written");
    let variables = [("TRIMTAB_PROFILE", "maximum"), ("TRIMTAB__LOG__FILTER", "warn")];
    let (status, out, error) = config(folder.path(), &["show", "--json", "--set", "monitor.history=30m"], &variables);
    assert_eq!(status, 0, "{error}");
    let leaves: Vec<serde_json::Value> = serde_json::from_str(&out).expect("json");
    let origin = |path: &str| {
        let leaf = leaves.iter().find(|leaf| leaf["path"] == path).unwrap_or_else(|| panic!("{path} in {out}"));
        leaf["origin"]["text"].as_str().expect("text").to_owned()
    };
    assert_eq!(origin("cache.users.ttl"), "trimtab.toml:2:1");
    assert_eq!(origin("cache.users.max_entries"), "profile maximum");
    assert_eq!(origin("log.filter"), "TRIMTAB__LOG__FILTER");
    assert_eq!(origin("log.format"), "default");
    assert!(origin("monitor.history").contains("--set"), "{}", origin("monitor.history"));
    assert!(leaves.iter().all(|leaf| leaf["origin"]["kind"].is_string()));
    let (_, table, _) = config(folder.path(), &["show"], &variables);
    assert!(table.contains("profile maximum") && table.contains("trimtab.toml:2:1"), "{table}");
}

#[test]
fn secrets_are_never_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let canary = "canary-bird-sings-0123456789";
    let variables = [("TRIMTAB__SERVER__TOKEN", canary)];
    for arguments in
        [&["show"][..], &["show", "--json"], &["check"], &["explain", "server"], &["explain", "server.token"]]
    {
        let (status, out, error) = config(folder.path(), arguments, &variables);
        assert_eq!(status, 0, "{arguments:?}: {error}");
        assert!(!out.contains(canary) && !error.contains(canary), "{arguments:?} tells the secret");
    }
}

#[test]
fn explain_tells_every_layers_say_and_a_wrong_path_gets_a_suggestion() {
    let folder = tempfile::tempdir().expect("a folder");
    let (status, out, _) =
        config(folder.path(), &["explain", "server.address"], &[("TRIMTAB__SERVER__ADDRESS", "127.0.0.1:9")]);
    assert_eq!(status, 0);
    assert!(
        out.contains("127.0.0.1:9") && out.contains("127.0.0.1:8000") && out.contains("TRIMTAB__SERVER__ADDRESS"),
        "{out}"
    );
    let (status, _, error) = config(folder.path(), &["explain", "server.adress"], &[]);
    assert_eq!(status, 2);
    assert!(error.contains("server.address"), "{error}");
}

#[test]
fn the_schema_is_json_and_knows_the_sections() {
    let folder = tempfile::tempdir().expect("a folder");
    let (status, out, _) = config(folder.path(), &["schema"], &[]);
    assert_eq!(status, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).expect("json");
    for section in ["cache", "monitor", "server", "memory", "log"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}
