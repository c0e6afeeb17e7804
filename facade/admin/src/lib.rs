#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

// What it shows, and where it listens.
mod console;
mod settings;

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
mod stream;

// The routes, and the router that puts them together.
pub mod metrics;
mod router;
mod routes;

pub use console::{Console, SettingChange, SettingLayer, SettingLeaf, SettingsView};
pub use problem::{Problem, ProblemKind};
pub use router::{openapi, router, standalone};
pub use routes::snapshots::file_name as snapshot_file;
pub use settings::AdminSettings;
