//! Streams of keys: recorded traces, synthetic families, and the best that any cache could do with them.

pub mod families;
pub mod optimum;
pub mod random;
pub mod sizes;
pub mod traces;

/// A stream of requests.
#[derive(Debug)]
pub struct Stream {
    /// The key of each request, in order.
    pub keys: Vec<u64>,
}

impl Stream {
    /// How many different keys it has.
    pub fn distinct(&self) -> usize {
        self.keys.iter().collect::<std::collections::HashSet<_, foldhash::fast::FixedState>>().len()
    }

    /// `share` of the distinct keys, at least one.
    pub fn capacity(&self, share: f64) -> usize {
        ((self.distinct() as f64 * share).round() as usize).max(1)
    }
}
