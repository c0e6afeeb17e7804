//! One name in one process: who holds it here, and who waits for it in which order.
//!
//! All rules of a name stand in this file, under one short lock; nothing in it waits. A lock kept in memory needs no more.
//! For a lock in a store one *keeper* (`keeper.rs`) does the asking, renewing and giving back, and it alone: callers only
//! queue here and are handed a finished lease. So a caller who leaves never leaves half a question behind, and a store sees
//! one waiter for each name and process, however many tasks wait.
//!
//! A lock in memory that is shared has its sharers here, beside the holder. One in a store is not shared inside of the
//! process: each shared lease has a `Named` of its own, and the store alone decides which leases go together.
//!
//! A keeper is a future. Who needs its work done drives it in place (no hop to another thread in the uncontended case); it is
//! parked here while a lease is held, and goes to a task of its own when somebody else needs it or when a lease lasts.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::error::{AcquireError, Cause, LocalHolder, Loss, ReleaseError, StoreError};
use crate::group::Group;
use crate::keeper::keeper;
use crate::lease::Lease;
use crate::listing::{ListedHolder, ListedWaiter};
use crate::metrics::Tally;
use crate::mode::LeaseMode;

/// In memory one hold in so many is timed, those that were waited for aside, and the group is told of the others by then.
const HOLDS_TIMED: u32 = 16;

pub(crate) type Keeper = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(crate) type Reply = oneshot::Sender<Result<(), ReleaseError>>;
pub(crate) type Answer = oneshot::Receiver<Result<Lease, AcquireError>>;

/// One name.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) group: Arc<Group>,
    pub(crate) name: Arc<str>,
    /// In a store: how every lease of it is held.
    pub(crate) mode: LeaseMode,
    /// Whether the name is one of a semaphore, which are names of their own.
    pub(crate) counted: bool,
    in_memory: bool,
    state: Mutex<State>,
    /// For the keeper: something changed.
    pub(crate) wake: Notify,
    /// For observers of leases: one may have ended.
    pub(crate) ended: Notify,
}

#[derive(Default)]
struct State {
    holder: Option<Holder>,
    /// In memory: those who hold it together, by token.
    sharers: BTreeMap<u64, Holder>,
    /// The holder gave it back, and the keeper has not seen that yet.
    returned: Option<Returned>,
    /// In a store: the token of the lease after this one, for which somebody waits.
    next_lease: Option<u64>,
    /// In the order they came.
    waiters: BTreeMap<u64, Waiter>,
    next: u64,
    /// In memory: tokens of this name alone, drawn from the group a block at a time.
    tokens: Range<u64>,
    /// The last lease that was lost, for those who ask why.
    loss: Option<(u64, Loss)>,
    /// The sharers that an operator ended last.
    forced: Vec<u64>,
    /// The store's last failure.
    failure: Option<StoreError>,
    kept: Kept,
    tally: Tally,
    /// In memory: so many holds until one is timed again.
    untimed: u32,
}

/// A lease that its holder gave back to a store.
pub(crate) struct Returned {
    pub(crate) token: u64,
    pub(crate) reply: Reply,
}

/// Where the keeper is.
#[derive(Default)]
enum Kept {
    #[default]
    Nowhere,
    /// With a caller or in a task.
    Driven,
    /// Here, until somebody needs it.
    Parked(Keeper),
}

#[derive(Debug)]
struct Holder {
    token: u64,
    since: Instant,
    /// By the holder's own clock; none where a store knows when its holder ends.
    trusted_until: Option<Instant>,
    location: &'static Location<'static>,
    task: Option<tokio::task::Id>,
}

struct Waiter {
    answer: oneshot::Sender<Result<Lease, AcquireError>>,
    since: Instant,
    deadline: Instant,
    /// One look at the store, no waiting.
    once: bool,
    mode: LeaseMode,
    location: &'static Location<'static>,
    task: Option<tokio::task::Id>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("holder", &self.holder)
            .field("waiting", &self.waiters.len())
            .finish_non_exhaustive()
    }
}

/// What a caller finds.
pub(crate) enum Entered {
    Granted(Lease),
    /// A number in the queue, where the answer comes, and the keeper if the caller is to drive it.
    Queued(u64, Answer, Option<Keeper>),
    Busy,
}

