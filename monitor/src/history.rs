//! The recent past, in memory: one ring for each series, all on the same clock.
//!
//! Every tick pushes one value into every series, so point `i` of one series was taken with point
//! `i` of all others. The ring is bounded by its length in points; a value costs 8 bytes. A series
//! that is registered late has no values for the time before, one that answers NaN has a hole.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::sample;

/// One value at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Point {
    /// When; milliseconds since the Unix epoch in JSON.
    #[serde(serialize_with = "sample::unix_millis")]
    pub at: SystemTime,
    /// The value, in the unit of its series.
    pub value: f64,
}

/// A series condensed over some time.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use trimtab_monitor::History;
///
/// let mut history = History::new(60);
/// let start = SystemTime::now();
/// for second in 0..10_u32 {
///     let at = start + Duration::from_secs(second.into());
///     history.push(at, [("queue.depth", f64::from(second))]);
/// }
/// let summary = history.summary("queue.depth", Duration::from_secs(3)).unwrap();
/// assert_eq!((summary.count, summary.minimum, summary.maximum, summary.average), (4, 6.0, 9.0, 7.5));
/// assert_eq!(summary.slope, Some(1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub average: f64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
    /// The newest.
    pub last: f64,
    /// Change per second by least squares; `None` for fewer than two points in time.
    pub slope: Option<f64>,
    /// Time from the oldest to the newest value; seconds in JSON.
    #[serde(serialize_with = "sample::seconds")]
    pub span: Duration,
}

/// A bounded set of series.
#[derive(Debug)]
pub struct History {
    capacity: usize,
    times: VecDeque<SystemTime>,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    /// Aligned with the *end* of `times`; holes are NaN.
    values: VecDeque<f64>,
    /// Whether the push under way brought a value.
    fresh: bool,
}

impl History {
    /// Keeps the last `capacity` points of every series; at least one.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), times: VecDeque::new(), series: Vec::new() }
    }

    /// How many points are kept at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps this many points from now on; what no longer fits is dropped, oldest first.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        let excess = self.times.len().saturating_sub(self.capacity);
        self.times.drain(..excess);
        self.times.shrink_to(self.capacity);
        for series in &mut self.series {
            let excess = series.values.len().saturating_sub(self.times.len());
            series.values.drain(..excess);
            series.values.shrink_to(self.capacity);
        }
    }

    /// How many points in time there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The names of all series, in the order in which they first appeared.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.iter().map(|series| series.name.as_str())
    }

    /// Adds one point in time. Series that are not named get a hole; unknown names become series.
    ///
    /// # Complexity
    ///
    /// Linear in the number of series when `values` keeps its order from call to call.
    pub fn push<'a>(&mut self, at: SystemTime, values: impl IntoIterator<Item = (&'a str, f64)>) {
        if self.times.len() == self.capacity {
            self.times.pop_front();
        }
        self.times.push_back(at);
        let mut guess = 0;
        for (name, value) in values {
            let index = self.find(name, guess);
            guess = index + 1;
            let series = &mut self.series[index];
            if series.fresh {
                continue; // the first value of a name counts
            }
            series.fresh = true;
            series.values.push_back(value);
        }
        let length = self.times.len();
        for series in &mut self.series {
            if !std::mem::take(&mut series.fresh) {
                series.values.push_back(f64::NAN);
            }
            while series.values.len() > length {
                series.values.pop_front();
            }
        }
    }

    fn find(&mut self, name: &str, guess: usize) -> usize {
        if self.series.get(guess).is_some_and(|series| series.name == name) {
            return guess;
        }
        if let Some(index) = self.series.iter().position(|series| series.name == name) {
            return index;
        }
        self.series.push(Series { name: name.to_owned(), values: VecDeque::new(), fresh: false });
        self.series.len() - 1
    }

    /// Drops a series and its points; whether it existed.
    pub fn forget(&mut self, name: &str) -> bool {
        let before = self.series.len();
        self.series.retain(|series| series.name != name);
        self.series.len() < before
    }

    /// The points of `name` from the last `span` before the newest point, oldest first; `None` when
    /// there is no such series. Holes are left out.
    pub fn points(&self, name: &str, span: Duration) -> Option<Vec<Point>> {
        let series = self.series.iter().find(|series| series.name == name)?;
        Some(self.recent(series, span).collect())
    }

    /// Average, minimum, maximum and slope of `name` over the last `span` before the newest point;
    /// `None` when there is no such series or it has no value in that time.
    pub fn summary(&self, name: &str, span: Duration) -> Option<Summary> {
        let series = self.series.iter().find(|series| series.name == name)?;
        summarise(self.recent(series, span))
    }

    fn recent<'a>(&'a self, series: &'a Series, span: Duration) -> impl Iterator<Item = Point> + 'a {
        let newest = self.times.back().copied();
        let skip = self.times.len() - series.values.len();
        self.times
            .iter()
            .skip(skip)
            .zip(&series.values)
            // A wall clock that was set back makes a point look newer than the newest: keep it.
            .filter(move |&(at, _)| newest.is_some_and(|newest| newest.duration_since(*at).unwrap_or_default() <= span))
            .filter(|(_, value)| value.is_finite())
            .map(|(&at, &value)| Point { at, value })
    }
}

