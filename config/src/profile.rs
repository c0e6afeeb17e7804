//! The one big choice: how much trimtab may spend to be fast.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much to spend on speed and insight: a set of defaults for every setting.
///
/// ```
/// use trimtab_config::Profile;
///
/// assert_eq!("maximum".parse::<Profile>().unwrap(), Profile::Maximum);
/// assert_eq!(Profile::default().to_string(), "balanced");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The least memory and the fewest background tasks; for sidecars and small machines.
    Minimal,
    /// What most services want.
    #[default]
    Balanced,
    /// The most speed and the most detailed figures, paid in memory.
    Maximum,
}

impl Profile {
    /// All profiles, smallest first.
    pub const ALL: [Self; 3] = [Self::Minimal, Self::Balanced, Self::Maximum];

    /// The name used in files and variables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Balanced => "balanced",
            Self::Maximum => "maximum",
        }
    }

    /// The value for this profile: one line of a table whose columns are the profiles.
    ///
    /// ```
    /// # use trimtab_config::Profile;
    /// assert_eq!(Profile::Minimal.pick(1_000, 10_000, 100_000), 1_000);
    /// ```
    pub fn pick<T>(self, minimal: T, balanced: T, maximum: T) -> T {
        match self {
            Self::Minimal => minimal,
            Self::Balanced => balanced,
            Self::Maximum => maximum,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is none of the profiles.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile {0:?}; write minimal, balanced or maximum")]
pub struct UnknownProfile(pub(crate) String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        let wished = text.trim();
        Self::ALL
            .into_iter()
            .find(|profile| profile.name().eq_ignore_ascii_case(wished))
            .ok_or_else(|| UnknownProfile(crate::units::shorten(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().to_uppercase().parse(), Ok(profile));
        }
        let error = "turbo".parse::<Profile>().unwrap_err().to_string();
        assert_eq!(error, "unknown profile \"turbo\"; write minimal, balanced or maximum");
    }
}
