//! Pools beside the best-known ones: objects, buffers, resources, words, and what memory they save.
//!
//! Read [`objects`] and [`words`] for what threads do, [`resources`] for what tasks do, [`cancelled`] for what becomes of
//! resources whose callers leave, [`memory`] for bytes; [`bars`] says what must hold.

mod bars;
mod cancelled;
pub mod memory;
mod objects;
mod resources;
mod words;

use crate::frame::{Bar, Options, Plan, Subject};

/// The subject `pool`.
#[derive(Debug)]
pub struct PoolSubject;

impl Subject for PoolSubject {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn about(&self) -> &'static str {
        "pools: objects, buffers, resources with waiters and cancellations, interned words, memory"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab-pool", "deadpool", "bb8", "lockfree-object-pool", "ustr", "lasso", "string-interner"]
    }

    fn plan(&self, _: &Options) -> Result<Plan, String> {
        let mut cases = objects::cases();
        cases.extend(resources::cases());
        cases.extend(cancelled::cases());
        cases.extend(words::cases());
        cases.extend(memory::cases());
        Ok(Plan { cases, notes: Vec::new() })
    }

    fn bars(&self) -> Vec<Bar> {
        bars::BARS.to_vec()
    }
}
