//! When the recorder of the curve watches, and when it rests.
//!
//! An event of the sample runs through a dozen miniatures and costs as much as a hundred reads, and a small cache needs many of
//! its keys in the sample. So the recorder learns one long lesson, and then watches in bursts: some events to warm the
//! miniatures up again, which are not counted, and then some that are. Misses are held against the lookups of the counted
//! stretches only, so what passes during a rest distorts nothing; it is just not seen.
//!
//! How long a rest has to be follows from what the burst cost: events against the lookups in which they came. That bounds the
//! mean cost whatever the sample caught, also where the hottest key of all is in it.

/// The share of lookups that may run through the miniatures on the whole.
const SHARE: f64 = 0.004;
/// Events of the first lesson, per entry of the miniature of the cache's own size, and those that even the smallest gets.
const LESSON: f64 = 60.0;
const LESSON_LEAST: f64 = 1_000.0;
/// Events of a later burst that are counted, and those before them that only warm the miniatures up.
const BURST: f64 = 30.0;
const WARM: f64 = 10.0;
const BURST_LEAST: f64 = 256.0;
/// Rests of fewer lookups than this share of a burst are not worth the warming up after them.
const REST_LEAST: f64 = 0.25;

/// What an event does to the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Count it.
    Count,
    /// Do not count it.
    Warm,
    /// Do not count it, but what comes after.
    Warmed,
    /// Count it; the burst ends with it.
    Last,
}

/// How to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    /// For so many events of the thinner sample that is looked at meanwhile.
    pub(crate) events: u32,
    /// Or until the cache has had so many lookups in all, whichever is noticed first.
    pub(crate) until: u64,
}

/// The burst that is under way.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Entries of the miniature of the cache's own size.
    entries: f64,
    /// Events left, and how many of them are not counted.
    left: u32,
    warm: u32,
    /// Events of this burst, and those among them that the thinner sample would have had.
    seen: u32,
    thin: u32,
    /// Lookups of the cache when it began.
    began: u64,
}

impl Pace {
    /// Begins with the first lesson.
    pub(crate) fn new(entries: usize, lookups: u64) -> Self {
        let entries = entries as f64;
        Self { entries, left: (LESSON * entries + LESSON_LEAST) as u32, warm: 0, seen: 0, thin: 0, began: lookups }
    }

    /// Takes note of an event; `thin` says whether the thinner sample has its key.
    pub(crate) fn turn(&mut self, thin: bool) -> Turn {
        self.seen += 1;
        self.thin += u32::from(thin);
        self.left = self.left.saturating_sub(1);
        if self.warm > 0 {
            self.warm -= 1;
            return if self.warm == 0 { Turn::Warmed } else { Turn::Warm };
        }
        if self.left == 0 { Turn::Last } else { Turn::Count }
    }

    /// Ends a burst; `None` where it was so cheap that the next may follow at once.
    pub(crate) fn rest(&mut self, lookups: u64) -> Option<Rest> {
        let seen = f64::from(self.seen);
        // Stores without lookups are requests as well.
        let requests = (lookups.saturating_sub(self.began) as f64).max(seen);
        // So many times as long as the burst was.
        let times = seen / (SHARE * requests) - 1.0;
        let rest = (times > REST_LEAST).then(|| Rest {
            events: ((f64::from(self.thin) * times) as u32).max(1),
            until: lookups.saturating_add((requests * times) as u64),
        });
        self.begin(lookups, rest.is_some());
        rest
    }

    /// Begins a burst.
    pub(crate) fn begin(&mut self, lookups: u64, rested: bool) {
        self.warm = if rested { (WARM * self.entries).max(1.0) as u32 } else { 0 };
        self.left = self.warm + (BURST * self.entries + BURST_LEAST) as u32;
        (self.seen, self.thin, self.began) = (0, 0, lookups);
    }

    /// Whether events are counted now.
    pub(crate) fn counts(&self) -> bool {
        self.warm == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_warms_up_then_counts_then_ends() {
        let mut pace = Pace::new(64, 0);
        let lesson = (0..1_000_000).take_while(|_| pace.turn(false) == Turn::Count).count();
        assert_eq!(lesson, 60 * 64 + 1_000 - 1);
        assert!(pace.rest(lesson as u64).is_some());
        let warm = (0..1_000_000).take_while(|_| pace.turn(false) == Turn::Warm).count();
        assert_eq!(warm, 640 - 1);
        let counted = (0..1_000_000).take_while(|_| pace.turn(false) == Turn::Count).count();
        assert_eq!(counted, 30 * 64 + 256 - 1);
    }

    #[test]
    fn cost_on_the_whole_keeps_to_its_share_however_much_of_the_traffic_the_sample_caught() {
        for each in [1, 3, 16, 50] {
            let (mut pace, mut lookups, mut events) = (Pace::new(64, 0), 0_u64, 0_u64);
            while lookups < 20_000_000 {
                lookups += each;
                events += 1;
                if pace.turn(events % 4 == 0) == Turn::Last {
                    let began = lookups;
                    let rest = pace.rest(lookups).expect("too many");
                    lookups = rest.until;
                    assert!(u64::from(rest.events) <= (lookups - began) / each / 4 + 1);
                    pace.begin(lookups, true);
                }
            }
            let share = events as f64 / lookups as f64;
            assert!((0.003..0.0045).contains(&share), "{share} where one lookup in {each} is in the sample");
        }
    }

    #[test]
    fn a_thin_sample_needs_no_rest() {
        let mut pace = Pace::new(256, 0);
        while pace.turn(true) != Turn::Last {}
        assert_eq!(pace.rest(10_000_000), None);
        assert!(pace.counts());
    }
}
