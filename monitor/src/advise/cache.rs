//! Rules about one cache. Each looks for one cause of wasted memory or work, and keeps silent when
//! another cause explains the numbers better.

use std::time::Duration;

use trimtab_config::{ByteSize, Duration as Span};

use super::sizes;
use super::{CacheEvidence, MIN_REQUESTS, MIN_UPTIME, Recommendation, Severity, numbers, percent, round_up};

/// A hit ratio from here on is good enough to leave alone.
const GOOD: f64 = 0.80;
/// Below this the cache costs more than it gives.
const POOR: f64 = 0.50;
/// Below this keys hardly ever come back.
const USELESS: f64 = 0.05;
/// A limit counts as reached when this full.
const FULL: f64 = 0.90;
/// A limit counts as far too large when this full.
const EMPTY: f64 = 0.25;
/// How long a cache must have had to fill up before its size can be called too large.
const WARM: Duration = Duration::from_secs(600);

pub(super) fn advise(cache: &CacheEvidence, memory_short: bool, all: &mut Vec<Recommendation>) {
    let busy = cache.requests() >= MIN_REQUESTS && cache.uptime >= MIN_UPTIME;
    let Some(ratio) = cache.hit_ratio().filter(|_| busy) else {
        // Refusals are counted one by one, and need no reads to be seen.
        all.extend(rejected(cache));
        return;
    };
    let gone = cache.evicted_for_space.saturating_add(cache.expired);
    let lost = |part: u64| cache.inserts > 0 && part as f64 >= 0.2 * cache.inserts as f64;
    if ratio < GOOD && lost(gone) {
        // Whatever took more entries away is the first cause to mend.
        if cache.evicted_for_space >= cache.expired {
            if !memory_short {
                all.extend(too_small(cache, ratio));
            }
        } else {
            all.extend(too_brief(cache, ratio));
        }
    } else if ratio < USELESS && cache.inserts as f64 >= 0.5 * cache.misses as f64 {
        all.push(never_read_again(cache, ratio));
    }
    all.extend(rejected(cache));
    let larger = too_large(cache);
    if larger.is_none() && !all.iter().any(|one| one.id == "cache.too_small" && one.subject.ends_with(&cache.name)) {
        all.extend(sizes::halving(cache));
    }
    all.extend(larger);
}

fn full(held: u64, limit: Option<u64>) -> Option<f64> {
    limit.filter(|&limit| limit > 0).map(|limit| held as f64 / limit as f64)
}

fn too_small(cache: &CacheEvidence, ratio: f64) -> Option<Recommendation> {
    let by_bytes = full(cache.weight, cache.max_bytes).filter(|&full| full >= FULL);
    let by_entries = full(cache.entries, cache.max_entries).filter(|&full| full >= FULL);
    // The limit that is closer to being reached is the one that evicts.
    let bytes_bind = match (by_bytes, by_entries) {
        (None, None) => return None,
        (bytes, entries) => bytes.unwrap_or(0.0) >= entries.unwrap_or(0.0),
    };
    let (field, current, proposed) = if bytes_bind {
        let limit = cache.max_bytes?;
        ("max_bytes", ByteSize::b(limit).to_string(), ByteSize::b(limit.saturating_mul(2)).to_string())
    } else {
        let limit = cache.max_entries?;
        ("max_entries", limit.to_string(), limit.saturating_mul(2).to_string())
    };
    let (bought, mut numbers) = match sizes::doubling(cache) {
        // The simulation knows better than the rule of thumb.
        sizes::Doubling::Useless => return None,
        sizes::Doubling::Buys(sentence, numbers) => (Some(sentence), numbers),
        sizes::Doubling::Unknown => (None, Vec::new()),
    };
    let advice = match &bought {
        Some(sentence) => format!("raise {field} to {proposed}: {sentence}"),
        None => format!("raise {field} to {proposed}, one doubling, and compare the hit ratio"),
    };
    numbers.splice(
        0..0,
        super::numbers([
            ("hit_ratio", ratio),
            ("reads", cache.requests() as f64),
            ("evicted_for_space", cache.evicted_for_space as f64),
            ("inserts", cache.inserts as f64),
            ("entries", cache.entries as f64),
            ("weight_bytes", cache.weight as f64),
        ]),
    );
    Some(Recommendation {
        id: "cache.too_small",
        severity: if ratio < POOR { Severity::Warning } else { Severity::Info },
        subject: format!("cache {}", cache.name),
        finding: format!(
            "the hit ratio is {} over {} reads; {} of {} inserted entries had to leave for others and the cache is full ({field} = {current})",
            percent(ratio),
            cache.requests(),
            cache.evicted_for_space,
            cache.inserts,
        ),
        numbers,
        setting: format!("cache.{}.{field}", cache.name),
        advice,
        current: Some(current),
        proposed: Some(proposed),
    })
}

