//! The settings of the adaptive structure: every known good policy is a point among them.
//!
//! Since all act on the same queues, a change costs nothing and loses nothing. The arms were chosen by simulation, as the
//! fewest whose best covers the best of all policies on recorded and synthetic traffic.

/// What decides whether an entry that leaves the window may displace another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admit {
    /// Never by itself: it has to be used in the window, or come back while its ghost is remembered.
    Ghost,
    /// When the sketch has seen it more often than the victim.
    Frequency,
}

/// A point in the space of policies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dials {
    /// Share of the capacity for the window.
    pub(crate) window: f32,
    pub(crate) admit: Admit,
    /// Whether entries pushed out of the window fill the main queues while these have room, which keeps what came first:
    /// right for loops and scans. Otherwise the oldest unproven entry is evicted at once.
    pub(crate) fill: bool,
    /// Uses that promote from the window to main; with 0, a use only earns another round in the window.
    pub(crate) promote: u8,
    /// Share of the main queues which `Main` may hold before its unused tail goes to probation.
    pub(crate) protected: f32,
    /// The sketch is halved once every so many uses per entry.
    pub(crate) history: u8,
}

impl Default for Dials {
    /// Those of the first arm.
    fn default() -> Self {
        ARMS[0]
    }
}

impl Dials {
    /// What these dials amount to, for people.
    pub(crate) fn in_words(self) -> &'static str {
        match (self.admit, self.window) {
            (_, window) if window >= 0.99 => "recency, like CLOCK and LRU",
            (_, window) if window > 0.5 => "mostly recency, with a memory of what left",
            (Admit::Frequency, _) if self.history <= 1 => {
                "frequency that forgets fast, like W-TinyLFU with a short history"
            }
            (Admit::Frequency, window) if window > 0.2 => "frequency behind a wide window, like W-TinyLFU",
            (Admit::Frequency, _) => "frequency behind a small window, like W-TinyLFU",
            (Admit::Ghost, _) if !self.fill => "newcomers leave first unless they return, like S3-FIFO",
            (Admit::Ghost, window) if window > 0.2 => {
                "newcomers have a third, and prove themselves there, like 2Q and ARC"
            }
            (Admit::Ghost, window) if window > 0.05 => "proven entries first, like 2Q and S3-FIFO",
            (Admit::Ghost, _) => "what came first stays, like CLOCK-Pro and LIRS",
        }
    }
}

const fn arm(window: f32, admit: Admit, fill: bool, promote: u8, protected: f32, history: u8) -> Dials {
    Dials { window, admit, fill, promote, protected, history }
}

/// The arms; the first is the start and the best single one.
pub(crate) const ARMS: [Dials; 9] = [
    // 2Q and S3-FIFO, but keeps what came first.
    arm(0.10, Admit::Ghost, true, 2, 1.0, 5),
    // W-TinyLFU with a small window: Zipf, stable popularity, block traces.
    arm(0.01, Admit::Frequency, true, 0, 0.8, 5),
    // CLOCK, which is about LRU: hot sets that move.
    arm(1.00, Admit::Frequency, true, 0, 0.8, 5),
    // Like S3-FIFO and ARC: evicts unproven entries first.
    arm(0.03, Admit::Ghost, false, 1, 1.0, 5),
    // W-TinyLFU with a wide window: databases, search, the web.
    arm(0.40, Admit::Frequency, true, 0, 0.8, 5),
    // Like CLOCK-Pro and LIRS: loops, scans.
    arm(0.01, Admit::Ghost, true, 2, 1.0, 5),
    // FIFO with ghosts: short cycles of recency.
    arm(0.90, Admit::Ghost, true, 1, 1.0, 5),
    // W-TinyLFU that forgets fast: popularity that drifts.
    arm(0.10, Admit::Frequency, true, 0, 0.8, 1),
    // 2Q with a window of a third: small caches before databases, where ARC does well.
    arm(0.30, Admit::Ghost, true, 1, 1.0, 5),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_words_of_its_own() {
        let words: std::collections::BTreeSet<_> = ARMS.iter().map(|dials| dials.in_words()).collect();
        assert_eq!(words.len(), ARMS.len());
    }
}
