//! A canary in every secret, searched for in everything that can be printed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use trimtab_config::{Environment, Live, Loader, Patch, Problems, Profile, Secret, Settings, Template};

const CANARY: &str = "canary-4711";

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct App {
    token: Secret,
    spare: Option<Secret>,
    keys: Vec<Secret>,
    users: BTreeMap<String, Secret>,
    store: Store,
    port: u16,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Store {
    url: Secret,
    note: String,
}

impl Settings for App {
    fn for_profile(_: Profile) -> Self {
        Self { token: Secret::new(format!("{CANARY}-profile")), ..Self::default() }
    }

    fn for_environment(_: &Environment) -> Patch {
        Patch::none().set("spare", Secret::new(format!("{CANARY}-environment")))
    }

    fn templates(_: Profile) -> Vec<Template> {
        vec![Template::new("users.*", Secret::new(format!("{CANARY}-template")))]
    }

    fn check(&self, problems: &mut Problems) {
        // A careless check: it quotes the secret in value and remedy, at its own path and at another.
        if self.port == 1 {
            let secret = self.token.expose();
            problems.report("token", secret, format!("{secret} is too weak"));
            problems.report("port", secret, format!("{secret} needs another port"));
        }
    }
}

fn file(text: &str) -> (tempfile::TempDir, Loader<App>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trimtab.toml");
    std::fs::write(&path, text).unwrap();
    (folder, Loader::new().file(path).variables::<&str, &str>([]))
}

fn silent(what: &str, text: &str) {
    assert!(!text.contains("canary"), "{what} shows the secret:\n{text}");
}

#[test]
fn loaded_settings_show_no_secret_anywhere() {
    let (_folder, loader) = file(&format!(
        "token = '{CANARY}'\nkeys = ['{CANARY}']\nusers = {{ a = '{CANARY}' }}\nstore.url = '{CANARY}'\n"
    ));
    let loader = loader.set("spare", CANARY).variables([("TRIMTAB__USERS__B", CANARY)]);
    silent("the loader", &format!("{loader:?}"));
    let loaded = loader.load().unwrap();
    assert_eq!(loaded.settings.users["b"].expose(), CANARY);
    assert_eq!(loaded.settings.keys[0].expose(), CANARY);
    silent("Debug", &format!("{loaded:?}"));
    silent("the summary", &loaded.summary().to_string());
    silent("leaves", &format!("{:?} {}", loaded.leaves(), serde_json::to_string(&loaded.leaves()).unwrap()));
    silent("the tree", &loaded.to_value().to_string());
    silent("serialised settings", &serde_json::to_string(&*loaded.settings).unwrap());
    for leaf in loaded.leaves() {
        let explained = loaded.explain(&leaf.path).unwrap();
        assert_eq!(explained.len(), 1);
        silent("explain", &format!("{explained:?} {} {}", explained[0], serde_json::to_string(&explained).unwrap()));
    }
    assert_eq!(loaded.to_value()["users"]["b"], "***");
    silent("the schema", &trimtab_config::schema::<App>().to_string());
}

#[test]
fn built_in_secrets_survive_the_layers() {
    let (_folder, loader) = file("");
    let loaded = loader.load().unwrap();
    assert_eq!(loaded.settings.token.expose(), format!("{CANARY}-profile"));
    assert_eq!(loaded.settings.spare.as_ref().unwrap().expose(), format!("{CANARY}-environment"));
}

#[test]
fn errors_show_no_secret() {
    for text in [
        "tokn = 'canary'",
        "token = ['canary']",
        "token = { canary = 'canary' }",
        "keys = 'canary'",
        "keys = [1, 'canary', { x = 'canary' }]",
        "users = 'canary'",
        "users = { a = ['canary'] }",
        "store = 'canary'",
        "store = { url = ['canary'], note = 'canary', extra = 'canary' }",
        "token = 'canary",
        "token = 'canary' 'canary'",
        "token = canary",
        "token = '***'",
        "port = 1\ntoken = 'canary'",
        "port = 1",
        "[environment.staging]\ntoken = ['canary']",
    ] {
        let (_folder, loader) = file(text);
        let refused = loader.load().expect_err(text);
        let shown = format!("{refused} {refused:?} {}", serde_json::to_string(&refused).unwrap());
        // A key is no secret; this one happens to be written inside the value of a secret.
        silent(text, &shown.replace("token.canary", ""));
    }
    for (name, value) in [
        ("TRIMTAB__TOKN", "canary"),
        ("TRIMTAB__STORE", "canary"),
        ("TRIMTAB__KEYS", "[canary"),
        ("TRIMTAB_TOKEN", "canary"),
    ] {
        let (_folder, loader) = file("");
        let refused = loader.variables([(name, value)]).load().expect_err(name);
        silent(name, &format!("{refused} {refused:?}"));
    }
}

#[test]
fn changes_and_patches_show_no_secret() {
    let (_folder, loader) = file("");
    let live = Live::start(loader).unwrap();
    live.on_change(|change| silent("a change", &format!("{change:?}"))).forever();
    let changes = live.patch(json!({ "token": CANARY, "keys": [CANARY], "users": { "x": CANARY } })).unwrap();
    assert_eq!(changes.len(), 3);
    silent("changes", &format!("{changes} {changes:?} {}", serde_json::to_string(&changes).unwrap()));
    silent("patches", &live.patches().to_string());
    silent("live", &format!("{live:?}"));
    let refused = live
        .patch(json!({ "token": { "a": CANARY }, "tokn": CANARY, "port": CANARY, "keys": [[CANARY]] }))
        .unwrap_err();
    assert_eq!(refused.problems().len(), 4, "{refused}");
    silent("a refused secret", &refused.to_string().replace(&format!("port = \"{CANARY}\""), ""));
}
