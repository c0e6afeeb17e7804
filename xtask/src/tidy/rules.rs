//! The rules for a single file, as a table: name, what is wrong, what to do instead, and the function that looks.
//!
//! A new rule is a new row and a function beside it; its test shows a snippet that breaks it and one that does not.
//! Words that a rule looks for are put together from halves here, or this file would break it.

use super::source::{Source, words};

/// How long a file may be before it is mentioned, and before it is refused.
const LONG: usize = 500;
const TOO_LONG: usize = 800;

/// The only files that may say `unsafe`, each with the reason. A new one needs an argument and a test under Miri or loom.
const UNSAFE: &[(&str, &str)] = &[
    ("cache/src/store/arena.rs", "readers share slots that writers reuse"),
    ("cache/src/store/arena/entry.rs", "reads pairs that the arena says are filled"),
    ("cache/src/store/group.rs", "slots are filled and emptied by hand"),
    ("cache/src/store/slots.rs", "frees what the arena says that nobody uses"),
    ("cache/src/store/epoch.rs", "a list whose nodes are never freed"),
    ("cache/src/store/compare.rs", "instructions of one processor"),
    ("cache/src/store/sync.rs", "a prefetch"),
    ("cache/src/store/chunked.rs", "owns its chunks through atomic pointers"),
    ("monitor/src/reclaim/trim.rs", "malloc_trim is a C function"),
    ("pool/src/stash/slot.rs", "owns a box through an atomic pointer"),
    ("pool/src/stash/seat.rs", "takes without an exchange while no thief is there"),
    ("pool/src/clock.rs", "the system's tick is read through a C function"),
    ("pool/src/fence.rs", "a system call without a function in the C library"),
    ("pool/src/intern/words.rs", "readers share words and tables with writers"),
    ("pool/src/account.rs", "a counting allocator wraps another"),
    ("pool/tests/buffer.rs", "looks behind the length of a buffer, whether it was zeroed"),
    ("scheduler/src/job/cell.rs", "a future and its head in one allocation"),
    ("scheduler/tests/models.rs", "a cell that the checker watches"),
    ("xtask/bench/src/memory.rs", "a counting allocator wraps the system's"),
];

/// The only files besides each crate's `metrics.rs` that may call a macro of `metrics`, each with the reason.
const METERS: &[(&str, &str)] = &[("monitor/src/meter.rs", "makes handles under names that its callers give")];

/// Paths of one machine, as they come into a file by accident.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "target")];

/// One rule.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) remedy: &'static str,
    /// A finding is only mentioned, not refused.
    pub(crate) note: bool,
    /// Lines (counted from 0) that break it, and how.
    pub(crate) look: fn(&Source) -> Vec<(usize, String)>,
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "opening",
        remedy: "begin the file with `//!` lines: what it does, the idea, the source",
        note: false,
        look: opening,
    },
    Rule { name: "long", remedy: "look for a second idea in it", note: true, look: long },
    Rule { name: "too-long", remedy: "split it: one idea a file", note: false, look: too_long },
    Rule { name: "unfinished", remedy: "finish it, or leave it out", note: false, look: unfinished },
    Rule {
        name: "ignored-test",
        remedy: "let it run, or move it to the soak; without its server a test skips itself and says so",
        note: false,
        look: ignored_test,
    },
    Rule { name: "trailing-space", remedy: "remove it", note: false, look: trailing_space },
    Rule {
        name: "sleep",
        remedy: "use tokio's paused clock or wait for the event; where neither can be, say why in a comment beside it",
        note: false,
        look: sleep,
    },
    Rule {
        name: "machine-path",
        remedy: "use a path inside the repository, or one that is asked of the system",
        note: false,
        look: machine_path,
    },
    Rule { name: "std-lock", remedy: "use parking_lot's", note: false, look: std_lock },
    Rule {
        name: "metrics-macro",
        remedy: "name it in the crate's metrics.rs and keep the handle: a macro call costs many times a handle",
        note: false,
        look: metrics_macro,
    },
    Rule {
        name: "unsafe",
        remedy: "do without, or add the file to UNSAFE in xtask/src/tidy/rules.rs with a reason",
        note: false,
        look: unsafe_code,
    },
];

