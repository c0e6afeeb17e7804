//! How a loading cache is described and checked.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::{Counters, Inner, Loaded, Loader, LoadingCache, Memory, Runtime, Times};
use crate::builder::CacheBuilder;
use crate::error::BuildError;

/// A description of a [`LoadingCache`].
#[must_use = "nothing is built before `build`"]
pub struct LoadingBuilder<K, V, E> {
    cache: CacheBuilder<K, Loaded<V, E>>,
    loader: Loader<K, V, E>,
    remember: Option<Memory<E>>,
    runtime: Option<Arc<dyn Runtime>>,
    times: Times,
}

impl<K, V, E> fmt::Debug for LoadingBuilder<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadingBuilder").field("cache", &self.cache).field("times", &self.times).finish_non_exhaustive()
    }
}

impl<K, V, E> LoadingCache<K, V, E> {
    /// Describes a cache whose missing values come from `loader`.
    ///
    /// `cache` says what any cache has to: name, limits, weigher, policy, clock, listener. Ages are set here; a `ttl` there would end
    /// values without a stale time after them.
    pub fn builder<F, Fut>(cache: CacheBuilder<K, Loaded<V, E>>, loader: F) -> LoadingBuilder<K, V, E>
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
    {
        LoadingBuilder {
            cache,
            loader: Box::new(move |key| Box::pin(loader(key))),
            remember: None,
            runtime: None,
            times: Times {
                ttl: None,
                refresh_after: None,
                stale_for: Duration::ZERO,
                retry_after: Duration::from_secs(1),
                soft_timeout: None,
                hard_timeout: None,
            },
        }
    }
}

impl<K, V, E> LoadingBuilder<K, V, E> {
    /// Age from which a value is out of date. Default: never.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.times.ttl = Some(ttl);
        self
    }

    /// Age from which a value is reloaded in the background when it is asked for, and answered meanwhile. Default: never.
    pub fn refresh_after(mut self, age: Duration) -> Self {
        self.times.refresh_after = Some(age);
        self
    }

    /// How long a value that is out of date is kept to fall back on, when loading it anew fails or exceeds the soft
    /// time-out. Default: not at all.
    pub fn stale_for(mut self, time: Duration) -> Self {
        self.times.stale_for = time;
        self
    }

    /// How long the old value is answered after a failed reload before the next is tried, and how soon another reload of an
    /// ageing value may start. Default: one second.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.times.retry_after = time;
        self
    }

    /// How long a caller waits for a new value before it gets the one out of date; the load goes on. Default: until the
    /// load ends.
    pub fn soft_timeout(mut self, time: Duration) -> Self {
        self.times.soft_timeout = Some(time);
        self
    }

    /// How long a caller waits that has no old value to fall back on; the load goes on. Default: until the load ends.
    ///
    /// A loader that never ends keeps its key from being loaded again: give it a limit of its own.
    pub fn hard_timeout(mut self, time: Duration) -> Self {
        self.times.hard_timeout = Some(time);
        self
    }

    /// Caches errors for the time that `remember` answers; those for which it answers `None` are not cached.
    ///
    /// A remembered error is an answer: it takes the place of an older value. Use it for "there is no such thing", not for
    /// "the source is down".
    pub fn remember_errors(mut self, remember: impl Fn(&E) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.remember = Some(Box::new(remember));
        self
    }

    /// Runs loads as tasks of their own. Needed for time-outs. Default: in the task of the caller that needs them first.
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Checks the description and builds the cache.
    ///
    /// # Errors
    ///
    /// As [`CacheBuilder::build`]; for a time of zero; and for settings that could have no effect: a refresh after the
    /// time to live, a stale time without one, a soft time-out without a stale time or beyond the hard one, a time-out
    /// without a runtime.
    pub fn build(self) -> Result<LoadingCache<K, V, E>, BuildError>
    where
        K: Hash + Eq,
    {
        let cache = self.cache.build()?;
        self.times.check(cache.name(), self.runtime.is_some())?;
        Ok(LoadingCache {
            inner: Arc::new(Inner {
                cache,
                loader: self.loader,
                remember: self.remember,
                runtime: self.runtime,
                times: self.times,
                counters: Counters::default(),
            }),
        })
    }
}

impl Times {
    fn check(&self, name: &str, runtime: bool) -> Result<(), BuildError> {
        let set = [
            ("ttl", self.ttl),
            ("refresh_after", self.refresh_after),
            ("retry_after", Some(self.retry_after)),
            ("soft_timeout", self.soft_timeout),
            ("hard_timeout", self.hard_timeout),
        ];
        if let Some((field, _)) = set.into_iter().find(|(_, time)| time.is_some_and(|time| time.is_zero())) {
            return Err(BuildError::Zero { name: name.to_string(), field });
        }
        let stale = !self.stale_for.is_zero();
        let refused = if self.refresh_after.zip(self.ttl).is_some_and(|(refresh, ttl)| refresh >= ttl) {
            Some(("refresh_after", "it is not below ttl, when values are out of date anyway; lower it or raise ttl"))
        } else if stale && self.ttl.is_none() {
            Some(("stale_for", "without a ttl no value is ever out of date; set ttl"))
        } else if self.soft_timeout.is_some() && !stale {
            Some(("soft_timeout", "no value out of date is kept to answer with; set stale_for"))
        } else if self.soft_timeout.zip(self.hard_timeout).is_some_and(|(soft, hard)| soft >= hard) {
            Some(("soft_timeout", "it is not below hard_timeout; lower it"))
        } else if !runtime && self.soft_timeout.is_some() {
            Some((
                "soft_timeout",
                "there is no runtime to measure it; set runtime, for example TokioRuntime::current()",
            ))
        } else if !runtime && self.hard_timeout.is_some() {
            Some((
                "hard_timeout",
                "there is no runtime to measure it; set runtime, for example TokioRuntime::current()",
            ))
        } else {
            None
        };
        match refused {
            Some((field, fault)) => Err(BuildError::NoEffect { name: name.to_string(), field, fault }),
            None => Ok(()),
        }
    }
}
