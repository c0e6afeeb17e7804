//! What all manners share: how they stand around a call, and in what words they refuse.
//!
//! A [`Manner`] gets a call that it may begin, delay, repeat, cut short or refuse. [`Chain`](crate::Chain) puts one around
//! another. Everything is generic, so that a chain is one future: nothing is boxed, nothing is allocated, and the compiler
//! sees through it (tower's `Service` needs a named or boxed future for each layer).

pub mod config;
pub mod error;
pub mod metrics;

pub(crate) mod clock;
pub(crate) mod pad;
pub(crate) mod random;
pub(crate) mod stripes;

use std::future::Future;

pub use error::{CallError, Reason, Refusal, SetupError, TimedOut};

/// What stands around a call that gives `T` or fails with `E`.
///
/// Write one to put something of your own into a [`Chain`](crate::Chain):
///
/// ```
/// use trimtab_scheduler::{CallError, Chain, Manner};
///
/// /// Calls twice, whatever the first call says.
/// struct Twice;
///
/// impl<T: Send, E: Send> Manner<T, E> for Twice {
///     async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
///     where
///         F: Fn() -> Fut + Copy + Send + Sync,
///         Fut: Future<Output = Result<T, CallError<E>>> + Send,
///     {
///         let _ = call().await;
///         call().await
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let count = std::sync::atomic::AtomicU32::new(0);
/// let add = || async { Ok::<_, CallError<()>>(count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) };
/// assert_eq!(Chain::new().with(Twice).around(&add).await, Ok(1));
/// # });
/// ```
///
/// # Cancel safety
///
/// The future may be dropped at any await. Whatever it holds by then must be given back by destructors.
pub trait Manner<T: Send, E: Send>: Send + Sync {
    /// Makes the call, or does not.
    ///
    /// # Errors
    ///
    /// What the call said, or what this manner says instead.
    fn around<F, Fut>(&self, call: F) -> impl Future<Output = Result<T, CallError<E>>> + Send
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send;

    /// Makes a call that knows nothing of manners.
    ///
    /// # Errors
    ///
    /// What the call said, as [`CallError::Failed`], or what this manner says instead.
    #[inline]
    fn call<F, Fut>(&self, call: F) -> impl Future<Output = Result<T, CallError<E>>> + Send
    where
        F: Fn() -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        async move {
            let lifted = || {
                let call = call();
                async move { call.await.map_err(CallError::Failed) }
            };
            self.around(&lifted).await
        }
    }
}

/// `None` stands for nothing: a manner that settings have switched off.
impl<T: Send, E: Send, M: Manner<T, E>> Manner<T, E> for Option<M> {
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        match self {
            Some(manner) => manner.around(call).await,
            None => call().await,
        }
    }
}

/// How a call went, for those who learn from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// It worked.
    Success,
    /// It failed, and the far side is to blame.
    Failure,
    /// It says nothing about the far side: it never began, or the caller was to blame.
    Ignored,
}

/// Says how a call went, for a breaker, a balancer or whoever asks.
///
/// [`Faults`] is the default. A closure `Fn(&Result<T, CallError<E>>) -> CallOutcome` is one too.
pub trait Judge<T, E>: Send + Sync {
    /// How it went.
    fn judge(&self, result: &Result<T, CallError<E>>) -> CallOutcome;
}

/// Every error is a failure, except refusals: they come from a manner further inside, not from the far side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults;

impl<T, E> Judge<T, E> for Faults {
    fn judge(&self, result: &Result<T, CallError<E>>) -> CallOutcome {
        match result {
            Ok(_) => CallOutcome::Success,
            Err(CallError::Refused(_)) => CallOutcome::Ignored,
            Err(CallError::Failed(_) | CallError::TimedOut(_)) => CallOutcome::Failure,
        }
    }
}

impl<T, E, F: Fn(&Result<T, CallError<E>>) -> CallOutcome + Send + Sync> Judge<T, E> for F {
    fn judge(&self, result: &Result<T, CallError<E>>) -> CallOutcome {
        self(result)
    }
}
