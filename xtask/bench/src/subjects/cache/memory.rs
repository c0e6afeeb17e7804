//! Memory per entry, by a counting allocator in a child process of its own for each contender.

use serde_json::json;

use super::stores::{
    BareMap, FoyerLfu, FoyerLru, FoyerS3Fifo, Key, Moka, MutexLru, Quick, Store, Trimtab, Value, raced,
};
use crate::frame::{Case, Contender, Measure, Options, Rounds};
use crate::memory::Counting;
use crate::subjects::{child, number};

/// Entries that fit.
const CAPACITY: u64 = 1_000_000;
/// Inserts of the second figure: most of them evict.
const CHURN: u64 = 3 * CAPACITY;

/// A case for each shape of entry.
pub(super) fn cases(options: &Options) -> Vec<Case> {
    // Only the random seeds of some peers make one run differ from the next.
    let rounds = Rounds::Exact(options.rounds_or(3, 1));
    [("u64", "u64 → u64"), ("text", "16-byte String → 100-byte Vec<u8>")]
        .into_iter()
        .map(|(shape, entry)| Case {
            name: format!("memory/{shape}"),
            what: format!("bytes asked of the allocator by entry held: {entry}, capacity 1e6"),
            threads: 1,
            measures: vec![
                Measure::lower("after 1e6 inserts", "B"),
                Measure::lower("after 3e6 inserts", "B"),
                Measure::context("entries after 1e6", "entries"),
            ],
            contenders: match shape {
                "u64" => raced!(number_cell(shape)),
                _ => raced!(text_cell(shape)),
            },
            rounds,
        })
        .collect()
}

fn number_cell<S: Store<u64, u64>>(shape: &'static str) -> Contender {
    cell::<u64, u64, S>(shape)
}

fn text_cell<S: Store<String, Vec<u8>>>(shape: &'static str) -> Contender {
    cell::<String, Vec<u8>, S>(shape)
}

fn cell<K: Key, V: Value, S: Store<K, V>>(shape: &'static str) -> Contender {
    Contender::new(S::NAME, S::ROLE, move |_| {
        let answer = child(&["memory", shape, S::NAME])?;
        Ok(vec![number(&answer, "filled")?, number(&answer, "churned")?, number(&answer, "entries")?])
    })
}

/// What the child does: fills the store named `name` with entries of `shape` and prints what they take.
///
/// # Errors
///
/// When the shape or the name is unknown, or the store does not keep to its capacity.
pub fn measure(account: &Counting, shape: &str, name: &str) -> Result<serde_json::Value, String> {
    account.start();
    match shape {
        "u64" => pick(account, name, |at| (at, at)),
        "text" => pick(account, name, |at| (format!("{at:016}"), vec![at as u8; 100])),
        _ => Err(format!("unknown shape {shape:?}; known: u64, text")),
    }
}

fn pick<K: Key, V: Value>(
    account: &Counting,
    name: &str,
    entry: impl Fn(u64) -> (K, V),
) -> Result<serde_json::Value, String> {
    macro_rules! among {
        ($($store:ident),*) => {
            match name {
                $(<$store<K, V> as Store<K, V>>::NAME => fill::<K, V, $store<K, V>>(account, entry),)*
                _ => Err(format!("unknown contender {name:?}")),
            }
        };
    }
    among!(Trimtab, Quick, Moka, FoyerLru, FoyerLfu, FoyerS3Fifo, MutexLru, BareMap)
}

fn fill<K: Key, V: Value, S: Store<K, V>>(
    account: &Counting,
    entry: impl Fn(u64) -> (K, V),
) -> Result<serde_json::Value, String> {
    let before = account.live();
    let store = S::with_capacity(CAPACITY as usize);
    let insert = |from: u64, to: u64| -> Result<(f64, usize), String> {
        for at in from..to {
            let (key, value) = entry(at);
            store.insert(key, value);
        }
        store.check(CAPACITY as usize)?;
        let held = store.len();
        if held == 0 {
            return Err("holds nothing after a million inserts".into());
        }
        Ok((account.live().saturating_sub(before) as f64 / held as f64, held))
    };
    let (filled, entries) = insert(0, CAPACITY)?;
    let (churned, _) = insert(CAPACITY, CHURN)?;
    Ok(json!({ "filled": filled, "churned": churned, "entries": entries }))
}
