//! The in-memory cache beside moka, `quick_cache`, foyer, a mutex around `lru`, and a map that never evicts.
//!
//! Read [`stores`] for who takes part, then the cases: [`speed`], [`latency`], [`memory`], [`hits`], [`weighted`], [`simulated`],
//! [`flights`], [`shrink`];
//! [`bars`] says what must hold.

mod bars;
mod flights;
mod hits;
mod latency;
pub mod memory;
pub mod race;
pub mod shrink;
mod simulated;
mod speed;
mod stores;
mod weighted;

use crate::frame::{Bar, Options, Plan, Row, Subject};

/// The subject `cache`.
#[derive(Debug, Default)]
pub struct CacheSubject {
    /// Requests of each cell of `hits`, which the summaries need.
    lengths: hits::Lengths,
}

impl Subject for CacheSubject {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn about(&self) -> &'static str {
        "the in-memory cache: throughput, latency, memory, hit ratio, single flight"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab-cache", "moka", "quick_cache", "foyer-memory", "lru"]
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        let mut notes = Vec::new();
        let mix = speed::Mix::default();
        let mut cases = speed::read();
        cases.extend(speed::mixed(&mix));
        cases.extend(speed::replay(options, &mut notes));
        cases.extend(speed::statistics());
        cases.extend(latency::cases(&mix));
        cases.extend(memory::cases(options));
        cases.extend(flights::cases());
        cases.extend(shrink::cases(options));
        cases.extend(hits::cases(options, &self.lengths, &mut notes)?);
        cases.extend(hits::thread_cases(options)?);
        cases.extend(weighted::cases(options)?);
        cases.extend(simulated::cases(options)?);
        Ok(Plan { cases, notes })
    }

    fn derive(&self, rows: &[Row]) -> Vec<Row> {
        let mut derived = hits::derive(rows, &self.lengths.borrow());
        derived.extend(weighted::derive(rows));
        derived.extend(simulated::derive(rows));
        derived
    }

    fn bars(&self) -> Vec<Bar> {
        bars::BARS.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::families;

    #[test]
    fn without_traces_the_plan_says_what_was_skipped() {
        let plan = CacheSubject::default().plan(&Options::default()).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("skipped")));
        assert_eq!(plan.cases.iter().filter(|case| case.name.starts_with("hits/")).count(), 6 * families::NAMES.len());
        assert!(!plan.cases.iter().any(|case| case.name.starts_with("replay/oltp")));
    }

    #[test]
    fn case_names_are_unique() {
        let plan = CacheSubject::default().plan(&Options::default()).unwrap();
        let names: std::collections::HashSet<_> = plan.cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), plan.cases.len());
    }

    #[test]
    fn folder_without_traces_is_an_error_that_names_it() {
        let options = Options { traces: Some("/nonexistent/traces".into()), ..Options::default() };
        assert!(CacheSubject::default().plan(&options).unwrap_err().contains("/nonexistent/traces"));
    }
}
