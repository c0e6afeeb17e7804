//! Locks beside what their stores cost bare, beside polling, and limits beside governor.
//!
//! Read [`single`] for one caller, [`contended`] for sixteen, [`ended`] for holders that die or stand still, [`figures`] for what was
//! promised in numbers, [`limits`] for rate limits; [`bars`] says what must hold, and [`children`] speaks to processes. Servers are
//! those of `cargo xtask services run -- …`; without them their cases are left out with a note.

mod bars;
mod children;
mod contended;
mod ended;
mod figures;
mod limits;
mod single;

use crate::frame::{Bar, Options, Plan, Subject};
use crate::memory::Counting;

/// The subject `lock`.
#[derive(Debug)]
pub struct LockSubject;

impl Subject for LockSubject {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn about(&self) -> &'static str {
        "locks: uncontended, contended, holders that die, over memory, file, PostgreSQL, Redis; rate limits, local and shared"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab-lock", "trimtab-limit", "tokio", "tokio-postgres", "redis", "governor"]
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        let (mut cases, mut notes) = (Vec::new(), Vec::new());
        let folder = std::env::temp_dir().join(format!("trimtab-bench-lock-{}", std::process::id()));
        let mut stores = vec![("memory", "memory:".to_owned()), ("file", format!("file:{}", folder.display()))];
        for (name, variable) in [("postgres", "XTASK_POSTGRES_URL"), ("redis", "XTASK_REDIS_URL")] {
            match std::env::var(variable) {
                Ok(url) => stores.push((name, url)),
                Err(_) => notes.push(format!("{name} left out: {variable} is not set (cargo xtask services run -- …)")),
            }
        }
        for (name, url) in &stores {
            cases.push(single::case(name, url));
        }
        for (name, url) in &stores {
            cases.extend(contended::cases(name, url, options.quick));
        }
        cases.extend(ended::cases(&stores));
        for (name, url) in &stores {
            cases.extend(figures::cases(name, url));
        }
        cases.extend(limits::cases(&stores));
        Ok(Plan { cases, notes })
    }

    fn bars(&self) -> Vec<Bar> {
        bars::BARS.to_vec()
    }
}

/// What a child of this subject does; it speaks to who started it by itself.
///
/// # Errors
///
/// When the words are unknown, or its work fails.
pub fn measure(account: &Counting, words: &[&str]) -> Result<(), String> {
    match words {
        ["contend", rest @ ..] => contended::contend(rest),
        ["hold", rest @ ..] => ended::hold(rest),
        ["flood", name] => children::say(&limits::flood(account, name)?.to_string()),
        _ => Err(format!("unknown step {words:?}; known: contend, hold, flood")),
    }
}
