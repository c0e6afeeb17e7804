//! Counts what the test programs print.
//!
//! `cargo test` runs one program a crate, and each prints its own `test result:` line; nobody adds them up. Besides, a
//! test that cannot run because a server is missing can only return, and is then counted as passed. Such tests append a
//! line to the file named in `XTASK_SKIPS`, and are moved from «passed» to «skipped» here.

use std::collections::BTreeSet;

/// The sum over all test programs of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Names of tests that failed.
    pub(crate) failures: BTreeSet<String>,
    /// `name: reason` of tests that said they could not run.
    pub(crate) skips: BTreeSet<String>,
}

impl Tally {
    /// Takes a line of a test program's output into account.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.add_counts(counts);
        } else if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            self.failures.insert(name.to_owned());
        }
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s`
    fn add_counts(&mut self, counts: &str) {
        let counts = counts.split_once(". ").map_or(counts, |(_, rest)| rest);
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Takes the file of skips into account: one `name: reason` a line.
    pub(crate) fn read_skips(&mut self, text: &str) {
        self.skips.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }

    /// Cargo failed though no test did: a test program crashed, or did not compile.
    pub(crate) fn count_crash(&mut self) {
        if self.failed == 0 {
            self.failed = 1;
        }
    }

    /// Tests that did what they promise.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.saturating_sub(self.skips.len() as u64)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// The last line of a run.
    pub(crate) fn line(&self) -> String {
        let skipped = self.ignored + self.skips.len() as u64;
        format!("{} passed, {} failed, {skipped} skipped", self.passed(), self.failed)
    }
}

/// The line without the escape sequences that `--color always` puts into it.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = rest.get(1..).unwrap_or("");
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn results_of_several_programs_are_added() {
        let tally = tally(
            "running 3 tests\ntest a::b ... ok\n\
             test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n\
             test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        );
        assert_eq!(tally.line(), "7 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn failed_tests_are_named_once() {
        let tally = tally(
            "test units::bytes::tests::round_trip ... FAILED\ntest src/lib.rs - (line 12) ... FAILED\n\
             test good ... ok\nfailures:\n    units::bytes::tests::round_trip\n",
        );
        let names: Vec<_> = tally.failures.iter().map(String::as_str).collect();
        assert_eq!(names, ["src/lib.rs - (line 12)", "units::bytes::tests::round_trip"]);
    }

    #[test]
    fn a_test_that_said_it_could_not_run_is_not_counted_as_passed() {
        let mut tally = tally("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n");
        tally.read_skips("redis::expiry: no XTASK_REDIS_URL\nredis::expiry: no XTASK_REDIS_URL\n\npage: no browser\n");
        assert_eq!(tally.line(), "3 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn what_a_test_prints_itself_is_not_mistaken_for_a_result() {
        let tally =
            tally("the words test result: ok. 9 passed; appear in a line\ntest result: none; of these 7 apples\n");
        assert_eq!(tally.line(), "0 passed, 0 failed, 0 skipped");
    }

    #[test]
    fn a_crashed_program_counts_as_a_failure() {
        let mut tally = tally("test result: ok. 5 passed; 0 failed; 0 ignored\n");
        tally.count_crash();
        assert_eq!(tally.line(), "5 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn coloured_lines_are_read_like_plain_ones() {
        let tally = tally(
            "test a ... \x1b[31mFAILED\x1b[0m\ntest result: \x1b[1;31mFAILED\x1b[0m. 0 passed; 1 failed; 0 ignored\n",
        );
        assert_eq!(tally.line(), "0 passed, 1 failed, 0 skipped");
        assert!(tally.failures.contains("a"));
    }
}
