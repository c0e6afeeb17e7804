//! What the simulation of a cache at other sizes says: what a doubling buys, and what a half would cost.

use std::time::Duration;

use trimtab_config::ByteSize;

use super::{CacheEvidence, Number, Recommendation, Severity, numbers, percent};

/// A doubling that adds less than this to the hit ratio is not worth its memory.
const WORTH: f64 = 0.005;
/// A half that takes less than this from the hit ratio leaves memory to others.
const SPARE: f64 = 0.002;
/// How long a cache must have run before its size can be called too large.
const WARM: Duration = Duration::from_secs(600);

/// What a doubling would do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doubling {
    /// Nothing was simulated.
    Unknown,
    /// Less than it costs, or less than can be told from chance.
    Useless,
    /// This, with the numbers behind it.
    Buys(String, Vec<Number>),
}

/// What twice the memory would buy.
pub(super) fn doubling(cache: &CacheEvidence) -> Doubling {
    let (Some(now), Some(twice)) = (cache.measured, cache.twice) else { return Doubling::Unknown };
    if twice.hit_ratio - now < WORTH || !twice.differs(now) {
        return Doubling::Useless;
    }
    let sentence = format!(
        "simulated on live traffic, twice the memory raises hits from {} to {} (\u{b1}{:.1} points)",
        percent(now),
        percent(twice.hit_ratio),
        twice.error * 100.0
    );
    let known = numbers([
        ("hit_ratio_of_late", now),
        ("hit_ratio_at_twice", twice.hit_ratio),
        ("hit_ratio_at_twice_error", twice.error),
    ]);
    Doubling::Buys(sentence, known)
}

/// Whether half of the memory would do, where the cache is limited by bytes.
pub(super) fn halving(cache: &CacheEvidence) -> Option<Recommendation> {
    let (now, half, limit) = (cache.measured?, cache.half?, cache.max_bytes?);
    // Only a cache that uses its bytes has some to give.
    if cache.uptime < WARM || cache.weight < limit / 2 || limit < 2 || now - half.hit_ratio + 2.0 * half.error >= SPARE
    {
        return None;
    }
    let proposed = ByteSize::b(limit / 2).to_string();
    Some(Recommendation {
        id: "cache.half_would_do",
        severity: Severity::Info,
        subject: format!("cache {}", cache.name),
        finding: format!(
            "simulated on live traffic, half the memory would leave hits at {} (\u{b1}{:.1} points), now {}",
            percent(half.hit_ratio),
            half.error * 100.0,
            percent(now)
        ),
        numbers: numbers([
            ("hit_ratio_of_late", now),
            ("hit_ratio_at_half", half.hit_ratio),
            ("hit_ratio_at_half_error", half.error),
            ("max_bytes", limit as f64),
        ]),
        setting: format!("cache.{}.max_bytes", cache.name),
        current: Some(ByteSize::b(limit).to_string()),
        advice: format!("lower max_bytes to {proposed} and give the rest to a cache that gains by it"),
        proposed: Some(proposed),
    })
}

#[cfg(test)]
mod tests {
    use super::super::SizeEvidence;
    use super::*;

    fn cache(now: f64, twice: f64, half: f64) -> CacheEvidence {
        let size = |hit_ratio| Some(SizeEvidence { hit_ratio, error: 0.0005 });
        CacheEvidence {
            name: "users".into(),
            uptime: Duration::from_secs(3_600),
            weight: 1 << 20,
            max_bytes: Some(1 << 20),
            measured: Some(now),
            twice: size(twice),
            half: size(half),
            ..CacheEvidence::default()
        }
    }

    #[test]
    fn a_doubling_is_quoted_only_where_it_buys_something() {
        let Doubling::Buys(sentence, numbers) = doubling(&cache(0.61, 0.68, 0.5)) else {
            panic!("it buys seven points")
        };
        assert_eq!(
            sentence,
            "simulated on live traffic, twice the memory raises hits from 61.0 % to 68.0 % (\u{b1}0.1 points)"
        );
        assert_eq!(numbers.len(), 3);
        assert_eq!(doubling(&cache(0.61, 0.612, 0.5)), Doubling::Useless);
        assert_eq!(doubling(&CacheEvidence::default()), Doubling::Unknown);
    }

    #[test]
    fn half_is_proposed_where_it_costs_nothing() {
        let advice = halving(&cache(0.61, 0.61, 0.6099)).expect("nothing lost");
        assert_eq!((advice.setting.as_str(), advice.proposed.as_deref()), ("cache.users.max_bytes", Some("512KiB")));
        assert!(advice.finding.contains("leave hits at 61.0 %"), "{}", advice.finding);
        assert_eq!(halving(&cache(0.61, 0.61, 0.60)), None, "a point is a point");
        assert_eq!(halving(&CacheEvidence { weight: 1000, ..cache(0.61, 0.61, 0.61) }), None, "not full");
    }
}
