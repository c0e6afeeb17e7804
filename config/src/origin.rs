//! Where a value came from, precisely enough to go there and change it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::{Environment, Profile};

/// Where a value came from. Later variants override earlier ones.
///
/// Prints short: `profile maximum`, `trimtab.toml:7:1`, `TRIMTAB__CACHE__USERS__TTL`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The settings type's own default.
    Default,
    /// A profile.
    Profile(Profile),
    /// What the program says about an environment.
    Environment(Environment),
    /// Tuned to the machine.
    Machine {
        /// The measurement behind the value.
        reason: String,
    },
    /// A file.
    File {
        /// The file, as it was named.
        path: Arc<PathBuf>,
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
    /// An environment variable.
    Variable {
        /// Its full name.
        name: String,
    },
    /// The program.
    Code {
        /// The source file of the call.
        file: &'static str,
        /// Its line.
        line: u32,
    },
    /// An argument of the command line.
    Argument {
        /// The option as it was typed: `--set cache.users.ttl`.
        option: String,
    },
    /// A change while the program runs.
    Patch,
}

impl Origin {
    /// The kind in one word, from a closed set: `default`, `profile`, `environment`, `machine`, `file`, `variable`, `code`, `argument`, `patch`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Profile(_) => "profile",
            Self::Environment(_) => "environment",
            Self::Machine { .. } => "machine",
            Self::File { .. } => "file",
            Self::Variable { .. } => "variable",
            Self::Code { .. } => "code",
            Self::Argument { .. } => "argument",
            Self::Patch => "patch",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.pad("default"),
            Self::Profile(profile) => f.pad(&format!("profile {profile}")),
            Self::Environment(environment) => f.pad(&format!("environment {environment}")),
            Self::Machine { reason } => f.pad(&format!("machine: {reason}")),
            Self::File { path, line, column } => f.pad(&format!("{}:{line}:{column}", path.display())),
            Self::Variable { name } => f.pad(name),
            Self::Code { file, line } => f.pad(&format!("code at {file}:{line}")),
            Self::Argument { option } => f.pad(option),
            Self::Patch => f.pad("run-time patch"),
        }
    }
}

/// As `{"kind": "file", "text": "trimtab.toml:7:1"}`: stable to match on, and ready to show.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("Origin", 2)?;
        object.serialize_field("kind", self.kind())?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_like_places() {
        let file = Origin::File { path: Arc::new("trimtab.toml".into()), line: 7, column: 1 };
        assert_eq!(file.to_string(), "trimtab.toml:7:1");
        assert_eq!(Origin::Profile(Profile::Maximum).to_string(), "profile maximum");
        let json = serde_json::to_value(&Origin::Patch).unwrap();
        assert_eq!(json, serde_json::json!({ "kind": "patch", "text": "run-time patch" }));
    }
}
