//! Rules about memory as a whole.

use std::time::Duration;

use trimtab_config::{ByteSize, Duration as Span};

use super::{CacheEvidence, MemoryEvidence, Recommendation, Severity, numbers, percent};
use crate::pressure::Pressure;

/// Where use should come back to when pressure is high: below every level's lower line but one.
const TARGET: f64 = 0.80;
/// Growth is news when the limit is nearer than this.
const SOON: Duration = Duration::from_secs(3_600);
/// A trend needs this long and this many samples to be one.
const TREND_SPAN: Duration = Duration::from_secs(300);
const TREND_POINTS: usize = 30;
/// A cache smaller than this is not worth shrinking.
const WORTH: u64 = 1 << 20;

/// The path of the one memory number.
const LIMIT: &str = "memory.limit";

pub(super) fn advise(memory: &MemoryEvidence, caches: &[CacheEvidence], all: &mut Vec<Recommendation>) {
    if memory.is_short() {
        all.push(short(memory, caches));
    } else {
        all.extend(growing(memory));
    }
    if memory.limit.is_none() {
        all.push(unlimited());
    }
}

/// The cache that pays least for its bytes: fewest hits for each of them.
fn least_worth(caches: &[CacheEvidence]) -> Option<&CacheEvidence> {
    let worth = |cache: &CacheEvidence| cache.hits as f64 / cache.weight as f64;
    caches.iter().filter(|cache| cache.weight >= WORTH).min_by(|a, b| worth(a).total_cmp(&worth(b)))
}

fn short(memory: &MemoryEvidence, caches: &[CacheEvidence]) -> Recommendation {
    let over = match (memory.used, memory.limit) {
        (Some(used), Some(limit)) => used.saturating_sub((limit as f64 * TARGET) as u64),
        _ => 0,
    };
    let severity = if memory.pressure == Pressure::Critical { Severity::Critical } else { Severity::Warning };
    let mut numbers = numbers([("bytes_over_target", over as f64)]);
    numbers.extend(memory.used.map(|used| super::Number { name: "used_bytes", value: used as f64 }));
    numbers.extend(memory.limit.map(|limit| super::Number { name: "limit_bytes", value: limit as f64 }));
    let Some(cache) = least_worth(caches) else {
        return Recommendation {
            id: "memory.short",
            severity,
            subject: "memory".into(),
            finding: format!("{}; no cache holds enough to make a difference", memory.detail),
            numbers,
            setting: LIMIT.into(),
            current: memory.limit.map(|limit| ByteSize::b(limit).rounded()),
            proposed: None,
            advice: "give the process more memory, or look for what else holds it".into(),
        };
    };
    numbers.push(super::Number { name: "cache_weight_bytes", value: cache.weight as f64 });
    // One step never takes more than half of a cache: its worth beyond that was not measured.
    let wanted = cache.weight.saturating_sub(over).max(cache.weight / 2) >> 20 << 20;
    let wanted = ByteSize::b(wanted.max(1 << 20)).to_string();
    Recommendation {
        id: "memory.short",
        severity,
        subject: "memory".into(),
        finding: format!(
            "{}; cache {} gives the fewest hits for its memory ({} hits with {})",
            memory.detail,
            cache.name,
            cache.hits,
            ByteSize::b(cache.weight).rounded(),
        ),
        numbers,
        setting: format!("cache.{}.max_bytes", cache.name),
        current: cache.max_bytes.map(|limit| ByteSize::b(limit).to_string()),
        advice: format!("lower it to {wanted}, or give the process more memory"),
        proposed: Some(wanted),
    }
}

fn growing(memory: &MemoryEvidence) -> Option<Recommendation> {
    let (used, limit, slope) = (memory.used?, memory.limit?, memory.slope?);
    if memory.observed < TREND_SPAN || memory.points < TREND_POINTS || slope <= 0.0 {
        return None;
    }
    // A trend within the noise of one per cent of the limit is none.
    let grown = slope * memory.observed.as_secs_f64();
    if grown < 0.01 * limit as f64 {
        return None;
    }
    let left = limit.saturating_sub(used) as f64 / slope;
    let left = Duration::try_from_secs_f64(left).ok().filter(|&left| left <= SOON)?;
    Some(Recommendation {
        id: "memory.growing",
        severity: Severity::Warning,
        subject: "memory".into(),
        finding: format!(
            "use grew by {} in {} and stands at {} of {} ({}); at this rate the limit is reached in {}",
            ByteSize::b(grown as u64).rounded(),
            whole(memory.observed),
            ByteSize::b(used).rounded(),
            ByteSize::b(limit).rounded(),
            percent(used as f64 / limit as f64),
            whole(left),
        ),
        numbers: numbers([
            ("used_bytes", used as f64),
            ("limit_bytes", limit as f64),
            ("bytes_per_second", slope),
            ("seconds_to_limit", left.as_secs_f64()),
        ]),
        setting: LIMIT.into(),
        current: Some(ByteSize::b(limit).rounded()),
        proposed: None,
        advice: "check which caches still fill up and limit those without max_bytes; if none does, look for a leak"
            .into(),
    })
}

