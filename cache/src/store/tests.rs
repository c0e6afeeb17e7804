//! Tests of files that the models include too, under another memory; hence apart from them.

mod table {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use crate::store::table::*;

    #[derive(Debug, Clone)]
    enum Step {
        Add(u16, u32),
        Remove(u16),
        Replace(u16, u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..200_u16, any::<u32>()).prop_map(|(key, token)| Step::Add(key, token)),
            2 => (0..200_u16).prop_map(Step::Remove),
            1 => (0..200_u16, any::<u32>()).prop_map(|(key, token)| Step::Replace(key, token)),
        ];
        proptest::collection::vec(step, 0..600)
    }

    proptest! {
        /// With few distinct hashes, buckets overflow into each other and wrap around.
        #[test]
        fn finds_what_a_map_holds(steps in steps(), distinct in 1..300_u32, rotate in 0..32_u32) {
            let hash = |key: u16| (u32::from(key) % distinct).wrapping_mul(0x9E37_79B9).rotate_left(rotate);
            let (table, mut model) = (Table::new(200), HashMap::<u16, u32>::new());
            for step in steps {
                match step {
                    Step::Add(key, token) if !model.contains_key(&key) && !model.values().any(|t| *t == token) => {
                        table.insert(hash(key), token);
                        model.insert(key, token);
                    }
                    Step::Remove(key) => if let Some(token) = model.remove(&key) {
                        prop_assert!(table.remove(hash(key), token));
                        prop_assert!(!table.remove(hash(key), token));
                    },
                    Step::Replace(key, new) if !model.values().any(|t| *t == new) => {
                        if let Some(old) = model.get(&key).copied() {
                            prop_assert!(table.replace(hash(key), old, new));
                            model.insert(key, new);
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(table.count(), model.len());
                for (key, token) in &model {
                    prop_assert_eq!(table.find(hash(*key), move |other| (other == *token).then_some(other)), Some(*token));
                }
            }
            for (key, token) in &model {
                table.remove(hash(*key), *token);
            }
            prop_assert!(table.passed() == 0);
        }
    }

    #[test]
    fn search_ends_in_a_table_that_was_passed_everywhere() {
        // Three buckets of twelve, filled to the last way by keys of one home.
        let table = Table::new(27);
        (0..36).for_each(|token| table.insert(7, token));
        assert!(table.passed() > 0);
        assert_eq!(table.find(7, |_| None::<u32>), None);
        assert!((0..36).all(|token| table.remove(7, token)));
        assert_eq!((table.count(), table.passed()), (0, 0));
    }
}

mod chunked {
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::store::chunked::*;

    #[test]
    fn items_stay_where_they_are_while_directories_are_replaced() {
        let items = Chunked::<AtomicU32>::new();
        assert!(items.get(0).is_none() && items.get(u32::MAX).is_none());
        items.ensure(0, AtomicU32::default);
        let first = items.get(0).unwrap();
        for index in 0..200_000 {
            items.ensure(index, AtomicU32::default);
            items.get(index).unwrap().store(index + 1, Ordering::Relaxed);
        }
        assert_eq!(first.load(Ordering::Relaxed), 1);
        assert!((0..200_000).all(|index| items.get(index).unwrap().load(Ordering::Relaxed) == index + 1));
    }

    #[test]
    fn a_hole_is_nothing_and_large_items_have_small_chunks() {
        let items = Chunked::<[AtomicU32; 2_000]>::new();
        items.ensure(100, || std::array::from_fn(|_| AtomicU32::new(0)));
        assert!(items.get(100).is_some() && items.get(0).is_none() && items.get(200).is_none());
    }
}

mod arena {
    use std::collections::VecDeque;

    use crate::expiry::NEVER;
    use crate::store::arena::{Arena, Garbage, Pair};
    use crate::store::slots::Scales;
    use crate::store::{sync, threads};

    #[test]
    fn a_shard_that_no_longer_grows_frees_the_index_that_it_outgrew_and_what_it_removed() {
        sync::prepare_fences();
        let arena = Arena::<u64, u64, ()>::new(10_000, Scales { uniform: Some(1), by_weight: false }, ());
        let (mut garbage, mut tokens, mut key) = (Garbage::new(), VecDeque::new(), 0_u64);
        let mut insert = |remove: Option<u32>| {
            key += 1;
            let hash = (key as u32).wrapping_mul(0x9E37_79B1);
            let mut held = arena.lock();
            if let Some(token) = remove {
                held.remove(token);
            }
            let token = held.insert(Pair { key, value: key, hash, weight: 1, deadline: NEVER, span: None });
            held.collect(false, &mut garbage);
            (token, held.outgrown(), held.limbo())
        };
        loop {
            let (token, outgrown, _) = insert(None);
            tokens.push_back(token);
            if tokens.len() > 2_000 && outgrown > 0 {
                break;
            }
        }
        // From here on one goes for each that comes. Readers of other tests may be in the way for a while.
        let freed = (0..1_000_000).any(|_| {
            let (token, outgrown, limbo) = insert(tokens.pop_front());
            tokens.push_back(token);
            threads::registry().advance_if_wanted();
            outgrown == 0 && limbo < 1_000
        });
        assert!(freed);
    }
}
