//! A lease: the right to work under a lock, with a token, until it is given back or lost.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::{RecvError, TryRecvError};
use tokio::time::Instant;

use crate::error::{Loss, ReleaseError};
use crate::mode::LeaseMode;
use crate::named::{GivenBack, Keeper, Named};

/// A held lock. Dropping it gives the lock back in the background.
///
/// A lease is a promise with a limit: the store gives the lock to nobody else while the lease lasts, and this program is told
/// when it may have ended. A program that stood still learns of it afterwards. What protects data even then is the
/// [`token`](Self::token), checked by whoever keeps the data (see the page on what a lock can promise).
#[must_use = "a lease that is not kept is given back at once"]
pub struct Lease {
    named: Arc<Named>,
    token: u64,
    mode: LeaseMode,
    armed: bool,
}

impl Lease {
    pub(crate) fn new(named: Arc<Named>, token: u64, mode: LeaseMode) -> Self {
        Self { named, token, mode, armed: true }
    }

    /// Ends without giving anything back.
    pub(crate) fn forget(mut self) {
        self.armed = false;
    }

    /// The name of the lock.
    pub fn name(&self) -> &str {
        &self.named.name
    }

    /// The fencing token: greater than that of every lease of this lock before. Send it with every write; whoever keeps the
    /// data refuses a token lower than one it has seen. A reader's is not lower than any writer's before it and lower than
    /// every writer's after it; over files it is the last writer's own (0 before the first).
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How it is held.
    pub fn mode(&self) -> LeaseMode {
        self.mode
    }

    /// Whether the lease has ended, by the holder's own clock too. Cheap enough to ask before each step; it is no protection by
    /// itself, since time may pass between the answer and the step.
    pub fn is_lost(&self) -> bool {
        self.named.loss(self.token).is_some()
    }

    /// How much longer the lease is certain, if nobody renews it; none where a lock ends with its holder, not by time.
    pub fn remaining(&self) -> Option<Duration> {
        let until = self.named.trusted_until(self.token);
        until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until the lease is lost, and says why. Never returns while it holds.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn lost(&self) -> Loss {
        self.named.until_lost(self.token).await
    }

    /// An observer of this lease, to be cloned and sent around.
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch { named: self.named.clone(), token: self.token }
    }

    /// Gives the lock back: to the next waiter if there is one.
    ///
    /// # Errors
    ///
    /// [`ReleaseError::Lost`] when the lease had ended before; [`ReleaseError::Unconfirmed`] when the store did not answer, and
    /// the lock frees itself at the end of its lease.
    ///
    /// # Cancel safety
    ///
    /// Safe: a release that is not waited for goes on in the background.
    ///
    /// # Complexity
    ///
    /// In memory no waiting; in a store one round trip, none when the lock goes to a waiter of the same process.
    pub async fn release(mut self) -> Result<(), ReleaseError> {
        self.armed = false;
        if self.named.give_back_at_once(self.token) {
            return Ok(());
        }
        let Some(GivenBack { mut outcome, keeper }) = self.named.give_back(self.token)? else { return Ok(()) };
        let mut driver = Driver { named: self.named.clone(), keeper };
        driver.until(&mut outcome).await.unwrap_or_else(|_| {
            Err(ReleaseError::Lost { name: self.named.name.clone(), token: self.token, loss: Loss::Shutdown })
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.armed
            && !self.named.give_back_at_once(self.token)
            && let Ok(Some(GivenBack { keeper: Some(keeper), .. })) = self.named.give_back(self.token)
        {
            self.named.group.run(keeper);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("name", &self.name()).field("token", &self.token).finish_non_exhaustive()
    }
}

/// Sees whether a lease still holds, without holding it.
#[derive(Clone)]
pub struct LeaseWatch {
    named: Arc<Named>,
    token: u64,
}

impl LeaseWatch {
    /// The name of the lock.
    pub fn name(&self) -> &str {
        &self.named.name
    }

    /// The fencing token.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether the lease has ended; also true once it was given back.
    pub fn is_lost(&self) -> bool {
        self.named.loss(self.token).is_some()
    }

    /// Waits until the lease is lost, and says why.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only looks.
    pub async fn lost(&self) -> Loss {
        self.named.until_lost(self.token).await
    }
}

impl fmt::Debug for LeaseWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWatch").field("name", &self.name()).field("token", &self.token).finish_non_exhaustive()
    }
}

impl Named {
    async fn until_lost(&self, token: u64) -> Loss {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the look: an end between the two is not missed.
            ended.as_mut().enable();
            if let Some(loss) = self.loss(token) {
                return loss;
            }
            match self.trusted_until(token) {
                Some(until) => tokio::select! {
                    () = ended => {}
                    () = tokio::time::sleep_until(until + Duration::from_millis(1)) => {}
                },
                None => ended.await,
            }
        }
    }
}

/// Drives a keeper in place, if there is one to drive; what is left of its work when the driver goes is done elsewhere.
pub(crate) struct Driver {
    pub(crate) named: Arc<Named>,
    pub(crate) keeper: Option<Keeper>,
}

impl Driver {
    /// Waits for what the keeper will say.
    ///
    /// Who drives it looks after each of its steps and is not woken for the answer: a task that is woken while it runs is run once
    /// more, and another thread is woken for it, which costs as much as a good part of a round trip.
    pub(crate) async fn until<T>(&mut self, answer: &mut oneshot::Receiver<T>) -> Result<T, RecvError> {
        std::future::poll_fn(|cx| {
            if let Some(keeper) = &mut self.keeper {
                if keeper.as_mut().poll(cx).is_ready() {
                    self.keeper = None;
                } else {
                    match answer.try_recv() {
                        Ok(answer) => return Poll::Ready(Ok(answer)),
                        Err(TryRecvError::Empty) => return Poll::Pending,
                        Err(TryRecvError::Closed) => {}
                    }
                }
            }
            Pin::new(&mut *answer).poll(cx)
        })
        .await
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            self.named.put_aside(keeper);
        }
    }
}
