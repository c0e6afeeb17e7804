//! Loads settings from every source, lowest first, and remembers which source decided each leaf.
//!
//! ```text
//! default < profile < environment (the program's) < machine < file < [environment.NAME] of the file
//!         < variables < code < run-time patch
//! ```
//!
//! The four choices that come before any setting follow the same order: what the program says wins over a variable, a variable
//! over the file. A program that only wishes to *propose* a profile says so with [`Loader::default_profile`].

pub(crate) mod file;
mod inspect;
pub(crate) mod layer;
pub(crate) mod loaded;
mod loader;
pub(crate) mod path;
mod run;
pub(crate) mod schema;
mod settle;
mod suggest;
mod summary;
pub(crate) mod tree;
mod variable;

pub use loaded::{Candidate, Explanation, Leaf, Loaded};
pub use loader::Loader;
pub use schema::schema;
pub use summary::Summary;
