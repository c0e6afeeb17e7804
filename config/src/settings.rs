//! What a settings type must say about itself so that it can be loaded, checked and explained.
//!
//! Subsystems own their settings: plain serde structs with one table of profile defaults. This crate knows none of them.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Environment, Machine, Patch, Problems, Profile, Template};

/// A type that holds settings.
///
/// Derive `Serialize`, `Deserialize` and `JsonSchema` (with serde's default *externally visible* names: aliases are unknown to
/// the schema), and write [`for_profile`](Self::for_profile); the rest has defaults. Keep `profile` and `environment` free at the
/// top level: the loader reads its own choices there.
///
/// ```
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
/// use trimtab_config::{ByteSize, Problems, Profile, Settings};
///
/// #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
/// #[serde(default, deny_unknown_fields)]
/// struct Buffers {
///     /// Bytes of one buffer.
///     size: ByteSize,
///     /// How many are kept.
///     count: u32,
/// }
///
/// impl Default for Buffers {
///     fn default() -> Self {
///         Self::for_profile(Profile::default())
///     }
/// }
///
/// impl Settings for Buffers {
///     fn for_profile(profile: Profile) -> Self {
///         Self { size: ByteSize::kib(64), count: profile.pick(4, 16, 64) }
///     }
///
///     fn check(&self, problems: &mut Problems) {
///         if self.count == 0 {
///             problems.report("count", self.count, "keep at least one buffer");
///         }
///     }
/// }
///
/// let mut problems = Problems::new();
/// Buffers { count: 0, ..Buffers::default() }.check(&mut problems);
/// assert_eq!(problems.len(), 1);
/// ```
pub trait Settings: Default + Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The defaults of a profile.
    fn for_profile(profile: Profile) -> Self;

    /// What an environment changes.
    fn for_environment(_environment: &Environment) -> Patch {
        Patch::none()
    }

    /// What the machine suggests, each value with its reason ([`Patch::because`]).
    fn for_machine(_profile: Profile, _machine: &Machine) -> Patch {
        Patch::none()
    }

    /// Defaults for every entry of a map of named things, such as `cache.*`.
    fn templates(_profile: Profile) -> Vec<Template> {
        Vec::new()
    }

    /// Rules that a type alone cannot say: across fields, or beyond a field's type.
    fn check(&self, _problems: &mut Problems) {}

    /// Short variables and the settings that they set, such as `("TRIMTAB_MEMORY_LIMIT", "memory.limit")`.
    fn shorthands() -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Settings that only a restart brings into effect; `*` stands for one segment (`server.*`).
    /// A changed one is flagged to subscribers.
    fn restart_only() -> &'static [&'static str] {
        &[]
    }
}
