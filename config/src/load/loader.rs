//! The loader as programs see it: which sources to read, and what the program itself says.

use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::loaded::Loaded;
use super::run::Run;
use super::schema::Schema;
use super::variable::Variables;
use crate::patch::{Entry, to_tree};
use crate::{Environment, Invalid, Machine, Origin, Problem, Profile, Settings};

/// The file that is read when none is named; it may be missing.
const DEFAULT_FILE: &str = "trimtab.toml";

#[derive(Clone, Debug)]
pub(super) enum FileChoice {
    Usual,
    Named(PathBuf),
    None,
}

/// A value with the place in the program that chose it.
#[derive(Clone, Debug)]
pub(super) struct Chosen<T>(pub(super) T, pub(super) Origin);

/// Loads settings of type `T` from every source.
///
/// Loading again gives fresh settings: the file and, unless given, variables and machine are read each time.
///
/// ```
/// use trimtab_config::{Loader, Origin, Profile, Settings};
/// # #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
/// # #[serde(default)]
/// # struct App { workers: u32, name: String }
/// # impl Default for App { fn default() -> Self { Self::for_profile(Profile::default()) } }
/// # impl Settings for App {
/// #     fn for_profile(profile: Profile) -> Self { Self { workers: profile.pick(1, 4, 16), name: "app".into() } }
/// # }
///
/// let loaded = Loader::<App>::new()
///     .no_file()
///     .variables([("TRIMTAB_PROFILE", "maximum"), ("TRIMTAB__NAME", "orders")])
///     .load()
///     .unwrap();
/// assert_eq!((loaded.settings.workers, loaded.settings.name.as_str()), (16, "orders"));
/// assert_eq!(loaded.origin("workers"), Some(Origin::Profile(Profile::Maximum)));
/// assert_eq!(loaded.origin("name").unwrap().to_string(), "TRIMTAB__NAME");
///
/// let refused = Loader::<App>::new().no_file().variables([("TRIMTAB__WORKER", "4")]).load().unwrap_err();
/// assert_eq!(refused.problems()[0].suggestion(), Some("TRIMTAB__WORKERS"));
/// ```
pub struct Loader<T> {
    pub(super) prefix: String,
    pub(super) profile: Option<Chosen<Profile>>,
    pub(super) default_profile: Profile,
    pub(super) environment: Option<Chosen<Environment>>,
    pub(super) default_environment: Environment,
    pub(super) file: FileChoice,
    variables: Option<Vec<(OsString, OsString)>>,
    pub(super) known: Vec<String>,
    pub(super) sets: Vec<(Entry, Origin)>,
    pub(super) machine: Option<Machine>,
    pub(crate) patch: Value,
    /// Set by live settings: a file that was there must not vanish unnoticed.
    pub(crate) file_required: bool,
    /// Set by live settings: what the file said at the last good load, while something else changes.
    pub(crate) file_text: Option<Arc<str>>,
    settings: PhantomData<fn() -> T>,
}

impl<T> Clone for Loader<T> {
    fn clone(&self) -> Self {
        Self {
            prefix: self.prefix.clone(),
            profile: self.profile.clone(),
            default_profile: self.default_profile,
            environment: self.environment.clone(),
            default_environment: self.default_environment.clone(),
            file: self.file.clone(),
            variables: self.variables.clone(),
            known: self.known.clone(),
            sets: self.sets.clone(),
            machine: self.machine.clone(),
            patch: self.patch.clone(),
            file_required: self.file_required,
            file_text: self.file_text.clone(),
            settings: PhantomData,
        }
    }
}

/// Names and places only: values may be secrets.
impl<T> fmt::Debug for Loader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<_> = self.sets.iter().map(|(entry, _)| entry.path.as_str()).collect();
        f.debug_struct("Loader")
            .field("profile", &self.profile)
            .field("environment", &self.environment)
            .field("file", &self.file)
            .field("set", &set)
            .finish_non_exhaustive()
    }
}

impl<T: Settings> Default for Loader<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Settings> Loader<T> {
    /// Reads `trimtab.toml` if it exists, the variables of this process, and this machine.
    pub fn new() -> Self {
        Self {
            prefix: "TRIMTAB".into(),
            profile: None,
            default_profile: Profile::default(),
            environment: None,
            default_environment: Environment::default(),
            file: FileChoice::Usual,
            variables: None,
            known: Vec::new(),
            sets: Vec::new(),
            machine: None,
            patch: Value::Object(Map::new()),
            file_required: false,
            file_text: None,
            settings: PhantomData,
        }
    }

    /// The first word of all variables, in place of `TRIMTAB`.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Uses this profile, whatever variable and file say.
    #[track_caller]
    pub fn profile(self, profile: Profile) -> Self {
        Self { profile: Some(Chosen(profile, here())), ..self }
    }

    /// Uses this profile where neither variable nor file says another.
    pub fn default_profile(self, profile: Profile) -> Self {
        Self { default_profile: profile, ..self }
    }