/// Rows of the table of unsafe files that no longer have an effect.
pub(crate) fn stale_unsafe(sources: &[Source]) -> Vec<String> {
    let used = |path: &str| sources.iter().any(|s| s.path == path && !lines_with_unsafe(s).is_empty());
    let stale = UNSAFE.iter().filter(|(path, _)| !used(path));
    stale.map(|(path, reason)| format!("{path} ({reason}) holds no unsafe code")).collect()
}

fn opening(source: &Source) -> Vec<(usize, String)> {
    let first = source.lines().find(|(_, line)| !line.trim().is_empty());
    match first {
        _ if !source.is_rust() => Vec::new(),
        Some((_, line)) if line.starts_with("//!") => Vec::new(),
        // A crate may open with its README.
        Some((_, line)) if line.starts_with("#![doc = include_str!(") => Vec::new(),
        Some((at, line)) => vec![(at, format!("begins with `{}`", line.trim()))],
        None => vec![(0, "is empty".into())],
    }
}

fn long(source: &Source) -> Vec<(usize, String)> {
    let lines = source.text.lines().count();
    let long = source.is_rust() && lines > LONG && lines <= TOO_LONG;
    if long { vec![(0, format!("{lines} lines; over {LONG}"))] } else { Vec::new() }
}

fn too_long(source: &Source) -> Vec<(usize, String)> {
    let lines = source.text.lines().count();
    if source.is_rust() && lines > TOO_LONG { vec![(0, format!("{lines} lines; over {TOO_LONG}"))] } else { Vec::new() }
}

fn unfinished(source: &Source) -> Vec<(usize, String)> {
    let macros = ["todo", "unimplemented", "dbg"];
    let mut found = Vec::new();
    for (at, line) in source.code_lines() {
        let calls =
            words(line).filter(|(start, word)| macros.contains(word) && line[start + word.len()..].starts_with('!'));
        found.extend(calls.map(|(_, word)| (at, format!("{word}!"))));
    }
    let mark = concat!("FIX", "ME");
    let marked = source.lines().filter(|(_, line)| source.is_rust() && line.contains(mark));
    found.extend(marked.map(|(at, _)| (at, mark.to_owned())));
    found
}

fn ignored_test(source: &Source) -> Vec<(usize, String)> {
    let ignored = source.code_lines().filter(|(_, line)| {
        let line = line.trim_start();
        line.starts_with("#[ignore") || (line.starts_with("#[cfg_attr") && words(line).any(|(_, w)| w == "ignore"))
    });
    ignored.map(|(at, _)| (at, "an ignored test".into())).collect()
}

fn trailing_space(source: &Source) -> Vec<(usize, String)> {
    if !(source.is_rust() || source.is_markdown() || source.is_toml()) {
        return Vec::new();
    }
    let trailing = source.lines().filter(|(_, line)| line.ends_with([' ', '\t']));
    trailing.map(|(at, _)| (at, "white space at the end of the line".into())).collect()
}

/// A test that sleeps is slow, or fails on a loaded machine. With the paused clock tokio's sleep costs nothing.
fn sleep(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let clock_is_paused = source.code.contains("start_paused") || source.code.contains("time::pause");
    let commented = |at: usize| lines[at].contains("//") && !code[at].contains("//");
    let mut found = Vec::new();
    for (at, line) in source.code_lines().filter(|(at, _)| source.is_test(*at)) {
        let sleeps = words(line).any(|(start, word)| word == "sleep" && line[start + word.len()..].starts_with('('));
        let by_the_clock = clock_is_paused && !line.contains("thread::sleep");
        if sleeps && !by_the_clock && !(commented(at) || (at > 0 && commented(at - 1))) {
            found.push((at, "a test sleeps, without a word why".into()));
        }
    }
    found
}

