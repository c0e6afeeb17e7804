//! The rules of a resource pool, without tasks, locks or clocks: what is known, and what follows from each event.
//!
//! Every method is one event, takes the time, and answers with effects: jobs to be started and wakers to be called once
//! the lock is released. Two rules carry the rest:
//!
//! - *A resource goes to the oldest waiter, wherever it comes from.* Callers therefore only ever wait in the queue; making
//!   and checking are jobs of the pool. A caller who leaves takes nothing along but its place.
//! - *Each slot is counted in exactly one place:* idle, leased, creating, checking or closing. Their sum never exceeds
//!   `max`, and each job ends with exactly one event, even when it panics or its runtime ends.

mod keeper;
mod owner;
mod parts;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

pub(crate) use self::parts::{Counts, Effects, Entry, Job, Leaves, Limits, Start, Time};
use super::breaker::Breaker;
use super::waiters::{Look, Ticket, Waiter, Waiters};
use crate::config::FOREVER;
use crate::demand::{Demand, grown};
use crate::error::{AcquireError, Cause};
use crate::histogram::{Recent, Waits};
use crate::leak::{Ledger, Line};
use crate::random;

/// The state of one pool.
#[derive(Debug)]
pub(crate) struct Core<R> {
    name: Arc<str>,
    pub(crate) limits: Limits,
    /// The most recently used one is at the back.
    idle: VecDeque<Box<Entry<R>>>,
    pub(crate) ledger: Ledger,
    /// A refusal is boxed, so that the node of a waiter stays small: other threads write it.
    waiters: Waiters<Box<Entry<R>>, Box<AcquireError>>,
    creating: usize,
    checking: usize,
    closing_jobs: usize,
    breaker: Breaker,
    closed: bool,
    generation: u32,
    pub(crate) counts: Counts,
    waits: Recent,
    demand: Demand,
    /// The latest time that an event told. What comes back is entered with it: reading the clock would cost as much as all
    /// the rest of a return, and an earlier time only means an earlier check.
    latest: Instant,
    /// The system's tick in which `latest` was read for a lease.
    tick: Option<i64>,
    /// Until when something is fresh that was used at the time before; most of what comes back was used in the same tick.
    fresh: (Instant, Instant),
    /// When the keeper looks next.
    armed: Instant,
    next_period: Instant,
    next_look: Instant,
}

impl<R> Core<R> {
    pub(crate) fn new(name: Arc<str>, limits: Limits, now: Instant) -> Self {
        let next_period = now + limits.period;
        let fresh = (now, now + limits.check_after.min(limits.idle_timeout.unwrap_or(FOREVER)));
        Self {
            name,
            limits,
            idle: VecDeque::new(),
            ledger: Ledger::default(),
            waiters: Waiters::default(),
            creating: 0,
            checking: 0,
            closing_jobs: 0,
            breaker: Breaker::default(),
            closed: false,
            generation: 0,
            counts: Counts::default(),
            waits: Recent::default(),
            demand: Demand::default(),
            latest: now,
            tick: None,
            fresh,
            armed: now,
            next_period,
            next_look: now,
        }
    }

    // ── sizes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Resources that exist or are about to.
    pub(crate) fn total(&self) -> usize {
        self.idle.len() + self.ledger.leased() + self.creating + self.checking + self.closing_jobs
    }

