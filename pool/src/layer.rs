//! A tower layer that gives each HTTP request a scope.
//!
//! Handlers find a [`RequestScope`] among the request's extensions. The arena is shared by everything that holds it and is
//! emptied when the last one is gone, usually with the request.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bumpalo::Bump;
use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::scope::{Scope, Scopes};

/// Gives each request a scope.
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use trimtab_pool::Scopes;
/// use trimtab_pool::layer::{RequestScope, ScopeLayer};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let scopes = Scopes::new("requests").unwrap();
/// let service = ServiceBuilder::new().layer(ScopeLayer::new(scopes.clone())).service(service_fn(
///     |request: http::Request<()>| async move {
///         let scope = request.extensions().get::<RequestScope>().unwrap();
///         Ok::<_, std::convert::Infallible>(scope.with(|arena| arena.alloc_str("Ada").len()))
///     },
/// ));
/// assert_eq!(service.oneshot(http::Request::new(())).await.unwrap(), 3);
/// assert_eq!(scopes.stats().idle, 1, "back in the pool");
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct ScopeLayer {
    scopes: Scopes,
}

impl ScopeLayer {
    /// A layer whose arenas come from `scopes`.
    pub fn new(scopes: Scopes) -> Self {
        Self { scopes }
    }
}

impl<S> Layer<S> for ScopeLayer {
    type Service = ScopeService<S>;

    fn layer(&self, inner: S) -> ScopeService<S> {
        ScopeService { inner, scopes: self.scopes.clone() }
    }
}

/// The service of a [`ScopeLayer`].
#[derive(Debug, Clone)]
pub struct ScopeService<S> {
    inner: S,
    scopes: Scopes,
}

impl<S, B> Service<http::Request<B>> for ScopeService<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> S::Future {
        let scope = Arc::new(Mutex::new(self.scopes.enter()));
        request.extensions_mut().insert(RequestScope { scope });
        self.inner.call(request)
    }
}

/// The arena of one request. Clones share it.
#[derive(Clone)]
pub struct RequestScope {
    scope: Arc<Mutex<Scope>>,
}

impl RequestScope {
    /// Lets `work` allocate in the arena. What it allocates stays there until the scope ends, and cannot leave `work`.
    pub fn with<R>(&self, work: impl FnOnce(&Bump) -> R) -> R {
        work(&self.scope.lock())
    }

    /// Bytes that the arena has from the allocator.
    pub fn allocated(&self) -> usize {
        self.scope.lock().allocated()
    }
}

impl fmt::Debug for RequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScope").field("allocated", &self.allocated()).finish()
    }
}
