//! Where the program runs: production, staging, development, test, or a name of your own.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the program runs. Chosen by `TRIMTAB_ENVIRONMENT`.
///
/// The default is [`Production`](Self::Production): a forgotten variable must never loosen anything.
///
/// ```
/// use trimtab_config::Environment;
///
/// assert_eq!("dev".parse::<Environment>().unwrap(), Environment::Development);
/// assert_eq!("canary-eu".parse::<Environment>().unwrap().name(), "canary-eu");
/// assert!("no spaces".parse::<Environment>().is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Environment {
    /// Real users. Also written `prod`.
    #[default]
    Production,
    /// A rehearsal of production. Also written `stage`.
    Staging,
    /// A developer's machine. Also written `dev`.
    Development,
    /// Automated tests.
    Test,
    /// Any other name: 1 to 64 of a-z, 0-9, `-` and `_`.
    Other(String),
}

impl Environment {
    /// The environments that have a name of their own here.
    pub const KNOWN: [Self; 4] = [Self::Production, Self::Staging, Self::Development, Self::Test];

    /// The name used in files and variables, always lower case.
    pub fn name(&self) -> &str {
        match self {
            Self::Production => "production",
            Self::Staging => "staging",
            Self::Development => "development",
            Self::Test => "test",
            Self::Other(name) => name,
        }
    }
}

/// A text that cannot name an environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name an environment; write production, staging, development, test, or another name of 1 to 64 of a-z, 0-9, - and _"
)]
pub struct BadEnvironment(String);

impl FromStr for Environment {
    type Err = BadEnvironment;

    fn from_str(text: &str) -> Result<Self, BadEnvironment> {
        let name = text.trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "production" | "prod" => Self::Production,
            "staging" | "stage" => Self::Staging,
            "development" | "dev" => Self::Development,
            "test" => Self::Test,
            other => {
                let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
                if other.is_empty() || other.len() > 64 || !other.chars().all(fits) {
                    return Err(BadEnvironment(crate::units::shorten(text.to_owned())));
                }
                Self::Other(name)
            }
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Environment {
    fn schema_name() -> Cow<'static, str> {
        "Environment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9_-]{1,64}$",
            "description": "Where the program runs: production, staging, development, test, or a name of your own.",
            "examples": ["production", "development"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["production", "staging", "development", "test", "canary-2"] {
            let environment: Environment = name.parse().unwrap();
            assert_eq!(environment.to_string(), name);
            assert_eq!(serde_json::from_value::<Environment>(name.into()).unwrap(), environment);
        }
        assert_eq!("PROD".parse(), Ok(Environment::Production));
    }

    #[test]
    fn unusable_names_are_refused() {
        for name in ["", " ", "a b", "../x", "é", &"x".repeat(65)] {
            assert!(name.parse::<Environment>().unwrap_err().to_string().contains("write production"), "{name}");
        }
    }
}