    /// Resources that may still come back to callers.
    fn living(&self) -> usize {
        self.idle.len() + self.ledger.leased() + self.checking
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(crate) fn creating(&self) -> usize {
        self.creating
    }

    pub(crate) fn checking(&self) -> usize {
        self.checking
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiters.waiting()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn waits(&self) -> Waits {
        self.waits.summary()
    }

    pub(crate) fn wanted(&self) -> usize {
        self.demand.target().clamp(self.limits.min, self.limits.max.max(self.limits.min))
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    // ── callers ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Somebody wants a resource: the hottest idle one, if nobody waits and it needs no look.
    #[inline]
    pub(crate) fn start(&mut self, time: Time, location: Line) -> Start<R> {
        if self.waiters.waiting() == 0 && !self.idle.is_empty() {
            match time {
                Time::Exact(now) => self.saw(now),
                Time::Tick(tick) if self.tick == Some(tick) => {}
                Time::Tick(tick) => {
                    self.saw(Instant::now());
                    self.tick = Some(tick);
                }
            }
            let now = self.latest;
            if self.idle.back().is_some_and(|entry| now < entry.fresh_until)
                && let Some(entry) = self.idle.pop_back()
            {
                self.waits.now.record_none();
                return Start::Ready(self.lease(entry, now, location));
            }
        }
        self.start_slow(match time {
            Time::Exact(now) => now,
            Time::Tick(_) => Instant::now(),
        })
    }

    /// Several threads read the clock, and one may come late with what it read.
    #[inline]
    fn saw(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
    }

    #[cold]
    fn start_slow(&mut self, now: Instant) -> Start<R> {
        self.saw(now);
        let refusal = if self.closed {
            AcquireError::Closed { pool: self.name.clone() }
        } else if self.waiters.waiting() >= self.limits.max_waiters {
            let (waiting, limit) = (self.waiters.waiting(), self.limits.max_waiters);
            AcquireError::Crowded { pool: self.name.clone(), waiting, limit }
        } else if self.living() == 0 && !self.breaker.allows(now, 0) && self.creating == 0 {
            match self.unavailable(now) {
                Some(refusal) => refusal,
                None => return Start::Queue(now),
            }
        } else {
            return Start::Queue(now);
        };
        self.counts.refused += 1;
        Start::Refused(refusal)
    }

    fn unavailable(&self, now: Instant) -> Option<AcquireError> {
        let cause = self.breaker.cause().filter(|_| self.breaker.is_open(self.limits.breaker))?.clone();
        let (failures, retry_in) = (self.breaker.failures(), self.breaker.retry_in(now));
        Some(AcquireError::Unavailable { pool: self.name.clone(), failures, retry_in, cause })
    }

    #[inline]
    #[allow(clippy::unnecessary_box_returns, reason = "an entry lives in its box")]
    fn lease(&mut self, mut entry: Box<Entry<R>>, now: Instant, location: Line) -> Box<Entry<R>> {
        self.ledger.open(entry.slot, location, now);
        self.counts.acquired += 1;
        entry.uses += 1;
        entry.used = now;
        self.demand.see(self.ledger.leased() + self.waiters.waiting());
        entry
    }

    /// It queues.
    pub(crate) fn queue(&mut self, now: Instant, waiter: Waiter, waker: &Waker) -> (Ticket, Effects<R>) {
        let mut effects = Effects { call_keeper: waiter.deadline < self.armed, ..Effects::default() };
        if effects.call_keeper {
            self.armed = waiter.deadline;
        }
        let ticket = self.waiters.push(waiter, waker.clone());
        self.demand.see(self.ledger.leased() + self.waiters.waiting());
        self.supply(now, &mut effects);
        (ticket, effects)
    }

    /// It looks whether it was answered.
    pub(crate) fn look(
        &mut self,
        ticket: Ticket,
        waker: &Waker,
        now: Instant,
    ) -> Look<Box<Entry<R>>, Box<AcquireError>> {
        self.saw(now);
        let since = self.waiters.since(ticket);
        let look = self.waiters.look(ticket, waker);
        if matches!(look, Look::Served(_)) {
            self.counts.waited += 1;
            self.waits.now.record(now.saturating_duration_since(since));
        }
        look
    }

    /// It goes away before it took its answer.
    pub(crate) fn leave(&mut self, ticket: Ticket, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.counts.cancelled += 1;
        if let Look::Served(mut entry) = self.waiters.leave(ticket) {
            self.ledger.close(entry.slot);
            entry.fresh_until = self.fresh_until(entry.proven, entry.used);
            self.give(entry, now, &mut effects);
        }
        effects
    }

    /// A lease comes back, most often to wait for the next caller; then nothing follows. A resource that is not to be kept
    /// is not passed here but to [`discard`](Self::discard).
    #[inline]
    pub(crate) fn give_back(&mut self, mut entry: Box<Entry<R>>) -> Option<Effects<R>> {
        let now = self.latest;
        self.ledger.close(entry.slot);
        self.counts.recycled += 1;
        entry.used = now;
        entry.proven = now;
        if self.waiters.waiting() == 0 && !self.has_enough() && !self.is_dead(&entry, now) {
            if self.fresh.0 != now {
                self.fresh = (now, self.fresh_until(now, now));
            }
            entry.fresh_until = self.fresh.1;
            self.rest(entry);
            return None;
        }
        let mut effects = Effects::default();
        self.give(entry, now, &mut effects);
        Some(effects)
    }

    fn fresh_until(&self, proven: Instant, used: Instant) -> Instant {
        (proven + self.limits.check_after).min(used + self.limits.idle_timeout.unwrap_or(FOREVER))
    }

    /// A lease comes back whose resource is to be recycled or looked at before anybody gets it.
    pub(crate) fn give_back_for_check(&mut self, slot: u32) {
        self.ledger.close(slot);
        self.counts.recycled += 1;
        self.checking += 1;
    }

    /// A lease comes back broken.
    pub(crate) fn discard(&mut self, entry: Box<Entry<R>>, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.ledger.close(entry.slot);
        self.retire(entry, Leaves::Discarded, &mut effects);
        self.supply(now, &mut effects);
        effects
    }

    /// The resource of a lease leaves for good, in the caller's hands.
    pub(crate) fn take(&mut self, slot: u32, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.ledger.close(slot);
        self.ledger.remove(slot);
        self.counts.taken += 1;
        self.supply(now, &mut effects);
        effects
    }

    // ── jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A resource was made.
    pub(crate) fn created(&mut self, resource: R, generation: u32, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.creating -= 1;
        self.breaker.success();
        self.counts.created += 1;
        // Up to a tenth earlier, so that what was made together does not end together.
        let life = self.limits.max_lifetime.map_or(FOREVER, |life| life.mul_f64(1.0 - random::fraction() / 10.0));
        let entry = Box::new(Entry {
            resource,
            slot: self.ledger.add(),
            created: now,
            expires: now + life.min(FOREVER),
            proven: now,
            used: now,
            fresh_until: self.fresh_until(now, now),
            generation,
            uses: 0,
        });
        self.give(entry, now, &mut effects);
        self.supply(now, &mut effects);
        // There may be more to make than is made at the same time.
        self.warm(now, &mut effects);
        effects
    }

    /// A resource could not be made.
    pub(crate) fn create_failed(&mut self, cause: Cause, now: Instant) -> Effects<R> {
        let mut effects = Effects { call_keeper: true, ..Effects::default() };
        self.creating -= 1;
        self.counts.create_failures += 1;
        self.breaker.failure(now, cause, self.limits.breaker);
        if self.living() == 0
            && self.creating == 0
            && let Some(refusal) = self.unavailable(now)
        {
            self.counts.refused += self.waiters.waiting() as u64;
            self.waiters.refuse(&mut effects.wake, |_| true, |_| Box::new(refusal.clone()));
        }
        effects
    }

    /// A check or a recycling went well.
    pub(crate) fn checked(&mut self, mut entry: Box<Entry<R>>, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.checking -= 1;
        entry.proven = now;
        entry.fresh_until = self.fresh_until(now, entry.used);
        self.give(entry, now, &mut effects);
        effects
    }

    /// A check or a recycling went wrong.
    pub(crate) fn check_failed(&mut self, entry: Box<Entry<R>>, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.checking -= 1;
        self.counts.check_failures += 1;
        self.retire(entry, Leaves::Discarded, &mut effects);
        self.supply(now, &mut effects);
        effects
    }

    /// A check ended without an answer, and its resource is gone with it.
    pub(crate) fn check_lost(&mut self, slot: u32, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.checking -= 1;
        self.counts.check_failures += 1;
        self.counts.discarded += 1;
        self.ledger.remove(slot);
        self.supply(now, &mut effects);
        effects
    }

    /// A resource is closed.
    pub(crate) fn closed(&mut self, now: Instant) -> Effects<R> {
        let mut effects = Effects::default();
        self.closing_jobs -= 1;
        self.supply(now, &mut effects);
        self.warm(now, &mut effects);
        effects
    }

    // ── what follows ───────────────────────────────────────────────────────────────────────────────────────────────────

    /// A resource that nobody holds, and that is in no count at this moment, goes where it is needed.
    fn give(&mut self, mut entry: Box<Entry<R>>, now: Instant, effects: &mut Effects<R>) {
        if self.has_enough() {
            self.retire(entry, Leaves::Trimmed, effects);
        } else if self.is_dead(&entry, now) {
            self.retire(entry, Leaves::Expired, effects);
            self.supply(now, effects);
        } else if self.waiters.waiting() > 0 {
            let (ledger, counts) = (&mut self.ledger, &mut self.counts);
            let waker = self.waiters.serve(|waiter| {
                ledger.open(entry.slot, waiter.location, now.max(waiter.since));
                counts.acquired += 1;
                entry.uses += 1;
                entry.used = now;
                entry
            });
            effects.wake(waker);
        } else {
            self.rest(entry);
        }
    }

    /// Whether there is no room for another one.
    fn has_enough(&self) -> bool {
        self.closed || self.total() - self.closing_jobs >= self.limits.max
    }

    fn is_dead(&self, entry: &Entry<R>, now: Instant) -> bool {
        entry.generation != self.generation || now >= entry.expires
    }

    fn rest(&mut self, mut entry: Box<Entry<R>>) {
        entry.fresh_until = entry.fresh_until.min(entry.expires);
        self.idle.push_back(entry);
    }

    fn retire(&mut self, entry: Box<Entry<R>>, why: Leaves, effects: &mut Effects<R>) {
        match why {
            Leaves::Expired => self.counts.expired += 1,
            Leaves::Discarded => self.counts.discarded += 1,
            Leaves::Trimmed => self.counts.trimmed += 1,
        }
        self.ledger.remove(entry.slot);
        self.closing_jobs += 1;
        effects.jobs.push(Job::Close(entry));
    }

    /// Starts what it takes to serve everybody who waits.
    fn supply(&mut self, now: Instant, effects: &mut Effects<R>) {
        if self.closed {
            return;
        }
        let before = self.total();
        let mut made = false;
        while self.waiters.waiting() > self.creating + self.checking {
            if let Some(entry) = self.idle.pop_back() {
                if self.is_over(&entry, now) {
                    self.retire(entry, Leaves::Expired, effects);
                } else if now < entry.fresh_until {
                    self.give(entry, now, effects);
                } else {
                    self.checking += 1;
                    effects.jobs.push(Job::Check(entry));
                }
            } else if self.create(now, effects) {
                made = true;
            } else {
                break;
            }
        }
        if made {
            let target = grown(before, before + 1, self.limits.growth, self.limits.max);
            while self.total() < target && self.create(now, effects) {}
        }
    }

    fn is_over(&self, entry: &Entry<R>, now: Instant) -> bool {
        let unused = now.saturating_duration_since(entry.used);
        self.is_dead(entry, now) || self.limits.idle_timeout.is_some_and(|limit| unused >= limit)
    }

    /// Starts making one, if it may.
    fn create(&mut self, now: Instant, effects: &mut Effects<R>) -> bool {
        let may = self.total() < self.limits.max
            && self.creating < self.limits.creating_max
            && self.breaker.allows(now, self.creating);
        if may {
            self.creating += 1;
            effects.jobs.push(Job::Create);
        }
        may
    }

    /// The generation that a resource belongs to whose making begins now.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// A resource's slot, for a job that may lose it.
    pub(crate) fn slot(entry: &Entry<R>) -> u32 {
        entry.slot
    }
}
