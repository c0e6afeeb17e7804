//! The synthetic families: streams whose shape is known, made anew each time and never stored.
//!
//! | name | shape | seed |
//! |---|---|---:|
//! | `syn-zipf0.7`, `0.9`, `1.1` | 500,000 keys, Zipf | 1, 2, 3 |
//! | `syn-zipf+scan` | 100,000 keys, Zipf 0.9; after every 50,000 requests a scan of 25,000 keys never seen before | 4 |
//! | `syn-loop` | 50,000 keys in a cycle | – |
//! | `syn-shift` | 200,000 keys; 80 % of requests even over a hot set of 10,000 which moves on every 100,000 requests | 5 |
//! | `syn-cdn` | 200,000 objects, Zipf 0.9; 15 % of requests are for objects asked for once | 6 |

use super::Stream;
use super::random::{SplitMix, Zipf};

/// Requests of a family.
pub const REQUESTS: usize = 1_000_000;

/// Keys from here on are asked for once.
const ONCE: u64 = 1 << 40;

/// The names, in order.
pub const NAMES: [&str; 7] =
    ["syn-zipf0.7", "syn-zipf0.9", "syn-zipf1.1", "syn-zipf+scan", "syn-loop", "syn-shift", "syn-cdn"];

/// Makes the first `requests` requests of the family `name`; `None` when there is no such family.
pub fn make(name: &str, requests: usize) -> Option<Stream> {
    let keys = match name {
        "syn-zipf0.7" => zipf(500_000, 0.7, 1, requests),
        "syn-zipf0.9" => zipf(500_000, 0.9, 2, requests),
        "syn-zipf1.1" => zipf(500_000, 1.1, 3, requests),
        "syn-zipf+scan" => zipf_and_scan(requests),
        "syn-loop" => (0..requests as u64).map(|at| at % 50_000).collect(),
        "syn-shift" => shift(requests),
        "syn-cdn" => cdn(requests),
        _ => return None,
    };
    Some(Stream { keys })
}

/// `requests` draws of Zipf's law.
pub fn zipf(keys: usize, exponent: f64, seed: u64, requests: usize) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(keys, exponent), SplitMix::new(seed));
    (0..requests).map(|_| zipf.draw(&mut random)).collect()
}

fn zipf_and_scan(requests: usize) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(100_000, 0.9), SplitMix::new(4));
    let mut fresh = ONCE;
    let mut keys = Vec::with_capacity(requests);
    while keys.len() < requests {
        keys.extend((0..50_000).map(|_| zipf.draw(&mut random)));
        keys.extend(fresh..fresh + 25_000);
        fresh += 25_000;
    }
    keys.truncate(requests);
    keys
}

fn shift(requests: usize) -> Vec<u64> {
    const KEYS: u64 = 200_000;
    const HOT: u64 = 10_000;
    let mut random = SplitMix::new(5);
    (0..requests as u64)
        .map(|at| {
            let hot_from = at / 100_000 * HOT % KEYS;
            if random.below(100) < 80 { (hot_from + random.below(HOT)) % KEYS } else { random.below(KEYS) }
        })
        .collect()
}

fn cdn(requests: usize) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(200_000, 0.9), SplitMix::new(6));
    let mut fresh = ONCE;
    (0..requests)
        .map(|_| {
            if random.below(100) < 15 {
                fresh += 1;
                fresh
            } else {
                zipf.draw(&mut random)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_there_has_its_length_and_is_the_same_twice() {
        for name in NAMES {
            let (one, two) = (make(name, 20_000).unwrap(), make(name, 20_000).unwrap());
            assert_eq!(one.keys.len(), 20_000);
            assert_eq!(one.keys, two.keys, "{name}");
        }
        assert!(make("syn-nothing", 1).is_none());
    }

    #[test]
    fn scans_are_of_keys_never_seen_before() {
        let stream = make("syn-zipf+scan", 150_000).unwrap();
        assert!(stream.keys[..50_000].iter().all(|key| *key < 100_000));
        assert!(stream.keys[50_000..75_000].iter().all(|key| *key >= ONCE));
        let scanned: Vec<u64> = stream.keys.iter().copied().filter(|key| *key >= ONCE).collect();
        assert_eq!(scanned.len(), 50_000);
        assert!(scanned.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn hot_set_moves_on() {
        let stream = make("syn-shift", 200_000).unwrap();
        let hot = |part: &[u64], from: u64| part.iter().filter(|key| (from..from + 10_000).contains(*key)).count();
        assert!(hot(&stream.keys[..100_000], 0) > 78_000);
        assert!(hot(&stream.keys[100_000..], 10_000) > 78_000);
        assert!(hot(&stream.keys[100_000..], 0) < 3_000);
    }

    #[test]
    fn loop_has_fifty_thousand_keys() {
        assert_eq!(make("syn-loop", 120_000).unwrap().distinct(), 50_000);
        assert_eq!(make("syn-loop", 120_000).unwrap().capacity(0.001), 50);
    }
}
