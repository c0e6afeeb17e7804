//! The interner as its callers see it, all three kinds.

use std::collections::HashMap;

use proptest::prelude::*;
use trimtab_config::Share;
use trimtab_pool::{Interner, Istr};

fn kinds() -> [Interner; 3] {
    [Interner::permanent("words"), Interner::bounded("words", 1_000), Interner::weak("words")]
}

#[test]
fn equal_words_are_one() {
    for interner in kinds() {
        let words = ["", "a", "é", "a word that is longer than a pointer", &"x".repeat(100_000)];
        let first: Vec<Istr> = words.iter().map(|word| interner.intern(word)).collect();
        for (word, text) in first.iter().zip(words) {
            assert_eq!((word, &**word), (&interner.intern(text), text));
            assert!(std::ptr::eq(word.as_str(), interner.intern(text).as_str()));
        }
        let stats = interner.stats();
        assert_eq!((stats.words, stats.misses, stats.hits), (5, 5, 10));
        assert_eq!(stats.saved_bytes, 2 * (1 + 2 + 36 + 100_000));
        assert_ne!(interner.intern("a"), Interner::weak("other").intern("a"), "words of different interners differ");
    }
}

#[test]
fn threads_agree_on_every_word_while_the_tables_grow() {
    for interner in kinds() {
        let all: Vec<Vec<Istr>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let interner = &interner;
                    scope.spawn(move || {
                        let mut words: Vec<Istr> = (0..5_000)
                            .map(|n| interner.intern(&format!("word {}", (n + thread * 1_250) % 5_000)))
                            .collect();
                        words.rotate_right((thread * 1_250) % 5_000);
                        words
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for words in &all[1..] {
            assert_eq!(words, &all[0]);
        }
        assert_eq!(interner.stats().words, 5_000);
    }
}

#[test]
fn weak_words_go_with_their_last_user() {
    let interner = Interner::weak("words");
    for n in 0..100_000 {
        drop(interner.intern(&n.to_string()));
    }
    let kept = interner.intern("kept");
    assert_eq!((interner.stats().words, interner.stats().bytes), (1, 4));
    assert_eq!(kept, interner.intern("kept"));
}

#[test]
fn a_bounded_interner_keeps_the_words_that_are_asked_for() {
    let interner = Interner::bounded("words", 64);
    for n in 0..10_000 {
        drop(interner.intern(&n.to_string()));
        drop(interner.intern("often"));
    }
    let stats = interner.stats();
    assert!(stats.words <= 64, "{stats:?}");
    assert_eq!(stats.misses, 10_001, "the one that is asked for again and again was made once");
    // What is used is never doubled, however many others come.
    let held = interner.intern("held");
    for n in 0..10_000 {
        drop(interner.intern(&n.to_string()));
    }
    assert_eq!(held, interner.intern("held"));
    let freed = interner.trim_idle(Share::ALL);
    assert!(freed.objects > 30 && freed.bytes > 60, "{freed:?}");
    assert_eq!(interner.stats().words, 1);
}

#[test]
fn words_survive_their_interner() {
    for interner in kinds() {
        let word = interner.intern("outlives");
        drop(interner);
        assert_eq!(&*word, "outlives");
    }
}

#[test]
fn words_go_through_serde_as_text() {
    let word: Istr = serde_json::from_str("\"h\\u00e9llo\"").unwrap();
    assert_eq!(word, Interner::global().intern("héllo"));
    assert_eq!(serde_json::to_string(&word).unwrap(), "\"héllo\"");
    assert!(serde_json::from_str::<Istr>("7").unwrap_err().to_string().contains("a string"));
}

proptest! {
    #[test]
    fn every_kind_behaves_like_a_map(texts in proptest::collection::vec("[a-c]{0,4}", 0..200)) {
        for interner in kinds() {
            let mut map: HashMap<String, Istr> = HashMap::new();
            for text in &texts {
                let word = interner.intern(text);
                prop_assert_eq!(word.as_str(), text.as_str());
                let known = map.entry(text.clone()).or_insert_with(|| word.clone());
                prop_assert_eq!(&word, known);
            }
            prop_assert_eq!(interner.stats().words, map.len());
            prop_assert_eq!(interner.stats().misses, map.len() as u64);
        }
    }
}
