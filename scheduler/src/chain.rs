//! The chain: manners around a call, each around the next, in any order.
//!
//! What is named first stands outermost. A useful order, from outside inwards: fallback, retry, time-out of a try, breaker,
//! pace, bulkhead; [`Chain::from_settings`] builds that one. A time-out outside of the retry limits all tries together.
//!
//! The chain is a type that names all its manners, and a call is one future: no box, no allocation, nothing to look up.

use std::future::Future;

use crate::fallback::Fallback;
use crate::gate::breaker::Breaker;
use crate::gate::bulkhead::Bulkhead;
use crate::gate::pace::Pace;
use crate::gate::semaphore::Semaphore;
use crate::gate::{Gate, Gated};
use crate::hedge::Hedge;
use crate::manners::config::{CallSettings, check};
use crate::manners::{CallError, Manner, SetupError};
use crate::retry::Retry;
use crate::timeout::Timeout;

/// Manners around a call. Clones share what the manners share.
///
/// ```
/// use std::time::Duration;
/// use trimtab_scheduler::{Breaker, Bulkhead, Chain, Retry, RetrySettings, Timeout};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let orders = Chain::new()
///     .retry(Retry::new("orders", RetrySettings::default())?)
///     .timeout(Timeout::new("orders", Duration::from_millis(250))?)
///     .breaker(Breaker::new("orders")?)
///     .bulkhead(Bulkhead::new("orders", 32)?);
///
/// let order = orders.call(|| async { Ok::<_, std::io::Error>("one pound of tea") }).await?;
/// assert_eq!(order, "one pound of tea");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain<M = Bare> {
    manner: M,
}

/// Nothing around a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bare;

impl<T: Send, E: Send> Manner<T, E> for Bare {
    #[inline]
    fn around<F, Fut>(&self, call: F) -> impl Future<Output = Result<T, CallError<E>>> + Send
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        call()
    }
}

/// One manner around another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<O, I> {
    outer: O,
    inner: I,
}

impl<T: Send, E: Send, O: Manner<T, E>, I: Manner<T, E>> Manner<T, E> for Around<O, I> {
    #[inline]
    fn around<F, Fut>(&self, call: F) -> impl Future<Output = Result<T, CallError<E>>> + Send
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        let inner = &self.inner;
        self.outer.around(move || inner.around(call))
    }
}

impl Chain {
    /// No manner yet.
    pub const fn new() -> Self {
        Self { manner: Bare }
    }

    /// The manners that settings name, in the order that [`CallSettings`] tells.
    ///
    /// # Errors
    ///
    /// [`SetupError`]: an impossible name, or all problems of the settings.
    pub fn from_settings(name: &str, settings: &CallSettings) -> Result<Standard, SetupError> {
        check("call", name, settings)?;
        let CallSettings { retry, timeout, breaker, pace, bulkhead } = settings;
        let retry = retry.as_ref().map(|settings| Retry::new(name, settings.clone())).transpose()?;
        let timeout = timeout.map(|limit| Timeout::new(name, limit.get())).transpose()?;
        let breaker = breaker.as_ref().map(|settings| Breaker::with_settings(name, settings.clone())).transpose()?;
        let pace = pace.map(|rate| Pace::new(name, rate)).transpose()?;
        let bulkhead = bulkhead.map(|settings| Bulkhead::with_settings(name, settings)).transpose()?;
        Ok(Self::new().with(retry).with(timeout).with(breaker).with(pace).with(bulkhead))
    }
}

/// The chain that settings describe; see [`CallSettings`].
pub type Standard = Chain<Standing<Option<Retry>, Option<Timeout>, Option<Breaker>, Option<Pace>, Option<Bulkhead>>>;

/// Five manners, each around the next.
type Standing<A, B, C, D, E> = Around<Around<Around<Around<Around<Bare, A>, B>, C>, D>, E>;

