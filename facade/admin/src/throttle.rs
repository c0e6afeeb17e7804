//! Slows down whoever guesses tokens: a leaking bucket of failures for each peer.
//!
//! Ten failures are free, then one every six seconds; while its bucket is full a peer is refused before its token
//! is looked at, so that guessing cannot continue behind the refusals. The table is bounded: when a new peer finds
//! it full, the peer whose last failure is oldest makes room. Peers that are not known (no `ConnectInfo`) share a bucket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures that a peer may pile up.
const BURST: u32 = 10;
/// Time in which one failure is forgiven.
const FORGIVE: Duration = Duration::from_secs(6);
/// Peers remembered at once.
const PEERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Per peer the moment at which its bucket will be empty again (as in GCRA, one number tells level and time).
    empty_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Throttle {
    /// How long the peer still has to wait, if it has.
    pub(crate) fn refused(&self, peer: Option<IpAddr>) -> Option<Duration> {
        let now = Instant::now();
        let level = self.empty_at.lock().get(&bucket(peer))?.saturating_duration_since(now);
        // One more failure must still fit below the burst.
        level.checked_sub(FORGIVE * (BURST - 1)).filter(|wait| !wait.is_zero())
    }

    /// Counts a failure of the peer.
    pub(crate) fn failed(&self, peer: Option<IpAddr>) {
        let (now, key) = (Instant::now(), bucket(peer));
        let mut table = self.empty_at.lock();
        if table.len() >= PEERS_MAX && !table.contains_key(&key) {
            table.retain(|_, empty_at| *empty_at > now);
            if table.len() >= PEERS_MAX
                && let Some(oldest) = table.iter().min_by_key(|(_, empty_at)| **empty_at).map(|(key, _)| *key)
            {
                table.remove(&oldest);
            }
        }
        let empty_at = table.entry(key).or_insert(now);
        *empty_at = (*empty_at).max(now) + FORGIVE;
    }
}

/// An IPv6 network hands out 2⁶⁴ addresses to one customer: those count as one peer.
pub(crate) fn bucket(peer: Option<IpAddr>) -> IpAddr {
    match peer.map(|peer| peer.to_canonical()) {
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Some(address) => address,
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
    const TWO: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_refused_after_ten_failures_and_forgiven_with_time() {
        let throttle = Throttle::default();
        for _ in 0..BURST {
            assert_eq!(throttle.refused(ONE), None);
            throttle.failed(ONE);
        }
        let wait = throttle.refused(ONE).expect("ten failures fill the bucket");
        assert!(wait <= FORGIVE);
        assert_eq!(throttle.refused(TWO), None, "others are not punished");
        tokio::time::advance(wait).await;
        assert_eq!(throttle.refused(ONE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_stays_bounded() {
        let throttle = Throttle::default();
        for n in 0..(PEERS_MAX as u32 * 2) {
            throttle.failed(Some(IpAddr::from(n.to_be_bytes())));
        }
        assert!(throttle.empty_at.lock().len() <= PEERS_MAX);
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let (one, two) = ("2001:db8::1".parse().ok(), "2001:db8::2:3".parse().ok());
        assert_eq!(bucket(one), bucket(two));
        assert_ne!(bucket(one), bucket(None));
    }
}
