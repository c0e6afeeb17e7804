//! Moves the recency window by measured hits: small simulations of both extremes compete with the cache itself.
//!
//! Two scouts replay a sample of the requests: one with a window of the whole cache (which is LRU), one with a tiny window
//! (which is TinyLFU). A scout is a scaled-down cache over the keys whose hash falls into the sample. Whenever a
//! scout has hit where the cache missed clearly more often than the other way round, the window moves towards it.
//! A window in between that beats both extremes is left alone.
//!
//! Counting only the requests on which the two *differ* makes this a paired comparison: the common noise of the traffic
//! cancels, so a decision needs hundreds of sampled requests where a comparison of hit ratios over time (hill climbing)
//! needs many times the cache's size. All shards report to one tuner, since one shard alone sees too few.
//!
//! Source: the window's size as the dial, and moving it by feedback: G. Einziger, O. Eytan, R. Friedman and B. Manes,
//! "Adaptive Software Cache Management", Middleware 2018. Scaled-down simulation on hash-sampled keys: C. Waldspurger et
//! al., "Cache Modeling and Optimization using Miniature Simulations", USENIX ATC 2017. The test is the sign test
//! for matched pairs.

use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::Policy;
use super::adaptive::Adaptive;

/// Share of the window before anything was measured.
const SHARE_FIRST: f32 = 0.05;
/// The extremes that are simulated.
const SHARES: [f32; 2] = [0.01, 1.0];
/// Entries that a scout holds at least, as long as the sample is not every second key.
const SCOUT_ENTRIES: usize = 512;
/// One move covers this part of the way to the scout.
const STEP: f32 = 0.15;
/// A lead counts as clear beyond this many standard errors …
const ERRORS: f32 = 3.0;
/// … and this many requests.
const LEAD_MIN: f32 = 6.0;

/// The share of the window, and the scouts that look for a better one.
#[derive(Debug)]
pub(crate) struct Tuner {
    /// Bits of an `f32` from 0 to 1; read by every shard when it evicts.
    share: AtomicU32,
    /// A key is in the sample when its mixed hash has this many low zero bits; at least one.
    shift: AtomicU32,
    shards: usize,
    scouts: Mutex<[Scout; 2]>,
}

/// A small simulated cache with a fixed window.
#[derive(Debug)]
struct Scout {
    policy: Box<Adaptive>,
    index: HashTable<u32>,
    /// Hash by token.
    hashes: Vec<u64>,
    free: Vec<u32>,
    cost: u64,
    /// It hit where the cache missed.
    wins: f32,
    /// It missed where the cache hit.
    losses: f32,
    /// Sampled requests since the last move.
    requests: u64,
}

impl Tuner {
    pub(crate) fn new(shards: usize, seed: u64) -> Self {
        Self {
            share: AtomicU32::new(SHARE_FIRST.to_bits()),
            shift: AtomicU32::new(1),
            shards,
            scouts: Mutex::new(SHARES.map(|share| Scout::new(share, seed))),
        }
    }

    /// The window's share of the cache, from 0 to 1.
    pub(crate) fn share(&self) -> f32 {
        f32::from_bits(self.share.load(Ordering::Relaxed))
    }

    /// Whether requests for this key are to be reported.
    pub(crate) fn samples(&self, hash: u32) -> bool {
        sampled(hash, self.shift.load(Ordering::Relaxed))
    }

