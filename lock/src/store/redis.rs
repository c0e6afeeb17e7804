//! Locks over Redis: one script takes a lock or joins its queue, and a release hands it to the head of the queue.
//!
//! A waiter is woken alone, by an element pushed to a list that only it blocks on, and it holds the lock already when it wakes.
//! Its entry in the queue counts only while its sign of life does: who died in the queue is passed over, and a head that dies
//! in the moment it is served keeps the lock no longer than that sign. A holder that dies frees the lock with its lease; the
//! waiters look by themselves when that is due.
//!
//! The server's own time limits rule there, the monotonic clock here: a lease is trusted for its length after the question was
//! *sent* that renewed it. Tokens are the server's time in microseconds or one more than the last token, whichever is higher: a
//! server that comes back without its data goes on above what it gave out before, and one whose clock was set back as well is
//! refused by those who remember a higher token.
//!
//! One server, or a primary with replicas, where a failover may lose the newest locks: the token is what protects then. There
//! is no agreement among several servers here (Redlock); docs/what-a-lock-can-promise.md says why.

mod link;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::ScriptInvocation;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use trimtab_config::Backoff;

use self::link::Link;
use self::scripts::{Claimed, Scripts, Took};
use super::tokens::Tokens;
use crate::config::LockSettings;
use crate::error::{Loss, StoreError};
use crate::named::Named;

/// How long a waiter counts as alive after it was last heard of.
const ALIVE: Duration = Duration::from_secs(3);
/// A waiter looks at the server at least this often.
const SLICE: Duration = Duration::from_secs(1);

/// A Redis server.
pub(crate) struct Redis {
    shared: Arc<Shared>,
    backoff: Backoff,
    permits: Semaphore,
    /// Makes owners unique: chance for the process, a number for the question.
    process: u64,
    questions: AtomicU64,
    unwoken: Mutex<Vec<Link>>,
}

/// What holds need as well.
struct Shared {
    link: Link,
    scripts: Scripts,
    tokens: Tokens,
    lease: Duration,
    timeout: Duration,
    trips: AtomicU64,
}

/// A lock of this process.
pub(crate) struct RedisHold {
    shared: Arc<Shared>,
    name: Arc<str>,
    owner: String,
    room: i64,
    token: u64,
    trusted_until: Mutex<Instant>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("lease", &self.shared.lease).finish_non_exhaustive()
    }
}

impl Redis {
    pub(crate) async fn connect(url: &str, settings: &LockSettings) -> Result<Self, StoreError> {
        let timeout = settings.timeout.get();
        let shared = Shared {
            link: Link::new(url, timeout)?,
            scripts: Scripts::new(),
            tokens: Tokens::default(),
            lease: settings.lease.get(),
            timeout,
            trips: AtomicU64::new(0),
        };
        shared.link.connect().await?;
        Ok(Self {
            shared: Arc::new(shared),
            backoff: settings.backoff.clone(),
            permits: Semaphore::new(settings.sessions_max as usize),
            process: link::chance(),
            questions: AtomicU64::new(0),
            unwoken: Mutex::default(),
        })
    }

    pub(crate) fn trips(&self) -> u64 {
        self.shared.trips.load(Ordering::Relaxed)
    }

    pub(crate) async fn force(&self, name: &str, counted: bool) -> Result<usize, StoreError> {
        let name = Claimed { name, owner: "", room: i64::from(counted) };
        self.shared.run(&self.shared.scripts.force(&name)).await
    }

    pub(crate) async fn take(&self, named: &Arc<Named>) -> Result<Option<RedisHold>, StoreError> {
        let number = self.questions.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{:016x}:{number}", self.process);
        // Whatever happens on the way, a question that was asked is taken back unless it ends in a hold.
        let name = Claimed { name: &named.name, owner: &owner, room: named.mode.room() };
        let mut claim = Claim { shared: &self.shared, name, open: false };
        let taken = self.ask(named, &owner, &mut claim).await;
        if matches!(taken, Ok(Some(_))) || claim.take_back().await.is_ok() {
            return taken;
        }
        // The server forgets it by itself, by the sign of life or the lease.
        taken
    }

