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

    /// The same stream with its keys numbered from 0 in the order of their first appearance.
    pub fn numbered(&self) -> Self {
        let mut numbers = std::collections::HashMap::<u64, u64, foldhash::fast::FixedState>::default();
        let keys = self.keys.iter().map(|key| {
            let next = numbers.len() as u64;
            *numbers.entry(*key).or_insert(next)
        });
        Self { keys: keys.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_as_they_appear() {
        let stream = Stream { keys: vec![70, 9, 70, 1, 9] };
        assert_eq!(stream.numbered().keys, [0, 1, 0, 2, 1]);
    }
}