fn unlimited() -> Recommendation {
    Recommendation {
        id: "memory.limit_unknown",
        severity: Severity::Info,
        subject: "memory".into(),
        finding:
            "neither a control group nor the machine tells how much memory may be used, so pressure cannot be judged"
                .into(),
        numbers: Vec::new(),
        setting: LIMIT.into(),
        current: None,
        proposed: None,
        advice: "set the limit in bytes".into(),
    }
}

fn whole(span: Duration) -> Span {
    Span::from(Duration::from_secs(span.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory(pressure: Pressure, used: u64) -> MemoryEvidence {
        MemoryEvidence {
            used: Some(used * MIB),
            limit: Some(1_000 * MIB),
            pressure,
            detail: "memory pressure is such".into(),
            ..MemoryEvidence::default()
        }
    }

    fn cache(name: &str, hits: u64, weight: u64) -> CacheEvidence {
        CacheEvidence { name: name.into(), hits, weight: weight * MIB, ..CacheEvidence::default() }
    }

    fn run(memory: &MemoryEvidence, caches: &[CacheEvidence]) -> Vec<(&'static str, Severity, String, Option<String>)> {
        let mut all = Vec::new();
        advise(memory, caches, &mut all);
        all.into_iter().map(|advice| (advice.id, advice.severity, advice.setting, advice.proposed)).collect()
    }

    #[test]
    fn pressure_asks_the_cache_that_pays_least_for_its_bytes() {
        let caches = [cache("hot", 100_000, 200), cache("cold", 1_000, 300), cache("tiny", 0, 0)];
        assert_eq!(
            run(&memory(Pressure::High, 900), &caches),
            [("memory.short", Severity::Warning, "cache.cold.max_bytes".into(), Some("200MiB".into()))]
        );
        // Never more than half of it at once.
        assert_eq!(
            run(&memory(Pressure::Critical, 1_000), &[cache("cold", 1_000, 100)]),
            [("memory.short", Severity::Critical, "cache.cold.max_bytes".into(), Some("50MiB".into()))]
        );
        assert_eq!(
            run(&memory(Pressure::Critical, 1_000), &[cache("tiny", 0, 0)]),
            [("memory.short", Severity::Critical, "memory.limit".into(), None)]
        );
    }

    #[test]
    fn growth_is_reported_when_it_is_a_trend_and_the_limit_is_near() {
        let trend = |slope: f64, seconds, points| MemoryEvidence {
            slope: Some(slope * MIB as f64),
            observed: Duration::from_secs(seconds),
            points,
            ..memory(Pressure::Low, 500)
        };
        let found = |evidence: &MemoryEvidence| run(evidence, &[]).len() == 1;
        assert!(found(&trend(0.5, 600, 600)));
        assert!(!found(&trend(0.5, 299, 299)), "too brief");
        assert!(!found(&trend(0.5, 600, 29)), "too few samples");
        assert!(!found(&trend(-0.5, 600, 600)), "falling");
        assert!(!found(&trend(0.1, 600, 600)), "83 minutes away");
        assert!(!found(&trend(0.016, 600, 600)), "noise");
        let mut all = Vec::new();
        advise(&trend(0.5, 600, 600), &[], &mut all);
        assert_eq!(
            all[0].finding,
            "use grew by 300MiB in 10m and stands at 500MiB of 1000MiB (50.0 %); at this rate the limit is reached in 1000s"
        );
    }

    #[test]
    fn an_unknown_limit_is_said() {
        let unknown = MemoryEvidence::default();
        assert_eq!(run(&unknown, &[]), [("memory.limit_unknown", Severity::Info, "memory.limit".into(), None)]);
        assert_eq!(run(&memory(Pressure::Low, 100), &[]), []);
    }
}