/// A release on its way: where its outcome comes, and the keeper where the caller is to drive it.
pub(crate) struct GivenBack {
    pub(crate) outcome: oneshot::Receiver<Result<(), ReleaseError>>,
    pub(crate) keeper: Option<Keeper>,
}

/// How a name stands in this process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LockReport {
    /// The lock.
    pub name: Arc<str>,
    /// Who holds it here.
    pub holder: Option<LocalHolder>,
    /// Its token.
    pub token: Option<u64>,
    /// Leases held here together with others: readers of a lock, permits of a semaphore.
    pub shared: usize,
    /// Callers of this process that wait for it.
    pub waiting: usize,
}

impl Named {
    pub(crate) fn new(group: Arc<Group>, name: Arc<str>, mode: LeaseMode) -> Self {
        let counted = matches!(mode, LeaseMode::Permit { .. });
        let in_memory = group.store.is_memory();
        let (state, wake, ended) = (Mutex::default(), Notify::new(), Notify::new());
        Self { group, name, mode, counted, in_memory, state, wake, ended }
    }

    /// In memory: the lock, if it can be had now. All that an uncontended acquire does.
    #[inline]
    pub(crate) fn at_once(
        self: &Arc<Self>,
        mode: LeaseMode,
        now: Instant,
        location: &'static Location<'static>,
    ) -> Option<Lease> {
        if !self.in_memory {
            return None;
        }
        let task = tokio::task::try_id();
        let mut state = self.state.lock();
        if !state.waiters.is_empty() || !state.fits(mode) {
            return None;
        }
        let token = state.next_token(&self.group);
        state.admit(mode, Holder { token, since: now, trusted_until: None, location, task });
        state.tally.acquired += 1;
        drop(state);
        Some(Lease::new(self.clone(), token, mode))
    }

    /// In memory: gives back what nobody waits for; false where there is more to do. All that an uncontended release does.
    #[inline]
    pub(crate) fn give_back_at_once(&self, token: u64) -> bool {
        if !self.in_memory {
            return false;
        }
        let mut state = self.state.lock();
        if !state.waiters.is_empty() {
            return false;
        }
        let Some(since) = state.end(token).map(|holder| holder.since) else { return false };
        state.tally.released += 1;
        // The clock costs as much as all the rest.
        let timed = state.untimed == 0;
        state.untimed = if timed { HOLDS_TIMED } else { state.untimed } - 1;
        if timed {
            self.group.counts.take(&mut state.tally);
            drop(state);
            self.group.counts.held(since);
        }
        true
    }

    /// A caller comes.
    pub(crate) fn enter(
        self: &Arc<Self>,
        mode: LeaseMode,
        deadline: Instant,
        once: bool,
        now: Instant,
        location: &'static Location<'static>,
    ) -> Result<Entered, AcquireError> {
        if let Some(lease) = self.at_once(mode, now, location) {
            return Ok(Entered::Granted(lease));
        }
        let task = tokio::task::try_id();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if once && (self.in_memory || state.holder.is_some() || !state.waiters.is_empty()) {
            return Ok(Entered::Busy);
        }
        let limit = self.group.settings.waiters_max as usize;
        if state.waiters.len() >= limit {
            self.group.counts.refused.fetch_add(1, Ordering::Relaxed);
            let (group, name) = (self.group.name.clone(), self.name.clone());
            return Err(AcquireError::Crowded { group, name, waiting: state.waiters.len(), limit });
        }
        let (answer, receiver) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiters.insert(number, Waiter { answer, since: now, deadline, once, mode, location, task });
        if self.in_memory {
            // It may have become free since the look.
            self.serve_all(state);
            return Ok(Entered::Queued(number, receiver, None));
        }
        let (driven, elsewhere) = match std::mem::replace(&mut state.kept, Kept::Driven) {
            Kept::Nowhere => (Some(keeper(self.clone())), None),
            // Its holder will not drive it before it gives back, and it may have work to do for this waiter until then.
            Kept::Parked(keeper) => (None, Some(keeper)),
            Kept::Driven => (None, None),
        };
        drop(guard);
        if driven.is_none() {
            self.wake.notify_one();
        }
        if let Some(keeper) = elsewhere {
            self.group.run(keeper);
        }
        Ok(Entered::Queued(number, receiver, driven))
    }

