//! What keeps one name in a store: asks for it, renews it, notices its loss, hands it over and gives it back.
//!
//! ```text
//! loop: while anybody waits
//!     ask the store                    failures: again after a back-off, until all waiters' time is over
//!     grant to the first waiter
//!     until it gives back or the lease is lost: renew; if somebody waits, lay the next token ready meanwhile
//!         given back while one lies ready: to the next by the holder itself, up to `hand_overs` times in a row
//!     given back and somebody waits: grant to the next
//!     else: give back to the store
//! ```
//!
//! Handing over inside of the process under a token fetched beforehand is what makes local hand-offs cost no round trip, nor a
//! way over the keeper's task. The token was drawn while the lock was held, so whoever takes the lock in the store later gets a
//! higher one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::pin;
use trimtab_config::Backoff;

use crate::error::{Loss, ReleaseError};
use crate::named::{Keeper, Named, Reply, Returned};
use crate::store::Hold;

/// The keeper of this name.
pub(crate) fn keeper(named: Arc<Named>) -> Keeper {
    Box::pin(async move {
        let mut alive = Alive { named: Some(named.clone()) };
        keep(&named).await;
        alive.named = None;
    })
}

/// Tells those who wait when the keeper is dropped in the middle of its work.
struct Alive {
    named: Option<Arc<Named>>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(named) = &self.named {
            named.orphaned();
        }
    }
}

async fn keep(named: &Arc<Named>) {
    let group = &named.group;
    let mut pauses = delays(&group.settings.backoff);
    loop {
        if named.wanted_until().is_none() {
            if named.retire() {
                return;
            }
            continue;
        }
        match group.store.take(named).await {
            Ok(Some(taken)) => {
                pauses = delays(&group.settings.backoff);
                hold(named, taken).await;
            }
            Ok(None) => named.expire(),
            Err(error) => {
                let delay = pauses.next().filter(|_| !error.permanent);
                tracing::debug!(group = %group.name, lock = %named.name, %error, "a store failed");
                named.fail(&error, delay.is_none());
                match delay {
                    None => pauses = delays(&group.settings.backoff),
                    Some(delay) => tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = named.unwanted() => {}
                    },
                }
            }
        }
    }
}

/// The pauses after failures of a store.
#[cfg(any(feature = "file", feature = "postgres", feature = "redis"))]
fn delays(backoff: &Backoff) -> impl Iterator<Item = Duration> + use<> {
    backoff.delays()
}

/// Memory does not fail.
#[cfg(not(any(feature = "file", feature = "postgres", feature = "redis")))]
fn delays(_: &Backoff) -> impl Iterator<Item = Duration> + use<> {
    std::iter::empty()
}

enum End {
    /// With the token for the lease after it, if somebody waits for that.
    Returned(Returned, Option<u64>),
    Lost(Loss),
}

/// From the moment it is ours to the moment it is not.
async fn hold(named: &Arc<Named>, hold: Hold) {
    let counts = &named.group.counts;
    let mut granted = named.grant(hold.token(), hold.trusted_until());
    let mut turns = named.group.settings.hand_overs;
    while granted {
        let (Returned { token, reply }, next) = match held(named, &hold, &mut turns).await {
            End::Lost(loss) => {
                named.lose(loss);
                hold.abandon();
                return;
            }
            End::Returned(returned, next) => (returned, next),
        };
        let Some(next) = next.filter(|_| named.wanted_until().is_some()) else {
            give_back(named, hold, token, reply).await;
            return;
        };
        named.released();
        // Whoever stopped waiting for the answer needs none.
        let _ = reply.send(Ok(()));
        granted = named.grant(next, hold.trusted_until());
        counts.hand_overs.fetch_add(u64::from(granted), Ordering::Relaxed);
    }
    // Nobody wanted it any more.
    if let Err(error) = hold.release().await {
        tracing::debug!(lock = %named.name, %error, "a lock was not given back; its lease ends it");
    }
}

async fn give_back(named: &Arc<Named>, hold: Hold, token: u64, reply: Reply) {
    let name = named.name.clone();
    let outcome = match hold.release().await {
        Ok(None) => Ok(()),
        Ok(Some(loss)) => Err(ReleaseError::Lost { name, token, loss }),
        Err(error) => Err(ReleaseError::Unconfirmed { name, cause: Arc::new(error) }),
    };
    let counts = &named.group.counts;
    match &outcome {
        Ok(()) => named.released(),
        Err(_) => drop(counts.lost.fetch_add(1, Ordering::Relaxed)),
    }
    if let Err(Err(error)) = reply.send(outcome) {
        tracing::warn!(group = %named.group.name, %error, "a release in the background");
    }
}

/// Watches over leases that follow each other at once, and has the token for the next one ready while somebody waits; `turns`
/// says how many more may follow.
async fn held(named: &Named, hold: &Hold, turns: &mut u32) -> End {
    // None so far.
    let (watch, fetch) = (hold.watch(named), false.then(|| hold.next_token()));
    pin!(watch, fetch);
    loop {
        if let Some((returned, ready)) = named.take_returned() {
            let wanted = ready.is_none() && named.wanted_until().is_some();
            let next = match fetch.as_mut().as_pin_mut() {
                // On its way already, or asked for now: one trip instead of two.
                Some(next) if wanted => next.await.ok(),
                None if wanted && take_turn(turns) => hold.next_token().await.ok(),
                _ => ready,
            };
            return End::Returned(returned, next);
        }
        if fetch.is_none() && named.wants_next() && take_turn(turns) {
            fetch.set(Some(hold.next_token()));
        }
        let fetched = async {
            match fetch.as_mut().as_pin_mut() {
                Some(next) => next.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            loss = &mut watch => return End::Lost(loss),
            next = fetched => {
                fetch.set(None);
                match next {
                    Ok(next) => named.prepare(next, hold.trusted_until()),
                    // It goes back to the store, which has the word then.
                    Err(_) => *turns = 0,
                }
            }
            () = named.changed() => {}
        }
    }
}

fn take_turn(turns: &mut u32) -> bool {
    let left = turns.checked_sub(1);
    *turns = left.unwrap_or(0);
    left.is_some()
}
