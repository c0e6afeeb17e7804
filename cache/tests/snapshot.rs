//! Snapshots: what is saved comes back in order; what is damaged is refused whole, and says so.
#![cfg(feature = "snapshot")]

use std::io;
use std::time::Duration;

use proptest::prelude::*;
use trimtab_cache::{Cache, PolicyKind, SnapshotError, weigher};
use trimtab_config::ByteSize;

type Words = Cache<u32, String>;

fn words(max: u64, policy: PolicyKind) -> Words {
    Cache::builder().max_entries(max).policy(policy).shards(1).build().unwrap()
}

fn filled() -> Words {
    let cache = words(100, PolicyKind::Adaptive);
    (0..20).for_each(|key| cache.insert(key, format!("word {key}")));
    cache.insert_with_tags(20, "tagged".into(), ["a", "b"]);
    cache.insert_with_ttl(21, "mortal".into(), Duration::from_secs(3600));
    (0..5).for_each(|key| drop(cache.get(&key)));
    cache
}

fn bytes(cache: &Words) -> Vec<u8> {
    let mut bytes = Vec::new();
    let saved = cache.write_snapshot(&mut bytes).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    bytes
}

#[test]
fn a_file_brings_everything_back_and_leaves_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("words.snapshot");
    let cache = filled();
    assert_eq!(cache.save(&path).unwrap().entries, 22);
    cache.insert(99, "late".into());
    cache.save(&path).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let fresh = words(100, PolicyKind::Adaptive);
    let restored = fresh.restore(&path).unwrap();
    assert_eq!((restored.entries, restored.no_room, restored.expired, restored.newer), (23, 0, 0, 0));
    cache.for_each(|key, value| assert_eq!(fresh.peek(key).as_ref(), Some(value)));
    assert!(fresh.info(&21).unwrap().ttl_left.unwrap() <= Duration::from_secs(3600));
    assert_eq!(fresh.info(&20).unwrap().ttl_left, None);
    assert!(fresh.explain(&0).unwrap().frequency >= Some(2), "frequencies come back");
    assert_eq!(fresh.invalidate_tag("b"), 1);
    assert_eq!(fresh.stats().loads, 0);
    fresh.validate();
}

#[test]
fn the_hottest_come_back_first_and_in_order() {
    let cache = words(100, PolicyKind::Lru);
    (0..100).for_each(|key| cache.insert(key, key.to_string()));
    (40..60).for_each(|key| drop(cache.get(&key)));
    let small = words(30, PolicyKind::Lru);
    let restored = small.read_snapshot(&bytes(&cache)[..]).unwrap();
    assert_eq!((restored.entries, restored.no_room), (30, 70));
    let keys = |cache: &Words| cache.hottest(30).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(&small), keys(&cache));
    assert_eq!(small.stats().evictions.for_room(), 0, "nothing is stored only to be evicted");
}

#[test]
fn the_byte_limit_holds_and_what_is_newer_stays() {
    let cache = filled();
    let small: Words = Cache::builder().max_bytes(ByteSize::kib(1)).weigher(weigher::heap).build().unwrap();
    small.insert(0, "newer".to_string());
    let restored = small.read_snapshot(&bytes(&cache)[..]).unwrap();
    assert_eq!(restored.newer, 1);
    assert_eq!(small.get(&0).as_deref(), Some("newer"));
    assert_eq!(restored.entries + 1, small.len());
    assert!(restored.no_room > 0 && small.weight() <= 1024);
    assert_eq!(small.stats().evictions.for_room(), 0);
    small.validate();
}

#[test]
fn other_files_versions_and_types_are_told_apart() {
    let good = bytes(&filled());
    let read = |bytes: &[u8]| words(10, PolicyKind::Lru).read_snapshot(bytes).unwrap_err();
    assert!(matches!(read(b""), SnapshotError::NotASnapshot));
    assert!(matches!(read(b"{\"json\": true}"), SnapshotError::NotASnapshot));
    let mut other = good.clone();
    other[8] = 9;
    let error = read(&other);
    assert_eq!(error.to_string(), "the snapshot has version 9, this program reads version 1; start cold and save anew");
    let error = Cache::<u64, String>::new(10).read_snapshot(&good[..]).unwrap_err();
    assert!(matches!(&error, SnapshotError::Types { found, .. } if found == "u32 -> alloc::string::String"), "{error}");
    let missing = words(10, PolicyKind::Lru).restore("/nowhere/at/all").unwrap_err();
    assert!(matches!(missing, SnapshotError::File { source, .. } if source.kind() == io::ErrorKind::NotFound));
    assert!(filled().save("/nowhere/at/all").is_err());
}

#[test]
fn a_huge_length_costs_no_memory() {
    let good = bytes(&filled());
    let header = header_length(&good);
    for length in [256_u32 << 20, (256 << 20) + 1, u32::MAX - 1] {
        let mut bad = good.clone();
        bad[header..header + 4].copy_from_slice(&length.to_le_bytes());
        let error = words(10, PolicyKind::Lru).read_snapshot(&bad[..]).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { offset, .. } if offset <= bad.len() as u64), "{error}");
    }
}

/// Magic, version, time, length of the types, the types, checksum.
fn header_length(bytes: &[u8]) -> usize {
    20 + usize::from(u16::from_le_bytes([bytes[18], bytes[19]])) + 4
}

#[test]
fn every_cut_is_noticed() {
    let good = bytes(&filled());
    for end in 0..good.len() {
        let cache = words(100, PolicyKind::Lru);
        assert!(cache.read_snapshot(&good[..end]).is_err(), "cut at {end} of {}", good.len());
        assert!(cache.is_empty());
    }
}

proptest! {
    #[test]
    fn every_flipped_bit_is_noticed_and_changes_nothing(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bad = bytes(&filled());
        let at = at.index(bad.len());
        bad[at] ^= 1 << bit;
        let cache = words(100, PolicyKind::Lru);
        prop_assert!(cache.read_snapshot(&bad[..]).is_err(), "bit {bit} of byte {at}");
        prop_assert!(cache.is_empty());
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(garbage in proptest::collection::vec(any::<u8>(), 0..600), keep in 0..80_usize) {
        let mut bytes = bytes(&filled());
        bytes.truncate(keep);
        bytes.extend(garbage);
        prop_assert!(words(100, PolicyKind::Lru).read_snapshot(&bytes[..]).is_err());
    }

    #[test]
    fn what_is_written_is_read(entries in proptest::collection::hash_map(any::<u32>(), ".{0,40}", 0..60), shards in 0..3_u32) {
        let cache = Cache::builder().max_entries(1000).shards(1 << shards).build().unwrap();
        cache.insert_many(entries.clone());
        let mut bytes = Vec::new();
        cache.write_snapshot(&mut bytes).unwrap();
        let fresh: Words = Cache::new(1000);
        prop_assert_eq!(fresh.read_snapshot(&bytes[..]).unwrap().entries, entries.len() as u64);
        prop_assert!(entries.iter().all(|(key, value)| fresh.peek(key).as_ref() == Some(value)));
        fresh.validate();
    }
}
