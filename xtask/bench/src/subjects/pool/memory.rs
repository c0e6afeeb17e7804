//! Memory, by a counting allocator in a child process of its own for each contender: words, and what the pools save.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use string_interner::DefaultStringInterner;
use trimtab_pool::{BufferPool, Interner, Tracker};

use super::words::word;
use crate::frame::{Case, Contender, Measure, Role, Rounds};
use crate::memory::Counting;
use crate::subjects::{child, number};

const WORDS: usize = 50_000;
const ALLOCATIONS: usize = 1_000;
const RESOURCES: usize = 10_000;
/// So many requests run at the same time.
const TOGETHER: usize = 16;

fn cell(step: &'static str, name: &'static str, role: Role, keys: &'static [&'static str]) -> Contender {
    Contender::new(name, role, move |_| {
        let answer = child(&["pool", step, name])?;
        keys.iter().map(|key| number(&answer, key)).collect()
    })
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "memory/words".into(),
            what: format!("bytes beyond the text by word: {WORDS} words"),
            threads: 1,
            measures: vec![Measure::lower("beyond the text", "B")],
            contenders: vec![
                cell("words", "trimtab", Role::Ours, &["bytes"]),
                cell("words", "ustr", Role::Peer, &["bytes"]),
                cell("words", "string-interner", Role::Peer, &["bytes"]),
                cell("words", "lasso", Role::Peer, &["bytes"]),
            ],
            rounds: Rounds::Exact(1),
        },
        Case {
            name: "memory/allocations".into(),
            what: format!("{ALLOCATIONS} requests that each build an answer of 48 KiB, {TOGETHER} at a time"),
            threads: 1,
            measures: vec![
                Measure::lower("asked for", "MiB"),
                Measure::lower("held at the end", "MiB"),
                Measure::lower("leaks", "buffers"),
            ],
            contenders: vec![
                cell("allocations", "trimtab", Role::Ours, &["asked", "held", "leaks"]),
                cell("allocations", "unpooled", Role::Peer, &["asked", "held", "leaks"]),
            ],
            rounds: Rounds::Exact(1),
        },
        Case {
            name: "memory/resources".into(),
            what: format!("{RESOURCES} resources of 4 KiB registered one after the other, the last half still alive"),
            threads: 1,
            measures: vec![Measure::lower("held", "MiB"), Measure::lower("leaks", "resources")],
            contenders: vec![
                cell("resources", "trimtab", Role::Ours, &["held", "leaks"]),
                cell("resources", "strong registry", Role::Peer, &["held", "leaks"]),
            ],
            rounds: Rounds::Exact(1),
        },
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the child does.
///
/// # Errors
///
/// When the step or the name is unknown.
pub fn measure(account: &Counting, step: &str, name: &str) -> Result<serde_json::Value, String> {
    account.start();
    match step {
        "words" => words(account, name),
        "allocations" => Ok(allocations(account, name == "trimtab")),
        "resources" => Ok(resources(account, name == "trimtab")),
        _ => Err(format!("unknown step {step:?}; known: words, allocations, resources")),
    }
}

fn words(account: &Counting, name: &str) -> Result<serde_json::Value, String> {
    let before = account.live();
    let mut text = 0;
    let mut fill = |intern: &mut dyn FnMut(&str)| {
        for at in 0..WORDS {
            let word = word(at);
            text += word.len() as u64;
            intern(&word);
        }
    };
    let interner = Interner::permanent("words");
    let rodeo = lasso::ThreadedRodeo::<lasso::Spur>::default();
    let strings = Mutex::new(DefaultStringInterner::default());
    match name {
        "trimtab" => fill(&mut |word| drop(interner.intern(word))),
        "ustr" => fill(&mut |word| {
            ustr::ustr(word);
        }),
        "string-interner" => fill(&mut |word| {
            strings.lock().get_or_intern(word);
        }),
        "lasso" => fill(&mut |word| {
            rodeo.get_or_intern(word);
        }),
        _ => return Err(format!("unknown contender {name:?}")),
    }
    let bytes = account.live().saturating_sub(before).saturating_sub(text) as f64 / WORDS as f64;
    black_box((interner, rodeo, strings));
    Ok(json!({ "bytes": bytes }))
}

fn answer(buffer: &mut bytes::BytesMut) {
    for _ in 0..48 {
        buffer.extend_from_slice(&[7; 1 << 10]);
    }
}

fn allocations(account: &Counting, pooled: bool) -> serde_json::Value {
    let (live, asked) = (account.live(), account.asked());
    let pool = BufferPool::new("answers").expect("a sound name");
    if pooled {
        let mut running = VecDeque::new();
        for _ in 0..ALLOCATIONS {
            let mut buffer = pool.acquire(48 << 10);
            answer(&mut buffer);
            running.push_back(buffer);
            if running.len() == TOGETHER {
                running.pop_front();
            }
        }
    } else {
        let mut running = VecDeque::new();
        for _ in 0..ALLOCATIONS {
            let mut buffer = bytes::BytesMut::with_capacity(48 << 10);
            answer(&mut buffer);
            running.push_back(buffer);
            if running.len() == TOGETHER {
                running.pop_front();
            }
        }
    }
    let leaks = pool.stats().in_use;
    let (held, asked) = (account.live().saturating_sub(live), account.asked() - asked);
    json!({ "asked": mib(asked), "held": mib(held), "leaks": leaks })
}

fn resources(account: &Counting, tracked: bool) -> serde_json::Value {
    let before = account.live();
    let tracker = Tracker::new("resources");
    let mut registry: Vec<Arc<Vec<u8>>> = Vec::new();
    let mut alive = VecDeque::new();
    for _ in 0..RESOURCES {
        let resource = Arc::new(vec![7_u8; 4 << 10]);
        if tracked {
            tracker.register("resource", &resource);
        } else {
            registry.push(resource.clone());
        }
        alive.push_back(resource);
        if alive.len() > RESOURCES / 2 {
            alive.pop_front();
        }
    }
    let held = account.live().saturating_sub(before);
    drop(alive);
    let leaks = if tracked { tracker.counts().values().sum::<usize>() } else { registry.len() };
    json!({ "held": mib(held), "leaks": leaks })
}