fn summarise(points: impl Iterator<Item = Point>) -> Option<Summary> {
    let mut first = None;
    let mut summary = Summary {
        count: 0,
        average: 0.0,
        minimum: f64::INFINITY,
        maximum: f64::NEG_INFINITY,
        last: 0.0,
        slope: None,
        span: Duration::ZERO,
    };
    let (mut time_mean, mut covariance, mut time_variance) = (0.0, 0.0, 0.0);
    for point in points {
        let start = *first.get_or_insert(point.at);
        let offset = match point.at.duration_since(start) {
            Ok(ahead) => ahead.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        summary.count += 1;
        let count = summary.count as f64;
        // Welford's running moments: no second pass, no sums of squares that lose digits.
        let time_step = offset - time_mean;
        time_mean += time_step / count;
        summary.average += (point.value - summary.average) / count;
        covariance += time_step * (point.value - summary.average);
        time_variance += time_step * (offset - time_mean);
        summary.minimum = summary.minimum.min(point.value);
        summary.maximum = summary.maximum.max(point.value);
        summary.last = point.value;
        summary.span = Duration::from_secs_f64(offset.max(0.0));
    }
    summary.slope = (time_variance > 0.0).then(|| covariance / time_variance);
    (summary.count > 0).then_some(summary)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000 + second)
    }

    fn values(history: &History, name: &str) -> Vec<f64> {
        history.points(name, Duration::MAX).expect("known").iter().map(|point| point.value).collect()
    }

    #[test]
    fn the_oldest_point_leaves_when_full() {
        let mut history = History::new(3);
        for second in 0..5 {
            history.push(at(second), [("a", second as f64)]);
        }
        assert_eq!(values(&history, "a"), [2.0, 3.0, 4.0]);
        assert_eq!(history.len(), 3);
    }

    #[test]
    fn a_late_series_has_nothing_before_and_an_absent_one_a_hole() {
        let mut history = History::new(4);
        history.push(at(0), [("a", 1.0)]);
        history.push(at(1), [("a", 2.0), ("b", 20.0)]);
        history.push(at(2), [("b", 30.0)]);
        history.push(at(3), [("a", f64::NAN), ("b", 40.0)]);
        assert_eq!(values(&history, "a"), [1.0, 2.0]);
        assert_eq!(values(&history, "b"), [20.0, 30.0, 40.0]);
        let points = history.points("b", Duration::from_secs(1)).expect("known");
        assert_eq!(points.iter().map(|point| point.at).collect::<Vec<_>>(), [at(2), at(3)]);
        assert_eq!(history.summary("a", Duration::ZERO), None);
    }

    #[test]
    fn a_smaller_capacity_drops_the_oldest_and_a_larger_one_keeps_all() {
        let mut history = History::new(4);
        for second in 0..4 {
            history.push(at(second), [("a", second as f64)]);
        }
        history.set_capacity(2);
        assert_eq!(values(&history, "a"), [2.0, 3.0]);
        history.set_capacity(3);
        history.push(at(4), [("a", 4.0), ("b", 1.0)]);
        assert_eq!(values(&history, "a"), [2.0, 3.0, 4.0]);
        history.push(at(5), [("a", 5.0)]);
        assert_eq!(values(&history, "a"), [3.0, 4.0, 5.0]);
        assert_eq!(values(&history, "b"), [1.0]);
    }

    #[test]
    fn an_unknown_series_is_none_and_a_forgotten_one_too() {
        let mut history = History::new(4);
        history.push(at(0), [("a", 1.0), ("b", 1.0)]);
        assert_eq!(history.points("c", Duration::MAX), None);
        assert!(history.forget("a"));
        assert!(!history.forget("a"));
        assert_eq!(history.summary("a", Duration::MAX), None);
        history.push(at(1), [("b", 2.0)]);
        assert_eq!(values(&history, "b"), [1.0, 2.0]);
    }

    #[test]
    fn a_name_given_twice_counts_once() {
        let mut history = History::new(4);
        history.push(at(0), [("a", 1.0), ("a", 2.0)]);
        history.push(at(1), [("a", 3.0)]);
        assert_eq!(values(&history, "a"), [1.0, 3.0]);
    }

    #[test]
    fn a_clock_set_back_loses_no_points() {
        let mut history = History::new(4);
        history.push(at(100), [("a", 1.0)]);
        history.push(at(50), [("a", 2.0)]);
        let summary = history.summary("a", Duration::from_secs(10)).expect("two points");
        assert_eq!((summary.count, summary.span), (2, Duration::ZERO));
    }

    proptest! {
        #[test]
        fn ring_and_summary_match_a_naive_list(
            capacity in 1_usize..20,
            pushes in prop::collection::vec((prop::option::of(-1e6..1e6_f64), prop::option::of(-1e6..1e6_f64)), 1..60),
            span in 0_u64..30,
        ) {
            let mut history = History::new(capacity);
            let mut naive: Vec<(u64, [Option<f64>; 2])> = Vec::new();
            for (second, (a, b)) in pushes.iter().enumerate() {
                let second = second as u64;
                history.push(at(second), [("a", *a), ("b", *b)].into_iter().filter_map(|(name, value)| Some((name, value?))));
                naive.push((second, [*a, *b]));
            }
            let newest = naive.len() as u64 - 1;
            let kept = &naive[naive.len().saturating_sub(capacity)..];
            for (index, name) in ["a", "b"].into_iter().enumerate() {
                let wanted: Vec<(f64, f64)> = kept
                    .iter()
                    .filter(|(second, _)| newest - second <= span)
                    .filter_map(|(second, values)| Some((*second as f64, values[index]?)))
                    .collect();
                let summary = history.summary(name, Duration::from_secs(span));
                if wanted.is_empty() {
                    prop_assert_eq!(summary, None);
                    continue;
                }
                let summary = summary.expect("has points");
                let count = wanted.len() as f64;
                let mean = wanted.iter().map(|(_, value)| value).sum::<f64>() / count;
                prop_assert_eq!(summary.count, wanted.len());
                prop_assert!((summary.average - mean).abs() < 1e-6);
                let values = wanted.iter().map(|(_, value)| *value);
                let extremes = [values.clone().next_back(), values.clone().reduce(f64::min), values.reduce(f64::max)];
                prop_assert_eq!([summary.last, summary.minimum, summary.maximum].map(Some), extremes);
                let time_mean = wanted.iter().map(|(second, _)| second).sum::<f64>() / count;
                let above: f64 = wanted.iter().map(|(second, value)| (second - time_mean) * (value - mean)).sum();
                let below: f64 = wanted.iter().map(|(second, _)| (second - time_mean).powi(2)).sum();
                if let Some(slope) = summary.slope {
                    prop_assert!((slope - above / below).abs() < 1e-6 * (1.0 + slope.abs()), "{slope} {}", above / below);
                } else {
                    prop_assert_eq!(wanted.len(), 1);
                }
            }
        }
    }
}
