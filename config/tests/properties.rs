//! Properties that hold for any input: units print what they parse, merging equals a naive model, nothing panics.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trimtab_config::{
    ByteSize, Duration, Environment, Loader, Machine, MemoryLimit, Origin, Profile, Rate, Secret, Settings, Share,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct App {
    a: u32,
    b: i64,
    c: f64,
    size: ByteSize,
    wait: Option<Duration>,
    share: Share,
    secret: Option<Secret>,
    list: Vec<u8>,
    named: BTreeMap<String, Named>,
    free: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Named {
    x: u32,
    y: u32,
}

impl Settings for App {
    fn for_profile(profile: Profile) -> Self {
        Self { a: profile.pick(1, 0, 2), ..Self::default() }
    }
}

fn loader() -> Loader<App> {
    Loader::new().no_file().machine(Machine::unknown())
}

fn file(text: &[u8]) -> (tempfile::TempDir, Loader<App>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trimtab.toml");
    std::fs::write(&path, text).unwrap();
    (folder, loader().file(path))
}

/// A few leaves: `named.NAME.FIELD` and `a`.
fn leaves() -> impl Strategy<Value = BTreeMap<String, u32>> {
    let path = prop_oneof![Just("a".to_owned()), "named\\.[pqr]\\.[xy]"];
    proptest::collection::btree_map(path, any::<u32>(), 0..6)
}

fn toml_of(leaves: &BTreeMap<String, u32>) -> String {
    let lines: Vec<_> = leaves.iter().map(|(path, value)| format!("{path} = {value}")).collect();
    lines.join("\n")
}

/// TOML that is nearly right: known keys, values of every kind, junk.
fn nearly_toml() -> impl Strategy<Value = String> {
    let key =
        prop_oneof!["[abc]", "size|wait|share|secret|list|free|named\\.p|named|profile|environment", "[a-z.\"]{1,6}"];
    let value = prop_oneof![
        "-?[0-9]{1,22}",
        "[0-9]\\.[0-9]e-?[0-9]{1,3}",
        "\"[ -!#-~]{0,8}\"",
        "\\[[0-9,]{0,6}\\]",
        "\\{ *[xyz] = [0-9] *\\}",
        "true|nan|-inf|1979-05-27|\"none\"|\"64MiB\"|\"5s\"",
        ".{0,6}",
    ];
    let line = prop_oneof![
        8 => (key.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => key.prop_map(|key| format!("[{key}]")),
        1 => ".{0,20}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sizes_print_what_they_parse(bytes in prop_oneof![any::<u64>(), (0_u64..64).prop_map(|n| 1 << n), 0_u64..5000]) {
        let size = ByteSize::b(bytes);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
        let json = serde_json::to_value(size).unwrap();
        prop_assert_eq!(serde_json::from_value::<ByteSize>(json).unwrap(), size);
        if bytes > 0 {
            let limit = MemoryLimit::Bytes(size);
            prop_assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn durations_print_what_they_parse(secs in any::<u64>(), nanos in 0_u32..1_000_000_000, whole in any::<bool>()) {
        let duration = Duration::from(std::time::Duration::new(secs, if whole { 0 } else { nanos }));
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn shares_print_what_they_parse(fraction in prop_oneof![0.0_f64..=1.0, (0_u32..=1000).prop_map(|n| f64::from(n) / 1000.0), 0.0_f64..1e-300]) {
        let share = Share::new(fraction).unwrap();
        prop_assert_eq!(share.to_string().parse(), Ok(share));
        if fraction > 1e-6 {
            let limit = MemoryLimit::Share(share);
            prop_assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn rates_print_what_they_parse(permits in 1_u32.., millis in 1_u64.., burst in proptest::option::of(1_u32..)) {
        let rate = Rate::new(permits, Duration::from_millis(millis)).unwrap();
        let rate = burst.map_or(rate, |burst| rate.with_burst(burst));
        prop_assert_eq!(rate.to_string().parse(), Ok(rate));
    }

    #[test]
    fn no_text_makes_a_unit_panic(text in "\\PC{0,24}|[0-9. _-]{0,40}[a-zA-Zµ%/]{0,4}") {
        let _ = (text.parse::<ByteSize>(), text.parse::<Duration>(), text.parse::<Rate>(), text.parse::<Share>());
        let _ = (text.parse::<MemoryLimit>(), text.parse::<Profile>(), text.parse::<Environment>());
    }

    #[test]
    fn layers_merge_like_a_map_that_is_extended(file_says in leaves(), variables in leaves(), code in leaves()) {
        let (_folder, loader) = file(toml_of(&file_says).as_bytes());
        let name = |path: &String| format!("TRIMTAB__{}", path.to_uppercase().replace('.', "__"));
        let loader = loader.variables(variables.iter().map(|(path, value)| (name(path), value.to_string())));
        let loader = code.iter().fold(loader, |loader, (path, value)| loader.set(path, value));
        let loaded = loader.load().unwrap();

        let mut model = file_says.clone();
        model.extend(variables.clone());
        model.extend(code.clone());
        for (path, value) in &model {
            let explained = &loaded.explain(path).unwrap()[0];
            prop_assert_eq!(&explained.value, &Value::from(*value));
            let origin = explained.origin.kind();
            let wished = if code.contains_key(path) { "code" } else if variables.contains_key(path) { "variable" } else { "file" };
            prop_assert_eq!(origin, wished);
            prop_assert_eq!(explained.layers.iter().filter(|layer| layer.effective).count(), 1);
        }
        let set = |leaf: &&trimtab_config::Leaf| !matches!(leaf.origin, Origin::Default);
        prop_assert_eq!(loaded.leaves().iter().filter(set).count(), model.len());
    }

    #[test]
    fn a_path_and_its_variable_name_the_same_leaf(name in "[a-z][a-z0-9]{0,6}([_-][a-z0-9]{1,4})?", value in any::<u32>()) {
        let (_folder, loader) = file(format!("[named.{name}]\n").as_bytes());
        let path = format!("named.{name}.x");
        let variable = loader.clone().variables::<&str, &str>([]).load().unwrap().explain(&path).unwrap()[0].variable.clone().unwrap();
        let loaded = loader.variables([(variable.clone(), value.to_string())]).load().unwrap();
        prop_assert_eq!(loaded.settings.named[&name].x, value);
        prop_assert_eq!(loaded.origin(&path), Some(Origin::Variable { name: variable }));
    }

    #[test]
    fn no_file_makes_the_loader_panic(text in nearly_toml()) {
        let (_folder, loader) = file(text.as_bytes());
        if let Err(invalid) = loader.variables::<&str, &str>([]).load() {
            prop_assert!(!invalid.problems().is_empty());
            // Every problem of a file has its line.
            let lines = text.lines().count() as u32 + 1;
            for problem in invalid.problems() {
                let inside = matches!(problem.origin(), Some(Origin::File { line, .. }) if (1..=lines).contains(line));
                prop_assert!(inside, "{} in\n{}", problem, text);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_folder, loader) = file(&bytes);
        let _ = loader.variables::<&str, &str>([]).load();
    }

    #[test]
    fn no_variable_makes_the_loader_panic(
        variables in proptest::collection::vec(
            ("TRIMTAB_{1,3}(A|B|C|LIST|NAMED|FREE|SIZE|PROFILE|CONFIG|[A-Z_é]{0,8})(__[A-Za-z_]{0,5}){0,3}", "\\PC{0,20}|[\\[{][0-9a-z\"=:,]{0,12}[\\]}]"),
            0..6,
        )
    ) {
        let _ = loader().variables(variables).load();
    }
}
