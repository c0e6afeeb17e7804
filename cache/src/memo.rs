//! Cached functions: the result of a call, kept under a key made from its arguments.
//!
//! A [`Memo`] joins a cache with the rules for one function: what is worth keeping, for how long, under which tags. Calls
//! with the same key at the same time run the function once, and all of them get its result, also one that
//! is not kept, such as an error.

use std::borrow::Borrow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, DefaultHasher};
use crate::load::{Keep, unwrap_infallible};
use crate::tags::{self, Tags};
use crate::terms::Terms;

type Judge<R> = Arc<dyn Fn(&R) -> Keep + Send + Sync>;
type Tagger<K> = Arc<dyn Fn(&K) -> Tags + Send + Sync>;

/// A cache for the results of one function.
///
/// ```
/// use std::time::Duration;
/// use trimtab_cache::{Cache, Memo};
///
/// let ports = Memo::new(Cache::<String, Result<u16, String>>::new(100)).ttl(Duration::from_secs(300)).only_ok();
/// let port = |name: &str| {
///     ports.call(name.to_string(), || match name {
///         "http" => Ok(80),
///         _ => Err(format!("no service {name}")),
///     })
/// };
/// assert_eq!(port("http"), Ok(80));
/// assert_eq!(port("gopher"), Err("no service gopher".to_string()));
/// assert_eq!(ports.cache().len(), 1, "the error is not kept");
/// ```
pub struct Memo<K, R, S = DefaultHasher> {
    cache: Cache<K, R, S>,
    judge: Option<Judge<R>>,
    tagger: Option<Tagger<K>>,
    ttl: Option<Duration>,
}

impl<K, R, S> Clone for Memo<K, R, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), judge: self.judge.clone(), tagger: self.tagger.clone(), ttl: self.ttl }
    }
}

impl<K, R, S> fmt::Debug for Memo<K, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").field("cache", &self.cache).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// What the rules are.
impl<K, R, S> Memo<K, R, S> {
    /// Keeps every result in `cache`, on the cache's terms. Use one cache for one function: keys do not tell functions apart.
    pub fn new(cache: Cache<K, R, S>) -> Self {
        Self { cache, judge: None, tagger: None, ttl: None }
    }

    /// Time to live of the results, in place of the cache's. A time of zero keeps nothing.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Gives every result these tags, to be [invalidated](Cache::invalidate_tag) together.
    pub fn tags<T: AsRef<str>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags = tags::collect(tags);
        self.tagger = Some(Arc::new(move |_| tags.clone()));
        self
    }

    /// Gives each result tags made from its key.
    ///
    /// ```
    /// use trimtab_cache::{Cache, Memo};
    ///
    /// let prices = Memo::new(Cache::new(100)).tags_by(|(shop, _): &(u32, u32)| [format!("shop:{shop}")]);
    /// for item in 0..3 {
    ///     prices.call((7, item), || item * 100);
    /// }
    /// assert_eq!(prices.cache().invalidate_tag("shop:7"), 3);
    /// ```
    pub fn tags_by<I, T>(mut self, tags: impl Fn(&K) -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = T>,
        T: AsRef<str>,
    {
        self.tagger = Some(Arc::new(move |key| tags::collect(tags(key))));
        self
    }

    /// Decides about each result whether, and for how long, it is kept.
    pub fn keep(mut self, keep: impl Fn(&R) -> Keep + Send + Sync + 'static) -> Self {
        self.judge = Some(Arc::new(keep));
        self
    }

    /// The cache of the results.
    pub fn cache(&self) -> &Cache<K, R, S> {
        &self.cache
    }
}

/// Functions that may fail.
impl<K, T, E, S> Memo<K, Result<T, E>, S> {
    /// Keeps only what succeeded.
    pub fn only_ok(self) -> Self {
        self.keep(|result| if result.is_ok() { Keep::Yes } else { Keep::No })
    }

    /// Keeps errors too, for a time of their own.
    pub fn errors_for(self, time: Duration) -> Self {
        self.keep(move |result| if result.is_ok() { Keep::Yes } else { Keep::For(time) })
    }
}

/// Functions that may find nothing.
impl<K, T, S> Memo<K, Option<T>, S> {
    /// Keeps only what was found.
    pub fn only_some(self) -> Self {
        self.keep(|found| if found.is_some() { Keep::Yes } else { Keep::No })
    }

    /// Keeps `None` too, for a time of its own.
    pub fn none_for(self, time: Duration) -> Self {
        self.keep(move |found| if found.is_some() { Keep::Yes } else { Keep::For(time) })
    }
}

/// Calling.
impl<K, R, S> Memo<K, R, S>
where
    K: Hash + Eq + Clone,
    R: Clone,
    S: BuildHasher,
{
    /// The kept result of a key, or that of `function`. Blocks while another call runs the function for this key.
    ///
    /// # Panics
    ///
    /// When `function` calls this memo with its own key. A panic of `function` reaches its own caller only.
    pub fn call(&self, key: K, function: impl FnOnce() -> R) -> R {
        let terms = self.terms(&key);
        let judge = |result: &R| self.judge(result);
        unwrap_infallible(self.cache.load_blocking(key, &terms, || Ok::<R, Infallible>(function()), judge))
    }

    /// The kept result of a key, or that of `function`.
    ///
    /// # Panics
    ///
    /// When `function` calls this memo with its own key. A panic of `function` reaches its own caller only.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time. If this call was the one that runs the function, a waiter takes over with its own.
    pub async fn call_async<F, Fut>(&self, key: K, function: F) -> R
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = R>,
    {
        let terms = self.terms(&key);
        let judge = |result: &R| self.judge(result);
        let load = || async { Ok::<R, Infallible>(function().await) };
        unwrap_infallible(self.cache.load_with(key, &terms, load, judge).await)
    }

    /// Makes a cached function of a function and the key of its arguments.
    ///
    /// ```
    /// use trimtab_cache::{Cache, Memo};
    ///
    /// // The precision does not change the answer, so it is not part of the key.
    /// let area = Memo::new(Cache::new(100)).wrap(|(radius, _): &(u32, u8)| *radius, |(radius, _)| radius * radius * 3);
    /// assert_eq!((area((2, 0)), area((2, 9))), (12, 12));
    /// ```
    pub fn wrap<A>(self, key: impl Fn(&A) -> K, function: impl Fn(A) -> R) -> impl Fn(A) -> R {
        move |arguments| self.call(key(&arguments), || function(arguments))
    }

    /// Makes a cached async function of an async function and the key of its arguments.
    pub fn wrap_async<A, F, Fut>(self, key: impl Fn(&A) -> K, function: F) -> impl AsyncFn(A) -> R
    where
        F: Fn(A) -> Fut,
        Fut: Future<Output = R>,
    {
        async move |arguments| self.call_async(key(&arguments), || function(arguments)).await
    }

    /// Drops the result of a key; a call that is under way will not be kept. Answers whether there was one.
    pub fn forget<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.invalidate(key)
    }

    fn terms(&self, key: &K) -> Terms {
        Terms { ttl: self.ttl, tags: self.tagger.as_ref().and_then(|tagger| tagger(key)) }
    }

    fn judge(&self, result: &R) -> Keep {
        self.judge.as_ref().map_or(Keep::Yes, |judge| judge(result))
    }
}
