//! What is due: callers whose time is over, leaks, what is idle too long, what is missing; and when to look again.
//!
//! The keeper is the only one who watches a clock. It sleeps until the earliest of these, so that a caller who waits needs no
//! timer of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::{Core, Effects, Job, Leaves, Limits};
use crate::config::FOREVER;
use crate::error::{AcquireError, Shortage};
use crate::leak::Line;
use crate::resource::waiters::Waiter;

/// What the keeper found at a look.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) leaks: Vec<(Line, Duration)>,
    pub(crate) next: Option<Instant>,
}

impl<R> Core<R> {
    /// Whose time is over, what is due, what is missing; and when to look again.
    pub(crate) fn tick(&mut self, now: Instant, effects: &mut Effects<R>) -> Due {
        let mut found = Due::default();
        self.saw(now);
        self.expire_waiters(now, effects);
        self.supply(now, effects);
        if now >= self.next_look {
            found.leaks = self.sweep(now);
            self.tidy_idle(now, effects);
            if now >= self.next_period {
                self.end_period(now, effects);
            }
            self.next_look = now + self.look_interval();
        }
        self.warm(now, effects);
        let deadline = self.waiters.iter().map(|waiter| waiter.deadline).min();
        let wants_more = self.waiters.waiting() > 0 || self.total() < self.least();
        let retry = self.breaker.retry_at().filter(|at| *at > now && wants_more && self.creating == 0);
        self.armed = [deadline, retry].into_iter().flatten().fold(self.next_look, Instant::min);
        found.next = (!self.closed || self.total() > 0).then_some(self.armed);
        found
    }

    /// Often enough that no limit is passed by more than half of it.
    fn look_interval(&self) -> Duration {
        let Limits { idle_timeout, max_lifetime, leak_after, .. } = self.limits;
        let halves = [idle_timeout, max_lifetime, leak_after].into_iter().flatten().map(|limit| limit / 2);
        let whole = [Some(self.limits.period), self.limits.check_interval].into_iter().flatten();
        halves.chain(whole).min().unwrap_or(FOREVER).max(Duration::from_millis(1))
    }

    fn expire_waiters(&mut self, now: Instant, effects: &mut Effects<R>) {
        let late = self.waiters.iter().filter(|waiter| waiter.deadline <= now).count();
        if late == 0 {
            return;
        }
        self.counts.timeouts += late as u64;
        let mut shortage = self.shortage_at(now, Duration::ZERO);
        shortage.waiting -= late;
        let cause = self.breaker.cause().cloned();
        let reason = |waiter: &Waiter| {
            let waited = now.saturating_duration_since(waiter.since);
            let shortage = Box::new(Shortage { waited, ..shortage.clone() });
            Box::new(match cause.clone() {
                Some(cause) if shortage.in_use < shortage.max => AcquireError::FailedCreate(shortage, cause),
                _ if shortage.creating > 0 => AcquireError::SlowCreate(shortage),
                _ if shortage.checking > 0 => AcquireError::SlowCheck(shortage),
                _ => AcquireError::Busy(shortage),
            })
        };
        self.waiters.refuse(&mut effects.wake, |waiter| waiter.deadline <= now, reason);
    }

    fn shortage_at(&self, now: Instant, waited: Duration) -> Shortage {
        Shortage {
            pool: self.name.clone(),
            waited,
            in_use: self.ledger.leased(),
            max: self.limits.max,
            creating: self.creating,
            checking: self.checking,
            waiting: self.waiters.waiting(),
            oldest: self.ledger.oldest(now),
        }
    }

    /// Who has the resources now.
    pub(crate) fn shortage(&self, waited: Duration) -> Shortage {
        self.shortage_at(Instant::now(), waited)
    }

    fn sweep(&mut self, now: Instant) -> Vec<(Line, Duration)> {
        let found = self.limits.leak_after.map_or_else(Vec::new, |limit| self.ledger.sweep(now, limit));
        self.counts.leaked += found.len() as u64;
        found
    }

    /// Lets go of idle resources that are over, and has those checked that were not seen for long.
    fn tidy_idle(&mut self, now: Instant, effects: &mut Effects<R>) {
        for _ in 0..self.idle.len() {
            let Some(entry) = self.idle.pop_front() else { break };
            let dead = self.is_dead(&entry, now);
            // What is only unused stays while it is needed as the least that is kept.
            let unused = self.is_over(&entry, now) && self.total() - self.closing_jobs >= self.limits.min;
            let unseen = self
                .limits
                .check_interval
                .is_some_and(|interval| now.saturating_duration_since(entry.proven) >= interval);
            if dead || unused {
                self.retire(entry, Leaves::Expired, effects);
            } else if unseen {
                self.checking += 1;
                effects.jobs.push(Job::Check(entry));
            } else {
                self.idle.push_back(entry);
            }
        }
    }

    /// Looks back at the period and closes what it did not need, coldest first.
    fn end_period(&mut self, now: Instant, effects: &mut Effects<R>) {
        self.demand.roll(self.ledger.leased() + self.waiters.waiting());
        self.waits.roll();
        self.next_period = now + self.limits.period;
        let keep = self.wanted().max(self.least());
        while self.total() - self.closing_jobs > keep {
            let Some(entry) = self.idle.pop_front() else { break };
            self.retire(entry, Leaves::Trimmed, effects);
        }
    }

    /// How many there are to be even when nobody waits.
    fn least(&self) -> usize {
        let ready = if self.limits.min_idle > 0 { self.ledger.leased() + self.limits.min_idle } else { 0 };
        self.limits.min.max(ready).min(self.limits.max)
    }

    /// Makes what is missing to the least that is kept.
    pub(crate) fn warm(&mut self, now: Instant, effects: &mut Effects<R>) {
        while !self.closed && self.total() < self.least() && self.create(now, effects) {}
    }
}
