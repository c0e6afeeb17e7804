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
                    prop_assert_eq!(table.find(hash(*key), |other| other == *token), Some(*token));
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
        assert_eq!(table.find(7, |_| false), None);
        assert!((0..36).all(|token| table.remove(7, token)));
        assert_eq!((table.count(), table.passed()), (0, 0));
    }
}

mod segmented {
    use std::sync::atomic::Ordering;

    use crate::store::segmented::*;

    #[test]
    fn every_number_has_a_place_of_its_own_and_segments_follow_each_other() {
        let (mut segment, mut offset) = (0, 0);
        for index in 0..1_000_000 {
            assert_eq!(place(index), (segment, offset), "number {index}");
            offset += 1;
            if offset == segment_len(segment) {
                (segment, offset) = (segment + 1, 0);
            }
        }
        for index in (u32::MAX - 5_000)..=u32::MAX {
            let (segment, offset) = place(index);
            assert!(segment < SEGMENTS && offset < segment_len(segment), "number {index}");
        }
    }

    #[test]
    fn at_most_an_eighth_waits_unused() {
        let mut held = 0;
        for segment in 0..SEGMENTS {
            if held >= 1024 {
                assert!(segment_len(segment) * 8 <= held + 128, "segment {segment}");
            }
            held += segment_len(segment);
        }
    }

    #[test]
    fn items_stay_where_they_are() {
        let items = Segmented::<std::sync::atomic::AtomicU32>::new();
        assert!(items.get(0).is_none());
        for index in 0..5_000 {
            items.ensure(index, Default::default);
            items.get(index).unwrap().store(index, Ordering::Relaxed);
        }
        assert!((0..5_000).all(|index| items.get(index).unwrap().load(Ordering::Relaxed) == index));
    }
}