    async fn ask(
        &self,
        named: &Arc<Named>,
        owner: &str,
        claim: &mut Claim<'_>,
    ) -> Result<Option<RedisHold>, StoreError> {
        let permit = self.permits.try_acquire();
        let mut delays = self.backoff.delays();
        let mut bell: Option<Link> = None;
        let list = scripts::wake(owner);
        loop {
            let Some(until) = named.wanted_until() else { return Ok(None) };
            let (sent, before) = (Instant::now(), self.shared.tokens.before());
            let waits = until > sent && permit.is_ok();
            claim.open = true;
            let left = match self.shared.take(&claim.name, waits).await? {
                Took::Granted { token, alive_only } => {
                    let hold = self.held(named, owner, token, before, sent, alive_only)?;
                    self.keep(bell);
                    return Ok(Some(hold));
                }
                Took::Busy { left } => left,
            };
            let until = match named.wanted_until() {
                Some(until) if until > Instant::now() => until,
                _ => {
                    self.keep(bell);
                    return Ok(None);
                }
            };
            if !waits {
                // No connection is left to be woken on.
                let delay = delays.next().unwrap_or(self.backoff.max.get());
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = named.unwanted() => return Ok(None),
                }
                continue;
            }
            let due = left + Duration::from_millis(1);
            let slice = SLICE.min(self.shared.lease / 4).min(due);
            let slice = slice.min(until.saturating_duration_since(Instant::now())).max(Duration::from_millis(1));
            let link = bell.take().unwrap_or_else(|| self.bell());
            self.shared.trips.fetch_add(1, Ordering::Relaxed);
            let woken = tokio::select! {
                biased;
                woken = link.await_element(&list, slice, self.shared.timeout) => woken,
                // The connection goes with the question that it still waits in.
                () = named.unwanted() => return Ok(None),
                // A server with nothing to do looks at the end of waits ten times a second only. A lease that ends is worth a new
                // connection to look at in time; what this one still brings, the script answers again.
                () = tokio::time::sleep(due), if slice == due => continue,
            };
            match woken {
                Ok(Some(token)) => {
                    let hold = self.held(named, owner, token, before, sent, true)?;
                    self.keep(Some(link));
                    return Ok(Some(hold));
                }
                Ok(None) => bell = Some(link),
                // A connection that ended may have swallowed the element; the script answers the same again.
                Err(error) => tracing::debug!(%error, "a connection that waited for a lock ended"),
            }
        }
    }

    fn held(
        &self,
        named: &Named,
        owner: &str,
        token: u64,
        before: u64,
        sent: Instant,
        alive_only: bool,
    ) -> Result<RedisHold, StoreError> {
        let shared = self.shared.clone();
        let length = if alive_only { shared.lease.min(ALIVE) } else { shared.lease };
        let token = shared.tokens.accept(token, before)?;
        let trusted_until = Mutex::new(trusted(sent, length));
        let (name, room) = (named.name.clone(), named.mode.room());
        Ok(RedisHold { shared, name, owner: owner.to_owned(), room, token, trusted_until })
    }

    /// A connection to be woken on.
    fn bell(&self) -> Link {
        let kept = self.unwoken.lock().pop();
        kept.unwrap_or_else(|| self.shared.link.another())
    }

    fn keep(&self, bell: Option<Link>) {
        let mut unwoken = self.unwoken.lock();
        if let Some(link) = bell
            && unwoken.len() < 4
        {
            unwoken.push(link);
        }
    }
}

/// A question that may have left something at the server.
struct Claim<'a> {
    shared: &'a Arc<Shared>,
    name: Claimed<'a>,
    open: bool,
}

impl Claim<'_> {
    async fn take_back(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.open) {
            self.shared.leave(&self.name).await?;
        }
        Ok(())
    }
}

impl Shared {
    async fn run<T: redis::FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.link.run(invocation, self.timeout.min(self.lease)).await
    }

    async fn take(&self, name: &Claimed<'_>, waits: bool) -> Result<Took, StoreError> {
        let answer = self.run(&self.scripts.take(name, self.lease, waits.then_some(ALIVE))).await?;
        scripts::took(answer)
    }

    async fn leave(&self, name: &Claimed<'_>) -> Result<(), StoreError> {
        self.run::<i64>(&self.scripts.leave(name)).await.map(drop)
    }
}

impl RedisHold {
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn trusted_until(&self) -> Instant {
        *self.trusted_until.lock()
    }

    pub(crate) async fn watch(&self, named: &Named) -> Loss {
        // What is left of the trusted 57 of 60 parts when a third of the lease has gone by.
        let due = self.shared.lease * 37 / 60;
        loop {
            let until = self.trusted_until();
            if !named.trust(until) {
                return Loss::Expired;
            }
            let left = until.saturating_duration_since(Instant::now());
            // Sooner under the short lease that a hand-over starts with.
            tokio::time::sleep(left.checked_sub(due).unwrap_or(left / 3)).await;
            loop {
                let sent = Instant::now();
                let renew = self.shared.scripts.renew(&self.asks(), self.shared.lease);
                let renewed = tokio::select! {
                    biased;
                    renewed = self.shared.run::<i64>(&renew) => renewed,
                    () = tokio::time::sleep_until(until) => return Loss::Expired,
                };
                match renewed {
                    Ok(0) => return Loss::Gone,
                    Ok(-1) => return Loss::Forced,
                    Ok(_) => {
                        self.extend(sent);
                        break;
                    }
                    // It may come back in time: tried again until our own clock says no.
                    Err(error) => tracing::debug!(lock = %self.name, %error, "a lease was not renewed yet"),
                }
                if Instant::now() > until {
                    return Loss::Expired;
                }
                tokio::time::sleep(self.shared.lease / 20).await;
            }
        }
    }

    fn extend(&self, sent: Instant) {
        let mut until = self.trusted_until.lock();
        *until = trusted(sent, self.shared.lease).max(*until);
    }

    pub(crate) async fn next_token(&self) -> Result<u64, StoreError> {
        let (sent, before) = (Instant::now(), self.shared.tokens.before());
        let invocation = self.shared.scripts.token(&self.asks(), self.shared.lease);
        let token: Option<String> = self.shared.run(&invocation).await?;
        let token = token.and_then(|token| token.parse().ok());
        let token = token.ok_or_else(|| StoreError::plain("the server no longer knows this lease"))?;
        self.extend(sent);
        self.shared.tokens.accept(token, before)
    }

    pub(crate) async fn release(self) -> Result<Option<Loss>, StoreError> {
        Ok(match self.shared.run::<i64>(&self.shared.scripts.release(&self.asks())).await? {
            1 => None,
            -1 => Some(Loss::Forced),
            _ => Some(Loss::Gone),
        })
    }

    fn asks(&self) -> Claimed<'_> {
        Claimed { name: &self.name, owner: &self.owner, room: self.room }
    }
}

/// The holder's side of the lease: a little less than the server's, for clocks that do not run alike.
fn trusted(sent: Instant, length: Duration) -> Instant {
    sent + length - length / 20
}
