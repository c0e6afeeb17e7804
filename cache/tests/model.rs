//! The cache against a naive model: one that never evicts for room, and one that only checks the promises.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use trimtab_cache::{Cache, ManualClock, PolicyKind};
use trimtab_config::ByteSize;

#[derive(Debug, Clone)]
enum Step {
    Get(u8),
    Insert(u8, u16),
    InsertWithTtl(u8, u16, u8),
    Remove(u8),
    Advance(u8),
    Expire,
    Clear,
    Load(u8, u16),
    SetMaxEntries(u8),
    SetMaxKib(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => any::<u8>().prop_map(Step::Get),
        12 => (any::<u8>(), any::<u16>()).prop_map(|(k, v)| Step::Insert(k, v)),
        4 => (any::<u8>(), any::<u16>(), 0..20_u8).prop_map(|(k, v, t)| Step::InsertWithTtl(k, v, t)),
        3 => any::<u8>().prop_map(Step::Remove),
        3 => (0..6_u8).prop_map(Step::Advance),
        1 => Just(Step::Expire),
        1 => Just(Step::Clear),
        4 => (any::<u8>(), any::<u16>()).prop_map(|(k, v)| Step::Load(k, v)),
        1 => (1..=255_u8).prop_map(Step::SetMaxEntries),
        1 => (1..=60_u8).prop_map(Step::SetMaxKib),
    ];
    proptest::collection::vec(step, 1..400)
}

fn any_policy() -> impl Strategy<Value = PolicyKind> {
    proptest::sample::select(&PolicyKind::ALL[..])
}

/// What the model remembers: the last value stored, and when it ends.
type Model = HashMap<u8, (u16, Option<u64>)>;

/// Plays the steps. With `roomy`, no limit is ever reached and the model is exact; otherwise entries may be missing, but
/// what is returned must be right.
fn play(cache: &Cache<u8, u16>, clock: &ManualClock, steps: Vec<Step>, roomy: bool) -> Result<(), TestCaseError> {
    let (mut model, mut now) = (Model::new(), 0_u64);
    for step in steps {
        model.retain(|_, (_, end)| end.is_none_or(|end| end > now));
        match step {
            Step::Get(key) => {
                let (found, expected) = (cache.get(&key), model.get(&key).map(|(value, _)| *value));
                if roomy || found.is_some() {
                    prop_assert_eq!(found, expected);
                }
                prop_assert_eq!(cache.contains(&key), found.is_some());
            }
            Step::Insert(key, value) => {
                let heavy = cache.try_insert(key, value).is_err();
                prop_assert!(!(roomy && heavy));
                model.insert(key, (value, None));
                if heavy {
                    model.remove(&key);
                }
            }
            Step::InsertWithTtl(key, value, ttl) => {
                match cache.try_insert_with_ttl(key, value, Duration::from_secs(ttl.into())) {
                    Ok(()) => drop(model.insert(key, (value, Some(now + u64::from(ttl))))),
                    Err(rejected) => {
                        prop_assert_eq!(rejected.value, value);
                        prop_assert!(ttl == 0 || !roomy);
                        model.remove(&key);
                    }
                }
            }
            Step::Remove(key) => {
                let (removed, expected) = (cache.remove(&key), model.remove(&key).map(|(value, _)| value));
                if roomy || removed.is_some() {
                    prop_assert_eq!(removed, expected);
                }
            }
            Step::Advance(by) => {
                clock.advance(Duration::from_secs(by.into()));
                now += u64::from(by);
            }
            Step::Expire => drop(cache.expire()),
            Step::Clear => {
                cache.clear();
                model.clear();
                prop_assert!(cache.is_empty());
            }
            Step::Load(key, value) => {
                let expected = model.get(&key).map(|(value, _)| *value);
                let got = cache.get_or_insert_with(key, || value);
                if roomy || got != value {
                    prop_assert_eq!(got, expected.unwrap_or(value));
                }
                let endless = cache.info(&key).is_some_and(|info| info.ttl_left.is_none());
                if endless || expected != Some(got) {
                    model.insert(key, (got, None));
                }
            }
            Step::SetMaxEntries(max) if !roomy => cache.set_max_entries(Some(max.into())).unwrap(),
            Step::SetMaxKib(max) if !roomy => cache.set_max_bytes(Some(ByteSize::kib(max.into()))).unwrap(),
            Step::SetMaxEntries(_) | Step::SetMaxKib(_) => {}
        }
        cache.validate();
    }
    Ok(())
}

fn cache(policy: PolicyKind, shards: usize, entries: u64, kib: u64) -> (Cache<u8, u16>, ManualClock) {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_entries(entries)
        .max_bytes(ByteSize::kib(kib))
        // From weightless to heavier than the smallest limit.
        .weigher(|key, value| if key % 16 == 0 { 0 } else { u64::from(*value) })
        .policy(policy)
        .shards(shards)
        .clock(clock.clone())
        .build()
        .unwrap();
    (cache, clock)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn with_room_for_all_it_is_a_map_with_expiry(steps in steps(), policy in any_policy(), shards in 0..3_u32) {
        let (cache, clock) = cache(policy, 1 << shards, 1000, 1 << 20);
        play(&cache, &clock, steps, true)?;
    }

    #[test]
    fn without_room_it_forgets_but_never_lies(steps in steps(), policy in any_policy(), shards in 0..3_u32, max in 1..64_u64) {
        let (cache, clock) = cache(policy, 1 << shards, max, 64);
        play(&cache, &clock, steps, false)?;
    }

    #[test]
    fn what_was_just_inserted_is_there(keys in proptest::collection::vec(any::<u16>(), 1..500), max in 1..40_u64, shards in 0..4_u32) {
        for policy in PolicyKind::ALL {
            let cache = Cache::builder().max_entries(max).policy(policy).shards(1 << shards).build().unwrap();
            for key in &keys {
                cache.insert(*key, ());
                prop_assert!(cache.contains(key));
                prop_assert!(cache.len() <= max);
            }
            cache.validate();
        }
    }

    #[test]
    fn lru_keeps_exactly_the_most_recent(keys in proptest::collection::vec(0..50_u8, 1..400), max in 1..30_usize) {
        let cache = Cache::builder().max_entries(max as u64).policy(PolicyKind::Lru).shards(1).build().unwrap();
        let mut model: Vec<u8> = Vec::new();
        for key in keys {
            let known = model.iter().position(|k| *k == key);
            prop_assert_eq!(cache.get(&key).is_some(), known.is_some());
            match known {
                Some(at) => drop(model.remove(at)),
                None => cache.insert(key, ()),
            }
            model.push(key);
            if model.len() > max {
                model.remove(0);
            }
        }
        prop_assert_eq!(cache.stats().evictions.for_room(), cache.stats().inserts - cache.len());
    }
}