fn machine_path(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in source.lines() {
        for path in MACHINE_PATHS {
            let absolute = line.match_indices(path).any(|(start, _)| {
                let before = line[..start].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_-.*/}>".contains(c))
            });
            if absolute {
                found.push((at, format!("`{path}` is a path of one machine")));
            }
        }
    }
    found
}

fn std_lock(source: &Source) -> Vec<(usize, String)> {
    // The tools have no parking_lot, and no contended lock.
    if source.path.starts_with("xtask/") || !source.path.contains("src/") {
        return Vec::new();
    }
    let locks = ["Mutex", "RwLock", "Condvar"];
    let mut found = Vec::new();
    for (start, _) in source.code.match_indices("std::sync::") {
        let at = source.code[..start].lines().count().max(1) - 1;
        let at = if source.code[..start].ends_with('\n') { at + 1 } else { at };
        let rest = &source.code[start + "std::sync::".len()..];
        // One name, or a list in braces.
        let end = if rest.starts_with('{') { rest.find('}') } else { rest.find(|c: char| !c.is_alphanumeric()) };
        let named = &rest[..end.unwrap_or(rest.len())];
        if let Some((_, lock)) = words(named).find(|(_, word)| locks.contains(word))
            && !source.is_test(at)
        {
            found.push((at, format!("std::sync::{lock}")));
        }
    }
    found
}

fn metrics_macro(source: &Source) -> Vec<(usize, String)> {
    let named_here = source.path.ends_with("/metrics.rs")
        || source.path.contains("/metrics/")
        || METERS.iter().any(|(path, _)| *path == source.path);
    let macros = ["counter", "gauge", "histogram", "describe_counter", "describe_gauge", "describe_histogram"];
    let mut found = Vec::new();
    for (at, line) in source.code_lines().filter(|(at, _)| !named_here && !source.is_test(*at)) {
        let calls =
            words(line).filter(|(start, word)| macros.contains(word) && line[start + word.len()..].starts_with("!("));
        found.extend(calls.map(|(_, word)| (at, format!("metrics::{word}! outside of metrics.rs"))));
    }
    found
}

fn unsafe_code(source: &Source) -> Vec<(usize, String)> {
    if UNSAFE.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    lines_with_unsafe(source).into_iter().map(|at| (at, "unsafe code".into())).collect()
}

