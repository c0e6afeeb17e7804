//! What most files of a service need: `use trimtab::prelude::*;`.

pub use trimtab_cache::{Cache, CacheSettings, PolicyKind};
pub use trimtab_config::{ByteSize, Duration, Profile, Rate, Share};
pub use trimtab_monitor::Pressure;

pub use crate::Trimtab;