    /// A caller leaves the queue; false when it had been answered.
    pub(crate) fn leave(self: &Arc<Self>, number: u64) -> bool {
        let mut state = self.state.lock();
        let left = state.waiters.remove(&number);
        if left.is_some() && self.in_memory {
            // It may have been the one for whom others waited that go together with those inside.
            self.serve_all(&mut state);
        }
        drop(state);
        if left.is_some() {
            self.wake.notify_one();
        }
        left.is_some()
    }

    /// A lease was given back to the store in time.
    pub(crate) fn released(&self) {
        self.state.lock().tally.released += 1;
    }

    /// What is said to a caller whose time ran out.
    pub(crate) fn too_late(&self, waited: std::time::Duration) -> AcquireError {
        let state = self.state.lock();
        let holder = state.holder.as_ref().map(Holder::local);
        let cause = match (&holder, &state.failure) {
            (None, Some(failure)) => Some(Arc::new(failure.clone()) as Cause),
            _ => None,
        };
        let (group, name) = (self.group.name.clone(), self.name.clone());
        AcquireError::Timeout { group, name, waited, holder, waiting: state.waiters.len(), cause }
    }

    /// Hands the lock to the first who still wants it; false when nobody does.
    pub(crate) fn grant(self: &Arc<Self>, token: u64, trusted_until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        state.failure = None;
        self.serve(&mut state, token, trusted_until)
    }

    fn serve(self: &Arc<Self>, state: &mut State, token: u64, trusted_until: Option<Instant>) -> bool {
        while let Some((_, waiter)) = state.waiters.pop_first() {
            if self.give(state, waiter, token, trusted_until) {
                return true;
            }
        }
        state.holder = None;
        false
    }

    /// In memory: serves from the head of the queue whoever goes together with those inside; how many.
    fn serve_all(self: &Arc<Self>, state: &mut State) -> u64 {
        let mut served = 0;
        while let Some(first) = state.waiters.first_entry().map(|first| first.get().mode)
            && state.fits(first)
            && let Some((_, waiter)) = state.waiters.pop_first()
        {
            let token = state.next_token(&self.group);
            if self.give(state, waiter, token, None) {
                served += 1;
            } else {
                state.end(token);
            }
        }
        served
    }

    /// False when the caller is gone.
    fn give(self: &Arc<Self>, state: &mut State, waiter: Waiter, token: u64, trusted_until: Option<Instant>) -> bool {
        let Waiter { answer, since, mode, location, task, .. } = waiter;
        let now = Instant::now();
        // Before the answer: whoever gets it may look at once. In a store this name has one holder, whatever its mode.
        let kept = if self.in_memory { mode } else { LeaseMode::Exclusive };
        state.admit(kept, Holder { token, since: now, trusted_until, location, task });
        match answer.send(Ok(Lease::new(self.clone(), token, mode))) {
            Ok(()) => {
                state.tally.acquired += 1;
                self.group.counts.waited(now.saturating_duration_since(since));
                true
            }
            // Its lease must not give back what the next one gets.
            Err(lease) => {
                if let Ok(lease) = lease {
                    lease.forget();
                }
                false
            }
        }
    }

