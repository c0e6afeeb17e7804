//! Settings of a cache, as they stand in a file, in variables, in code or in a request.
//!
//! Defaults per profile stand in one table, [`CacheSettings::for_profile`].

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Problems, Profile, Settings};

use crate::builder::{MAX_BYTES, MAX_ENTRIES};
use crate::curve::ShadowMode;
use crate::policy::PolicyKind;

/// Settings of one cache.
///
/// ```
/// use trimtab_cache::{CacheSettings, PolicyKind};
///
/// let settings: CacheSettings = serde_json::from_str(r#"{"max_entries": 500, "ttl": "5m", "policy": "lru"}"#)?;
/// assert_eq!(settings.max_entries, Some(500));
/// assert_eq!(settings.policy, PolicyKind::Lru);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheSettings {
    /// The most entries, 1 to 4,294,967,294; absent for no such limit. Default: 1,000, 10,000 or 100,000 by profile.
    pub max_entries: Option<u64>,
    /// The most memory of all entries with their overhead, such as "64MiB"; absent for no such limit, which is the
    /// default. A typed cache needs a weigher for it; a byte cache that `trimtab serve` makes has 8, 64 or 512 MiB by
    /// profile if this is absent.
    pub max_bytes: Option<ByteSize>,
    /// Time after which a value is no longer returned, such as "5m"; absent for never, which is the default.
    pub ttl: Option<Duration>,
    /// Who has to leave when there is no room: "adaptive" (default), "lru", "lfu", "fifo", "ttl" or "arc". Can be changed
    /// while the cache runs; entries stay.
    pub policy: PolicyKind,
    /// What is simulated beside the cache: "off", "policy" (what the adaptive policy needs) or "full" (also what other sizes
    /// and policies would bring). Default: "policy" in the minimal profile, "full" otherwise.
    pub shadow: ShadowMode,
    /// How large values of a byte cache are compressed: "off" or "lz4". Default: "off".
    /// Concerns byte caches only.
    pub compression: Compression,
    /// Values of at least so many bytes are compressed, if that makes them smaller. Default: "4KiB".
    pub compress_above: ByteSize,
    /// Whether the cache publishes metrics. Default: true.
    pub metrics: bool,
    /// Whether a byte cache that `trimtab serve` makes is saved when the program stops and restored when it starts, hottest
    /// entries first. Needs a directory, `server.snapshots`. Default: false. Concerns byte caches only.
    pub snapshot: bool,
}

/// A codec for large values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// Values are kept as they come.
    #[default]
    Off,
    /// lz4: fast, and about half the size for text. Needs the feature `compress`.
    Lz4,
}

impl Compression {
    /// The name used in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Lz4 => "lz4",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl CacheSettings {
    /// Defaults for a byte cache: those of the profile, and a byte limit of 8 MiB, 64 MiB or 512 MiB, since values of
    /// unknown size come from outside.
    pub fn for_bytes(profile: Profile) -> Self {
        let max_bytes = Some(profile.pick(ByteSize::mib(8), ByteSize::mib(64), ByteSize::mib(512)));
        Self { max_bytes, ..Self::for_profile(profile) }
    }
}

impl Settings for CacheSettings {
    fn for_profile(profile: Profile) -> Self {
        // The compression of a typed cache would be refused, so it stays off unless asked for.
        Self {
            max_entries: Some(profile.pick(1_000, 10_000, 100_000)),
            max_bytes: None,
            ttl: None,
            policy: PolicyKind::Adaptive,
            shadow: profile.pick(ShadowMode::Policy, ShadowMode::Full, ShadowMode::Full),
            compression: Compression::Off,
            compress_above: ByteSize::kib(4),
            metrics: true,
            snapshot: false,
        }
    }

    fn check(&self, problems: &mut Problems) {
        if self.max_entries == Some(0) {
            problems.report("max_entries", 0, "must be at least 1; leave it out for no limit on entries");
        }
        if let Some(many) = self.max_entries.filter(|max| *max > MAX_ENTRIES) {
            problems.report("max_entries", many, format!("must be at most {MAX_ENTRIES}"));
        }
        if let Some(size) = self.max_bytes.filter(|max| max.as_u64() == 0) {
            problems.report("max_bytes", size, "must be more than 0; leave it out for no limit on bytes");
        }
        if let Some(size) = self.max_bytes.filter(|max| max.as_u64() > MAX_BYTES) {
            problems.report("max_bytes", size, format!("must be at most {}", ByteSize::b(MAX_BYTES)));
        }
        if self.max_entries.is_none() && self.max_bytes.is_none() {
            problems.report(
                "max_entries",
                "none",
                "set max_entries, max_bytes or both, or the cache grows without end",
            );
        }
        if let Some(ttl) = self.ttl.filter(|ttl| ttl.is_zero()) {
            problems.report("ttl", ttl, "must be more than 0; leave it out if values do not expire");
        }
        if self.compression == Compression::Lz4 && !cfg!(feature = "compress") {
            problems.report("compression", self.compression, "this program was built without compression; set \"off\"");
        }
        if self.snapshot && !cfg!(feature = "snapshot") {
            problems.report("snapshot", true, "this program was built without snapshots; set false");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_sound_and_survives_json() {
        for settings in
            Profile::ALL.map(CacheSettings::for_profile).into_iter().chain(Profile::ALL.map(CacheSettings::for_bytes))
        {
            let mut problems = Problems::new();
            settings.check(&mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let json = serde_json::to_string(&settings).unwrap();
            assert_eq!(serde_json::from_str::<CacheSettings>(&json).unwrap(), settings);
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut problems = Problems::new();
        let settings = CacheSettings {
            max_entries: Some(0),
            max_bytes: Some(ByteSize::b(0)),
            ttl: Some(Duration::from_secs(0)),
            ..CacheSettings::default()
        };
        settings.check(&mut problems);
        assert_eq!(problems.len(), 3);
    }

    #[test]
    fn unknown_fields_and_policies_are_refused_with_the_known_ones() {
        let error = serde_json::from_str::<CacheSettings>(r#"{"max_entrys": 1}"#).unwrap_err().to_string();
        assert!(error.contains("max_entries"), "{error}");
        let error = serde_json::from_str::<CacheSettings>(r#"{"policy": "lfuu"}"#).unwrap_err().to_string();
        assert!(error.contains("adaptive") && error.contains("lru"), "{error}");
    }
}
