//! What stands around a call, beside the best-known: breakers, semaphores, chains, choices among workers, batches.
//!
//! Read [`gates`] for what threads do, [`calls`] for what one task pays around a call, [`picks`] and [`batches`] for the rest,
//! [`behaviour`] for what speed must not cost; [`bars`] says what must hold.

mod bars;
pub mod batches;
mod behaviour;
mod calls;
mod gates;
mod picks;

use crate::frame::{Bar, Case};

use super::{ROUNDS, nanoseconds, shown};

/// The cases of the manners.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = gates::cases();
    cases.extend(calls::cases());
    cases.extend(picks::cases());
    cases.extend(batches::cases());
    cases.extend(behaviour::cases());
    cases
}

/// What must hold of them.
pub(super) const BARS: &[Bar] = bars::BARS;