    /// Uses this environment, whatever variable and file say.
    #[track_caller]
    pub fn environment(self, environment: Environment) -> Self {
        Self { environment: Some(Chosen(environment, here())), ..self }
    }

    /// Uses this environment where neither variable nor file says another.
    pub fn default_environment(self, environment: Environment) -> Self {
        Self { default_environment: environment, ..self }
    }

    /// Reads this file, which must exist; the variable `TRIMTAB_CONFIG` is then not asked.
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        Self { file: FileChoice::Named(path.into()), ..self }
    }

    /// Reads no file.
    pub fn no_file(self) -> Self {
        Self { file: FileChoice::None, ..self }
    }

    /// Uses these variables in place of the process's.
    pub fn variables<K, V>(self, variables: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
        Self { variables: Some(variables), ..self }
    }

    /// Tells that a variable with our prefix is read by someone else, and so is no misspelt setting.
    pub fn known_variable(mut self, name: impl Into<String>) -> Self {
        self.known.push(name.into());
        self
    }

    /// Sets the value at `path`, over file and variables. A wrong path or value is reported by [`load`](Self::load).
    #[track_caller]
    pub fn set(mut self, path: impl Into<String>, value: impl Serialize) -> Self {
        self.sets.push((Entry { path: path.into(), value: to_tree(&value), reason: None }, here()));
        self
    }

    /// Sets the value at `path` to what `text` says, over file and variables: for a command line. `option` is shown as the
    /// origin. Text becomes numbers, lists and the like where the setting is one, as with variables.
    ///
    /// ```
    /// # use trimtab_config::{Loader, Profile, Settings};
    /// # #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// # #[serde(default)]
    /// # struct App { workers: u32 }
    /// # impl Default for App { fn default() -> Self { Self { workers: 1 } } }
    /// # impl Settings for App { fn for_profile(_: Profile) -> Self { Self::default() } }
    /// let loader = Loader::<App>::new().no_file().variables::<&str, &str>([]).argument("--workers", "workers", "8");
    /// let loaded = loader.load().unwrap();
    /// assert_eq!(loaded.settings.workers, 8);
    /// assert_eq!(loaded.origin("workers").unwrap().to_string(), "--workers");
    /// ```
    pub fn argument(mut self, option: impl Into<String>, path: impl Into<String>, text: impl Into<String>) -> Self {
        let entry = Entry { path: path.into(), value: Ok(Value::String(text.into())), reason: None };
        self.sets.push((entry, Origin::Argument { option: option.into() }));
        self
    }

    /// Tunes to this machine in place of the one the program runs on.
    pub fn machine(self, machine: Machine) -> Self {
        Self { machine: Some(machine), ..self }
    }

    /// The file that [`load`](Self::load) reads, or would read if it existed, and whether it must exist.
    pub fn file_path(&self) -> Option<(PathBuf, bool)> {
        self.choose_file(&self.sort_variables(&mut Vec::new()))
    }

    /// Loads the settings.
    ///
    /// # Errors
    ///
    /// Every problem found, in all sources. Nothing is applied in part.
    pub fn load(&self) -> Result<Loaded<T>, Invalid> {
        let mut problems = Vec::new();
        let result = Run { loader: self, schema: Schema::of::<T>(), problems: &mut problems }.load();
        match result {
            Some(loaded) if problems.is_empty() => Ok(loaded),
            _ => {
                problems.sort_by_cached_key(place_in_list);
                problems.dedup();
                Err(Invalid { problems })
            }
        }
    }

    pub(super) fn sort_variables(&self, problems: &mut Vec<Problem>) -> Variables {
        let variables = self.variables.clone().unwrap_or_else(|| std::env::vars_os().collect());
        Variables::sort(variables, &self.prefix, T::shorthands(), &self.known, problems)
    }

    pub(super) fn choose_file(&self, variables: &Variables) -> Option<(PathBuf, bool)> {
        match &self.file {
            FileChoice::None => None,
            FileChoice::Named(path) => Some((path.clone(), true)),
            FileChoice::Usual => Some(match &variables.config {
                Some((_, path)) => (path.into(), true),
                None => (DEFAULT_FILE.into(), self.file_required),
            }),
        }
    }
}

#[track_caller]
fn here() -> Origin {
    let place = Location::caller();
    Origin::Code { file: place.file(), line: place.line() }
}

/// In the order in which a person works: down the file, then the rest.
fn place_in_list(problem: &Problem) -> (u8, u32, u32, String) {
    match &problem.origin {
        Some(Origin::File { line, column, .. }) => (0, *line, *column, problem.path.clone()),
        Some(Origin::Variable { name }) => (1, 0, 0, name.clone()),
        Some(Origin::Code { line, .. }) => (2, *line, 0, problem.path.clone()),
        Some(Origin::Argument { option }) => (2, 0, 0, option.clone()),
        _ => (3, 0, 0, problem.path.clone()),
    }
}
