//! Chains as a tower layer: what stands around a call stands around a service.
//!
//! A request may be made several times (retries, hedges), so it must be cloneable, as must the service, which each try clones,
//! as tower's own retry does. Readiness is asked for inside of the chain, try by try: a permit is then never held by a clone
//! that was polled ready and forgotten. The future is boxed, once a request, since a service must name it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::chain::Chain;
use crate::manners::{CallError, Manner};

/// Puts a chain around a service.
///
/// ```
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
/// use trimtab_scheduler::layer::ChainLayer;
/// use trimtab_scheduler::{Breaker, CallError, Chain, Retry, RetrySettings};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let chain = Chain::new().retry(Retry::new("far", RetrySettings::default())?).breaker(Breaker::new("far")?);
/// let mut service = ServiceBuilder::new()
///     .layer(ChainLayer::new(chain))
///     .service(service_fn(|n: u32| async move { if n > 0 { Ok(n * 2) } else { Err(std::io::Error::other("nothing to double")) } }));
/// assert_eq!(service.ready().await?.call(4).await?, 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ChainLayer<M> {
    chain: Chain<M>,
}

impl<M> ChainLayer<M> {
    /// A layer of this chain; all services that it is put around share it.
    pub fn new(chain: Chain<M>) -> Self {
        Self { chain }
    }
}

impl<S, M: Clone> Layer<S> for ChainLayer<M> {
    type Service = ChainService<S, M>;

    fn layer(&self, service: S) -> Self::Service {
        ChainService { service, chain: self.chain.clone() }
    }
}

/// A service with a chain around it.
#[derive(Debug, Clone)]
pub struct ChainService<S, M> {
    service: S,
    chain: Chain<M>,
}

impl<S, M, R> Service<R> for ChainService<S, M>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Clone + Send + 'static,
    M: Manner<S::Response, S::Error> + Clone + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, CallError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let chain = self.chain.clone();
        // Tries begin one after another, and a service need not be `Sync`.
        let pattern = Mutex::new((self.service.clone(), request));
        Box::pin(async move {
            chain
                .call(|| {
                    let (mut service, request) = pattern.lock().clone();
                    async move {
                        poll_fn(|context| service.poll_ready(context)).await?;
                        service.call(request).await
                    }
                })
                .await
        })
    }
}
