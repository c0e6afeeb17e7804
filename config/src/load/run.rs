//! One load, step by step: read, choose, stack, settle, check. Each step reports what is wrong and goes on.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::file::{self, FileText};
use super::inspect::inspect;
use super::layer::{Layer, merge};
use super::loaded::{Choices, Loaded};
use super::loader::{Chosen, FileChoice, Loader};
use super::path::Path;
use super::schema::{Schema, one_of};
use super::settle::settle;
use super::suggest::nearest;
use super::tree;
use super::variable::{Variables, coerce, origin as variable_origin};
use crate::patch::to_tree;
use crate::{Environment, Machine, Origin, Patch, Problem, Problems, Profile, Settings};

/// One load: what is known so far, and where problems go.
pub(super) struct Run<'a, T> {
    pub(super) loader: &'a Loader<T>,
    pub(super) schema: Schema,
    pub(super) problems: &'a mut Vec<Problem>,
}

/// The file's part: its own values, and those for single environments.
struct FileLayers {
    path: Option<PathBuf>,
    text: Option<Arc<str>>,
    base: Layer,
    environments: Vec<(Environment, Layer)>,
    profile: Option<Chosen<Profile>>,
    environment: Option<Chosen<Environment>>,
}

impl<T: Settings> Run<'_, T> {
    pub(super) fn load(mut self) -> Option<Loaded<T>> {
        self.refuse_reserved_names();
        let variables = self.loader.sort_variables(self.problems);
        let file = self.read_file(&variables);
        let (profile, profile_origin) = self.choose_profile(&variables, &file);
        let (environment, environment_origin) = self.choose_environment(&variables, &file);
        let machine = self.loader.machine.clone().unwrap_or_else(Machine::detect);

        let own = |wished: &Environment| {
            file.environments.iter().find(|(name, _)| name == wished).map(|(_, layer)| layer.clone())
        };
        let sources = Sources { profile, machine: &machine, file: &file.base, variables: &variables };
        let mut layers = self.stack(&sources, &environment, own(&environment))?;
        let settings = settle::<T>(&mut layers, &self.schema, self.problems);
        self.try_inactive(&sources, &environment, &file);
        let settings = settings?;
        self.check(&settings, &layers);
        Some(Loaded::new(
            settings,
            layers,
            self.schema,
            Choices {
                profile,
                profile_origin,
                environment,
                environment_origin,
                machine,
                file: file.path,
                file_text: file.text,
                prefix: self.loader.prefix.clone(),
            },
        ))
    }

    /// A setting at the top level that the loader takes for itself could never be set.
    fn refuse_reserved_names(&mut self) {
        for name in self.schema.node().keys() {
            if matches!(name, "profile" | "environment") {
                let message = "this name is the loader's own at the top level; rename the field of the settings type";
                self.problems.push(Problem::new(name, message).with_origin(Origin::Default));
            }
        }
    }

    fn read_file(&mut self, variables: &Variables) -> FileLayers {
        let mut layers = FileLayers {
            path: None,
            text: None,
            base: Layer::new(Origin::Default),
            environments: Vec::new(),
            profile: None,
            environment: None,
        };
        let Some((path, required)) = self.loader.choose_file(variables) else { return layers };
        let path = Arc::new(path);
        let read = match &self.loader.file_text {
            Some(text) => FileText::Text(text.to_string()),
            None => file::read(&path),
        };
        match read {
            FileText::Missing if !required => return layers,
            FileText::Missing => {
                let hint = match (&variables.config, &self.loader.file) {
                    (Some((name, _)), FileChoice::Usual) => {
                        format!("does not exist; correct {name} or create the file")
                    }
                    _ => "does not exist; create it or name another".to_owned(),
                };
                self.problems.push(Problem::new("", hint).with_origin(Origin::File {
                    path: path.clone(),
                    line: 1,
                    column: 1,
                }));
            }
            FileText::Failed(problem) => self.problems.push(problem),
            FileText::Text(text) => {
                layers.base = file::parse(&path, &text, self.problems);
                layers.text = Some(text.into());
                self.take_profile(&mut layers);
                self.take_environments(&mut layers);
            }
        }
        layers.path = Some(path.to_path_buf());
        layers
    }

    fn take_profile(&mut self, layers: &mut FileLayers) {
        let path = ["profile".to_owned()];
        let origin = layers.base.origin(&path);
        let Some(value) = tree::remove(&mut layers.base.tree, &path) else { return };
        match value.as_str().map(str::parse) {
            Some(Ok(profile)) => layers.profile = Some(Chosen(profile, origin)),
            _ => self.problems.push(bad_profile(&value, origin)),
        }
    }

    /// `environment = "name"`, or a table with a `name` and a table for each environment.
    fn take_environments(&mut self, layers: &mut FileLayers) {
        let path = vec!["environment".to_owned()];
        let (name, tables) = match tree::remove(&mut layers.base.tree, &path) {
            Some(Value::Object(mut tables)) => {
                let name =
                    tables.get("name").is_some_and(|name| !name.is_object()).then(|| tables.remove("name")).flatten();
                (name.map(|name| (name, [path.as_slice(), &["name".to_owned()]].concat())), tables)
            }
            Some(name) => (Some((name, path.clone())), Map::new()),
            None => return,
        };
        if let Some((value, path)) = name {
            let origin = layers.base.origin(&path);
            match value.as_str().unwrap_or_default().parse() {
                Ok(environment) => layers.environment = Some(Chosen(environment, origin)),
                Err(error) => {
                    let problem =
                        Problem::new("environment", format!("{error}")).with_value(&value).with_origin(origin);
                    self.problems.push(problem);
                }
            }
        }
        for (name, table) in tables {
            let below = [path.as_slice(), std::slice::from_ref(&name)].concat();
            let origin = layers.base.origin(&below);
            let shown = Path(below.clone()).to_string();
            match (name.parse::<Environment>(), table.is_object()) {
                (Ok(environment), true) if !layers.environments.iter().any(|(known, _)| *known == environment) => {
                    let mut layer = layers.base.below(&Path(below));
                    layer.tree = table;
                    layers.environments.push((environment, layer));
                }
                (Ok(environment), true) => {
                    let message = format!("the environment {environment} has a table already; keep one of them");
                    self.problems.push(Problem::new(shown, message).with_origin(origin));
                }
                (Ok(_), false) => {
                    let message = "must be a table with the settings of that environment";
                    self.problems.push(Problem::new(shown, message).with_origin(origin));
                }
                (Err(error), _) => self.problems.push(Problem::new(shown, error.to_string()).with_origin(origin)),
            }
        }
    }

    fn choose_profile(&mut self, variables: &Variables, file: &FileLayers) -> (Profile, Origin) {
        let named = variables.profile.as_ref().and_then(|(name, text)| {
            let chosen = text.parse().ok().map(|profile| Chosen(profile, variable_origin(name)));
            if chosen.is_none() {
                self.problems.push(bad_profile(&Value::from(text.as_str()), variable_origin(name)));
            }
            chosen
        });
        let chosen = self.loader.profile.clone().or(named).or_else(|| file.profile.clone());
        chosen.map_or((self.loader.default_profile, Origin::Default), |Chosen(profile, origin)| (profile, origin))
    }

    fn choose_environment(&mut self, variables: &Variables, file: &FileLayers) -> (Environment, Origin) {
        let named = variables.environment.as_ref().and_then(|(name, text)| match text.parse() {
            Ok(environment) => Some(Chosen(environment, variable_origin(name))),
            Err(error) => {
                let error: crate::BadEnvironment = error;
                self.problems.push(Problem::new("environment", error.to_string()).with_origin(variable_origin(name)));
                None
            }
        });
        let chosen = self.loader.environment.clone().or(named).or_else(|| file.environment.clone());
        let (environment, origin) = chosen
            .map_or((self.loader.default_environment.clone(), Origin::Default), |Chosen(name, origin)| (name, origin));
        self.doubt(&environment, &origin, file);
        (environment, origin)
    }

    /// Any name may be an environment, so `prodution` would silently be one of its own. A name near to a known one, of which
    /// neither program nor file knows anything, is taken for a slip.
    fn doubt(&mut self, environment: &Environment, origin: &Origin, file: &FileLayers) {
        let used = file.environments.iter().map(|(name, _)| name);
        if !matches!(environment, Environment::Other(_))
            || used.clone().any(|name| name == environment)
            || !T::for_environment(environment).is_empty()
        {
            return;
        }
        let known = Environment::KNOWN;
        let names = known.iter().chain(used).map(Environment::name);
        if let Some(near) = nearest(environment.name(), names) {
            let problem = Problem::new("environment", "nothing is set for an environment of this name");
            let problem = problem.with_value(environment).with_suggestion(near).with_origin(origin.clone());
            self.problems.push(problem);
        }
    }

    /// All layers, lowest first; what the schema refuses is reported and taken out.
    fn stack(&mut self, from: &Sources<'_>, environment: &Environment, own: Option<Layer>) -> Option<Vec<Layer>> {
        let (default, profile) = self.base(from.profile)?;
        let own = own.unwrap_or_else(|| Layer::new(Origin::Default));
        let node = self.schema.node();
        let names = merge(&[default.clone(), profile.clone(), from.file.clone(), own.clone()], &node);
        let others: Vec<String> =
            T::shorthands().iter().map(|(name, _)| (*name).to_owned()).chain(self.loader.known.clone()).collect();
        let variables = from.variables.layer(&self.loader.prefix, &self.schema, &names, &others, self.problems);
        let code = self.code();
        let patch = Layer::from_tree(Origin::Patch, self.loader.patch.clone());

        // Stars stand for the entries that anybody names, so they come after all who name.
        let layers = [default, profile, from.file.clone(), own, variables, code, patch];
        let mut names = merge(&layers, &self.schema.node());
        let built_in =
            self.expand(T::for_environment(environment), &mut names, |_| Origin::Environment(environment.clone()));
        let tuned = self.expand(T::for_machine(from.profile, from.machine), &mut names, |reason| Origin::Machine {
            reason: reason.unwrap_or("tuned").to_owned(),
        });
        let templates = self.templates(from.profile, names.clone());

        let [default, profile, file, own, variables, code, patch] = layers;
        let mut layers = vec![templates, default, profile, built_in, tuned, file, own, variables, code, patch];
        for (index, layer) in layers.iter_mut().enumerate() {
            // The type's own defaults need no check: they have passed through the type.
            if !matches!(index, 1 | 2) {
                inspect(layer, &self.schema, &names, self.problems);
            }
        }
        Some(layers)
    }

    /// What the type says without anybody: its default, and where the profile differs from it.
    fn base(&mut self, profile: Profile) -> Option<(Layer, Layer)> {
        let mut to_object = |settings: &T| match to_tree(settings) {
            Ok(tree @ Value::Object(_)) => Some(tree),
            other => {
                let why = other.err().unwrap_or_else(|| "it is no table".into());
                let message = format!("the settings type cannot be written as a tree: {why}");
                self.problems.push(Problem::new("", message).with_origin(Origin::Default));
                None
            }
        };
        let default = to_object(&T::default())?;
        let chosen = to_object(&T::for_profile(profile))?;
        let mut shared = Layer::from_tree(Origin::Default, chosen.clone());
        let mut differing = Layer::new(Origin::Profile(profile));
        tree::leaves(&chosen, &mut |path, value| {
            if tree::get(&default, &path.0) != Some(value) && !path.0.is_empty() {
                tree::set(&mut differing.tree, &path.0, value.clone());
                // Below, the default shows; a leaf that only the profile has is not there at all.
                match tree::get(&default, &path.0) {
                    Some(below) => tree::set(&mut shared.tree, &path.0, below.clone()),
                    None => drop(tree::remove(&mut shared.tree, &path.0)),
                }
            }
        });
        Some((shared, differing))
    }

    fn code(&mut self) -> Layer {
        let mut layer = Layer::new(Origin::Default);
        for (entry, origin) in &self.loader.sets {
            match (Path::parse(&entry.path), &entry.value) {
                (Ok(path), Ok(value)) => {
                    let value = match (origin, value, self.schema.at(&path.0)) {
                        (Origin::Argument { .. }, Value::String(text), Some(node)) => coerce(&node, text),
                        _ => value.clone(),
                    };
                    layer.put(&path, value, origin);
                }
                (Err(why), _) => self.problems.push(Problem::new(&entry.path, why).with_origin(origin.clone())),
                (_, Err(why)) => {
                    let message = format!("its value cannot be written as a tree: {why}");
                    self.problems.push(Problem::new(&entry.path, message).with_origin(origin.clone()));
                }
            }
        }
        layer
    }

    /// A patch as a layer, with `*` replaced by every entry of that map; entries it adds join `names`.
    fn expand(&mut self, patch: Patch, names: &mut Value, origin: impl Fn(Option<&str>) -> Origin) -> Layer {
        let mut layer = Layer::new(origin(None));
        for entry in patch.entries {
            let origin = origin(entry.reason.as_deref());
            match (Path::parse(&entry.path), entry.value) {
                (Ok(pattern), Ok(value)) => {
                    for path in entries(&pattern, names) {
                        layer.put(&path, value.clone(), &origin);
                    }
                }
                (Err(why), _) | (_, Err(why)) => self.problems.push(Problem::new(entry.path, why).with_origin(origin)),
            }
        }
        let merged = merge(&[Layer::from_tree(Origin::Default, names.take()), layer.clone()], &self.schema.node());
        *names = merged;
        layer
    }

    fn templates(&mut self, profile: Profile, mut names: Value) -> Layer {
        let mut patch = Patch::none();
        patch.entries = T::templates(profile).into_iter().map(|template| template.entry).collect();
        // A template may name entries that a deeper one then fills.
        patch.entries.sort_by_key(|entry| entry.path.split('.').count());
        let mut all = Layer::new(Origin::Profile(profile));
        for entry in patch.entries {
            let one = self.expand(Patch { entries: vec![entry] }, &mut names, |_| Origin::Profile(profile));
            let tree = one.tree;
            all.put(&Path::default(), tree, &Origin::Profile(profile));
        }
        all
    }

    /// Settings for other environments are read on another day, on another machine: better to hear of their mistakes now.
    fn try_inactive(&mut self, sources: &Sources<'_>, active: &Environment, file: &FileLayers) {
        for (environment, layer) in file.environments.iter().filter(|(name, _)| name != active) {
            let mut found = Vec::new();
            let mut run: Run<'_, T> = Run { loader: self.loader, schema: self.schema.clone(), problems: &mut found };
            if let Some(mut layers) = run.stack(sources, environment, Some(layer.clone())) {
                let _: Option<T> = settle(&mut layers, &self.schema, &mut found);
            }
            found.retain(|problem| {
                matches!(problem.origin, Some(Origin::File { .. })) && !self.problems.contains(problem)
            });
            self.problems.append(&mut found);
        }
    }

    /// The type's own rules. Values that were refused show their defaults here: complaints about those would confuse.
    fn check(&mut self, settings: &T, layers: &[Layer]) {
        let mut found = Problems::new();
        settings.check(&mut found);
        let earlier: Vec<String> = self.problems.iter().map(|problem| problem.path.clone()).collect();
        for mut problem in found {
            let path = Path::parse(&problem.path).unwrap_or_default();
            let origin = super::layer::deciding(layers, &path.0).map(|index| layers[index].origin(&path.0));
            let origin = origin.unwrap_or(Origin::Default);
            let untouched = matches!(
                origin,
                Origin::Default | Origin::Profile(_) | Origin::Environment(_) | Origin::Machine { .. }
            );
            if !earlier.is_empty() && (untouched || earlier.contains(&problem.path)) {
                continue;
            }
            if !path.0.is_empty() && self.schema.is_secret(&path.0) {
                problem.mask();
            }
            if problem.origin.is_none() {
                problem.origin = Some(origin);
            }
            self.problems.push(scrub(problem, layers, &self.schema));
        }
    }
}

