//! What most files of a service need: `use trimtab::prelude::*;`.

pub use trimtab_cache::{Cache, CacheSettings, PolicyKind};
pub use trimtab_config::{ByteSize, Duration, Profile, Rate, Share};
#[cfg(feature = "lock")]
pub use trimtab_lock::{Lease, Locks};
pub use trimtab_monitor::Pressure;
#[cfg(feature = "scheduler")]
pub use trimtab_scheduler::{Cost, Job, Priority, Scheduler};

pub use crate::Trimtab;