fn too_brief(cache: &CacheEvidence, ratio: f64) -> Option<Recommendation> {
    let ttl = cache.ttl?;
    let doubled = Span::from(ttl.saturating_mul(2)).to_string();
    Some(Recommendation {
        id: "cache.ttl_too_short",
        severity: if ratio < POOR { Severity::Warning } else { Severity::Info },
        subject: format!("cache {}", cache.name),
        finding: format!(
            "the hit ratio is {} over {} reads; {} of {} inserted entries expired, only {} had to leave for others",
            percent(ratio),
            cache.requests(),
            cache.expired,
            cache.inserts,
            cache.evicted_for_space,
        ),
        numbers: numbers([
            ("hit_ratio", ratio),
            ("reads", cache.requests() as f64),
            ("expired", cache.expired as f64),
            ("evicted_for_space", cache.evicted_for_space as f64),
            ("inserts", cache.inserts as f64),
            ("ttl_seconds", ttl.as_secs_f64()),
        ]),
        setting: format!("cache.{}.ttl", cache.name),
        current: Some(Span::from(ttl).to_string()),
        advice: format!("if values may be that old, raise ttl to {doubled}, one doubling; more room would not help"),
        proposed: Some(doubled),
    })
}

fn never_read_again(cache: &CacheEvidence, ratio: f64) -> Recommendation {
    Recommendation {
        id: "cache.keys_do_not_repeat",
        severity: Severity::Warning,
        subject: format!("cache {}", cache.name),
        finding: format!(
            "the hit ratio is {} over {} reads, though entries neither expire nor have to leave ({} of {} inserted): the keys do not repeat",
            percent(ratio),
            cache.requests(),
            cache.evicted_for_space.saturating_add(cache.expired),
            cache.inserts,
        ),
        numbers: numbers([
            ("hit_ratio", ratio),
            ("reads", cache.requests() as f64),
            ("inserts", cache.inserts as f64),
            ("entries", cache.entries as f64),
            ("weight_bytes", cache.weight as f64),
        ]),
        setting: format!("cache.{}", cache.name),
        current: None,
        proposed: None,
        advice: "look for a part of the key that differs in every request (time, request id); without one, this cache is not worth its memory".into(),
    }
}

fn rejected(cache: &CacheEvidence) -> Option<Recommendation> {
    let offered = cache.inserts.saturating_add(cache.rejected);
    let share = cache.rejected as f64 / offered.max(1) as f64;
    if cache.rejected < 10 || share < 0.01 {
        return None;
    }
    let limit = cache.max_bytes?;
    let doubled = ByteSize::b(limit.saturating_mul(2)).to_string();
    let other = if cache.compressed { "keep such values elsewhere" } else { "switch compression on" };
    Some(Recommendation {
        id: "cache.entries_too_heavy",
        severity: Severity::Warning,
        subject: format!("cache {}", cache.name),
        finding: format!(
            "{} of {offered} offered entries ({}) were refused because one alone weighs more than the cache may hold ({})",
            cache.rejected,
            percent(share),
            ByteSize::b(limit),
        ),
        numbers: numbers([
            ("rejected", cache.rejected as f64),
            ("offered", offered as f64),
            ("rejected_ratio", share),
            ("max_bytes", limit as f64),
        ]),
        setting: format!("cache.{}.max_bytes", cache.name),
        current: Some(ByteSize::b(limit).to_string()),
        advice: format!("raise max_bytes to {doubled}, one doubling, or {other}"),
        proposed: Some(doubled),
    })
}

