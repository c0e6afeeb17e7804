//! The byte cache: what it keeps, compresses, tells and refuses.

use std::time::Duration;

use trimtab_cache::bytes::KEY_MAX;
use trimtab_cache::{ByteCache, CacheSettings, Caches, PutError, RejectedReason};
use trimtab_config::{ByteSize, Profile};

#[cfg(feature = "compress")]
#[test]
fn large_values_shrink_and_come_back_whole() {
    let mut settings = CacheSettings::for_bytes(Profile::Balanced);
    settings.compression = trimtab_cache::Compression::Lz4;
    settings.compress_above = ByteSize::kib(1);
    let cache = ByteCache::new("pages", &settings).unwrap();
    let text = "trim tab ".repeat(1000);
    cache.put("large", text.clone(), None).unwrap();
    cache.put("small", "trim tab", None).unwrap();
    assert_eq!(cache.get("large"), Some(text.clone().into()));
    let info = cache.info("large").unwrap();
    assert!(info.compressed && info.length == text.len() && info.stored_bytes < text.len() / 10, "{info:?}");
    assert!(info.weight_bytes < 1000, "{info:?}");
    assert!(!cache.info("small").unwrap().compressed);
}

#[test]
fn every_key_is_listed_with_the_time_it_has_left() {
    let caches = Caches::new();
    let cache = caches.create("sessions", CacheSettings::default()).unwrap();
    cache.put("a", "1", Some(Duration::from_secs(60))).unwrap();
    cache.put("b", "2", None).unwrap();
    let mut keys = cache.keys(None, 100).items;
    keys.sort();
    assert_eq!(keys, ["a".into(), "b".into()]);
    assert!(cache.info("a").unwrap().ttl_left.unwrap() > Duration::from_secs(50));
    assert_eq!(cache.info("b").unwrap().ttl_left, None);
    assert!(cache.remove("a") && !cache.remove("a"));
    assert_eq!(caches.bytes("sessions").unwrap().stats().entries, 1);
}

#[test]
fn bad_keys_and_heavy_values_are_refused_with_the_limit() {
    let mut settings = CacheSettings::for_bytes(Profile::Minimal);
    settings.max_bytes = Some(ByteSize::kib(4));
    let cache = ByteCache::new("tiny", &settings).unwrap();
    for key in [String::new(), "k".repeat(KEY_MAX + 1)] {
        let error = cache.put(&key, "v", None).unwrap_err();
        assert!(matches!(error, PutError::Key { limit: KEY_MAX, .. }), "{error}");
    }
    cache.put(&"k".repeat(KEY_MAX), "v", None).unwrap();
    cache.put("big", "v", None).unwrap();
    let error = cache.put("big", vec![7; 5000], None).unwrap_err();
    assert!(matches!(error, PutError::Rejected { reason: RejectedReason::TooHeavy { .. }, .. }), "{error}");
    assert_eq!(cache.get("big"), None);
}
