//! "Did you mean …?": the known name nearest to a misspelt one.

/// The candidate nearest to `typed`, if near enough to be what was meant.
///
/// Distance is optimal string alignment (insert, delete, replace, swap neighbours), without regard to case and to `-` against `_`. Up to
/// a third of the letters may be wrong; more would suggest at random.
pub(crate) fn nearest<S: AsRef<str>>(typed: &str, candidates: impl IntoIterator<Item = S>) -> Option<S> {
    // A misspelt name is short; a megabyte of garbage must not cost quadratic time.
    if typed.len() > 256 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let typed = plain(typed);
    let limit = (typed.chars().count() / 3).max(1);
    let measured =
        candidates.into_iter().map(|candidate| (strsim::osa_distance(&typed, &plain(candidate.as_ref())), candidate));
    measured
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["max_bytes", "max_entries", "ttl"];
        assert_eq!(nearest("max_byte", known), Some("max_bytes"));
        assert_eq!(nearest("Max-Entries", known), Some("max_entries"));
        assert_eq!(nearest("tll", known), Some("ttl"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
