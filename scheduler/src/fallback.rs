//! The fallback: something else where a call gave nothing.
//!
//! A value from a cache, a default, another far side; or the error again, for those errors that nothing can stand in for.

use std::future::Future;

use crate::manners::{CallError, Manner};

/// Answers failed calls with what a closure gives.
///
/// The closure gets the error and may give it back.
///
/// ```
/// use trimtab_scheduler::{CallError, Chain, Fallback};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let chain = Chain::new().with(Fallback::new(async |error: CallError<u16>| match error {
///     CallError::Failed(404) => Err(error),
///     _ => Ok(vec!["the usual"]),
/// }));
/// assert_eq!(chain.call(|| async { Err(503) }).await, Ok(vec!["the usual"]));
/// assert_eq!(chain.call(|| async { Err(404) }).await, Err(CallError::Failed(404)));
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fallback<F> {
    instead: F,
}

impl<F> Fallback<F> {
    /// Answers with this instead.
    pub fn new(instead: F) -> Self {
        Self { instead }
    }
}

impl<T, E, G, Instead> Manner<T, E> for Fallback<G>
where
    T: Send,
    E: Send,
    G: Fn(CallError<E>) -> Instead + Send + Sync,
    Instead: Future<Output = Result<T, CallError<E>>> + Send,
{
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        match call().await {
            Ok(value) => Ok(value),
            Err(error) => (self.instead)(error).await,
        }
    }
}