fn lines_with_unsafe(source: &Source) -> Vec<usize> {
    let lines = source.code_lines().filter(|(_, line)| words(line).any(|(_, word)| word == "unsafe"));
    lines.map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines (counted from 1) at which a rule finds something.
    fn lines(rule: &str, path: &str, text: &str) -> Vec<usize> {
        let rule = RULES.iter().find(|r| r.name == rule).unwrap();
        (rule.look)(&Source::new(path, text.into())).iter().map(|(at, _)| at + 1).collect()
    }

    #[test]
    fn a_file_that_does_not_introduce_itself_is_found() {
        assert_eq!(lines("opening", "a/src/lib.rs", "\nuse std::fmt;\n"), [2]);
        assert_eq!(lines("opening", "a/src/lib.rs", ""), [1]);
        assert!(lines("opening", "a/src/lib.rs", "//! What it does.\n").is_empty());
        assert!(lines("opening", "a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n").is_empty());
        assert!(lines("opening", "README.md", "# Title\n").is_empty());
    }

    #[test]
    fn length_is_mentioned_first_and_refused_later() {
        let text = |lines| "//!\n".repeat(lines);
        assert!(lines("long", "a.rs", &text(500)).is_empty());
        assert_eq!(lines("long", "a.rs", &text(501)), [1]);
        assert!(lines("too-long", "a.rs", &text(800)).is_empty());
        assert_eq!(lines("too-long", "a.rs", &text(801)), [1]);
        assert!(lines("too-long", "a.md", &text(2000)).is_empty());
    }

    #[test]
    fn unfinished_code_is_found_in_code_and_in_comments() {
        assert_eq!(
            lines("unfinished", "a.rs", concat!("to", "do!()\nx = d", "bg!(y);\n// FIX", "ME later")),
            [1, 2, 3]
        );
        assert!(lines("unfinished", "a.rs", "// a todo! in prose\nlet s = \"dbg!(\"; todo();").is_empty());
    }

    #[test]
    fn an_ignored_test_is_found_however_it_is_ignored() {
        let text = "#[ignore]\n#[ignore = \"slow\"]\n#[cfg_attr(miri, ignore)]\nlet ignore = 1;";
        assert_eq!(lines("ignored-test", "a.rs", text), [1, 2, 3]);
    }

    #[test]
    fn trailing_space_is_found_in_text_that_people_write() {
        assert_eq!(lines("trailing-space", "a.md", "a \nb\nc\t\n"), [1, 3]);
        assert!(lines("trailing-space", "a.csv", "a \n").is_empty());
    }

    #[test]
    fn a_test_may_sleep_by_the_paused_clock_or_with_a_reason() {
        let path = "a/tests/b.rs";
        assert_eq!(lines("sleep", path, "fn t() {\n    thread::sleep(ms);\n}"), [2]);
        assert_eq!(lines("sleep", path, "tokio::time::sleep(ms).await;"), [1]);
        assert!(lines("sleep", path, "// The file system has seconds only.\nthread::sleep(ms);").is_empty());
        assert!(lines("sleep", path, "thread::sleep(ms); // as above").is_empty());
        assert!(lines("sleep", path, "#[tokio::test(start_paused = true)]\nsleep(ms).await").is_empty());
        assert_eq!(lines("sleep", path, "#[tokio::test(start_paused = true)]\nstd::thread::sleep(ms)"), [2]);
        assert!(lines("sleep", "a/src/b.rs", "sleep(ms).await").is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found_and_parts_of_others_are_not() {
        let path = concat!("\"/ro", "ot/a\"");
        assert_eq!(lines("machine-path", "a.md", path), [1]);
        assert!(lines("machine-path", "a.md", concat!("tests/fixtures/ro", "ot/proc")).is_empty());
        assert!(lines("machine-path", "a.md", concat!("../wo", "rk/x")).is_empty());
    }

    #[test]
    fn locks_of_std_are_found_alone_and_in_a_list() {
        let path = "cache/src/a.rs";
        assert_eq!(lines("std-lock", path, "use std::sync::Mutex;\nlet a: std::sync::RwLock<u8>;"), [1, 2]);
        assert_eq!(lines("std-lock", path, "//!\nuse std::sync::{\n    Arc, Mutex,\n};"), [2]);
        assert!(lines("std-lock", path, "use std::sync::{Arc, OnceLock};\nuse parking_lot::Mutex;").is_empty());
        assert!(lines("std-lock", path, "//!\n#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}").is_empty());
    }

    #[test]
    fn metrics_macros_belong_into_one_file() {
        let text = "let c = metrics::counter!(\"x\");\nlet gauge = 1;";
        assert_eq!(lines("metrics-macro", "cache/src/store.rs", text), [1]);
        assert!(lines("metrics-macro", "cache/src/metrics.rs", text).is_empty());
        assert!(lines("metrics-macro", "monitor/src/meter.rs", text).is_empty());
    }

    #[test]
    fn unsafe_stays_where_it_was_argued_for() {
        let text = "// unsafe in prose\n#![forbid(unsafe_code)]\nunsafe { f() }";
        assert_eq!(lines("unsafe", "cache/src/store.rs", text), [3]);
        assert!(lines("unsafe", "monitor/src/reclaim/trim.rs", text).is_empty());
    }

    #[test]
    fn an_exception_without_effect_is_found() {
        let sources = [Source::new("monitor/src/reclaim/trim.rs", "unsafe { f() }".into())];
        let stale = stale_unsafe(&sources);
        assert!(!stale.iter().any(|row| row.starts_with("monitor/src/reclaim/trim.rs")));
        assert!(stale.iter().any(|row| row.starts_with("xtask/bench")), "{stale:?}");
    }
}
