//! The future of a lease.
//!
//! The first poll takes an idle resource or queues; every later one looks whether the queue has answered. All that an
//! unfinished future owns is its place in the queue (and, if it was served and not polled since, the resource in it),
//! and `Drop` gives back both.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Instant;

use super::core::Start;
use super::lease::Lease;
use super::shared::Shared;
use super::waiters::{Look, Priority, Ticket, Waiter};
use crate::config::FOREVER;
use crate::error::AcquireError;
use crate::leak::Line;
use crate::manager::Manager;

/// Waits for a resource; made by [`ResourcePool::acquire`](crate::ResourcePool::acquire).
///
/// # Cancel safety
///
/// Cancel-safe at every point: a future that is dropped gives up its place, and a resource that was on its way to it goes
/// to the next caller. Resources that are being made or checked meanwhile are not lost.
#[must_use = "nothing is leased before the future is awaited"]
pub struct Acquire<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    location: Line,
    priority: Priority,
    timeout: Option<Duration>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    New,
    Queued(Ticket),
    Done,
}

impl<'a, M: Manager> Acquire<'a, M> {
    pub(crate) fn new(shared: &'a Arc<Shared<M>>, location: Line) -> Self {
        Self { shared, location, priority: Priority::Normal, timeout: None, state: State::New }
    }

    /// How long this caller waits, instead of the pool's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Who is served first when several wait.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    fn start(&mut self, cx: &Context<'_>) -> Poll<Result<Lease<M>, AcquireError>> {
        let time = self.shared.time();
        let mut core = self.shared.core();
        match core.start(time, self.location) {
            Start::Ready(entry) => {
                drop(core);
                self.shared.set_crowded(false);
                self.state = State::Done;
                Poll::Ready(Ok(Lease::new(entry, self.shared.clone())))
            }
            Start::Refused(refusal) => {
                self.state = State::Done;
                Poll::Ready(Err(refusal))
            }
            Start::Queue(now) => {
                let timeout = self.timeout.unwrap_or(core.limits.timeout).min(FOREVER);
                let waiter =
                    Waiter { priority: self.priority, since: now, deadline: now + timeout, location: self.location };
                let (ticket, effects) = core.queue(now, waiter, cx.waker());
                drop(core);
                self.state = State::Queued(ticket);
                self.shared.set_crowded(true);
                self.shared.apply(effects);
                Poll::Pending
            }
        }
    }
}

impl<M: Manager> Future for Acquire<'_, M> {
    type Output = Result<Lease<M>, AcquireError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A task that always finds a resource must let others run all the same.
        let progress = ready!(coop::poll_proceed(cx));
        let this = self.get_mut();
        let answer = match this.state {
            State::New => this.start(cx),
            State::Queued(ticket) => {
                let now = Instant::now();
                let look = this.shared.core().look(ticket, cx.waker(), now);
                match look {
                    Look::StillWaiting => Poll::Pending,
                    Look::Served(entry) => {
                        this.state = State::Done;
                        Poll::Ready(Ok(Lease::new(entry, this.shared.clone())))
                    }
                    Look::Refused(refusal) => {
                        this.state = State::Done;
                        Poll::Ready(Err(*refusal))
                    }
                }
            }
            State::Done => panic!("an acquire was polled after it had answered"),
        };
        if answer.is_ready() {
            progress.made_progress();
        }
        answer
    }
}

impl<M: Manager> Drop for Acquire<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let State::Queued(ticket) = self.state {
            let now = Instant::now();
            self.shared.event(|core| core.leave(ticket, now));
        }
    }
}

impl<M: Manager> fmt::Debug for Acquire<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("pool", &self.shared.name)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
