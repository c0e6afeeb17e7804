//! A gate lets a call in, lets it wait, or refuses it and says when to come back.
//!
//! What a lane, a chain or a service asks before it begins something. The gates of this crate are the
//! [`Semaphore`](crate::Semaphore), the [`Bulkhead`](crate::Bulkhead), the [`Pace`](crate::Pace) and the
//! [`Breaker`](crate::Breaker); others can be written, as an adapter to a shared quota would be.

use std::future::Future;

use crate::manners::{CallError, CallOutcome, Faults, Judge, Manner, Refusal};

pub mod breaker;
pub mod bulkhead;
pub mod pace;
pub mod semaphore;

/// Lets calls in or refuses them.
///
/// ```
/// use trimtab_scheduler::{Gate, Semaphore};
///
/// let gate = Semaphore::new("exports", 1)?;
/// let permit = gate.try_enter().unwrap();
/// assert!(gate.try_enter().is_err());
/// drop(permit);
/// assert!(gate.try_enter().is_ok());
/// # Ok::<(), trimtab_scheduler::SetupError>(())
/// ```
pub trait Gate: Send + Sync {
    /// Stands for one call inside; dropping it lets the next one in.
    type Permit<'a>: Pass
    where
        Self: 'a;

    /// Waits to be let in, for as long as the gate allows.
    ///
    /// # Errors
    ///
    /// The refusal.
    ///
    /// # Cancel safety
    ///
    /// A caller who leaves gives up its place and holds nothing.
    fn enter(&self) -> impl Future<Output = Result<Self::Permit<'_>, Refusal>> + Send;

    /// Is let in now, or refused.
    ///
    /// # Errors
    ///
    /// The refusal.
    fn try_enter(&self) -> Result<Self::Permit<'_>, Refusal>;
}

/// A permit that may be told how its call went.
pub trait Pass: Send {
    /// Ends the call. A permit that is dropped instead tells that its call was dropped.
    fn settle(self, outcome: CallOutcome);
}

/// Any [`Gate`] as a [`Manner`]; see [`Chain::gate`](crate::Chain::gate).
#[derive(Debug, Clone, Copy)]
pub struct Gated<G, J = Faults> {
    gate: G,
    judge: J,
}

impl<G> Gated<G> {
    /// Every error but a refusal counts as a failure.
    pub fn new(gate: G) -> Self {
        Self { gate, judge: Faults }
    }
}

impl<G, J> Gated<G, J> {
    /// The same gate, told by this judge how calls went.
    pub fn judged<K>(self, judge: K) -> Gated<G, K> {
        Gated { gate: self.gate, judge }
    }

    /// The gate.
    pub fn gate(&self) -> &G {
        &self.gate
    }
}

impl<T: Send, E: Send, G: Gate, J: Judge<T, E>> Manner<T, E> for Gated<G, J> {
    async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Fn() -> Fut + Copy + Send + Sync,
        Fut: Future<Output = Result<T, CallError<E>>> + Send,
    {
        through(&self.gate, &self.judge, call).await
    }
}

/// Makes the call behind the gate.
#[inline]
async fn through<T, E, G, J, F, Fut>(gate: &G, judge: &J, call: F) -> Result<T, CallError<E>>
where
    G: Gate,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, CallError<E>>>,
{
    let permit = gate.enter().await?;
    let result = call().await;
    permit.settle(judge.judge(&result));
    result
}

/// The gates of this crate are manners as they are.
macro_rules! gates_are_manners {
    ($($gate:ty),*) => {$(
        impl<T: Send, E: Send> Manner<T, E> for $gate {
            async fn around<F, Fut>(&self, call: F) -> Result<T, CallError<E>>
            where
                F: Fn() -> Fut + Copy + Send + Sync,
                Fut: Future<Output = Result<T, CallError<E>>> + Send,
            {
                through(self, &Faults, call).await
            }
        }
    )*};
}
gates_are_manners!(semaphore::Semaphore, bulkhead::Bulkhead, pace::Pace, breaker::Breaker);

/// `call` for a gate that is used alone.
macro_rules! call_alone {
    () => {
        /// Makes the call behind this gate.
        ///
        /// # Errors
        ///
        /// [`CallError::Failed`](crate::CallError::Failed) with the error of the call, or
        /// [`CallError::Refused`](crate::CallError::Refused).
        ///
        /// # Cancel safety
        ///
        /// When the future is dropped the call is dropped, and its permit comes back.
        #[inline]
        pub async fn call<T, E>(
            &self,
            call: impl std::future::Future<Output = Result<T, E>>,
        ) -> Result<T, crate::manners::CallError<E>> {
            let permit = crate::gate::Gate::enter(self).await?;
            let result = call.await;
            let outcome = if result.is_ok() {
                crate::manners::CallOutcome::Success
            } else {
                crate::manners::CallOutcome::Failure
            };
            crate::gate::Pass::settle(permit, outcome);
            result.map_err(crate::manners::CallError::Failed)
        }
    };
}
pub(crate) use call_alone;
