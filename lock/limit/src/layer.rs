//! A tower layer that limits HTTP requests by a key, and tells callers in the standard headers how they stand.
//!
//! Every answer carries `RateLimit-Policy` and `RateLimit` (the IETF's draft-ietf-httpapi-ratelimit-headers, version 10:
//! structured fields); a refusal is `429 Too Many Requests` with `Retry-After` (RFC 9110, section 10.2.3) in whole seconds,
//! rounded up. A request without a key passes: who must not, gets one from the function that chooses.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::clock::Clock;
use http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::DefaultClock;
use crate::decision::Allowed;
use crate::error::LimitError;
use crate::local::KeyedLimit;
use crate::rule::Terms;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Limits requests by what `key` says of them.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use trimtab_limit::KeyedLimit;
/// use trimtab_limit::layer::LimitLayer;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let limit = KeyedLimit::new("api", "1/m burst 1".parse().unwrap()).unwrap();
/// let by_token = |head: &http::HeaderMap| head.get("x-token")?.to_str().ok().map(str::to_owned);
/// let service = ServiceBuilder::new().layer(LimitLayer::new(limit, by_token)).service(service_fn(
///     |_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(String::new())) },
/// ));
/// let ask = || Request::builder().header("x-token", "ada").body(()).unwrap();
/// let first = service.clone().oneshot(ask()).await.unwrap();
/// assert_eq!((first.status(), &first.headers()["ratelimit"]), (StatusCode::OK, &"\"api\";r=0;t=60".parse().unwrap()));
/// let second = service.oneshot(ask()).await.unwrap();
/// assert_eq!((second.status(), &second.headers()["retry-after"]), (StatusCode::TOO_MANY_REQUESTS, &"60".parse().unwrap()));
/// # });
/// ```
pub struct LimitLayer<K: Hash + Eq + Clone, F, C: Clock = DefaultClock> {
    limit: KeyedLimit<K, C>,
    key: F,
    /// The header, and the terms that it speaks of.
    policy: Arc<Mutex<(Terms, HeaderValue)>>,
}

impl<K, F, C> LimitLayer<K, F, C>
where
    K: Hash + Eq + Clone,
    F: Fn(&HeaderMap) -> Option<K>,
    C: Clock,
{
    /// A layer before which `limit` stands; `key` reads the headers of a request.
    pub fn new(limit: KeyedLimit<K, C>, key: F) -> Self {
        let terms = limit.terms();
        let policy = Arc::new(Mutex::new((terms, policy(limit.name(), terms))));
        Self { limit, key, policy }
    }

    /// The header of the rate in force, which may have been changed.
    fn policy(&self) -> HeaderValue {
        let terms = self.limit.terms();
        let mut known = self.policy.lock();
        if known.0 != terms {
            *known = (terms, policy(self.limit.name(), terms));
        }
        known.1.clone()
    }
}

/// `"api";q=100;w=60`: the quota and the window in seconds in which the whole of it comes back.
fn policy(name: &str, terms: Terms) -> HeaderValue {
    let window = Duration::from_nanos(terms.whole);
    value(&format!("\"{name}\";q={};w={}", terms.burst(), seconds(window).max(1)))
}

fn state(name: &str, remaining: u32, reset: Duration) -> HeaderValue {
    value(&format!("\"{name}\";r={remaining};t={}", seconds(reset)))
}

/// Names are a few plain letters and the rest are digits: always a header's value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Rounded up: who comes that much later is not early.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

impl<K: Hash + Eq + Clone, F: Clone, C: Clock> Clone for LimitLayer<K, F, C> {
    fn clone(&self) -> Self {
        Self { limit: self.limit.clone(), key: self.key.clone(), policy: self.policy.clone() }
    }
}

impl<K: Hash + Eq + Clone, F, C: Clock> fmt::Debug for LimitLayer<K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S, K: Hash + Eq + Clone, F: Clone, C: Clock> Layer<S> for LimitLayer<K, F, C> {
    type Service = LimitService<S, K, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitService { inner, layer: self.clone() }
    }
}

/// The service of a [`LimitLayer`].
pub struct LimitService<S, K: Hash + Eq + Clone, F, C: Clock = DefaultClock> {
    inner: S,
    layer: LimitLayer<K, F, C>,
}

impl<S: Clone, K: Hash + Eq + Clone, F: Clone, C: Clock> Clone for LimitService<S, K, F, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, K: Hash + Eq + Clone, F, C: Clock> fmt::Debug for LimitService<S, K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitService").field("limit", &self.layer.limit).finish_non_exhaustive()
    }
}

impl<S, K, F, C, A, B> Service<Request<A>> for LimitService<S, K, F, C>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Default + Send + 'static,
    K: Hash + Eq + Clone,
    F: Fn(&HeaderMap) -> Option<K>,
    C: Clock,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let Some(key) = (self.layer.key)(request.headers()) else { return Box::pin(self.inner.call(request)) };
        let policy = self.layer.policy();
        let name = self.layer.limit.name();
        match self.layer.limit.check(&key) {
            Ok(allowed) => {
                let state = told(name, &allowed);
                let answer = self.inner.call(request);
                Box::pin(async move {
                    let mut answer = answer.await?;
                    answer.headers_mut().append(POLICY, policy);
                    answer.headers_mut().append(STATE, state);
                    Ok(answer)
                })
            }
            Err(error) => {
                let mut answer = Response::new(B::default());
                *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                let (wait, left) = match &error {
                    LimitError::Refused { refused, .. } => (refused.retry_after, refused.remaining),
                    // A single request never weighs more than a burst.
                    _ => (Duration::from_secs(1), 0),
                };
                let head = answer.headers_mut();
                head.insert(RETRY_AFTER, HeaderValue::from(seconds(wait).max(1)));
                head.append(POLICY, policy);
                head.append(STATE, state(name, left, wait));
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }
}

fn told(name: &str, allowed: &Allowed) -> HeaderValue {
    state(name, allowed.remaining(), allowed.reset())
}
