//! What the owner of a pool asks of it: other limits, a trim, a drain, the end.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Core, Effects, Leaves, Limits};
use crate::error::AcquireError;
use crate::leak::LeaseReport;

impl<R> Core<R> {
    /// Closes a share of the idle resources, coldest first, down to `min`; answers how many.
    pub(crate) fn trim(&mut self, share: f64, effects: &mut Effects<R>) -> usize {
        let most = (self.idle.len() as f64 * share).ceil() as usize;
        let spare = (self.total() - self.closing_jobs).saturating_sub(self.limits.min);
        let trimmed = most.min(spare).min(self.idle.len());
        for entry in self.idle.drain(..trimmed).collect::<Vec<_>>() {
            self.retire(entry, Leaves::Trimmed, effects);
        }
        trimmed
    }

    /// Applies other limits: what is too much is closed now or when it comes back, what is missing is made.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: Instant) -> Effects<R> {
        let mut effects = Effects { call_keeper: true, ..Effects::default() };
        self.limits = limits;
        self.fresh = (now, self.fresh_until(now, now));
        self.next_look = now;
        self.next_period = self.next_period.min(now + self.limits.period);
        while self.total() - self.closing_jobs > self.limits.max {
            let Some(entry) = self.idle.pop_front() else { break };
            self.retire(entry, Leaves::Trimmed, &mut effects);
        }
        for entry in &mut self.idle {
            entry.fresh_until = entry.fresh_until.min(entry.proven + self.limits.check_after);
        }
        self.supply(now, &mut effects);
        self.warm(now, &mut effects);
        effects
    }

    /// Replaces all resources that there are: idle ones now, leased ones when they come back.
    pub(crate) fn drain(&mut self, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.generation = self.generation.wrapping_add(1);
        for entry in std::mem::take(&mut self.idle) {
            self.retire(entry, Leaves::Expired, &mut effects);
        }
        self.supply(now, &mut effects);
        effects.call_keeper = true;
        effects
    }

    /// Nothing is given out any more.
    pub(crate) fn close(&mut self) -> Effects<R> {
        let mut effects = Effects { call_keeper: true, ..Effects::default() };
        self.closed = true;
        let refusal = AcquireError::Closed { pool: self.name.clone() };
        self.counts.refused += self.waiters.waiting() as u64;
        self.waiters.refuse(&mut effects.wake, |_| true, |_| Box::new(refusal.clone()));
        for entry in std::mem::take(&mut self.idle) {
            self.retire(entry, Leaves::Trimmed, &mut effects);
        }
        effects
    }

    pub(crate) fn report(&self, now: Instant, kind: &Arc<str>) -> LeaseReport {
        self.ledger.report(now, kind)
    }
}