/// What a stack is made from, whichever environment is active.
struct Sources<'a> {
    profile: Profile,
    machine: &'a Machine,
    file: &'a Layer,
    variables: &'a Variables,
}

/// The paths that a pattern stands for among the entries that exist.
fn entries(pattern: &Path, names: &Value) -> Vec<Path> {
    let mut paths = vec![Path::default()];
    for segment in &pattern.0 {
        paths = paths
            .into_iter()
            .flat_map(|path| {
                if let Some(wished) = segment.strip_suffix('?') {
                    let path = path.child(wished);
                    let there = tree::get(names, &path.0).is_some_and(Value::is_object);
                    return if there { vec![path] } else { Vec::new() };
                }
                if segment != "*" {
                    return vec![path.child(segment.as_str())];
                }
                let map = tree::get(names, &path.0).and_then(Value::as_object);
                map.into_iter().flat_map(Map::keys).map(|key| path.child(key.as_str())).collect()
            })
            .collect();
    }
    paths
}

fn bad_profile(value: &Value, origin: Origin) -> Problem {
    let names = Profile::ALL.map(Profile::name);
    let problem = Problem::new("profile", format!("must be {}", one_of(&names)));
    let mut problem = problem.with_value(value).with_origin(origin);
    problem.suggestion = nearest(value.as_str().unwrap_or_default(), names).map(str::to_owned);
    problem
}

/// A check may quote what it likes; a secret of any layer does not get out.
fn scrub(mut problem: Problem, layers: &[Layer], schema: &Schema) -> Problem {
    for layer in layers {
        tree::leaves(&layer.tree, &mut |path, value| {
            let Some(secret) = value.as_str().filter(|text| text.len() >= 4) else { return };
            let quoted =
                problem.message.contains(secret) || problem.value.as_ref().is_some_and(|value| value.contains(secret));
            if quoted && schema.is_secret(&path.0) {
                problem.message = problem.message.replace(secret, crate::secret::MASK);
                problem.value = problem.value.take().map(|value| value.replace(secret, crate::secret::MASK));
            }
        });
    }
    problem
}
