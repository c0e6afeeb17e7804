//! The state of a breaker in one word: its kind, how many probes are out of the gate, and a generation.
//!
//! Each change of kind begins a new generation, and each permit carries the one that it was given in, so that an answer which
//! arrives too late says nothing about a state that it does not belong to. Probes are reserved in the same word, so that a
//! half-open breaker lets in exactly as many as it may, whoever races.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use super::sync::AtomicU64;

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Closed = 0,
    Open = 1,
    HalfOpen = 2,
    ForcedOpen = 3,
    ForcedClosed = 4,
}

const KIND_BITS: u32 = 3;
const PROBE_BITS: u32 = 16;
const PROBE: u64 = 1 << KIND_BITS;
const GENERATION: u64 = 1 << (KIND_BITS + PROBE_BITS);

/// One reading of the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.0 & (PROBE - 1) {
            0 => Kind::Closed,
            1 => Kind::Open,
            2 => Kind::HalfOpen,
            3 => Kind::ForcedOpen,
            _ => Kind::ForcedClosed,
        }
    }

    /// Probes let in and not given back.
    pub(crate) fn probes(self) -> u16 {
        (self.0 >> KIND_BITS) as u16
    }

    /// Differs between any two states that were not separated by 2^45 changes.
    #[inline]
    pub(crate) fn generation(self) -> u64 {
        self.0 >> (KIND_BITS + PROBE_BITS)
    }
}

/// The word.
#[derive(Debug)]
pub(crate) struct State(AtomicU64);

impl State {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn see(&self) -> Seen {
        Seen(self.0.load(Acquire))
    }

    /// Begins a new generation. The caller holds the lock of changes; probes may still come and go meanwhile.
    pub(crate) fn change(&self, kind: Kind) {
        let mut now = self.0.load(Relaxed);
        loop {
            let next = (now & !(GENERATION - 1)).wrapping_add(GENERATION) | kind as u64;
            match self.0.compare_exchange_weak(now, next, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    /// Reserves a probe in the generation seen, of at most `max`; `Err` holds what stands there instead.
    pub(crate) fn reserve(&self, mut seen: Seen, max: u16) -> Result<Seen, Seen> {
        let generation = seen.generation();
        while seen.kind() == Kind::HalfOpen && seen.generation() == generation && seen.probes() < max {
            match self.0.compare_exchange_weak(seen.0, seen.0 + PROBE, AcqRel, Acquire) {
                Ok(_) => return Ok(Seen(seen.0 + PROBE)),
                Err(other) => seen = Seen(other),
            }
        }
        Err(seen)
    }

    /// Gives back a probe of that generation, so that another call may be one.
    pub(crate) fn give_back(&self, generation: u64) {
        let mut seen = self.see();
        while seen.kind() == Kind::HalfOpen && seen.generation() == generation && seen.probes() > 0 {
            match self.0.compare_exchange_weak(seen.0, seen.0 - PROBE, AcqRel, Acquire) {
                Ok(_) => return,
                Err(other) => seen = Seen(other),
            }
        }
    }
}
