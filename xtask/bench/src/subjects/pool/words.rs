//! Interned words: known ones asked for again by 1, 2 and 4 threads; and their text read.

use std::hint::black_box;

use parking_lot::Mutex;
use string_interner::DefaultStringInterner;
use trimtab_pool::Interner;

use crate::frame::{Case, Contender, Measure, Role, Rounds, Turn};
use crate::load::random::SplitMix;
use crate::subjects::cache::race::{BLOCK, timed};

/// Words that are known.
const WORDS: usize = 10_000;

/// Words of 4 to 19 letters, the same for all.
pub(super) fn word(at: usize) -> String {
    let length = 4 + at.wrapping_mul(0x9E37_79B9) / 7 % 10;
    let mut word: String = (0..length).map(|n| char::from(b'a' + ((at >> n) % 26) as u8)).collect();
    word.push_str(&at.to_string());
    word
}

fn words() -> Vec<String> {
    let mut words: Vec<String> = (0..WORDS).map(word).collect();
    let mut random = SplitMix::new(7);
    for at in (1..words.len()).rev() {
        words.swap(at, random.below(at as u64 + 1) as usize);
    }
    words
}

fn nanos(threads: usize, turn: &Turn, words: &[String], intern: impl Fn(&str) + Sync) -> Result<Vec<f64>, String> {
    words.iter().for_each(|word| intern(word));
    let rate = timed(threads, turn.time, |thread, block| {
        let from = (thread * 2_503 + block * BLOCK) % (words.len() - BLOCK);
        words[from..from + BLOCK].iter().for_each(|word| intern(word));
    });
    Ok(vec![1e3 / rate])
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [1, 2, 4]
        .into_iter()
        .map(|threads| Case {
            name: format!("words/{threads}t"),
            what: format!("{WORDS} known words asked for again, {threads} threads; all threads' time by operation"),
            threads,
            measures: vec![Measure::lower("time", "ns")],
            contenders: vec![
                Contender::new("trimtab", Role::Ours, move |turn| {
                    let interner = Interner::permanent("words");
                    nanos(threads, turn, &words(), |word| drop(black_box(interner.intern(word))))
                }),
                Contender::new("ustr", Role::Peer, move |turn| {
                    nanos(threads, turn, &words(), |word| {
                        black_box(ustr::ustr(word));
                    })
                }),
                Contender::new("string-interner", Role::Peer, move |turn| {
                    let interner = Mutex::new(DefaultStringInterner::default());
                    nanos(threads, turn, &words(), |word| {
                        black_box(interner.lock().get_or_intern(word));
                    })
                }),
                Contender::new("lasso", Role::Peer, move |turn| {
                    let interner = lasso::ThreadedRodeo::<lasso::Spur>::default();
                    nanos(threads, turn, &words(), |word| {
                        black_box(interner.get_or_intern(word));
                    })
                }),
            ],
            rounds: Rounds::Timed,
        })
        .collect();
    cases.push(Case {
        name: "resolve/1t".into(),
        what: "the text of an interned word".into(),
        threads: 1,
        measures: vec![Measure::lower("time", "ns")],
        contenders: vec![
            Contender::new("trimtab", Role::Ours, |turn| {
                let interner = Interner::permanent("words");
                let words: Vec<_> = words().iter().map(|word| interner.intern(word)).collect();
                resolve(turn, &words, |word| word.as_str())
            }),
            Contender::new("ustr", Role::Peer, |turn| {
                let words: Vec<_> = words().iter().map(|word| ustr::ustr(word)).collect();
                resolve(turn, &words, |word| word.as_str())
            }),
        ],
        rounds: Rounds::Timed,
    });
    cases
}

fn resolve<W: Sync>(turn: &Turn, words: &[W], text: impl Fn(&W) -> &str + Sync) -> Result<Vec<f64>, String> {
    // A hundred words that stay in the cache: the cost of the way, not of memory.
    let words = &words[..128];
    let rate = timed(1, turn.time, |_, _| {
        for _ in 0..BLOCK / words.len() {
            for word in words {
                black_box(text(black_box(word)));
            }
        }
    });
    Ok(vec![1e3 / rate])
}