    /// The holder gives back. A lock in a store is given back by its keeper: see [`GivenBack`].
    pub(crate) fn give_back(self: &Arc<Self>, token: u64) -> Result<Option<GivenBack>, ReleaseError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(holder) = state.end(token) else {
            return Err(ReleaseError::Lost { name: self.name.clone(), token, loss: state.loss_of(token) });
        };
        let counts = &self.group.counts;
        counts.held(holder.since);
        if self.in_memory {
            state.tally.released += 1;
            if !state.waiters.is_empty() {
                counts.hand_overs.fetch_add(self.serve_all(state), Ordering::Relaxed);
            }
            return Ok(None);
        }
        // Too late, though nobody has noticed: what the store will say decides nothing any more.
        let late = holder.trusted_until.is_some_and(|until| Instant::now() > until);
        if late {
            state.lost(token, Loss::Expired, counts);
        } else if let Some(next) = state.next_lease.take()
            && self.serve(state, next, holder.trusted_until)
        {
            // Here and now, which costs the next one no way over the keeper's task; the keeper sees to the token after that.
            state.tally.released += 1;
            counts.hand_overs.fetch_add(1, Ordering::Relaxed);
            drop(guard);
            self.wake.notify_one();
            return Ok(None);
        }
        let (reply, outcome) = oneshot::channel();
        state.returned = Some(Returned { token, reply });
        let keeper = match std::mem::replace(&mut state.kept, Kept::Driven) {
            Kept::Parked(keeper) => Some(keeper),
            kept => {
                state.kept = kept;
                None
            }
        };
        drop(guard);
        if keeper.is_none() {
            self.wake.notify_one();
        }
        if late {
            self.ended.notify_waiters();
            if let Some(keeper) = keeper {
                self.group.run(keeper);
            }
            return Err(ReleaseError::Lost { name: self.name.clone(), token, loss: Loss::Expired });
        }
        Ok(Some(GivenBack { outcome, keeper }))
    }

    /// A driver has no more use for the keeper: it is parked while a lease is held and nobody waits, else it gets a task.
    pub(crate) fn put_aside(self: &Arc<Self>, keeper: Keeper) {
        let mut state = self.state.lock();
        if state.holder.is_some() && state.waiters.is_empty() && state.returned.is_none() {
            state.kept = Kept::Parked(keeper);
            drop(state);
            if self.group.store.needs_renewal() {
                self.group.nurse(self);
            }
        } else {
            drop(state);
            self.group.run(keeper);
        }
    }

    /// A lease has lasted for a while: its keeper goes to a task and renews it from there.
    pub(crate) fn run_parked(&self) {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.kept, Kept::Driven) {
            Kept::Parked(keeper) => {
                drop(state);
                self.group.run(keeper);
            }
            kept => state.kept = kept,
        }
    }

    /// The latest moment until which somebody waits, if anybody does.
    pub(crate) fn wanted_until(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        // Who was dropped together with its runtime could not say good-bye.
        state.waiters.retain(|_, waiter| !waiter.answer.is_closed());
        state.waiters.values().map(|waiter| waiter.deadline).max()
    }

    /// Returns once nobody waits any more.
    pub(crate) async fn unwanted(&self) {
        while self.wanted_until().is_some() {
            self.wake.notified().await;
        }
    }

    /// Returns when there may be something to do: the holder gives back, or callers come and go.
    pub(crate) async fn changed(&self) {
        let woken = self.wake.notified();
        tokio::pin!(woken);
        std::future::poll_fn(|cx| {
            // Who gives back and then drives the keeper has woken nobody.
            if self.state.lock().returned.is_some() { Poll::Ready(()) } else { woken.as_mut().poll(cx) }
        })
        .await;
    }

    /// What the holder has given back since the last look, and the token that was for the lease after it.
    pub(crate) fn take_returned(&self) -> Option<(Returned, Option<u64>)> {
        let mut state = self.state.lock();
        let returned = state.returned.take()?;
        Some((returned, state.next_lease.take()))
    }

    /// Whether somebody waits behind the holder for whom no token lies ready.
    pub(crate) fn wants_next(&self) -> bool {
        let state = self.state.lock();
        state.holder.is_some() && state.next_lease.is_none() && !state.waiters.is_empty()
    }

    /// The lease after this one may follow it at once, under this token, which was drawn while the store trusts us until then.
    pub(crate) fn prepare(&self, next: u64, until: Option<Instant>) {
        let mut state = self.state.lock();
        if until.is_none_or(|until| state.trust(until)) {
            state.next_lease = Some(next);
        }
    }

    /// The holder's clock may trust the store until then; false when it was too late for that, and the lease is lost.
    #[cfg_attr(not(any(feature = "postgres", feature = "redis")), allow(dead_code, reason = "leases that end by time"))]
    pub(crate) fn trust(&self, until: Instant) -> bool {
        self.state.lock().trust(until)
    }

    /// The lease is gone: the holder is told.
    pub(crate) fn lose(&self, loss: Loss) {
        let mut state = self.state.lock();
        state.next_lease = None;
        let held = state.holder.take().map(|holder| {
            self.group.counts.held(holder.since);
            holder.token
        });
        let returned = state.returned.take();
        let Some(token) = held.or(returned.as_ref().map(|returned| returned.token)) else { return };
        state.lost(token, loss, &self.group.counts);
        drop(state);
        if let Some(Returned { token, reply }) = returned {
            let _ = reply.send(Err(ReleaseError::Lost { name: self.name.clone(), token, loss }));
        }
        self.ended.notify_waiters();
        tracing::warn!(group = %self.group.name, lock = %self.name, token, %loss, "a lease was lost");
    }

    /// Takes the lock from all who hold it in this process; how many.
    pub(crate) fn force(self: &Arc<Self>) -> usize {
        let tokens = {
            let mut state = self.state.lock();
            let counts = &self.group.counts;
            let mut tokens: Vec<u64> = state.sharers.keys().copied().collect();
            counts.lost.fetch_add(tokens.len() as u64, Ordering::Relaxed);
            if !tokens.is_empty() {
                state.forced.clone_from(&tokens);
            }
            if let Some(token) = state.holder.as_ref().map(|holder| holder.token) {
                state.lost(token, Loss::Forced, counts);
                tokens.push(token);
            }
            tokens
        };
        for token in &tokens {
            if let Ok(Some(GivenBack { keeper: Some(keeper), .. })) = self.give_back(*token) {
                self.group.run(keeper);
            }
        }
        self.ended.notify_waiters();
        tokens.len()
    }

    /// Why a lease ended, or none while it holds.
    pub(crate) fn loss(&self, token: u64) -> Option<Loss> {
        let state = self.state.lock();
        match &state.holder {
            Some(holder) if holder.token == token => {
                let late = holder.trusted_until.is_some_and(|until| Instant::now() > until);
                late.then_some(Loss::Expired)
            }
            _ if state.sharers.contains_key(&token) => None,
            _ => Some(state.loss_of(token)),
        }
    }

    /// Until when a lease is good, if it ends by time.
    pub(crate) fn trusted_until(&self, token: u64) -> Option<Instant> {
        self.state.lock().holder.as_ref().filter(|holder| holder.token == token)?.trusted_until
    }

    /// Answers all whose time is over, and all who wanted one look.
    pub(crate) fn expire(&self) {
        let now = Instant::now();
        for waiter in self.take_waiters(|waiter| waiter.once || waiter.deadline <= now) {
            let error = self.too_late(now.saturating_duration_since(waiter.since));
            let _ = waiter.answer.send(Err(error));
        }
    }

    /// The store failed: those who wanted one look are told, the others wait on unless `all` are to be told.
    pub(crate) fn fail(&self, error: &StoreError, all: bool) {
        let waiters = self.take_waiters(|waiter| all || waiter.once);
        self.state.lock().failure = Some(error.clone());
        for waiter in waiters {
            let (group, name) = (self.group.name.clone(), self.name.clone());
            let told = AcquireError::Unavailable { group, name, what: error.what.clone(), cause: error.cause.clone() };
            let _ = waiter.answer.send(Err(told));
        }
    }

    fn take_waiters(&self, pick: impl Fn(&Waiter) -> bool) -> Vec<Waiter> {
        let mut state = self.state.lock();
        let numbers: Vec<u64> = state.waiters.iter().filter(|(_, w)| pick(w)).map(|(number, _)| *number).collect();
        numbers.into_iter().filter_map(|number| state.waiters.remove(&number)).collect()
    }

    /// The keeper is done if nobody waits.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.state.lock();
        let done = state.waiters.is_empty();
        if done {
            state.kept = Kept::Nowhere;
        }
        done
    }

    /// The keeper ended early: with its runtime, or by a panic.
    pub(crate) fn orphaned(&self) {
        let mut state = self.state.lock();
        state.kept = Kept::Nowhere;
        // Dropping their senders tells them.
        let waiters = std::mem::take(&mut state.waiters);
        let returned = state.returned.take();
        drop(state);
        drop((waiters, returned));
        self.lose(Loss::Shutdown);
    }

    /// How it stands; and the group's counts include its own then.
    pub(crate) fn report(&self) -> LockReport {
        let mut state = self.state.lock();
        self.group.counts.take(&mut state.tally);
        LockReport {
            name: self.name.clone(),
            holder: state.holder.as_ref().map(Holder::local),
            token: state.holder.as_ref().map(|holder| holder.token),
            shared: state.sharers.len(),
            waiting: state.waiters.len(),
        }
    }

    /// Who holds and who waits, with their ages.
    pub(crate) fn list(&self) -> (Vec<ListedHolder>, Vec<ListedWaiter>) {
        let (state, now) = (self.state.lock(), Instant::now());
        let age = |since: Instant| now.saturating_duration_since(since).into();
        let listed = |holder: &Holder, mode| ListedHolder {
            mode,
            token: holder.token,
            held_for: age(holder.since),
            remaining: holder.trusted_until.map(|until| until.saturating_duration_since(now).into()),
            location: holder.location.to_string(),
        };
        let own = if self.in_memory { LeaseMode::Exclusive } else { self.mode };
        let shared = if self.counted { self.mode } else { LeaseMode::Shared };
        let holders = state.holder.iter().map(|holder| listed(holder, own));
        let holders = holders.chain(state.sharers.values().map(|holder| listed(holder, shared))).collect();
        let waiters = state.waiters.values().map(|waiter| ListedWaiter {
            mode: waiter.mode,
            waited_for: age(waiter.since),
            leaves_in: waiter.deadline.saturating_duration_since(now).into(),
            location: waiter.location.to_string(),
        });
        (holders, waiters.collect())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.group.counts.take(&mut self.state.get_mut().tally);
        self.group.forget(self);
    }
}