    /// Takes in a sampled request of a shard that now holds `entries` of a total `cost`.
    pub(crate) fn report(&self, hash: u32, cost: u32, hit: bool, entries: usize, shard_cost: u64) {
        let entries = entries * self.shards;
        let mut scouts = self.scouts.lock();
        let mut shift = self.shift.load(Ordering::Relaxed);
        if entries >> shift >= SCOUT_ENTRIES * 2 {
            shift += 1;
            self.shift.store(shift, Ordering::Relaxed);
            scouts.iter_mut().for_each(|scout| scout.thin_out(shift));
            if !sampled(hash, shift) {
                return;
            }
        } else if shift > 1 && entries >> shift < SCOUT_ENTRIES / 4 {
            // The cache was made smaller, so its scouts need a larger part of the keys.
            shift -= 1;
            self.shift.store(shift, Ordering::Relaxed);
            scouts.iter_mut().for_each(Scout::start_over);
        }
        let capacity = ((shard_cost * self.shards as u64) >> shift).max(1);
        let warm = ((entries >> shift) as u64).max(8);
        for scout in scouts.iter_mut() {
            scout.request(hash, cost, capacity, hit, warm);
        }
        let (lead, target) = if scouts[0].lead() >= scouts[1].lead() { (0, SHARES[0]) } else { (1, SHARES[1]) };
        if scouts[lead].leads_clearly() {
            let share = self.share();
            let moved = share + (target - share).clamp(-STEP, STEP);
            self.share.store(moved.to_bits(), Ordering::Relaxed);
            // The cache needs time to show what the move has brought.
            scouts.iter_mut().for_each(Scout::start_over);
        }
    }
}

/// Whether a key is in a sample of one in 2^shift keys. Uses other bits than the choice of the shard.
fn sampled(hash: u32, shift: u32) -> bool {
    (hash.wrapping_mul(0x9E37_79B1) >> 4) & ((1 << shift) - 1) == 0
}

impl Scout {
    fn new(share: f32, seed: u64) -> Self {
        Self {
            policy: Box::new(Adaptive::with_fixed_window(share, seed)),
            index: HashTable::new(),
            hashes: Vec::new(),
            free: Vec::new(),
            cost: 0,
            wins: 0.0,
            losses: 0.0,
            requests: 0,
        }
    }

    fn request(&mut self, hash: u32, cost: u32, capacity: u64, cache_hit: bool, warm: u64) {
        let id = spread(hash);
        let found = self.index.find(id, |token| self.hashes[*token as usize] == id).copied();
        self.requests += 1;
        if self.requests > warm {
            match (found.is_some(), cache_hit) {
                (true, false) => self.wins += 1.0,
                (false, true) => self.losses += 1.0,
                _ => {}
            }
            if self.requests > warm * 16 {
                self.requests = warm * 8;
                self.wins /= 2.0;
                self.losses /= 2.0;
            }
        }
        if let Some(token) = found {
            self.policy.touch(token);
            return;
        }
        let token = self.free.pop().unwrap_or(self.hashes.len() as u32);
        if token as usize == self.hashes.len() {
            self.hashes.push(id);
        } else {
            self.hashes[token as usize] = id;
        }
        let hashes = &self.hashes;
        self.index.insert_unique(id, token, |token| hashes[*token as usize]);
        self.policy.insert(token, u64::from(hash), cost);
        self.cost += u64::from(cost);
        let mut evicted = false;
        while self.cost > capacity
            && self.policy.len() > 1
            && let Some(victim) = self.policy.victim()
        {
            self.remove(victim);
            evicted = true;
        }
        if !evicted {
            self.policy.settle();
        }
    }

    fn remove(&mut self, token: u32) {
        let id = self.hashes[token as usize];
        if let Ok(slot) = self.index.find_entry(id, |other| *other == token) {
            slot.remove();
        }
        self.cost -= u64::from(self.policy.cost_of(token));
        self.policy.remove(token);
        self.free.push(token);
    }

    /// Forgets the keys that are not in the smaller sample.
    fn thin_out(&mut self, shift: u32) {
        let leaving: Vec<u32> =
            self.index.iter().copied().filter(|token| !sampled(self.policy.hash_of(*token), shift)).collect();
        for token in leaving {
            self.remove(token);
        }
        self.start_over();
    }

    fn lead(&self) -> f32 {
        self.wins - self.losses
    }

    fn leads_clearly(&self) -> bool {
        self.lead() > LEAD_MIN && self.lead() > ERRORS * (self.wins + self.losses).sqrt()
    }

    fn start_over(&mut self) {
        (self.wins, self.losses, self.requests) = (0.0, 0.0, 0);
    }
}

/// Hash of a hash: the sample has equal bits, which an index must not see.
fn spread(hash: u32) -> u64 {
    std::hash::BuildHasher::hash_one(&FixedState::with_seed(0), hash)
}
