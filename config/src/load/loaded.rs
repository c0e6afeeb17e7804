//! Loaded settings, and the answer to "why has it this value?" for each of them.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::layer::{Layer, deciding};
use super::path::Path;
use super::schema::{Schema, known_paths};
use super::suggest::nearest;
use super::summary::Summary;
use super::{tree, variable};
use crate::patch::to_tree;
use crate::{Environment, Invalid, Machine, Origin, Problem, Profile, Settings};

/// Settings with the origin of every leaf. Secrets are masked in everything but `settings` itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The settings.
    pub settings: Arc<T>,
    /// The profile they started from.
    pub profile: Profile,
    /// Who chose the profile.
    pub profile_origin: Origin,
    /// The environment.
    pub environment: Environment,
    /// Who chose the environment.
    pub environment_origin: Origin,
    /// The machine they are tuned to.
    pub machine: Machine,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    prefix: String,
    view: Arc<View>,
}

/// What was chosen before any setting.
pub(crate) struct Choices {
    pub(crate) profile: Profile,
    pub(crate) profile_origin: Origin,
    pub(crate) environment: Environment,
    pub(crate) environment_origin: Origin,
    pub(crate) machine: Machine,
    pub(crate) file: Option<PathBuf>,
    pub(crate) file_text: Option<Arc<str>>,
    pub(crate) prefix: String,
}

/// The evidence: effective values and all layers, with secrets in clear, hence private and without a real `Debug`.
pub(crate) struct View {
    pub(crate) effective: Value,
    pub(crate) layers: Vec<Layer>,
    pub(crate) schema: Schema,
    #[cfg_attr(not(feature = "watch"), allow(dead_code, reason = "for live settings"))]
    pub(crate) file_text: Option<Arc<str>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({} layers)", self.layers.len())
    }
}

/// One effective value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Leaf {
    /// Dotted path.
    pub path: String,
    /// The value, masked if secret.
    pub value: Value,
    /// Who decided it.
    pub origin: Origin,
}

/// One layer's say about a leaf.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The value, masked if secret.
    pub value: Value,
    /// The layer.
    pub origin: Origin,
    /// Whether this one decides.
    pub effective: bool,
}

/// All there is to say about one leaf.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// Dotted path.
    pub path: String,
    /// What it does, from the documentation of the field.
    pub description: Option<String>,
    /// What may be written there.
    pub accepts: String,
    /// The variable that sets it, if its name can be written in one.
    pub variable: Option<String>,
    /// The effective value, masked if secret.
    pub value: Value,
    /// Who decided it.
    pub origin: Origin,
    /// Every layer that has a value, highest first.
    pub layers: Vec<Candidate>,
    /// Whether a change takes effect only after a restart.
    pub restart_only: bool,
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} = {}  ({})", self.path, self.value, self.origin)?;
        if let Some(description) = &self.description {
            writeln!(f, "  {}", description.replace('\n', "\n  "))?;
        }
        writeln!(
            f,
            "  accepts {}{}",
            self.accepts,
            if self.restart_only { "; takes effect after a restart" } else { "" }
        )?;
        if let Some(variable) = &self.variable {
            writeln!(f, "  variable {variable}")?;
        }
        for candidate in &self.layers {
            let mark = if candidate.effective { '>' } else { ' ' };
            writeln!(f, "  {mark} {}  ({})", candidate.value, candidate.origin)?;
        }
        Ok(())
    }
}

impl<T: Settings> Loaded<T> {
    pub(crate) fn new(settings: T, layers: Vec<Layer>, schema: Schema, choices: Choices) -> Self {
        let effective = to_tree(&settings).unwrap_or_default();
        Self {
            settings: Arc::new(settings),
            profile: choices.profile,
            profile_origin: choices.profile_origin,
            environment: choices.environment,
            environment_origin: choices.environment_origin,
            machine: choices.machine,
            file: choices.file,
            prefix: choices.prefix,
            view: Arc::new(View { effective, layers, schema, file_text: choices.file_text }),
        }
    }

    #[cfg(feature = "watch")]
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Who decided the value at `path`; for a table, who wrote it last. `None` when there is no such setting.
    pub fn origin(&self, path: &str) -> Option<Origin> {
        let path = Path::parse(path).ok()?;
        tree::get(&self.view.effective, &path.0)?;
        Some(self.origin_at(&path))
    }

    fn origin_at(&self, path: &Path) -> Origin {
        self.view.origin(path)
    }

    /// Every effective value, in the order of paths.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        tree::leaves(&self.view.effective, &mut |path, value| {
            leaves.push(Leaf {
                path: path.to_string(),
                value: self.view.schema.masked(&path.0, value),
                origin: self.origin_at(path),
            });
        });
        leaves
    }

    /// Every layer's value for the leaf at `path`, or for each leaf below it.
    ///
    /// # Errors
    ///
    /// When there is no such setting, with the one that was probably meant.
    pub fn explain(&self, path: &str) -> Result<Vec<Explanation>, Invalid> {
        let refuse = |problem: Problem| Invalid { problems: vec![problem] };
        let wished = Path::parse(path).map_err(|why| refuse(Problem::new(path, why)))?;
        if tree::get(&self.view.effective, &wished.0).is_none() {
            let known = known_paths(&self.view.schema, &self.view.effective);
            let known: Vec<_> = known.iter().map(Path::to_string).collect();
            let mut problem = Problem::new(path, "there is no such setting");
            problem.suggestion = nearest(path, known);
            return Err(refuse(problem));
        }
        let mut explanations = Vec::new();
        tree::leaves(&self.view.effective, &mut |leaf, value| {
            if leaf.starts_with(&wished) {
                explanations.push(self.explain_leaf(leaf, value));
            }
        });
        // The path leads into a list, which is one leaf.
        if let (true, Some(value)) = (explanations.is_empty(), tree::get(&self.view.effective, &wished.0)) {
            explanations.push(self.explain_leaf(&wished, value));
        }
        Ok(explanations)
    }

    fn explain_leaf(&self, path: &Path, value: &Value) -> Explanation {
        let View { layers, schema, .. } = &*self.view;
        let node = schema.at(&path.0);
        let decides = deciding(layers, &path.0);
        let candidate = |(index, layer): (usize, &Layer)| {
            let value = schema.masked(&path.0, layer.get(&path.0)?);
            Some(Candidate { value, origin: layer.origin(&path.0), effective: Some(index) == decides })
        };
        Explanation {
            path: path.to_string(),
            description: node.as_ref().and_then(|node| node.description).map(str::to_owned),
            accepts: node.as_ref().map(super::schema::Node::expectation).unwrap_or_default(),
            variable: variable::variable_name(&self.prefix, path),
            value: schema.masked(&path.0, value),
            origin: self.origin_at(path),
            layers: layers.iter().enumerate().rev().filter_map(candidate).collect(),
            restart_only: is_restart_only::<T>(path),
        }
    }

    /// The effective settings as a table: path, value, origin.
    pub fn summary(&self) -> Summary {
        Summary::new(self)
    }

    /// The effective settings as a tree, secrets masked.
    pub fn to_value(&self) -> Value {
        self.view.schema.masked(&[], &self.view.effective)
    }
}

impl View {
    pub(crate) fn origin(&self, path: &Path) -> Origin {
        deciding(&self.layers, &path.0).map_or(Origin::Default, |index| self.layers[index].origin(&path.0))
    }
}

pub(crate) fn is_restart_only<T: Settings>(path: &Path) -> bool {
    T::restart_only().iter().filter_map(|pattern| Path::parse(pattern).ok()).any(|pattern| path.matches(&pattern))
}
