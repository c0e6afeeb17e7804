//! A tower layer that gives each HTTP request a scope.
//!
//! Handlers find a [`RequestScope`] among the request's extensions. The arena is shared by everything that holds it and is
//! emptied when the last one is gone, usually with the request.
//!
//! With the feature `account`, and its allocator installed, each request also has an account of what it allocated, poll by
//! poll, so that what others do in between is not charged to it. The sum is published when the request ends, however it ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bumpalo::Bump;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

#[cfg(feature = "account")]
use crate::account::{Account, Allocated};
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
    bills: Bills,
}

impl ScopeLayer {
    /// A layer whose arenas come from `scopes`.
    pub fn new(scopes: Scopes) -> Self {
        Self { bills: Bills::new(&scopes), scopes }
    }
}

impl<S> Layer<S> for ScopeLayer {
    type Service = ScopeService<S>;

    fn layer(&self, inner: S) -> ScopeService<S> {
        ScopeService { inner, scopes: self.scopes.clone(), bills: self.bills.clone() }
    }
}

/// The service of a [`ScopeLayer`].
#[derive(Debug, Clone)]
pub struct ScopeService<S> {
    inner: S,
    scopes: Scopes,
    bills: Bills,
}

impl<S, B> Service<http::Request<B>> for ScopeService<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ScopeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let scope = RequestScope::enter(&self.scopes);
        request.extensions_mut().insert(scope.clone());
        let bill = Bill::new(scope, &self.bills);
        ScopeFuture { inner: bill.charge(|| self.inner.call(request)), bill }
    }
}

pin_project! {
    /// The answer of a [`ScopeService`].
    #[derive(Debug)]
    pub struct ScopeFuture<F> {
        #[pin]
        inner: F,
        bill: Bill,
    }
}

impl<F: Future> Future for ScopeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.bill.charge(|| this.inner.poll(cx))
    }
}

/// The arena of one request. Clones share it.
#[derive(Clone)]
pub struct RequestScope {
    shared: Arc<Shared>,
}

struct Shared {
    scope: Mutex<Scope>,
    #[cfg(feature = "account")]
    spent: Mutex<Allocated>,
}

impl RequestScope {
    fn enter(scopes: &Scopes) -> Self {
        let shared = Shared {
            scope: Mutex::new(scopes.enter()),
            #[cfg(feature = "account")]
            spent: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets `work` allocate in the arena. What it allocates stays there until the scope ends, and cannot leave `work`.
    pub fn with<R>(&self, work: impl FnOnce(&Bump) -> R) -> R {
        work(&self.shared.scope.lock())
    }

    /// Bytes that the arena has from the allocator.
    pub fn allocated(&self) -> usize {
        self.shared.scope.lock().allocated()
    }

    /// What the request asked of the allocator up to the last time it waited, in this service and those inside of it. All
    /// zero without the [`CountingAllocator`](crate::account::CountingAllocator).
    #[cfg(feature = "account")]
    pub fn account(&self) -> Allocated {
        *self.shared.spent.lock()
    }
}

impl fmt::Debug for RequestScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScope").field("allocated", &self.allocated()).finish()
    }
}

#[cfg(feature = "account")]
use with_account::{Bill, Bills};
#[cfg(not(feature = "account"))]
use without_account::{Bill, Bills};

#[cfg(feature = "account")]
mod with_account {
    use std::sync::OnceLock;

    use super::{Account, Arc, RequestScope, Scopes};
    use crate::metrics::request_bytes;

    /// Where the bills of all requests go; the handle is resolved when the first one ends.
    #[derive(Debug, Clone)]
    pub(super) struct Bills {
        scopes: Scopes,
        bytes: Arc<OnceLock<metrics::Histogram>>,
    }

    impl Bills {
        pub(super) fn new(scopes: &Scopes) -> Self {
            Self { scopes: scopes.clone(), bytes: Arc::default() }
        }
    }

    /// What one request spends; handed in when it is dropped, also for a request whose caller went away.
    #[derive(Debug)]
    pub(super) struct Bill {
        scope: RequestScope,
        bills: Bills,
    }

    impl Bill {
        pub(super) fn new(scope: RequestScope, bills: &Bills) -> Self {
            Self { scope, bills: bills.clone() }
        }

        pub(super) fn charge<R>(&self, work: impl FnOnce() -> R) -> R {
            let account = Account::open();
            let answer = work();
            let mut spent = self.scope.shared.spent.lock();
            *spent = spent.plus(account.so_far());
            answer
        }
    }

    impl Drop for Bill {
        fn drop(&mut self) {
            let spent = self.scope.account();
            // Nobody allocates nothing: the allocator is not installed.
            if spent.count > 0 {
                let bytes = self.bills.bytes.get_or_init(|| request_bytes(self.bills.scopes.pool().name()));
                bytes.record(spent.bytes as f64);
            }
        }
    }
}

#[cfg(not(feature = "account"))]
mod without_account {
    use super::{RequestScope, Scopes};

    /// No bills.
    #[derive(Debug, Clone)]
    pub(super) struct Bills;

    impl Bills {
        pub(super) fn new(_: &Scopes) -> Self {
            Self
        }
    }

    /// No bill.
    #[derive(Debug)]
    pub(super) struct Bill;

    impl Bill {
        pub(super) fn new(_: RequestScope, _: &Bills) -> Self {
            Self
        }

        #[allow(clippy::unused_self, reason = "with an account it is used")]
        pub(super) fn charge<R>(&self, work: impl FnOnce() -> R) -> R {
            work()
        }
    }
}