/// Only a byte limit can give memory back; a limit on entries that is never reached costs nothing, but
/// says nothing either, and a sudden flood of keys would fill it.
fn too_large(cache: &CacheEvidence) -> Option<Recommendation> {
    if cache.uptime < WARM || cache.evicted_for_space > 0 || cache.entries == 0 {
        return None;
    }
    let roomy = |held, limit| full(held, limit).is_none_or(|full| full <= EMPTY);
    if !roomy(cache.weight, cache.max_bytes) || !roomy(cache.entries, cache.max_entries) {
        return None;
    }
    let (field, held, current, proposed) = match (cache.max_bytes, cache.max_entries) {
        (Some(limit), _) => {
            // Whole MiB, at least one: nobody sets 1234567B.
            let wanted = cache.weight.saturating_mul(2).div_ceil(1 << 20).max(1) << 20;
            if wanted >= limit {
                return None;
            }
            let held = ByteSize::b(cache.weight).rounded();
            ("max_bytes", held, ByteSize::b(limit).to_string(), ByteSize::b(wanted).to_string())
        }
        (None, Some(limit)) => {
            let wanted = round_up(cache.entries.saturating_mul(2));
            if wanted >= limit {
                return None;
            }
            ("max_entries", format!("{} entries", cache.entries), limit.to_string(), wanted.to_string())
        }
        (None, None) => return None,
    };
    Some(Recommendation {
        id: "cache.too_large",
        severity: Severity::Info,
        subject: format!("cache {}", cache.name),
        finding: format!(
            "after {} it holds {held} of {field} = {current}, and no entry ever had to leave for another",
            Span::from(Duration::from_secs(cache.uptime.as_secs())),
        ),
        numbers: numbers([
            ("uptime_seconds", cache.uptime.as_secs_f64()),
            ("entries", cache.entries as f64),
            ("weight_bytes", cache.weight as f64),
            ("evicted_for_space", 0.0),
        ]),
        setting: format!("cache.{}.{field}", cache.name),
        current: Some(current),
        advice: format!("{field} = {proposed}, twice what it holds, would serve it as well; plan the rest for others"),
        proposed: Some(proposed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cache: &CacheEvidence) -> Vec<(&'static str, String, Option<String>)> {
        let mut all = Vec::new();
        advise(cache, false, &mut all);
        all.into_iter().map(|advice| (advice.id, advice.setting, advice.proposed)).collect()
    }

    fn base() -> CacheEvidence {
        CacheEvidence {
            name: "users".into(),
            uptime: Duration::from_secs(300),
            hits: 5_000,
            misses: 5_000,
            inserts: 5_000,
            entries: 1_000,
            max_entries: Some(1_000),
            ..CacheEvidence::default()
        }
    }

    #[test]
    fn each_cause_gets_its_own_advice() {
        let evicts = || CacheEvidence { evicted_for_space: 4_000, ..base() };
        let table = [
            ("full and evicting", evicts(), Some(("cache.too_small", "cache.users.max_entries", Some("2000")))),
            (
                "full by bytes",
                CacheEvidence { weight: 1 << 20, max_bytes: Some(1 << 20), max_entries: Some(100_000), ..evicts() },
                Some(("cache.too_small", "cache.users.max_bytes", Some("2MiB"))),
            ),
            ("evicting but not full", CacheEvidence { entries: 100, ..evicts() }, None),
            ("good enough", CacheEvidence { hits: 90_000, ..evicts() }, None),
            ("too few reads", CacheEvidence { hits: 499, misses: 500, ..evicts() }, None),
            ("too young", CacheEvidence { uptime: Duration::from_secs(59), ..evicts() }, None),
            (
                "expiring",
                CacheEvidence { expired: 4_500, ttl: Some(Duration::from_secs(30)), ..base() },
                Some(("cache.ttl_too_short", "cache.users.ttl", Some("1m"))),
            ),
            ("expiring by per-entry times", CacheEvidence { expired: 4_500, ..base() }, None),
            (
                "keys that never return",
                CacheEvidence {
                    hits: 10,
                    misses: 50_000,
                    inserts: 50_000,
                    entries: 50_000,
                    max_entries: None,
                    ..base()
                },
                Some(("cache.keys_do_not_repeat", "cache.users", None)),
            ),
            (
                "over-heavy",
                CacheEvidence { rejected: 60, max_bytes: Some(1 << 20), weight: 900_000, ..base() },
                Some(("cache.entries_too_heavy", "cache.users.max_bytes", Some("2MiB"))),
            ),
            (
                "over-heavy without a single read",
                CacheEvidence { hits: 0, misses: 0, rejected: 60, max_bytes: Some(1 << 20), ..base() },
                Some(("cache.entries_too_heavy", "cache.users.max_bytes", Some("2MiB"))),
            ),
            (
                "a few over-heavy",
                CacheEvidence { rejected: 9, max_bytes: Some(1 << 20), weight: 900_000, ..base() },
                None,
            ),
            (
                "far too large in entries",
                CacheEvidence { uptime: Duration::from_secs(3_600), max_entries: Some(1_000_000), ..base() },
                Some(("cache.too_large", "cache.users.max_entries", Some("2000"))),
            ),
            (
                "far too large in bytes",
                CacheEvidence {
                    uptime: Duration::from_secs(3_600),
                    max_entries: None,
                    weight: 3_000_000,
                    max_bytes: Some(1 << 30),
                    ..base()
                },
                Some(("cache.too_large", "cache.users.max_bytes", Some("6MiB"))),
            ),
            ("large but young", CacheEvidence { max_entries: Some(1_000_000), ..base() }, None),
            (
                "large but it did evict",
                CacheEvidence {
                    uptime: Duration::from_secs(3_600),
                    max_entries: Some(1_000_000),
                    evicted_for_space: 1,
                    ..base()
                },
                None,
            ),
        ];
        for (what, evidence, wanted) in table {
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(id, setting, value)| (id, setting.to_owned(), value.map(str::to_owned)))
                .collect();
            assert_eq!(run(&evidence), wanted, "{what}");
        }
    }

    #[test]
    fn no_cache_is_told_to_grow_while_memory_is_short() {
        let mut all = Vec::new();
        advise(&CacheEvidence { evicted_for_space: 4_000, ..base() }, true, &mut all);
        assert_eq!(all, []);
    }

    #[test]
    fn a_finding_quotes_its_numbers() {
        let mut all = Vec::new();
        advise(&CacheEvidence { evicted_for_space: 4_000, ..base() }, false, &mut all);
        assert_eq!(
            all[0].finding,
            "the hit ratio is 50.0 % over 10000 reads; 4000 of 5000 inserted entries had to leave for others and the cache is full \
             (max_entries = 1000)"
        );
        assert!(all[0].numbers.iter().any(|number| number.name == "hit_ratio" && (number.value - 0.5).abs() < 1e-9));
    }
}