impl State {
    /// The next token in memory. Blocks are given out in their order, so that a name which was forgotten and comes back goes on
    /// above what it had.
    fn next_token(&mut self, group: &Group) -> u64 {
        self.tokens.next().unwrap_or_else(|| {
            self.tokens = group.next_tokens();
            self.tokens.next().unwrap_or(u64::MAX)
        })
    }

    /// Whether a lease of this mode goes together with those that are held.
    #[inline]
    fn fits(&self, mode: LeaseMode) -> bool {
        self.holder.is_none()
            && match mode {
                LeaseMode::Exclusive => self.sharers.is_empty(),
                LeaseMode::Shared => true,
                LeaseMode::Permit { of } => self.sharers.len() < of as usize,
            }
    }

    #[inline]
    fn admit(&mut self, mode: LeaseMode, holder: Holder) {
        if mode == LeaseMode::Exclusive {
            self.holder = Some(holder);
        } else {
            self.sharers.insert(holder.token, holder);
        }
    }

    #[inline]
    fn end(&mut self, token: u64) -> Option<Holder> {
        let held = self.holder.take_if(|holder| holder.token == token);
        if held.is_some() || self.sharers.is_empty() { held } else { self.sharers.remove(&token) }
    }

    /// False when it was too late for that.
    fn trust(&mut self, until: Instant) -> bool {
        let Some(holder) = &mut self.holder else { return true };
        let in_time = holder.trusted_until.is_none_or(|until| Instant::now() <= until);
        if in_time {
            holder.trusted_until = Some(until);
        }
        in_time
    }

    fn lost(&mut self, token: u64, loss: Loss, counts: &crate::metrics::Counts) {
        if self.loss.is_none_or(|(lost, _)| lost != token) {
            self.loss = Some((token, loss));
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn loss_of(&self, token: u64) -> Loss {
        if self.forced.contains(&token) {
            return Loss::Forced;
        }
        self.loss.filter(|(lost, _)| *lost == token).map_or(Loss::Gone, |(_, loss)| loss)
    }
}

impl Holder {
    fn local(&self) -> LocalHolder {
        LocalHolder {
            location: self.location,
            held_for: Instant::now().saturating_duration_since(self.since),
            same_task: self.task.is_some() && self.task == tokio::task::try_id(),
        }
    }
}
