//! Who may touch a job's future: one byte, moved by compare-and-swap.
//!
//! ```text
//!   queued ──start──▶ running ◀──resume── ready ◀──admit── queued
//!                     │  ▲ │ └─wake─▶ woken ──park──▶ ready
//!                     │  │ └──park──▶ parked ──wake──▶ ready
//!                     │  └──claim──── queued, ready, parked or resting (to cancel it)
//!                     ├──rest──▶ resting ──again──▶ queued
//!                     └──end──▶ ended
//! ```
//!
//! Whoever moves the byte to *running* owns the future until it moves the byte on: that is the invariant on which
//! `cell.rs` relies. The top bit asks for cancellation; a runner finds it when it parks. The next says that somebody waits for the
//! end and has left his waker.

use crate::sync::{AtomicU8, Ordering};

const QUEUED: u8 = 0;
const READY: u8 = 1;
const RUNNING: u8 = 2;
const WOKEN: u8 = 3;
const PARKED: u8 = 4;
const ENDED: u8 = 5;
const RESTING: u8 = 6;
const CANCEL: u8 = 0x80;
const AWAITED: u8 = 0x40;
const FLAGS: u8 = CANCEL | AWAITED;

/// Where a job stands.
#[derive(Debug)]
pub(crate) struct State(AtomicU8);

/// What a runner does after a poll that was not the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Park {
    /// Leave it: its waker brings it back.
    Parked,
    /// It was woken meanwhile: put it among the ready.
    Ready,
    /// It is to be cancelled, and the runner still owns it.
    Cancel,
}

/// What becomes of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// The caller owns the job now, and must end it.
    Claimed,
    /// The same, of a job that rested: it holds neither permit nor budget.
    Rested,
    /// It has not started: whoever holds the lane's lock may start it, or claim it.
    Queued,
    /// A runner polls it, and will end it after this poll.
    Asked,
    /// It has ended.
    Late,
}

impl State {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(QUEUED))
    }

    fn swap_phase(&self, from: u8, to: u8) -> Result<u8, u8> {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen & !FLAGS != from {
                return Err(seen);
            }
            let next = to | (seen & FLAGS);
            match self.0.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(next),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes a queued job to run or to end it. The lane calls this under its lock only.
    pub(crate) fn start(&self) -> bool {
        self.swap_phase(QUEUED, RUNNING).is_ok()
    }

    /// Lets a job that was never queued go on at once, whoever polls it first.
    pub(crate) fn admit(&self) -> bool {
        self.swap_phase(QUEUED, READY).is_ok()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed) & !FLAGS == READY
    }

    /// Takes a ready job to poll it; false if somebody claimed it first.
    pub(crate) fn resume(&self) -> bool {
        self.swap_phase(READY, RUNNING).is_ok()
    }

    /// Notes a wake-up. True when the caller must put the job among the ready.
    pub(crate) fn wake(&self) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (next, queue) = match seen & !FLAGS {
                PARKED => (READY, true),
                RUNNING => (WOKEN, false),
                _ => return false,
            };
            match self.0.compare_exchange_weak(seen, next | (seen & FLAGS), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return queue,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives up ownership after a poll.
    pub(crate) fn park(&self) -> Park {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen & CANCEL != 0 {
                return Park::Cancel;
            }
            let woken = seen & !FLAGS == WOKEN;
            let (next, park) = if woken { (READY, Park::Ready) } else { (PARKED, Park::Parked) };
            match self.0.compare_exchange_weak(seen, next | (seen & FLAGS), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return park,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives up ownership after a try that failed, until it is tried again; wake-ups of that try mean nothing any more. False
    /// if the job is to be cancelled, and the caller still owns it.
    pub(crate) fn rest(&self) -> bool {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen & CANCEL != 0 {
                return false;
            }
            match self.0.compare_exchange_weak(seen, RESTING | (seen & FLAGS), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Puts a job that has rested where it was before its first try; false if somebody claimed it first.
    pub(crate) fn again(&self) -> bool {
        self.swap_phase(RESTING, QUEUED).is_ok()
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.0.load(Ordering::Acquire) & !FLAGS == RESTING
    }

    /// Asks for cancellation, and takes the job where nobody has it.
    pub(crate) fn cancel(&self) -> Cancel {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            let (next, answer) = match seen & !FLAGS {
                READY | PARKED => (RUNNING, Cancel::Claimed),
                RESTING => (RUNNING, Cancel::Rested),
                QUEUED => (QUEUED, Cancel::Queued),
                phase @ (RUNNING | WOKEN) => (phase, Cancel::Asked),
                _ => return Cancel::Late,
            };
            match self.0.compare_exchange_weak(
                seen,
                next | CANCEL | (seen & AWAITED),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return answer,
                Err(now) => seen = now,
            }
        }
    }

    /// Publishes the result. The caller owns the job. True if somebody waits, who must be woken.
    pub(crate) fn end(&self) -> bool {
        // An exchange, not a store: a store may come to lie before a mark that somebody sets at the same moment.
        self.0.swap(ENDED, Ordering::AcqRel) & AWAITED != 0
    }

    /// Notes that somebody waits and has left his waker. False if it has ended, and nobody will be woken.
    pub(crate) fn await_end(&self) -> bool {
        self.0.fetch_or(AWAITED, Ordering::AcqRel) & !FLAGS != ENDED
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) & !FLAGS == ENDED
    }

    pub(crate) fn is_queued(&self) -> bool {
        self.0.load(Ordering::Acquire) & !FLAGS == QUEUED
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) & CANCEL != 0
    }
}
