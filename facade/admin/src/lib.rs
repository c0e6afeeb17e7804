#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// What it shows, and where it listens.
mod console;
mod parts;
mod settings;

// What is done where: heavy work on a lane, files behind a breaker.
mod work;

// Who may, and how refusals look.
mod guard;
mod problem;
mod throttle;

// Reading requests: bodies, their fields, the JSON of an entry, parameters.
mod body;
mod fields;
mod params;
mod schema;
mod value;

// Live events: what a frame holds, what is remembered, how it is sent.
mod frame;
mod history;
#[cfg(feature = "scheduler")]
mod lanes;
mod stream;

// The routes, and the router that puts them together.
pub mod metrics;
mod router;
mod routes;

pub use console::{Console, SettingChange, SettingLayer, SettingLeaf, SettingsView};
#[cfg(feature = "scheduler")]
pub use parts::CallView;
#[cfg(feature = "limit")]
pub use parts::{LimitView, Usage};
pub use problem::{Problem, ProblemKind};
pub use router::{openapi, router, standalone};
pub use routes::snapshots::file_name as snapshot_file;
pub use settings::AdminSettings;