impl Standard {
    /// Its parts, for their numbers and for the hand on the breaker.
    #[expect(clippy::type_complexity, reason = "five different things, each of which may be absent")]
    pub fn parts(&self) -> (Option<&Retry>, Option<&Timeout>, Option<&Breaker>, Option<&Pace>, Option<&Bulkhead>) {
        let Around { outer, inner: bulkhead } = &self.manner;
        let Around { outer, inner: pace } = outer;
        let Around { outer, inner: breaker } = outer;
        let Around { outer: Around { inner: retry, .. }, inner: timeout } = outer;
        (retry.as_ref(), timeout.as_ref(), breaker.as_ref(), pace.as_ref(), bulkhead.as_ref())
    }

    /// Publishes the numbers of all its parts; call it before each scrape.
    pub fn publish_metrics(&self) {
        let (retry, timeout, breaker, pace, bulkhead) = self.parts();
        if let Some(retry) = retry {
            retry.publish_metrics();
        }
        if let Some(timeout) = timeout {
            timeout.publish_metrics();
        }
        if let Some(breaker) = breaker {
            breaker.publish_metrics();
        }
        if let Some(pace) = pace {
            pace.publish_metrics();
        }
        if let Some(bulkhead) = bulkhead {
            bulkhead.publish_metrics();
        }
    }
}

impl<M> Chain<M> {
    /// Adds a manner inside of those that are there: one of this crate, or your own.
    pub fn with<N>(self, inner: N) -> Chain<Around<M, N>> {
        Chain { manner: Around { outer: self.manner, inner } }
    }

    /// At most so many calls at the same time, the others waiting.
    pub fn limit(self, semaphore: Semaphore) -> Chain<Around<M, Semaphore>> {
        self.with(semaphore)
    }

    /// At most so many calls at the same time, so many waiting, the others refused.
    pub fn bulkhead(self, bulkhead: Bulkhead) -> Chain<Around<M, Bulkhead>> {
        self.with(bulkhead)
    }

    /// So many calls per so long.
    pub fn pace(self, pace: Pace) -> Chain<Around<M, Pace>> {
        self.with(pace)
    }

    /// No calls while the far side is down. With a judge: `.with(breaker.judged(…))`.
    pub fn breaker(self, breaker: Breaker) -> Chain<Around<M, Breaker>> {
        self.with(breaker)
    }

    /// Any gate, such as a quota of your own.
    pub fn gate<G: Gate>(self, gate: G) -> Chain<Around<M, Gated<G>>> {
        self.with(Gated::new(gate))
    }

    /// Failed calls are made again.
    pub fn retry<C>(self, retry: Retry<C>) -> Chain<Around<M, Retry<C>>> {
        self.with(retry)
    }

    /// Calls end in time.
    pub fn timeout(self, timeout: Timeout) -> Chain<Around<M, Timeout>> {
        self.with(timeout)
    }

    /// Slow calls get a second try.
    pub fn hedge(self, hedge: Hedge) -> Chain<Around<M, Hedge>> {
        self.with(hedge)
    }

    /// Failed calls are answered by the closure.
    pub fn fallback<F>(self, instead: F) -> Chain<Around<M, Fallback<F>>> {
        self.with(Fallback::new(instead))
    }

    /// Makes the call. The closure begins it, each time that a manner wants it to begin.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the error of the call, or the manner that refused it or cut it short.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the call is dropped; places, permits and probes come back, and a breaker learns of it.
    ///
    /// # Complexity
    ///
    /// The sum of its manners: nothing is added for the chain.
    #[inline]
    pub async fn call<T, E, F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        M: Manner<T, E>,
        T: Send,
        E: Send,
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        self.manner.call(call).await
    }

    /// Makes a call that speaks of manners itself, such as one with a chain of its own inside.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    #[inline]
    pub async fn around<T, E, F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        M: Manner<T, E>,
        T: Send,
        E: Send,
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        self.manner.around(call).await
    }
}

impl<T: Send, E: Send, M: Manner<T, E>> Manner<T, E> for Chain<M> {
    #[inline]
    fn around<F, Fut>(&self, call: F) -> impl Future<Output = Result<T, CallError<E>>> + Send
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        self.manner.around(call)
    }
}
