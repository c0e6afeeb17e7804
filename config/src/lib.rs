#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Words: quantities with units, the big choices, names, and what must never be printed.
mod backoff;
mod environment;
mod name;
mod profile;
mod secret;
mod units;

// What a settings type says about itself.
mod machine;
mod origin;
mod patch;
mod problem;
mod settings;

// From sources to settings.
#[cfg(feature = "load")]
mod load;

// While the program runs.
#[cfg(feature = "watch")]
mod live;

pub use backoff::Backoff;
#[cfg(feature = "backoff")]
pub use backoff::Delays;
pub use environment::{BadEnvironment, Environment};
#[cfg(feature = "watch")]
pub use live::{Change, Changes, LeafChange, Live, Subscription, WatchError, WatchOptions};
#[cfg(feature = "load")]
pub use load::{Candidate, Explanation, Leaf, Loaded, Loader, Summary, schema};
pub use machine::{Cgroup, CgroupVersion, Machine, Measured, MemoryFiles, MemoryUsage};
pub use name::{NAME_MAX, NameError, check_name};
pub use origin::Origin;
pub use patch::{Patch, Template};
pub use problem::{Invalid, Problem, Problems};
pub use profile::{Profile, UnknownProfile};
pub use secret::Secret;
pub use settings::Settings;
pub use units::{ByteSize, Duration, MemoryLimit, ParseUnitError, Rate, Share};
