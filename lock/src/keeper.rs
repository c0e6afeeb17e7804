//! What keeps one name in a store: asks for it, renews it, notices its loss, hands it over and gives it back.
//!
//! ```text
//! loop: while anybody waits
//!     ask the store                    failures: again after a back-off, until all waiters' time is over
//!     grant to the first waiter
//!     until it gives back or the lease is lost: renew; if somebody waits, fetch the next token meanwhile
//!     given back and somebody waits: grant to the next, up to `hand_overs` times in a row    (no trip on the way)
//!     else: give back to the store
//! ```
//!
//! Handing over inside of the process under a token fetched beforehand is what makes local hand-offs cost no round trip. The
//! token was drawn while the lock was held, so whoever takes the lock in the store later gets a higher one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::pin;
use tokio::sync::Notify;
use trimtab_config::Backoff;

use crate::error::{Loss, ReleaseError, StoreError};
use crate::named::{Keeper, Named, Reply};
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
    Returned(Reply),
    Lost(Loss),
}

/// From the moment it is ours to the moment it is not.
async fn hold(named: &Arc<Named>, hold: Hold) {
    let counts = &named.group.counts;
    let mut token = hold.token();
    let mut granted = named.grant(token, hold.trusted_until());
    let mut turns = 0;
    while granted {
        let (end, spare) = held(named, &hold, token, turns < named.group.settings.hand_overs).await;
        let reply = match end {
            End::Lost(loss) => {
                named.lose(token, loss);
                hold.abandon();
                return;
            }
            End::Returned(reply) => reply,
        };
        let Some(next) = spare.filter(|_| named.wanted_until().is_some()) else {
            give_back(named, hold, token, reply).await;
            return;
        };
        named.released();
        // Whoever stopped waiting for the answer needs none.
        let _ = reply.send(Ok(()));
        turns += 1;
        token = next;
        granted = named.grant(token, hold.trusted_until());
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

/// Watches over one lease; with the token of the next one, if somebody waits for it.
async fn held(named: &Named, hold: &Hold, token: u64, may_hand_over: bool) -> (End, Option<u64>) {
    let wanted = || may_hand_over && named.wanted_until().is_some();
    let watch = hold.watch(named, token);
    let start = Notify::new();
    let fetch = async {
        start.notified().await;
        hold.next_token().await
    };
    pin!(watch, fetch);
    let mut next: Option<Result<u64, StoreError>> = None;
    let end = loop {
        if let Some(reply) = named.take_returned() {
            break End::Returned(reply);
        }
        if wanted() {
            start.notify_one();
        }
        tokio::select! {
            biased;
            loss = &mut watch => break End::Lost(loss),
            fetched = &mut fetch, if next.is_none() => next = Some(fetched),
            () = named.changed() => {}
        }
    };
    if next.is_none() && matches!(end, End::Returned(_)) && wanted() {
        // On its way already, or asked for now: one trip instead of two.
        start.notify_one();
        next = Some(fetch.await);
    }
    (end, next.and_then(Result::ok))
}
